"""What p-values of all signals share: the smallest one, Beta quantiles, and e-values for alarms batch after batch."""

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
    "beta_low",
    "e_lond",
    "e_value",
]


SMALLEST_P = 1e-300
"""No p-value goes below this: a chance is never shown as zero, and its logarithm stays finite."""


def beta_low(a: ArrayLike, b: ArrayLike, level: float = 0.05) -> np.ndarray:
    """Return the `level` quantile of Beta(a, b): with 0.05, the rate is larger with 95 % probability."""
    from scipy import special

    return np.asarray(special.betaincinv(np.asarray(a, float), np.asarray(b, float), level))


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
