"""Intervals and tests for counts: exact binomial, paired proportions, and how a second sample's count may differ."""

from __future__ import annotations

import math

import numpy as np

__all__ = [
    "chance_of_more",
    "normal_quantile",
    "paired_drop",
    "pairs_to_decide",
    "pairs_to_exclude",
    "proportion_bounds",
    "rows_to_exclude",
    "sooner_elsewhere",
]

_MOST_PAIRS = 10_000_000


def normal_quantile(tail: float) -> float:
    """Return z with ``P(Z > z) = tail`` for a standard normal Z, `tail` in (0, 1).

    >>> round(normal_quantile(0.05), 3)
    1.645
    """
    from scipy import special

    return -float(special.ndtri(tail))


def proportion_bounds(hits: int, n: int, *, low_tail: float, high_tail: float) -> tuple[float, float]:
    """Return exact one-sided bounds of a proportion from `hits` of `n`; (0, 1) with ``n = 0``.

    References: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial"
    (1934).

    >>> [round(bound, 4) for bound in proportion_bounds(0, 299, low_tail=0.05, high_tail=0.05)]
    [0.0, 0.01]
    """
    from scipy import special

    low = float(special.betaincinv(hits, n - hits + 1, low_tail)) if hits > 0 else 0.0
    high = float(special.betaincinv(hits + 1, n - hits, 1 - high_tail)) if hits < n else 1.0
    return low, high


def chance_of_more(hits: int, n: int, hits_before: int, n_before: int) -> float:
    """Return the chance of `hits` or more of `n` if the proportion is that of ``hits_before`` of ``n_before``.

    Hits are what lies beyond a limit, perhaps one set on the rows before: the proportion beyond the
    ``hits_before + 1``-th of them is ``Beta(hits_before + 1, n_before - hits_before)``, so the hits are beta-binomial.
    1 where every row before was a hit: nothing is more.

    References: Wilks, "Determination of sample sizes for setting tolerance limits" (1941).

    >>> round(chance_of_more(20, 200, 6, 300), 4), round(chance_of_more(6, 200, 6, 300), 1)
    (0.0001, 0.3)
    """
    from scipy import stats

    if hits_before >= n_before:
        return 1.0
    return float(stats.betabinom.sf(hits - 1, n, hits_before + 1, n_before - hits_before))


def rows_to_exclude(limit: float, *, tail: float = 0.05) -> int:
    """Return the least n whose zero hits exclude a proportion above `limit`, in (0, 1), at one-sided `tail`.

    >>> rows_to_exclude(0.01)
    299
    """
    return math.ceil(math.log(tail) / math.log1p(-limit)) if limit < 1 else 1


def paired_drop(lost: int, gained: int, n: int, *, low_tail: float, high_tail: float) -> tuple[float, float, float]:
    """Return how much a paired proportion fell, ``(lost - gained) / n``, and one-sided bounds of it, in [-1, 1].

    `lost` counts the pairs that were right before and are wrong now, `gained` the other way round. With ``n = 0``
    nothing is excluded: (0, -1, 1).

    References: Bonett and Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on
    paired data" (2012).
    """
    if n == 0:
        return 0.0, -1.0, 1.0
    a, b = (lost + 1) / (n + 2), (gained + 1) / (n + 2)
    width = math.sqrt((a + b - (a - b) ** 2) / (n + 2))
    low = max(-1.0, a - b - normal_quantile(low_tail) * width)
    high = min(1.0, a - b + normal_quantile(high_tail) * width)
    value = (lost - gained) / n
    return value, min(low, value), max(high, value)


def pairs_to_exclude(lost: int, gained: int, n: int, limit: float, *, tail: float) -> int:
    """Return how many pairs exclude a drop of `limit` at one-sided `tail` if nothing is lost on balance.

    As large a share of the pairs changes as did in these `n`; one standard error more is allowed for chance.
    """
    changed = (lost + gained + 2) / (n + 2)
    return max(n + 1, math.ceil(changed * ((normal_quantile(tail) + 1) / limit) ** 2))


def pairs_to_decide(lost: int, gained: int, n: int, limit: float, *, tail: float) -> int | None:
    """Return how many pairs would tell, at the shares seen in these `n`, whether the drop is beyond `limit`.

    None where that takes more than ten million: the drop lies at the limit.
    """
    value = (lost - gained) / n

    def decides(size: int) -> bool:
        counts = (round(lost * size / n), round(gained * size / n), size)
        _, low, high = paired_drop(*counts, low_tail=tail, high_tail=tail)
        return high <= limit if value <= limit else low > limit

    low, high = n, n + 1
    while not decides(high):
        low, high = high, 2 * high
        if high > _MOST_PAIRS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def sooner_elsewhere(here: np.ndarray, there: np.ndarray, share: float) -> np.ndarray:
    """Return the chance that so few of ``here + there`` hits fall on `there`, whose share of all rows is `share`.

    Rows of both sets are exchangeable under the null, so given the total the count there is (close to) binomial;
    small = the hits are in `here` and not `there`.
    """
    from scipy import special

    total = np.asarray(here) + np.asarray(there)
    return np.asarray(special.bdtr(np.asarray(there, dtype=np.float64), total, share))
