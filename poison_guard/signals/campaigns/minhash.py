"""MinHash sketches of texts in NumPy, and the pairs of rows that share a band of their sketch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from poison_guard.numerics.characters import BREAK, MAX_CHARS, skeletons

__all__ = ["EMPTY", "WIDTH", "band_pairs", "feature_count", "row_keys", "similarity", "sketch"]

WIDTH = 128
"""Hash functions a sketch holds; the standard error of an estimated Jaccard similarity of 0.5 is 0.044."""
EMPTY = np.uint32(0xFFFFFFFF)
"""Every cell of the sketch of a text without a single feature."""
_GRAM = 4  # characters; longer ones lose more to each edited word, shorter ones are shared by chance
_BLOCK = 1 << 21  # characters hashed at a time: bounds memory, and words are hashed once a block
_ROWS = 1 << 9  # sketches put together at a time: stays in the cache
_NEAREST = 4  # rows after it in a bucket that a row is paired with: pairs stay linear in rows
_Cells = Callable[[np.ndarray, np.ndarray], object]
_SPACE = np.uint32(ord(" "))
_RNG = np.random.Generator(np.random.PCG64(20240229))
_ODD = _RNG.integers(1, 2**32, size=(2, WIDTH), dtype=np.uint32)
_FLIP, _TIMES = _ODD[0], _ODD[1] | np.uint32(1)
_PLACE = _RNG.integers(1, 2**64, size=4 * MAX_CHARS, dtype=np.uint64) | np.uint64(1)
_CELL = _RNG.integers(1, 2**64, size=WIDTH, dtype=np.uint64) | np.uint64(1)


def sketch(texts: Sequence[str]) -> np.ndarray:
    """Return ``(len(texts), WIDTH)`` uint32; each row depends on its own text alone.

    Features of a text are the words of its `skeleton` and the 4-grams of characters inside words (word ends included),
    so that moving words changes nothing and editing one word costs only that word's features. Rows of `EMPTY` have
    none. The sketch of a set of words is the smallest cell of the words' sketches, so each word is hashed once.

    References: Broder (1997), "On the Resemblance and Containment of Documents".
    """
    out = np.full((len(texts), WIDTH), EMPTY, np.uint32)
    size = np.fromiter((min(len(text), MAX_CHARS) for text in texts), np.int64, len(texts))
    for start, stop in _runs(np.cumsum(size + 1) // _BLOCK):
        words, word, owner = _words(skeletons(texts[start:stop]))
        firsts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]][: len(owner)])
        lengths = np.diff(np.r_[firsts, len(owner)])
        out[start + owner[firsts]] = _least(_taken(words, word), firsts, lengths)
    return out


def _taken(words: np.ndarray, word: np.ndarray) -> _Cells:
    return lambda at, into: words.take(word[at], 0, into, "clip")


def _least(cells: Callable[[np.ndarray, np.ndarray], object], firsts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return ``(n, WIDTH)`` smallest cells of n runs of `lengths` members from `firsts` on, each at least one long.

    ``cells(at, into)`` writes the cells of the members `at` into an array. Runs go by falling length, so that the ones
    that still have a next member are neighbours.
    """
    out = np.empty((len(firsts), WIDTH), np.uint32)
    least, other = np.empty((2, _ROWS, WIDTH), np.uint32)
    falling = np.argsort(-lengths, kind="stable")
    for start in range(0, len(firsts), _ROWS):
        rows = falling[start : start + _ROWS]
        first, length = firsts[rows], lengths[rows]
        cells(first, least[: len(rows)])
        for step in range(1, int(length[0])):
            more = int(np.searchsorted(-length, -step))
            cells(first[:more] + step, other[:more])
            np.minimum(least[:more], other[:more], out=least[:more])
        out[rows] = least[: len(rows)]
    return out


def similarity(sketches: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the estimated Jaccard similarity of rows `left` with rows `right`, in [0, 1]."""
    out = np.empty(len(left))
    for start in range(0, len(left), _ROWS):
        stop = start + _ROWS
        out[start:stop] = (sketches[left[start:stop]] == sketches[right[start:stop]]).mean(1)
    return out


def feature_count(sketches: np.ndarray) -> np.ndarray:
    """Return about how many distinct features each row had, from how small its minima are (Cohen 1997)."""
    mean = sketches.mean(1, dtype=float) / 2**32
    return np.where((sketches == EMPTY).all(1), 0.0, 1 / np.maximum(mean, 1e-9) - 1)


def row_keys(sketches: np.ndarray) -> np.ndarray:
    """Return one uint64 key a row ``(n,)``: equal sketches have equal ones, others different ones but for chance."""
    key = np.zeros(len(sketches), np.uint64)
    for cell, weight in zip(sketches.T, _CELL, strict=True):
        key += cell * weight
    return key


def band_pairs(sketches: np.ndarray, *, rows: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, band after band, pairs of rows that are equal in `rows` neighbouring cells (or share a bucket by chance).

    Within a bucket the rows are ordered by their sketch's next cell and each is paired with the few after it, so a
    bucket of any size gives a linear number of pairs and stays connected.

    `seed` decides which cells are neighbours, so that nobody can write texts that meet in no band.

    References: Indyk & Motwani (1998), "Approximate Nearest Neighbors"; Leskovec, Rajaraman & Ullman (2014), "Mining of
    Massive Datasets", 3.4.
    """
    n, width = sketches.shape
    cells = np.random.default_rng(seed).permutation(width)
    low = np.uint64(max(1, int(n).bit_length()))
    next_bits = np.uint64(10)
    for start in range(0, width - rows + 1, rows):
        key = _mix(sketches[:, cells[start : start + rows]]) >> (low + next_bits)
        follow = sketches[:, cells[(start + rows) % width]].astype(np.uint64) >> (np.uint64(32) - next_bits)
        packed = np.sort(((key << next_bits | follow) << low) | np.arange(n, dtype=np.uint64))
        order = (packed & ((np.uint64(1) << low) - np.uint64(1))).astype(np.int64)
        bucket = packed >> (low + next_bits)
        for step in range(1, _NEAREST + 1):
            same = np.flatnonzero(bucket[step:] == bucket[:-step])
            if len(same):
                yield order[same], order[same + step]


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    """Return begin and end of each run of equal values."""
    edges = np.flatnonzero(np.r_[True, values[1:] != values[:-1], True]) if len(values) else np.zeros(1, np.int64)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _words(code: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sketches ``(u, WIDTH)`` of the distinct words, and each word's row among them and text, in order."""
    blank = code <= _SPACE
    ends = np.flatnonzero(blank)
    length = np.diff(np.r_[ends, len(code)]) - 1
    begin, length = ends[length > 0] + 1, length[length > 0]
    owner = np.cumsum(code == ord(BREAK))[begin] - 1
    place = np.arange(len(code)) - np.repeat(np.r_[0, ends], np.diff(np.r_[0, ends, len(code)]))
    terms = np.where(blank, np.uint64(0), _scramble(code) * _PLACE[place])
    key = np.add.reduceat(terms, begin) if len(begin) else terms[:0]
    _, first, word = np.unique(key, return_index=True, return_inverse=True)
    return _word_sketches(code, begin[first], length[first], key[first]), word, owner


def _word_sketches(code: np.ndarray, begin: np.ndarray, length: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Return the sketches of words given by where they stand: of the word itself and of its 4-grams."""
    size = length + 2  # with a blank on each side
    of = np.repeat(np.arange(len(size)), size)
    opens = np.cumsum(size) - size
    at = np.arange(len(of)) - opens[of]
    inside = (at > 0) & (at <= length[of])
    mixed = _scramble(np.where(inside, code[np.where(inside, begin[of] + at - 1, 0)], _SPACE))
    gram = np.zeros(max(0, len(of) - _GRAM + 1), np.uint32)
    for k in range(_GRAM):
        gram = gram * np.uint32(0x01000193) + mixed[k : len(gram) + k]
    whole = np.flatnonzero(at[: len(gram)] <= length[of[: len(gram)]] - 2)
    features = np.empty(len(whole) + len(size), np.uint32)
    firsts = np.searchsorted(of[whole], np.arange(len(size))) + np.arange(len(size))
    features[firsts] = (key >> np.uint64(32)).astype(np.uint32)
    rest = np.ones(len(features), bool)
    rest[firsts] = False
    features[rest] = _scramble(gram[whole])

    def hashed(at: np.ndarray, into: np.ndarray) -> None:
        np.bitwise_xor(features[at, None], _FLIP, out=into)
        np.multiply(into, _TIMES, out=into)

    return _least(hashed, firsts, np.diff(np.r_[firsts, len(features)]))


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
