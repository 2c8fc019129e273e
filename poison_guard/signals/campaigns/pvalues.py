"""Chances that honest, independent sources look like a campaign: binomial tails, and many tests taken together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from poison_guard.numerics.pvalues import SMALLEST_P

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["benjamini_hochberg", "binomial_high", "binomial_sum_high", "combine_fisher"]

_TILTS = 0.125 * 2.0 ** np.arange(0, 11, 0.5)  # 0.125 to 181: from many faint surpluses to few certain ones


def binomial_high(successes: ArrayLike, trials: ArrayLike, rate: ArrayLike) -> np.ndarray:
    """Return P(X >= successes) for X binomial(trials, rate)."""
    from scipy import stats

    return _clip(stats.binom.sf(np.asarray(successes) - 1, np.asarray(trials), np.asarray(rate, float)))


def binomial_sum_high(
    of: np.ndarray, hits: np.ndarray, trials: np.ndarray, rate: np.ndarray, weight: np.ndarray, size: int
) -> np.ndarray:
    """Return ``(size,)`` bounds of P(S >= observed) for S the sum of ``weight * hits`` over the rows with ``of == j``.

    Hits are binomial(trials, rate), or drawn without replacement at that rate, independently over rows. Chernoff's
    bound, the best of a fixed grid of exponents: never too small, and exact in the limit where every trial hits. 1
    where the sum is not above its mean.

    References: Chernoff (1952); Hoeffding (1963), theorem 4 (drawing without replacement only tightens the bound).
    """
    total = np.bincount(of, weight * hits, minlength=size)
    log_p = np.zeros(size)
    with np.errstate(divide="ignore"):
        hit, miss = np.log(rate), np.log1p(-rate)
    for tilt in _TILTS:
        growth = np.logaddexp(miss, hit + tilt * weight) * trials
        log_p = np.minimum(log_p, np.bincount(of, growth, minlength=size) - tilt * total)
    return _clip(np.exp(log_p))


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Return adjusted p-values ``(n,)``: of those at most q, a share of at most q is false on average.

    When all are null there is none with probability 1 - q. For independent or positively dependent p-values, and for
    conformal p-values that are ranked among the same calibration rows.

    References: Simes (1986); Benjamini & Hochberg (1995), "Controlling the False Discovery Rate"; Bates, Candès, Lei,
    Romano and Sesia, "Testing for outliers with conformal p-values" (2023), theorem 2.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.5])).round(3).tolist()
    [0.04, 0.053, 0.053, 0.5]
    """
    from scipy import stats

    return _clip(stats.false_discovery_control(p))


def combine_fisher(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Return the p-value of two independent p-values combined by their product (Fisher 1932), closed form for two."""
    product = _clip(np.asarray(first, float) * np.asarray(second, float))
    return _clip(product * (1 - np.log(product)))


def _clip(p: np.ndarray) -> np.ndarray:
    return np.clip(p, SMALLEST_P, 1.0)
