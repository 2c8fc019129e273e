"""What one-rater records are about: replies in nearly the same words are one pseudo-item."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from poison_guard.numerics.minhash import EMPTY, band_pairs, similarity
from poison_guard.signals.campaigns.words import read_words

__all__ = ["pseudo_items"]

_WIDTH = 32  # hash functions: the standard error of an estimated similarity of 0.5 is 0.09
_SIMILAR = 0.5  # estimated Jaccard similarity of words and word pairs: about one word in six differs
_BAND_ROWS = 4
_BLOCK = 1 << 15  # texts sketched at a time: bounds memory
_KEYS = np.random.Generator(np.random.PCG64(20250807)).integers(1, 2**32, size=(2, _WIDTH), dtype=np.uint32)


def pseudo_items(columns: Sequence[pd.Series], *, seed: int = 0) -> list[np.ndarray]:
    """Return for each column of hashed words (`words.WORDS`) the clusters ``(n,)`` of its texts, -1 for empty ones.

    Texts of all columns are clustered together, through similar pairs; a text like no other is a cluster of its own.
    `seed` chooses the bands in which texts meet.

    References: Broder (1997), "On the Resemblance and Containment of Documents".
    """
    sketches = np.concatenate([_sketches(column) for column in columns])
    left: list[np.ndarray] = []
    right: list[np.ndarray] = []
    for one, other in band_pairs(sketches, rows=_BAND_ROWS, seed=seed) if len(sketches) else ():
        near = similarity(sketches, one, other) >= _SIMILAR
        left.append(one[near])
        right.append(other[near])
    ends = [np.concatenate(side) if side else np.zeros(0, np.int64) for side in (left, right)]
    graph = coo_matrix((np.ones(len(ends[0]), np.int8), ends), shape=(len(sketches), len(sketches)))
    cluster = connected_components(graph, directed=False)[1] if len(sketches) else np.zeros(0, np.int64)
    codes = np.where((sketches == EMPTY).all(1), -1, cluster).astype(np.int64)
    return np.split(codes, np.cumsum([len(column) for column in columns])[:-1])


def _sketches(column: pd.Series) -> np.ndarray:
    """Return ``(n, 32)`` MinHash sketches of the rows' sets of words."""
    out = np.full((len(column), _WIDTH), EMPTY, np.uint32)
    for start in range(0, len(column), _BLOCK):
        word, row = read_words(column.iloc[start : start + _BLOCK])
        if not len(word):
            continue
        first = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])
        for k in range(_WIDTH):
            hashed = (word ^ _KEYS[0, k]) * (_KEYS[1, k] | np.uint32(1))
            out[start + row[first], k] = np.minimum.reduceat(hashed, first)
    return out
