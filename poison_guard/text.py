"""Text for people to read: hidden characters made visible, p-values in words."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

__all__ = ["character_name", "p_value_text", "visible", "visible_pieces"]


_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that draw nothing, reorder what is drawn, or break the line (Unicode Standard, annex 9 and 44)."""
_DRAWN_AS_NOTHING = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")
"""Letters and marks that draw nothing all the same (Hangul fillers, blank Braille, joiners)."""


def visible(text: object, *, limit: int = 300, lines: bool = False) -> str:
    """Return `text` in at most `limit` characters with each hidden one as ``<U+202E>``; `lines` keeps line breaks."""
    return "".join(f"<{part}>" if hidden else part for hidden, part in visible_pieces(text, limit=limit, lines=lines))


def visible_pieces(text: object, *, limit: int = 300, lines: bool = False) -> Iterator[tuple[bool, str]]:
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


def character_name(code: str) -> str:
    """Return the Unicode name of ``U+XXXX``, lower case, or its category where it has none."""
    character = chr(int(code.removeprefix("U+"), 16))
    return unicodedata.name(character, "control character").lower()


def _hides(character: str, *, lines: bool) -> bool:
    if character == "\n" and lines:
        return False
    return unicodedata.category(character) in _HIDDEN or character in _DRAWN_AS_NOTHING


def p_value_text(p: float | None) -> str:
    """Return a p-value in words that need no logarithm.

    >>> chance(0.034), chance(0.0000831), chance(2e-8), chance(1e-12)
    ('0.034', '1 in 12,000', '1 in 50 million', 'under 1 in a billion')
    """
    if p is None:
        return "–"
    if p >= 0.01:
        return f"{p:.2g}"
    if p < 1e-9:
        return "under 1 in a billion"
    ratio = 1 / p
    if ratio >= 1e6:
        return f"1 in {ratio / 1e6:.2g} million" if ratio < 1e8 else f"1 in {round(ratio / 1e6):,} million"
    digits = 10 ** max(len(str(int(ratio))) - 2, 0)
    return f"1 in {round(ratio / digits) * digits:,}"
