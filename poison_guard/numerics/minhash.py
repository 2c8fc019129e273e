"""MinHash sketches of texts in NumPy, and the pairs of rows that share a band of their sketch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from poison_guard.numerics.characters import fold

__all__ = ["EMPTY", "WIDTH", "band_pairs", "feature_count", "similarity", "sketch"]

WIDTH = 128
"""Hash functions a sketch holds; the standard error of an estimated Jaccard similarity of 0.5 is 0.044."""
EMPTY = np.uint32(0xFFFFFFFF)
"""Every cell of the sketch of a text without a single feature."""
_GRAM = 4  # characters; longer ones lose more to each edited word, shorter ones are shared by chance
_BLOCK = 2000  # texts hashed at a time: bounds memory, and the working set stays in the cache
_NEAREST = 4  # rows after it in a bucket that a row is paired with: pairs stay linear in rows
_SPACE = np.uint32(ord(" "))
_ODD = np.random.Generator(np.random.PCG64(20240229)).integers(1, 2**32, size=(2, WIDTH), dtype=np.uint32)
_FLIP, _TIMES = _ODD[0], _ODD[1] | np.uint32(1)


def sketch(texts: Sequence[str]) -> np.ndarray:
    """Return ``(len(texts), WIDTH)`` uint32; each row depends on its own text alone.

    Features of a folded text are its words and the 4-grams of characters inside words (word ends included), so that
    moving words changes nothing and editing one word costs only that word's features. Rows of `EMPTY` have none.

    References: Broder (1997), "On the Resemblance and Containment of Documents".
    """
    out = np.full((len(texts), WIDTH), EMPTY, np.uint32)
    for start in range(0, len(texts), _BLOCK):
        folded = [fold(t) for t in texts[start : start + _BLOCK]]
        features, owner = _features(folded)
        if not len(features):
            continue
        first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
        rows = start + owner[first]
        for k in range(WIDTH):
            out[rows, k] = np.minimum.reduceat((features ^ _FLIP[k]) * _TIMES[k], first)
    return out


def similarity(sketches: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the estimated Jaccard similarity of rows `left` with rows `right`, in [0, 1]."""
    out = np.empty(len(left))
    for start in range(0, len(left), 1 << 16):
        stop = start + (1 << 16)
        out[start:stop] = (sketches[left[start:stop]] == sketches[right[start:stop]]).mean(1)
    return out


def feature_count(sketches: np.ndarray) -> np.ndarray:
    """Return about how many distinct features each row had, from how small its minima are (Cohen 1997)."""
    mean = sketches.astype(float).mean(1) / 2**32
    return np.where((sketches == EMPTY).all(1), 0.0, 1 / np.maximum(mean, 1e-9) - 1)


def band_pairs(sketches: np.ndarray, *, rows: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, band after band, pairs of rows that are equal in `rows` neighbouring cells.

    Within a bucket the rows are ordered by their whole sketch's next cells and each is paired with the few after it, so
    a bucket of any size gives a linear number of pairs and stays connected.

    `seed` decides which cells are neighbours, so that nobody can write texts that meet in no band.

    References: Indyk & Motwani (1998), "Approximate Nearest Neighbors"; Leskovec, Rajaraman & Ullman (2014), "Mining of
    Massive Datasets", 3.4.
    """
    width = sketches.shape[1]
    sketches = sketches[:, np.random.default_rng(seed).permutation(width)]
    for start in range(0, width - rows + 1, rows):
        key = _mix(sketches[:, start : start + rows])
        follow = sketches[:, (start + rows) % width]
        order = np.lexsort((follow, key))
        ordered = key[order]
        for step in range(1, _NEAREST + 1):
            same = np.flatnonzero(ordered[step:] == ordered[:-step])
            if len(same):
                yield order[same], order[same + step]


def _features(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return hashed features and the text each belongs to, texts in order."""
    joined = "".join([f" {t} " for t in texts]) + " " * _GRAM
    code = np.frombuffer(joined.encode("utf-32-le", "replace"), np.uint32)
    owner = np.repeat(np.arange(len(texts) + 1), [len(t) + 2 for t in texts] + [_GRAM])
    space = code == _SPACE
    mixed = _scramble(code)
    size = len(code) - _GRAM + 1
    inside = ~(space[1 : size + 1] | space[2 : size + 2]) & (owner[:size] == owner[_GRAM - 1 :])
    gram = np.zeros(size, np.uint32)
    for k in range(_GRAM):
        gram = gram * np.uint32(0x01000193) + mixed[k : size + k]
    at = np.flatnonzero(inside)
    word, begin = _words(mixed, space)
    features = np.concatenate([_scramble(gram[at]), _scramble(word)])
    owners = np.concatenate([owner[at], owner[begin]])
    order = np.argsort(owners, kind="stable")
    return features[order], owners[order]


def _words(mixed: np.ndarray, space: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a hash a word and where it begins."""
    begin = np.flatnonzero(~space & np.r_[True, space[:-1]])
    if not len(begin):
        return np.zeros(0, np.uint32), begin
    length = np.diff(np.r_[np.flatnonzero(space), len(space)])  # from each blank to the next
    place = np.arange(len(space)) - np.repeat(np.flatnonzero(space), length)
    weight = _scramble(place.astype(np.uint32))
    terms = np.where(space, np.uint32(0), mixed * (weight | np.uint32(1)))
    return np.add.reduceat(terms, begin, dtype=np.uint32) ^ np.uint32(0x9E3779B9), begin


def _scramble(x: np.ndarray) -> np.ndarray:
    """Return a bijective mix of uint32 (the finaliser of MurmurHash3, Appleby 2011)."""
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x85EBCA6B)
    x = x ^ (x >> np.uint32(13))
    x = x * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))


def _mix(cells: np.ndarray) -> np.ndarray:
    """Return one uint64 key a row of cells."""
    key = np.zeros(len(cells), np.uint64)
    for column in cells.T:
        key = (key ^ column) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key
