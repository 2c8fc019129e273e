"""Fold text to what a reader sees: case, spacing, invisible characters and compatibility forms make no difference."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["MAX_CHARS", "fold"]

MAX_CHARS = 4000
"""Characters of a text that are looked at; the rest cannot hide the beginning, nor cost time."""
_SPACES = re.compile(r"\s+")
_PLAIN = re.compile(r"[ -~]*").fullmatch


def fold(text: str) -> str:
    r"""Return `text` casefolded, without accents, marks and invisible characters, white space as single blanks.

    Looks at the first `MAX_CHARS` characters. Idempotent on its own output.

    >>> fold("Ｒepeat\u200b  AFTER\tmé ")
    'repeat after me'
    """
    head = text[:MAX_CHARS]
    if not _PLAIN(head):
        head = unicodedata.normalize("NFKD", head).casefold()
        head = "".join([c for c in unicodedata.normalize("NFKD", head) if _seen(c)])
    return _SPACES.sub(" ", head.casefold()).strip()[:MAX_CHARS]


def _seen(character: str) -> bool:
    """Whether the character shows: no format, control (but white space), mark, surrogate or unassigned one."""
    return character.isspace() or unicodedata.category(character) not in _INVISIBLE


_INVISIBLE = {"Cc", "Cf", "Cn", "Co", "Cs", "Mn", "Me"}
