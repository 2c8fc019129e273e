"""Tail probabilities that the signals are calibrated with, and what many of them together allow to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = [
    "SMALLEST_P",
    "benjamini_hochberg",
    "beta_binomial_low",
    "beta_low",
    "binomial_high",
    "binomial_sum_high",
    "fisher",
]

SMALLEST_P = 1e-300
"""No p-value goes below this: a chance is never shown as zero, and its logarithm stays finite."""
_TILTS = 0.125 * 2.0 ** np.arange(0, 11, 0.5)  # 0.125 to 181: from many faint surpluses to few certain ones


def beta_binomial_low(successes: ArrayLike, trials: ArrayLike, a: float, b: float) -> np.ndarray:
    """Return P(X <= successes) for X successes in `trials` at a rate drawn from Beta(a, b); 1 for no trials."""
    pairs = np.stack(np.broadcast_arrays(np.asarray(successes, float), np.asarray(trials, float)))
    distinct, at = np.unique(pairs.reshape(2, -1), axis=1, return_inverse=True)
    return _clip(stats.betabinom.cdf(*distinct, a, b)[at.ravel()].reshape(pairs.shape[1:]))


def beta_low(a: ArrayLike, b: ArrayLike, level: float = 0.05) -> np.ndarray:
    """Return the `level` quantile of Beta(a, b): with 0.05, the rate is larger with 95 % probability."""
    return np.asarray(special.betaincinv(np.asarray(a, float), np.asarray(b, float), level))


def binomial_high(successes: ArrayLike, trials: ArrayLike, rate: ArrayLike) -> np.ndarray:
    """Return P(X >= successes) for X binomial(trials, rate)."""
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

    When all are null there is none with probability 1 - q. For independent or positively dependent p-values.

    References: Simes (1986); Benjamini & Hochberg (1995), "Controlling the False Discovery Rate".
    """
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return _clip(adjusted)


def fisher(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Return the p-value of two independent p-values combined by their product (Fisher 1932), closed form for two."""
    product = _clip(np.asarray(first, float) * np.asarray(second, float))
    return _clip(product * (1 - np.log(product)))


def _clip(p: np.ndarray) -> np.ndarray:
    return np.clip(p, SMALLEST_P, 1.0)
