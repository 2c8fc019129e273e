"""Who belongs to a push: those who all but always push where they speak, not honest people who err alike at times."""

from __future__ import annotations

import numpy as np

__all__ = ["pushers"]

_SHARE = 2 / 3  # of a source's votes on pushed items that push: careless honest people err on up to half of hard ones


def pushers(item: np.ndarray, source: np.ndarray, pushed: np.ndarray) -> np.ndarray:
    """Return for each vote ``(n,)`` whether its source pushes with two thirds of its votes on the items pushed at all.

    `item` and `source` are codes of all votes, `pushed` is a bool a vote. In a dense crowd, where everybody answers
    everything, most honest people give some of the pushed answers.
    """
    if not pushed.any():
        return pushed
    at_stake = np.isin(item, np.unique(item[pushed]))
    asked, given = np.bincount(source, at_stake), np.bincount(source, pushed)
    return ((given > 0) & (given >= _SHARE * asked))[source]
