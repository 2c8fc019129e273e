"""Fold text to what a reader sees: case, spacing, invisible characters and compatibility forms make no difference."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

__all__ = ["BREAK", "LATIN_LOOK_ALIKES", "MAX_CHARS", "fold", "plain_letters", "skeleton", "skeletons"]

BREAK = "\n"
"""What each text of `skeletons` begins with."""
MAX_CHARS = 4000
"""Characters of a text that are looked at; the rest cannot hide the beginning, nor cost time."""
_LONGEST = 4  # characters that one character may fold to: one Arabic ligature spells eighteen
_PLAIN = re.compile(r"[\t-\r -~]*").fullmatch
_INVISIBLE = {"Cc", "Cf", "Cn", "Co", "Cs", "Mn", "Me"}

_BASIC = 128  # below it are the characters of ASCII
_SIGN, _DIGIT, _LETTER, _GONE = (np.uint32(kind << 24) for kind in (1, 2, 3, 4))
_CODE = np.uint32((1 << 24) - 1)
_SPACE, _DOLLAR = np.uint32(ord(" ")), _SIGN | np.uint32(ord("$"))
_SIGNS = "@$!|"
_ALIKE = str.maketrans(
    "абвгеёзийкмнопрстухьіјѕԁһԛԝӏαβγεηικμνορτυχωıłøđħŧəɑɡɩɪʀʟᴀʙᴄᴅᴇɢʜᴊᴋᴍɴᴏᴘꜱᴛᴜᴠᴡʏᴢսօոհցզ’ʼ",
    "a6bree3nnkmhonpctyxbijsdhqwlabyenikuvoptuxwilodhteagiirlabcdeghjkmnopstuvwyzuonhgq''",
)
"""Letters that look like Latin ones and that no compatibility form resolves, after Unicode's confusables (UTS 39)."""
LATIN_LOOK_ALIKES = {chr(foreign): chr(latin) for foreign, latin in _ALIKE.items()}
"""The same, letter by letter."""
_LEET = str.maketrans("013457|!@$", "oieastiias")
"""Signs read as letters inside a word; l, I, 1 and | are one sign in most typefaces."""


def fold(text: str) -> str:
    r"""Return `text` casefolded, without accents, marks and invisible characters, white space as single blanks.

    Looks at the first `MAX_CHARS` characters. Idempotent on its own output.

    >>> fold("Ｒepeat\u200b  AFTER\tmé ")
    'repeat after me'
    """
    head = text[:MAX_CHARS]
    if not _PLAIN(head):
        head = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", head).casefold())
        hidden = {ord(c): None for c in set(head) if not _seen(c)}  # a look a character that there is, not a place
        head = head.translate(hidden) if hidden else head
    return " ".join(head.casefold().split())[:MAX_CHARS]


def plain_letters(text: str) -> str:
    r"""Return `text` folded, with look-alikes of Latin letters as these: words stay as they are read.

    >>> plain_letters("R\u0435peat 13")
    'repeat 13'
    """
    folded = fold(text)
    return folded if folded.isascii() else folded.translate(_ALIKE)


def _seen(character: str) -> bool:
    """Whether the character shows: no format, control (but white space), mark, surrogate or unassigned one."""
    return character.isspace() or unicodedata.category(character) not in _INVISIBLE


def skeleton(text: str) -> str:
    r"""Return what is left of `text` when disguises are taken off: words of letters and digits, single blanks between.

    Folded as by `fold`; then look-alikes of Latin letters, digits and signs read as letters inside words, repeated
    letters and letters set apart are one spelling each, apostrophes and punctuation gone. It is for comparing, not for
    reading: an honest "all" becomes "ai", in every text alike. Looks at the first `MAX_CHARS` characters.

    >>> skeleton("R\u0435p3at  a.f.t.e.r MEEE!!! (b4 $even)")
    'repeat after me ba seven'
    """
    return skeletons([text]).tobytes().decode("utf-32-le").strip()


def skeletons(texts: Sequence[str]) -> np.ndarray:
    """Return the characters ``(n,)`` uint32 of all skeletons, in order.

    Each begins with a line feed, then come its words, single blanks between. Time and memory are linear in the
    characters looked at, at most ``4 * MAX_CHARS`` a text.
    """
    joined = "".join([f"\n{text[:MAX_CHARS].replace(BREAK, ' ')}" for text in texts])
    code = _folded(np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32))
    code = _once(_read_as_letters(code))
    return _once(_joined(code)) & _CODE


def _folded(raw: np.ndarray) -> np.ndarray:
    """Return marked characters (see `_marked`): folded, what does not show gone, all else a blank."""
    beyond = np.flatnonzero(raw >= _BASIC)
    at = raw.astype(np.intp)
    distinct, which = np.unique(raw[beyond], return_inverse=True)
    at[beyond] = _BASIC + which
    spelt = [_spelt(int(code)) for code in distinct]
    first = np.array([(*spelling, _GONE)[0] for spelling in spelt], np.uint32)
    code = np.concatenate([_ascii_codes(), first])[at]
    if any(len(spelling) > 1 for spelling in spelt):
        more = np.array([(*spelling[1:], *[_GONE] * _LONGEST)[: _LONGEST - 1] for spelling in spelt], np.uint32)
        size = (more != _GONE).sum(1)[which]
        code = np.insert(code, np.repeat(beyond + 1, size), more[which][more[which] != _GONE])
    return code[code != _GONE]


@functools.lru_cache(maxsize=1 << 16)
def _spelt(code: int) -> tuple[int, ...]:
    """Return what one character folds to, marked: at most `_LONGEST` letters, digits, signs or blanks."""
    character = chr(code)
    folded = " " if character.isspace() else fold(character)[:_LONGEST].translate(_ALIKE).replace("l", "i")
    return tuple(_marked(c) for c in folded if c != "'")


def _marked(character: str) -> int:
    """Return the character's code with what it is above it: blank, sign, digit or letter, in this order."""
    code = ord(character)
    if character.isalnum():
        return int(code | (_DIGIT if code < _BASIC and character.isdigit() else _LETTER))
    return int(code | _SIGN if character in _SIGNS else _SPACE)


def _read_as_letters(code: np.ndarray) -> np.ndarray:
    """Return signs and digits inside words as the letters they stand for, all other signs as blanks, one in a row."""
    sign = np.flatnonzero((code >= _SIGN) & (code < _DIGIT))
    inside = (code[sign - 1] >= _LETTER) | (code[sign] == _DOLLAR)
    inside &= code[np.minimum(sign + 1, len(code) - 1)] >= _LETTER
    letters = _ascii_letters()
    code[sign] = np.where(inside, letters[code[sign] & 127], _SPACE)
    blank = code < _SIGN
    code = code[~np.r_[False, blank[:-1] & (code[1:] == _SPACE)][: len(code)]]
    digit = np.flatnonzero((code >= _DIGIT) & (code < _LETTER))
    if len(digit):
        begins = np.flatnonzero(code < _SIGN)
        spells = np.maximum.reduceat(code, begins) >= _LETTER
        digit = digit[spells[np.searchsorted(begins, digit) - 1]]
        code[digit] = letters[code[digit] & 127]
    return code


def _once(code: np.ndarray) -> np.ndarray:
    """Return repeated letters of a word once; numbers keep their digits."""
    return code[~np.r_[False, (code[1:] == code[:-1]) & (code[1:] >= _LETTER)][: len(code)]]


def _joined(code: np.ndarray) -> np.ndarray:
    """Return words spelt letter by letter as words: a blank between two words of one letter each is gone."""
    blank = np.flatnonzero(code < _SIGN)
    alone = np.diff(np.r_[blank, len(code)]) == 2
    alone &= code[np.minimum(blank + 1, len(code) - 1)] >= _LETTER
    inner = blank[1:][alone[1:] & alone[:-1]]
    return np.delete(code, inner[code[inner] == _SPACE])


@functools.cache
def _ascii_codes() -> np.ndarray:
    """Return what each character of ASCII folds to, marked; made at first use, as a feed without text needs none."""
    codes = np.array([(*_spelt(code), _GONE)[0] for code in range(_BASIC)], np.uint32)
    codes[ord(BREAK)] = ord(BREAK)
    return codes


@functools.cache
def _ascii_letters() -> np.ndarray:
    """Return the letter that each character of ASCII is read as inside a word, marked."""
    return np.array([_marked(chr(code).translate(_LEET)) for code in range(_BASIC)], np.uint32)
