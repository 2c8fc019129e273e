"""The default detector: several views of strangeness, each turned into tail ranks of the reference, added up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from poison_guard.numerics.sampling import hash_order
from poison_guard.signals.anomaly.base import MAX_REFERENCE, Detector, as_matrix
from poison_guard.signals.anomaly.iforest import IsolationForest
from poison_guard.signals.anomaly.knn import NearestNeighbours
from poison_guard.signals.anomaly.mahalanobis import Mahalanobis

__all__ = ["Ensemble", "TailRank"]


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


class Ensemble:
    """Sum of the tail ranks (Fisher's combination) of isolation forest, nearest neighbours and robust Mahalanobis.

    The ranks come from two folds of the reference, each scored by detectors fitted on the other one.

    References: Fisher, "Statistical Methods for Research Workers" (1925); Aggarwal and Sathe, "Theoretical foundations
    and algorithms for outlier ensembles" (2015).
    """

    name: ClassVar[str] = "ensemble"

    def __init__(self, *, seed: int = 0, device: str = "auto", threads: int | None = None) -> None:
        self.seed, self.device, self.threads = seed, device, threads

    def fit(self, X: Any) -> Self:
        """Learn from at most 8,192 rows of `X` ``(n, d)``, n >= 1, chosen by hash."""
        matrix = as_matrix(X)
        rows = matrix[hash_order(matrix, self.seed)[:MAX_REFERENCE]]
        self.detectors_ = tuple(make().fit(rows) for make in self._makers())
        folds = (rows[::2], rows[1::2]) if len(rows) > 1 else (rows, rows)
        self.ranks_ = tuple(
            TailRank.fit(np.concatenate([make().fit(a).score(b) for a, b in (folds, folds[::-1])])) for make in self._makers()
        )
        return self

    def score(self, X: Any) -> np.ndarray:
        """Return the summed tail ranks ``(n,)``, >= 0; larger means stranger."""
        pairs = zip(self.detectors_, self.ranks_, strict=True)
        return np.sum([rank.apply(detector.score(X)) for detector, rank in pairs], axis=0)

    def _makers(self) -> tuple[Callable[[], Detector], ...]:
        shared = {"seed": self.seed, "device": self.device, "threads": self.threads}
        return tuple((lambda kind=kind: kind(**shared)) for kind in (IsolationForest, NearestNeighbours, Mahalanobis))
