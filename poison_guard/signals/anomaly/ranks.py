"""Scores of any detector on one footing: how far out in the tail of the reference's own scores they lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

__all__ = ["TailRank"]


@dataclass(frozen=True, slots=True)
class TailRank:
    """Minus the log of the share of held-out reference scores at or above a score, continued beyond the largest."""

    ordered: np.ndarray
    stretch: float

    @classmethod
    def fit(cls, scores: np.ndarray) -> Self:
        """Learn from ``(m,)`` scores of reference rows by detectors that had not seen them."""
        ordered = np.sort(scores)
        middle, high = np.quantile(ordered, (0.5, 0.99))
        return cls(ordered, max(float(high - middle), 1e-12))

    def apply(self, scores: np.ndarray) -> np.ndarray:
        """Return ``(n,)`` >= 0, non-decreasing in `scores`; past the largest known score it grows as a logarithm."""
        at_or_above = len(self.ordered) - np.searchsorted(self.ordered, scores, side="left")
        beyond = np.maximum(scores - self.ordered[-1], 0.0) / self.stretch
        return -np.log((1.0 + at_or_above) / (len(self.ordered) + 1.0)) + np.log1p(beyond)
