"""How likely an honest source does something as often as this one, by how often the crowd's sources do it."""

from __future__ import annotations

import numpy as np
from scipy import special

from poison_guard.numerics.tests import SMALLEST_P

__all__ = ["LEAST_CROWD", "CrowdTail"]

LEAST_CROWD = 30
"""Sources below which there is no crowd to compare one with."""
_SHARES = (0.002, 0.3)  # of the sources: the levels that the tail is read off; rarer ones may be attackers
_FEWEST = 6  # sources at such a level: in a small crowd a share is soon a single attacker
_SLOPE = (0.75, 1.0, 2.0)  # least, usual and most normal quantiles that one unit of log count is worth
_USUAL_CROWD = (
    1.16,
    1.73,
    0.95,
)  # log count, its normal quantile, slope: of the authors of Community Notes' first year
_USUAL_WEIGHT = 0.1  # of the usual slope, where the weight of a level is the root of the share of sources beyond it


class CrowdTail:
    """The upper tail of a count over sources: empirical where many sources are, log-normal beyond.

    What people do, and how long they stay with one thing, is spread log-normally, so counts far above everybody else's
    are not as unlikely as a binomial would have them. The line through (log count, normal quantile) is fitted to counts
    that 0.2 to 30 % of the sources reach, five at least, and its slope bounded, so that a few attackers can bend it
    little. No crowd is thought to repeat itself less than one of real authors does: one in a thousand comes to 14, one
    in ten thousand to 26.

    References: Mitzenmacher (2004), "A Brief History of Generative Models for Power Law and Lognormal Distributions".
    """

    def __init__(self, counts: np.ndarray) -> None:
        """Learn from `counts` ``(sources,)``, whole numbers from 0."""
        counts = np.sort(np.asarray(counts, float))
        self._ordered = counts
        levels = np.unique(counts[counts >= 1])
        reach = self._reach(levels)
        fewest = max(_SHARES[0], _FEWEST / (len(counts) + 2))
        used = (reach >= fewest) & (reach <= _SHARES[1])
        if used.any():
            x, z, w = np.log(levels[used] - 0.5), -special.ndtri(reach[used]), np.sqrt(reach[used])
            self.anchor_ = (float(np.average(x, weights=w)), float(np.average(z, weights=w)))
            dx = x - self.anchor_[0]
            fitted = ((w * dx * z).sum() + _USUAL_WEIGHT * _SLOPE[1]) / ((w * dx * dx).sum() + _USUAL_WEIGHT)
            self.slope_ = float(np.clip(fitted, _SLOPE[0], _SLOPE[2]))
        else:
            below = levels[reach > _SHARES[1]]
            top = float(below.max()) + 1 if len(below) else 1.0  # hardly anybody does it more often than this
            self.anchor_ = (float(np.log(top - 0.5)), float(-special.ndtri(self._reach(np.array([top]))[0])))
            self.slope_ = _SLOPE[1]

    def chance(self, counts: np.ndarray) -> np.ndarray:
        """Return ``(n,)`` chances that one honest source's count is at least each of `counts`; 1 for counts below 1."""
        counts = np.asarray(counts, float)
        common = self._reach(counts)
        beyond = np.maximum(_beyond(counts, *self.anchor_, self.slope_), _beyond(counts, *_USUAL_CROWD))
        told = np.where(common > _SHARES[1], np.maximum(common, beyond), beyond)
        return np.where(counts < 1, 1.0, np.clip(told, SMALLEST_P, 1.0))

    def _reach(self, counts: np.ndarray) -> np.ndarray:
        """Return the share of sources whose count is at least each of `counts`, one imagined source among them."""
        n = len(self._ordered)
        return (n - np.searchsorted(self._ordered, counts, "left") + 1) / (n + 2)


def _beyond(counts: np.ndarray, log_count: float, quantile: float, slope: float) -> np.ndarray:
    """Return the log-normal chance of at least each of `counts`, of the line through a log count and its quantile."""
    return special.ndtr(-(quantile + slope * (np.log(np.maximum(counts, 1) - 0.5) - log_count)))
