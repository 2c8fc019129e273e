"""Find messages of new accounts that share a rare word, or a piece of one: paraphrases that have little else in common.

Two paraphrases of a text in which half of the words differ share a quarter of it, as strangers may. Fifty of them share
each of its words often enough to show, where nearly only new accounts say it.
"""

from __future__ import annotations

import numpy as np

from poison_guard.signals.campaigns.minhash import EMPTY
from poison_guard.signals.pvalues import binomial_high

__all__ = ["groups_of_newcomers"]

_CELLS = 64  # of a sketch that are compared: more find more, and cost as much more
_LEAST = 5  # messages of new accounts that have a word in common, from which on it is looked at
_MOSTLY = 0.5  # share of a word's messages that must be of new accounts: others have it for other reasons
_MOST = 512  # groups: bounds time
_LOW = np.uint32(0xFFFF)


def groups_of_newcomers(sketches: np.ndarray, new: np.ndarray, *, alpha: float) -> tuple[list[np.ndarray], int]:
    """Return groups of rows ``(k,)`` that share a word, surest first and apart, and how many words were looked at.

    `sketches` ``(m, 128)`` are of distinct messages, `new` ``(m,)`` says whether their accounts are. Each cell is a
    word, or a 4-gram of one, of the message. It makes a group when so many of its messages are of new accounts with a
    chance of at most `alpha` over all words (binomial, at the share of new ones among the other messages).
    """
    looked, fresh, found = 0, np.count_nonzero(new), list[tuple[float, int, np.ndarray]]()
    for cell in range(_CELLS):
        column = sketches[:, cell].copy()  # in one piece: read several times
        word, times = np.unique(column[new], return_counts=True)
        looked += len(word)
        word = word[(times >= _LEAST) & (word != EMPTY)]
        slots = np.zeros(int(_LOW) + 1, bool)
        slots[word & _LOW] = True
        rows = np.flatnonzero(slots[column & _LOW])  # few need a search
        at = np.searchsorted(word, column[rows])
        there = word[np.minimum(at, len(word) - 1)] == column[rows]
        rows, at = rows[there], at[there]
        n = np.bincount(at, minlength=len(word))
        k = np.bincount(at, new[rows], minlength=len(word)).astype(np.int64)
        mostly = np.flatnonzero(k >= _MOSTLY * n)
        n, k = n[mostly], k[mostly]
        p = binomial_high(k, n, (fresh - k + 1) / (len(new) - n + 2))
        for which, chance in zip(mostly[p <= alpha], p[p <= alpha], strict=True):
            found.append((float(chance), cell, rows[(at == which) & new[rows]]))
    sure = sorted((each for each in found if each[0] * looked <= alpha), key=lambda one: (one[0], one[1], one[2][0]))
    return _apart([rows for _, _, rows in sure], len(new)), looked


def _apart(groups: list[np.ndarray], n: int) -> list[np.ndarray]:
    """Return the groups that are not mostly of earlier ones, without the rows of these."""
    taken, kept = np.zeros(n, bool), list[np.ndarray]()
    for rows in groups:
        if taken[rows].mean() <= _MOSTLY and len(kept) < _MOST:
            kept.append(rows[~taken[rows]])
            taken[rows] = True
    return kept
