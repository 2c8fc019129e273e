"""One p-value for all signals that judge a record by itself: a record is ranked by its strangest score.

Each signal's scores are put on one scale, minus the log of the share of trusted reference rows that are at least so
strange. A calibration row counts by the largest of its own; a record is held where its largest is among the highest
``rate`` of those. So the rate is that of all signals together, and needs no more rows than that of one.

The scale is fitted on reference rows alone: whatever it is, calibration rows and honest records are treated alike, and
P(p <= q) <= q at every q. For each signal the ranks are expressed in its own scores, so that the p-value of a record is
the smallest of its signals' p-values, and none of them depends on another signal's verdict (law 4).

References: Westfall and Young, "Resampling-based multiple testing" (1993), the step called minP; Vovk, Gammerman and
Shafer, "Algorithmic Learning in a Random World" (2005).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

__all__ = ["PARTS", "Known", "TailScale", "joint_scores"]

_HIGH = 0.9  # quantile from which on the slope beyond the largest score is taken


@dataclass(frozen=True, slots=True)
class Known:
    """Scores of trusted rows under one signal; larger means stranger."""

    reference: np.ndarray
    """``(m,)``: of reference rows, each by a model that did not know it."""
    calibration: np.ndarray
    """``(n,)``: of all calibration rows, NaN where the signal does not judge a row."""


@dataclass(frozen=True, slots=True)
class TailScale:
    """Minus the log of the share of reference scores at or above a score; between two of them interpolated."""

    scores: np.ndarray
    """Ascending, no two alike."""
    shares: np.ndarray
    """Minus the log of the share at or above each."""
    slope: float
    """By how much it grows for each unit beyond the largest score, where it starts at `most`."""
    most: float

    @classmethod
    def fit(cls, scores: np.ndarray) -> Self:
        """Learn from the finite scores ``(m,)`` of reference rows, m >= 1."""
        ordered = np.sort(scores)
        values, first = np.unique(ordered, return_index=True)
        above = -np.log((1.0 + len(ordered) - first) / (len(ordered) + 1.0))
        most = float(np.log(len(ordered) + 1.0))
        at = min(int(np.searchsorted(values, np.quantile(ordered, _HIGH))), max(len(values) - 2, 0))
        run = float(values[-1] - values[at])
        return cls(values, above, float(above[-1] - above[at]) / run if run > 0 else 1.0, most)

    def apply(self, scores: np.ndarray) -> np.ndarray:
        """Return ``(n,)`` >= 0 of `scores` ``(n,)``; infinite where they are."""
        beyond = self.most + (scores - self.scores[-1]) * self.slope
        return np.where(scores > self.scores[-1], beyond, np.interp(scores, self.scores, self.shares))

    def invert(self, shares: np.ndarray) -> np.ndarray:
        """Return the scores ``(n,)`` that have the `shares` ``(n,)``; the smallest known one for what is below it."""
        top = float(self.scores[-1])
        beyond = np.maximum(top + (shares - self.most) / self.slope, np.nextafter(top, np.inf))
        return np.where(shares > self.shares[-1], beyond, np.interp(shares, self.shares, self.scores))


PARTS = {"label": 2.0}
"""What a signal weighs where the others weigh 1: a wrong label shows in this one alone."""


def joint_scores(signals: Mapping[str, Known]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return, for each signal, the scores that calibration rows are as strange as, and which rows ``(n,)`` bool count.

    A score is as strange as one of another signal that is rarer by what the signal weighs (`PARTS`).
    Rows count that every signal judges: a record that some signal does not judge is held more seldom, never more often.
    """
    scales = {name: TailScale.fit(known.reference) for name, known in signals.items()}
    more = {name: float(np.log(PARTS.get(name, 1.0))) for name in signals}
    shares = np.stack([scales[name].apply(known.calibration) + more[name] for name, known in signals.items()])
    whole = np.asarray(~np.isnan(shares).any(axis=0))
    most = shares[:, whole].max(axis=0)
    return {name: scale.invert(most - more[name]) for name, scale in scales.items()}, whole
