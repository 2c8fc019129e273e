"""How many of what was found are false alarms: within one batch, and over all batches that a feed will ever send.

These rank and report; no record is held or passed by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special

__all__ = ["Alarm", "adjusted_p", "e_lond", "e_value"]

_SUM = 2.109742801237  # of 1 / (n ln(n)^2) over n >= 2


def adjusted_p(p: np.ndarray) -> np.ndarray:
    """Return Benjamini and Hochberg's adjusted p-values ``(n,)`` of `p` ``(n,)`` in (0, 1].

    Among the rows up to q the expected share of honest ones is at most q. That holds for conformal p-values of records
    that are ranked among the same calibration rows, though these depend on each other.

    References: Benjamini and Hochberg, "Controlling the false discovery rate" (1995); Bates, Candès, Lei, Romano and
    Sesia, "Testing for outliers with conformal p-values" (2023), theorem 2.

    >>> adjusted_p(np.array([0.01, 0.04, 0.03, 0.5])).round(3).tolist()
    [0.04, 0.053, 0.053, 0.5]
    """
    n = len(p)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * n / np.arange(1, n + 1)
    out = np.empty(n)
    out[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return out


def e_value(p: np.ndarray | float) -> np.ndarray:
    """Return e-values, >= 0, of p-values in (0, 1]: at most 1 in the mean where nothing is wrong, large where it is.

    ``(1 - p + p ln p) / (p ln(p)^2)``, the mean of the calibrators ``k p^(k - 1)`` over k.

    References: Vovk and Wang, "E-values: calibration, combination and applications" (2021), equation 2.

    >>> e_value(np.array([1.0, 0.05, 1e-6])).round(2).tolist()
    [0.5, 1.78, 5239.14]
    """
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
        needed = n * np.log(n) ** 2 * _SUM / (level * (raised + 1))
        alarm = Alarm(float(e), float(needed), bool(e >= needed))
        raised += alarm.raised
        yield alarm
