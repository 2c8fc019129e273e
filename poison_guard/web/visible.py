"""Make what hides in text visible: control, bidirectional and zero-width characters, shown as their code points."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

__all__ = ["name_of", "pieces", "visible"]

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that draw nothing, reorder what is drawn, or break the line (Unicode Standard, annex 9 and 44)."""
_DRAWN_AS_NOTHING = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")
"""Letters and marks that draw nothing all the same (Hangul fillers, blank Braille, joiners)."""


def visible(text: object, *, limit: int = 300, lines: bool = False) -> str:
    """Return `text` in at most `limit` characters with each hidden one as ``<U+202E>``; `lines` keeps line breaks."""
    return "".join(f"<{part}>" if hidden else part for hidden, part in pieces(text, limit=limit, lines=lines))


def pieces(text: object, *, limit: int = 300, lines: bool = False) -> Iterator[tuple[bool, str]]:
    """Yield ``(hidden, part)``: plain text, and ``U+XXXX`` for each hidden character; a cut is said in words."""
    whole = str(text)
    plain: list[str] = []
    for character in whole[:limit]:
        if not _hides(character, lines=lines):
            plain.append(character)
            continue
        if plain:
            yield False, "".join(plain)
            plain.clear()
        yield True, f"U+{ord(character):04X}"
    if len(whole) > limit:
        plain.append(f"… ({len(whole) - limit:,} more characters)")
    if plain:
        yield False, "".join(plain)


def name_of(code: str) -> str:
    """Return the Unicode name of ``U+XXXX``, lower case, or its category where it has none."""
    character = chr(int(code.removeprefix("U+"), 16))
    return unicodedata.name(character, "control character").lower()


def _hides(character: str, *, lines: bool) -> bool:
    if character == "\n" and lines:
        return False
    return unicodedata.category(character) in _HIDDEN or character in _DRAWN_AS_NOTHING
