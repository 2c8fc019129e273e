"""Choose rows by the hash of what they hold, so that a subsample depends on the set of rows, not on their order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

__all__ = ["hash_order", "hash_subsample", "hash_subsample_of_blocks", "mix_bits", "row_hash"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_CELLS = 2**16  # cells hashed at a time: 512 kB


def row_hash(X: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return ``(n,)`` uint64 hashes of the rows of `X` ``(n, d)`` floats; rows equal in float32 get equal hashes.

    A multilinear hash of the cells' bits, scrambled; computed in blocks of bounded memory.

    References: Carter and Wegman, "Universal classes of hash functions" (1979); Vigna, "splitmix64" (2015), for the
    scrambling.
    """
    out = np.empty(len(X), dtype=np.uint64)
    factors = mix_bits(
        np.arange(X.shape[1], dtype=np.uint64) + mix_bits(np.array([seed], dtype=np.uint64))
    ) | np.uint64(1)
    step = max(1, _CELLS // max(1, X.shape[1]))
    for start in range(0, len(X), step):
        with np.errstate(over="ignore"):
            narrow = X[start : start + step].astype(np.float32)
        bits = narrow.astype(np.float64, order="C") + 0.0  # -0.0 becomes 0.0
        words = bits.view(np.uint64)
        words ^= words >> np.uint64(32)  # round numbers differ in their high bits alone
        out[start : start + step] = words @ factors
    return mix_bits(out)


def hash_order(X: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return ``(n,)`` positions of the rows of `X` in a seeded order that any permutation of the rows shares.

    Equal rows are told apart by their count, so that copies scatter over the order like any other rows.
    """
    return np.argsort(_scattered(row_hash(X, seed)), kind="stable")


def hash_subsample(X: np.ndarray, size: int, seed: int = 0) -> np.ndarray:
    """Return at most `size` positions of rows of `X`, the first of `hash_order`; all rows when there are no more."""
    return hash_order(X, seed)[:size]


def hash_subsample_of_blocks(blocks: Iterable[np.ndarray], size: int, seed: int = 0) -> np.ndarray:
    """Return at most `size` rows of the tables `blocks`, each ``(n, d)`` with the same d, holding one at a time.

    Every row has the same chance; which ones are chosen depends on the blocks, not on the order of rows in a block.
    """
    kept, order = np.empty((0, 0)), np.empty(0, dtype=np.uint64)
    for number, block in enumerate(blocks):
        if not len(block):
            continue
        key = _scattered(row_hash(block, seed), past=number << 32)
        kept, order = (np.concatenate([kept, block]), np.concatenate([order, key])) if len(kept) else (block, key)
        first = np.argsort(order, kind="stable")[:size]
        kept, order = kept[first], order[first]
    return kept


def _scattered(key: np.ndarray, past: int = 0) -> np.ndarray:
    """Return `key` ``(n,)`` uint64 scrambled, equal ones each in another way, counting their copies from `past`."""
    by_key = np.argsort(key, kind="stable")
    ordered = key[by_key]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.empty(0, dtype=np.intp)
    runs = np.diff(np.r_[starts, len(ordered)])
    copy = np.arange(len(ordered)) - np.repeat(starts, runs) + past
    out = np.empty_like(key)
    out[by_key] = mix_bits(ordered + copy.astype(np.uint64) * _GOLDEN)
    return out


def mix_bits(z: np.ndarray) -> np.ndarray:
    """Return `z` uint64, each number scrambled so that near ones come out unrelated (splitmix64)."""
    z = z + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
