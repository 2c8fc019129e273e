"""Word-level edit distances of many pairs of texts at once: how far two free-text answers are apart."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

__all__ = ["MAX_WORDS", "edit_distances", "words"]

MAX_WORDS = 128
"""Words of a text that are compared; the rest costs no time."""
_MAX_CHARS = 4_000
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_BLOCK = 4_000  # pairs at a time


def words(text: str) -> list[str]:
    """Return the first `MAX_WORDS` words of `text`, casefolded, without punctuation.

    Text that hardly has spaces (Chinese, Japanese, Thai) is taken character by character.

    >>> words("It's NOT there!")
    ["it's", 'not', 'there']
    """
    found = _WORD.findall(text[:_MAX_CHARS].casefold().replace("’", "'"))
    if found and sum(map(len, found)) > 20 * len(found):
        found = list("".join(found))
    return found[:MAX_WORDS]


def edit_distances(texts: Sequence[np.ndarray], left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return ``(pairs,)`` edits between ``texts[left]`` and ``texts[right]`` over the longer one's length, in [0, 1].

    `texts` are arrays of non-negative word codes. Levenshtein's distance, all pairs of a block at once, row by row: in
    a row, insertions are a running minimum. Time grows with pairs x `MAX_WORDS`^2. References: Wagner & Fischer (1974),
    "The String-to-String Correction Problem".
    """
    size = np.array([len(text) for text in texts], np.int64)
    longest = np.maximum(size[left], size[right])
    edits = np.zeros(len(left))
    order = np.argsort(longest, kind="stable")
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        edits[block] = _edits([texts[i] for i in left[block]], [texts[i] for i in right[block]])
    return edits / np.maximum(longest, 1)


def _edits(left: list[np.ndarray], right: list[np.ndarray]) -> np.ndarray:
    a, a_size = _padded(left, -1)
    b, b_size = _padded(right, -2)
    at = np.arange(b.shape[1] + 1, dtype=np.int16)
    row = np.tile(at, (len(a), 1))
    edits = np.where(a_size == 0, b_size, 0)
    for i in range(a.shape[1]):
        change = row[:, :-1] + (a[:, i, None] != b)
        row[:, 1:] = np.minimum(row[:, 1:] + 1, change)
        row[:, 0] = i + 1
        row -= at
        np.minimum.accumulate(row, axis=1, out=row)
        row += at
        ends = np.flatnonzero(a_size == i + 1)
        edits[ends] = row[ends, b_size[ends]]
    return edits


def _padded(texts: list[np.ndarray], fill: int) -> tuple[np.ndarray, np.ndarray]:
    size = np.array([len(text) for text in texts], np.int64)
    table = np.full((len(texts), int(size.max(initial=0))), fill, np.int32)
    table[np.arange(table.shape[1])[None, :] < size[:, None]] = np.concatenate([*texts, np.zeros(0, np.int32)])
    return table, size
