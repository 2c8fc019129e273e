"""Feature cells of any kind as the numbers of a table: what kind a column is of, the trusted examples decide."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from poison_guard.signals.anomaly.features import CyclicTime, Embedding, as_numbers, as_words, text_encoding

__all__ = ["TableColumns"]

_SIGNS = 16
"""Columns of a category: 65,536 patterns of signs, so that two of fifty values fall together once in fifty feeds."""


@dataclass(frozen=True, slots=True)
class TableColumns:
    """How the cells of each feature become numbers.

    Numbers, durations and booleans stay as they are. A list of numbers becomes a column for each, a moment its place in
    the day and the week. Any other text is a category: each value becomes a pattern of 16 signs that follows from the
    value alone, so that examples and models of all times agree on it, whatever values come later.
    """

    kinds: Mapping[str, Embedding | CyclicTime | str]
    """By feature: ``number``, ``category``, or how its lists or moments are read."""

    @classmethod
    def of(cls, frame: pd.DataFrame, features: Sequence[str]) -> Self:
        """Return what nearly all cells of each feature of `frame` are; a column without a cell holds numbers."""
        return cls({name: _kind(frame[name]) for name in features})

    def numbers(self, frame: pd.DataFrame) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return ``(n, d)`` float64 and the names of its columns; NaN for cells that are missing or of another kind."""
        blocks = [_numbers(frame[name], kind) for name, kind in self.kinds.items()]
        names = [
            name if isinstance(self.kinds[name], str) and block.shape[1] == 1 else f"{name} {k}"
            for name, block in zip(self.kinds, blocks, strict=True)
            for k in range(block.shape[1])
        ]
        return np.concatenate([np.empty((len(frame), 0)), *blocks], axis=1), tuple(names)


def _kind(column: pd.Series) -> Embedding | CyclicTime | str:
    present = column.dropna()
    if not len(present) or present.dtype.kind in "biufm" or np.isfinite(as_numbers(present)).mean() > 0.5:
        return "number"
    words = as_words(column)
    encoding = text_encoding(words)
    return "category" if encoding is None else encoding.fit(words)


def _numbers(column: pd.Series, kind: Embedding | CyclicTime | str) -> np.ndarray:
    """Return the cells of one feature ``(n, w)`` float64."""
    if kind == "number":
        return as_numbers(column)[:, None]
    if not isinstance(kind, str):
        return kind.apply(as_words(column))
    codes, values = pd.factorize(as_words(column))
    signs = np.array([*map(_signs, values), np.full(_SIGNS, np.nan)])
    return signs[codes]


def _signs(value: str) -> np.ndarray:
    """Return the pattern of a value, ``(16,)`` of -1 and 1; case, outer blanks and ways to write a letter are one."""
    plain = unicodedata.normalize("NFC", value).strip().casefold()
    bits = np.frombuffer(hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=2).digest(), np.uint8)
    return np.unpackbits(bits) * 2.0 - 1.0
