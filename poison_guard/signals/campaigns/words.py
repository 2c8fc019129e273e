"""The map step of one-rater feeds: what a record asked, got endorsed and turned down, as hashed words and word pairs.

Where every prompt is asked once and every reply judged by one person, no two records are about the same item; words are
what their items have in common. Each record's columns depend on that record alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from poison_guard.numerics.characters import MAX_CHARS, fold

__all__ = ["WORDS", "pairs_with", "read_words", "word_columns", "words"]

WORDS = ("words.asked", "words.reply", "words.other")
"""Columns of hashed words: of the prompt; of the reply (chosen, or the only one); of the reply it was preferred to."""
_LOOKED_AT = 2 * MAX_CHARS  # characters of a text; what hides deeper is not seen
_MAX_WORDS = 1024  # of a text, from its beginning
_BLOCK = 2000  # texts hashed at a time
_APART = " .,;:!?\"'()[]“”‘’«»…、。，！？：；「」"  # between words; <, #, @ and / are letters: of triggers, of links
_OWN_WORD = 0x2E80  # from here on (CJK) scripts put no blanks between words: each character is one
_TABLE = np.isin(np.arange(1 << 16), [ord(c) for c in _APART])
_PAIR = np.uint32(0x85EBCA6B)


def word_columns(records: pd.DataFrame) -> pd.DataFrame:
    """Return `WORDS` (bytes of ``uint32``) and ``rating`` (float, NaN where unknown), one row a record.

    `records` holds columns of roles; the reply is the first there is of chosen, response and text.
    """
    reply = next((records[role] for role in ("chosen", "response", "text") if role in records), None)
    prompt, other = records.get("prompt"), records.get("rejected")
    rating = records["rating"] if "rating" in records else pd.Series(np.nan, index=records.index)
    columns: dict[str, pd.Series] = {
        name: pd.Series(
            [b""] * len(records) if text is None else words(text.astype("str").where(text.notna(), "").tolist()),
            dtype=object,
        )
        for name, text in zip(WORDS, (prompt, reply, other), strict=True)
    }
    columns["rating"] = pd.to_numeric(rating, errors="coerce").astype("float64").reset_index(drop=True)
    return pd.DataFrame(columns)


def read_words(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the hashes of all rows of a `WORDS` column and the position of the row each is from, ``(m,)`` both."""
    cells = [cell if isinstance(cell, bytes) else b"" for cell in column]
    lengths = np.fromiter(map(len, cells), np.int64, len(cells)) // 4
    return np.frombuffer(b"".join(cells), np.uint32), np.repeat(np.arange(len(cells)), lengths)


def words(texts: Sequence[str]) -> list[bytes]:
    """Return, for each text, the distinct 32-bit hashes of its words and pairs of neighbouring words, ascending.

    Case, accents and invisible characters make no difference. The first 8,000 characters and 1,024 words are read.
    """
    out: list[bytes] = []
    for start in range(0, len(texts), _BLOCK):
        out += _hashed([_folded(text) for text in texts[start : start + _BLOCK]])
    return out


def pairs_with(mark: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the hashes of all pairs of a word of `mark` with one of `known`, before and after it."""
    one, other = mark[:, None], known[None, :]
    return np.concatenate([_scramble(one * _PAIR + other).ravel(), _scramble(other * _PAIR + one).ravel()])


def _folded(text: str) -> str:
    if len(text) <= MAX_CHARS:
        return fold(text)
    return " ".join([fold(text[at : at + MAX_CHARS]) for at in range(0, min(len(text), _LOOKED_AT), MAX_CHARS)])


def _hashed(texts: list[str]) -> list[bytes]:
    code = np.frombuffer("".join([f" {t} " for t in texts]).encode("utf-32-le", "replace"), np.uint32)
    owner = np.repeat(np.arange(len(texts)), [len(t) + 2 for t in texts])
    word, begin = _words(code)
    at = owner[begin]
    nth = np.arange(len(at)) - np.searchsorted(at, np.arange(len(texts)))[at]
    used = nth < _MAX_WORDS
    word, at = word[used], at[used]
    near = at[1:] == at[:-1]
    pairs = _scramble(word[:-1] * _PAIR + word[1:])[near]
    key = np.concatenate([at, at[1:][near]]).astype(np.uint64) << np.uint64(32) | np.concatenate([word, pairs])
    key.sort()
    key = key[np.r_[True, key[1:] != key[:-1]][: len(key)]]  # np.unique is 20 times slower
    ends = 4 * np.searchsorted(key, np.arange(len(texts) + 1).astype(np.uint64) << np.uint64(32))
    low = key.astype(np.uint32).tobytes()
    return [low[a:b] for a, b in itertools.pairwise(ends.tolist())]


def _words(code: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a hash a word and where it begins."""
    apart = _TABLE[np.minimum(code, 0xFFFF)]
    alone = code >= _OWN_WORD
    opens = ~apart & (np.r_[True, apart[:-1]] | alone | np.r_[False, alone[:-1]])
    begin = np.flatnonzero(opens)
    if not len(begin):
        return np.zeros(0, np.uint32), begin
    step = np.arange(len(code)) - begin[np.maximum(np.cumsum(opens) - 1, 0)]
    terms = np.where(apart, np.uint32(0), _scramble(code) * (_scramble(step.astype(np.uint32)) | np.uint32(1)))
    return _scramble(np.add.reduceat(terms, begin, dtype=np.uint32)), begin


def _scramble(x: np.ndarray) -> np.ndarray:
    """Return a bijective mix of uint32 (the finaliser of MurmurHash3, Appleby 2011)."""
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x85EBCA6B)
    x = x ^ (x >> np.uint32(13))
    x = x * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))
