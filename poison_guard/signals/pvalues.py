"""Tail probabilities that signals are calibrated with, many tests taken together, and e-values over batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = [
    "SMALLEST_P",
    "Alarm",
    "benjamini_hochberg",
    "beta_binomial_low",
    "beta_low",
    "binomial_high",
    "binomial_sum_high",
    "combine_fisher",
    "e_lond",
    "e_value",
]


SMALLEST_P = 1e-300
"""No p-value goes below this: a chance is never shown as zero, and its logarithm stays finite."""
_TILTS = 0.125 * 2.0 ** np.arange(0, 11, 0.5)  # 0.125 to 181: from many faint surpluses to few certain ones


def beta_low(a: ArrayLike, b: ArrayLike, level: float = 0.05) -> np.ndarray:
    """Return the `level` quantile of Beta(a, b): with 0.05, the rate is larger with 95 % probability."""
    from scipy import special

    return np.asarray(special.betaincinv(np.asarray(a, float), np.asarray(b, float), level))


def beta_binomial_low(successes: ArrayLike, trials: ArrayLike, a: float, b: float) -> np.ndarray:
    """Return P(X <= successes) for X successes in `trials` at a rate drawn from Beta(a, b); 1 for no trials."""
    pairs = np.stack(np.broadcast_arrays(np.asarray(successes, float), np.asarray(trials, float)))
    distinct, at = np.unique(pairs.reshape(2, -1), axis=1, return_inverse=True)
    chances = np.array([_beta_binomial(k, n, a, b) for k, n in distinct.T])
    return _clip(chances[at.ravel()].reshape(pairs.shape[1:]))


def _beta_binomial(k: float, n: float, a: float, b: float) -> float:
    """Return P(X <= k) as `scipy.stats.betabinom` sums it; importing that module takes longer than a small batch."""
    from scipy.special import betaln

    if k >= n:
        return 1.0
    x = np.arange(np.floor(k) + 1)
    return float(np.exp(-np.log(n + 1) - betaln(n - x + 1, x + 1) + betaln(x + a, n - x + b) - betaln(a, b)).sum())


def binomial_high(successes: ArrayLike, trials: ArrayLike, rate: ArrayLike) -> np.ndarray:
    """Return P(X >= successes) for X binomial(trials, rate)."""
    from scipy import special

    k, n, rate = np.floor(np.asarray(successes)), np.asarray(trials), np.asarray(rate, float)
    some = special.betainc(np.maximum(k, 1), np.maximum(n - k + 1, 1), rate)
    return _clip(np.where(k <= 0, 1.0, np.where(k > n, 0.0, some)))


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
    kinds, kind = np.unique(rate + 1j * weight, return_inverse=True)  # of thousands of rows few differ
    rate, weight = kinds.real, kinds.imag
    with np.errstate(divide="ignore"):
        hit, miss = np.log(rate), np.log1p(-rate)
    for tilt in _TILTS:
        growth = np.logaddexp(miss, hit + tilt * weight)[kind] * trials
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
    order, m = np.argsort(p)[::-1], len(p)
    adjusted = np.empty(m)
    adjusted[order] = np.minimum.accumulate(np.asarray(p, float)[order] * (m / np.arange(m, 0, -1)))
    return _clip(adjusted)


def combine_fisher(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Return the p-value of two independent p-values combined by their product (Fisher 1932), closed form for two."""
    product = _clip(np.asarray(first, float) * np.asarray(second, float))
    return _clip(product * (1 - np.log(product)))


def _clip(p: np.ndarray) -> np.ndarray:
    return np.clip(p, SMALLEST_P, 1.0)


_DISCOUNT_SUM = 2.109742801237  # of 1 / (n ln(n)^2) over n >= 2


def e_value(p: np.ndarray | float) -> np.ndarray:
    """Return e-values, >= 0, of p-values in (0, 1]: at most 1 in the mean where nothing is wrong, large where it is.

    ``(1 - p + p ln p) / (p ln(p)^2)``, the mean of the calibrators ``k p^(k - 1)`` over k.

    References: Vovk and Wang, "E-values: calibration, combination and applications" (2021), equation 2.

    >>> e_value(np.array([1.0, 0.05, 1e-6])).round(2).tolist()
    [0.5, 1.78, 5239.14]
    """
    from scipy import special

    clipped = np.clip(np.asarray(p, dtype=np.float64), np.finfo(float).tiny, 1.0)
    log = np.log(clipped)
    near = log > -1e-3  # 0 / 0 at p = 1, where the limit is 1/2
    safe = np.where(near, -1.0, log)
    exact = (-special.expm1(log) + clipped * log) / (clipped * safe**2)
    return np.where(near, 0.5 - log / 6, exact)


@dataclass(frozen=True, slots=True)
class Alarm:
    """What an online test said of one batch."""

    e: float
    needed: float
    """e-value from which this batch would raise an alarm."""
    raised: bool


def e_lond(e_values: Iterable[float], level: float) -> Iterator[Alarm]:
    """Yield for each batch, in their order, whether it raises an alarm; of all alarms ever, few are false.

    The t-th batch alarms where ``e >= 1 / (level * g_t * (alarms before + 1))``, with ``g_t`` falling as
    ``1 / (t ln(t)^2)`` and adding up to 1. The expected share of false alarms is at most `level` after every batch,
    whatever depends on what: here all batches are ranked among the same calibration rows.

    References: Xu and Ramdas, "Online multiple testing with e-values" (2024), theorem 1 (e-LOND).

    >>> [alarm.raised for alarm in e_lond([0.5, 1e6, 1e6], 0.1)]
    [False, True, True]
    """
    raised = 0
    for n, e in enumerate(e_values, start=2):
        needed = n * np.log(n) ** 2 * _DISCOUNT_SUM / (level * (raised + 1))
        alarm = Alarm(float(e), float(needed), bool(e >= needed))
        raised += alarm.raised
        yield alarm
