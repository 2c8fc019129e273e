"""Split-conformal p-values: how an unseen score ranks among those of trusted records, of all or of a group."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from poison_guard.records import Reason

__all__ = [
    "ALL",
    "Calibration",
    "attainable_p",
    "conformal_p",
    "excess_p",
    "held_bounds",
    "held_share",
    "labels_needed",
    "rows_needed",
]


def conformal_p(calibration: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return p-values ``(n,)`` in (0, 1] of `scores` (larger = stranger) against `calibration` scores ``(m,)``.

    ``p = (1 + #{calibration >= score}) / (m + 1)``. Ties count against suspicion, so for exchangeable records
    ``P(p <= q) <= q`` at every q whatever the ties. With ``m = 0`` every p is 1.

    References: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005); Bates, Candès, Lei, Romano
    and Sesia, "Testing for outliers with conformal p-values" (2023).

    >>> conformal_p(np.array([0.0, 1.0, 1.0, 2.0]), np.array([-1.0, 1.0, 9.0])).tolist()
    [1.0, 0.8, 0.2]
    """
    ordered = np.sort(np.asarray(calibration, dtype=np.float64))
    below = np.searchsorted(ordered, np.asarray(scores, dtype=np.float64), side="left")
    return (1.0 + len(ordered) - below) / (len(ordered) + 1.0)


def attainable_p(rows: int) -> float:
    """Return the smallest p-value that `rows` calibration rows can give."""
    return 1.0 / (rows + 1)


def rows_needed(rate: float) -> int:
    """Return the least number of calibration rows with which a p-value can be as small as `rate`, in (0, 1).

    >>> rows_needed(0.01)
    99
    """
    return max(1, int(np.ceil(1.0 / rate - 1e-9)) - 1)


CALIBRATION_SHARE = 0.3
"""Share of a trusted set that calibrates (`store.trusted` splits it so)."""


def labels_needed(rate: float) -> int:
    """Return how many vetted records a feed needs before its tail at `rate` can be controlled and the claim supported.

    Their calibration split must hold ``1 / rate - 1`` rows (a fifth to spare: splits are drawn by hash), and all
    of them together at least the n of ``(1 - rate)^n <= 0.05``: so many honest records, none of them held, support "at
    most `rate`" at 95 % confidence (the rule of three, Hanley & Lippman-Hand 1983).

    >>> labels_needed(0.01)
    396
    """
    calibration = 1.2 * (1 / rate - 1) / CALIBRATION_SHARE
    return math.ceil(max(calibration, math.log(0.05) / math.log1p(-rate)))


def _rank(rows: int, rate: float) -> int:
    """Return how many of ``rows + 1`` exchangeable scores get a p-value up to `rate`."""
    return int(np.floor(rate * (rows + 1) + 1e-9))


def held_share(rows: int, rate: float, *, tail: float = 0.025) -> tuple[float, float, float]:
    """Return the share of honest records with ``p <= rate``: its mean over calibration sets of `rows`, and bounds.

    Given one calibration set the share is fixed; over sets it is ``Beta(k, rows + 1 - k)`` distributed with
    ``k = floor(rate (rows + 1))``, and lies below and above the bounds with chance `tail` each. With too few rows
    nothing can be held: (0, 0, 0). Ties between scores make it smaller.

    References: Vovk, "Conditional validity of inductive conformal predictors" (2012).

    >>> [round(share, 4) for share in held_share(999, 0.01)]
    [0.01, 0.0048, 0.017]
    """
    from scipy import special

    k = _rank(rows, rate)
    if k == 0:
        return 0.0, 0.0, 0.0
    a, b = k, rows + 1 - k
    low, high = (float(special.betaincinv(a, b, share)) for share in (tail, 1 - tail))
    return a / (a + b), low, high


def held_bounds(rows: int, rate: float, n: int, *, tail: float = 0.025) -> tuple[int, int]:
    """Return how few and how many of `n` honest records get ``p <= rate``, each exceeded with a chance up to `tail`.

    The count is beta-binomial: the calibration set's luck and the records' own together.

    >>> held_bounds(999, 0.01, 1000)
    (3, 20)
    """
    at_most = np.cumsum(_held_chances(rows, rate, n))
    low = int(np.searchsorted(at_most, tail, side="right"))
    return low, min(n, int(np.searchsorted(at_most, 1 - tail - 1e-12, side="left")))


def excess_p(held: int, n: int, rows: int, rate: float) -> float:
    """Return the chance that at least `held` of `n` honest records get ``p <= rate``, in (0, 1]; 1 where `held` is 0.

    Small = more records are strange than the calibration set's and the records' own luck explain. With k calibration
    scores strange enough, `held` of the new ones are so too just when fewer than k calibration scores are among the
    ``held + k - 1`` strangest of all: a hypergeometric chance, whose cost does not grow with `n`.

    >>> round(excess_p(10, 1000, 999, 0.01), 3), excess_p(0, 1000, 999, 0.01)
    (0.501, 1.0)
    """
    if held <= 0:
        return 1.0
    tiny, k = np.finfo(float).tiny, _rank(rows, rate)
    if k == 0 or held > n:
        return float(tiny)
    first = held + k - 1
    known = np.arange(max(0, first - n), k)
    chances = np.exp(_log_ways(rows, known) + _log_ways(n, first - known) - _log_ways(rows + n, np.array(first)))
    return float(np.clip(chances.sum(), tiny, 1.0))


def _log_ways(n: int, k: np.ndarray) -> np.ndarray:
    """Return the log of the number of ways to choose `k` of `n`."""
    from scipy import special

    return np.asarray(-np.log(n + 1.0) - special.betaln(n - k + 1.0, k + 1.0))


def _held_chances(rows: int, rate: float, n: int) -> np.ndarray:
    """Return the beta-binomial chances ``(n + 1,)`` that 0 to `n` honest records get ``p <= rate``."""
    from scipy import special

    k = _rank(rows, rate)
    counts = np.arange(n + 1, dtype=np.float64)
    if k == 0:
        return (counts == 0).astype(np.float64)
    a, b = k, rows + 1 - k
    chances = np.exp(_log_ways(n, counts) + special.betaln(counts + a, n - counts + b) - special.betaln(a, b))
    return np.asarray(chances / chances.sum())


ALL = ""
"""The group that stands for all calibration rows together."""
_SHARES = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Ascending scores of trusted rows that nothing was fitted on, which records are ranked among, by group."""

    groups: Mapping[str, np.ndarray]
    """Scores of each group that is calibrated apart; ``""`` stands for all rows together."""
    small: Mapping[str, int]
    """Rows of the groups that have too few of them for `rate`: their records are ranked among all."""
    rate: float
    """Share of honest records that may be held, in (0, 1)."""
    needed: int
    """Rows without which no p-value is small enough to hold a record."""

    @classmethod
    def fit(cls, scores: np.ndarray, names: np.ndarray, rate: float) -> Self:
        """Learn from the scores ``(n,)`` of calibration rows and the group ``(n,)`` of each, ``""`` for none."""
        needed = rows_needed(rate)
        groups = {ALL: np.sort(scores)}
        small: dict[str, int] = {}
        for name in sorted(set(names) - {ALL}):
            rows = np.sort(scores[names == name])
            if len(rows) >= needed:
                groups[name] = rows
            else:
                small[name] = len(rows)
        return cls(groups, small, rate, needed)

    @property
    def n(self) -> int:
        """Calibration rows of all groups together."""
        return len(self.groups[ALL])

    def p(self, scores: np.ndarray, names: np.ndarray) -> np.ndarray:
        """Return p-values ``(n,)`` in (0, 1] of `scores` ``(n,)``, each among the calibration rows of its group."""
        p = conformal_p(self.groups[ALL], scores)
        for name, known in self.groups.items():  # not over `names`: a feed may send as many groups as records
            if name != ALL:
                rows = names == name
                p[rows] = conformal_p(known, scores[rows])
        return p

    def notes(self) -> tuple[Reason, ...]:
        """Return where there are too few rows for the rate: in single groups, or in all together."""
        small = dict(self.small) if self.n >= self.needed else {ALL: self.n}
        return tuple(
            Reason("few_calibration_rows", {"n": n, "needed": self.needed, "group": name}) for name, n in small.items()
        )

    def facts(self) -> dict[str, Any]:
        """Return JSON-able facts of each calibrated group: rows, quantiles, and what can be held with so many rows.

        ``held`` is the share of honest records held at the rate, in the mean over calibration sets of this size;
        ``held_low`` and ``held_high`` are its 95 % bounds for a single one.
        """
        return {
            "rate": self.rate,
            "needed": self.needed,
            "groups": {name: self._group(scores) for name, scores in self.groups.items()},
            "pooled": dict(self.small),
        }

    def _group(self, scores: np.ndarray) -> dict[str, Any]:
        held, low, high = held_share(len(scores), self.rate)
        return {
            "n": len(scores),
            "attainable_p": attainable_p(len(scores)),
            "held": held,
            "held_low": low,
            "held_high": high,
            "quantiles": np.quantile(scores, _SHARES).tolist() if len(scores) else [],
        }
