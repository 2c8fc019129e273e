"""The default detector: the largest of the tail ranks of a few views of strangeness."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import numpy as np

from poison_guard.errors import UsageError
from poison_guard.signals.anomaly.bagged_knn import BaggedNeighbours
from poison_guard.signals.anomaly.base import MAX_REFERENCE, Detector, Options, TailRank, bounded
from poison_guard.signals.anomaly.iforest import IsolationForest
from poison_guard.signals.anomaly.knn import NearestNeighbours
from poison_guard.signals.anomaly.mahalanobis import Mahalanobis

__all__ = ["MODES", "Ensemble"]

MODES = ("reference", "unsupervised")
"""What the detector is fitted on: trusted rows, or the untrusted batch itself."""

_NEIGHBOURS = 4096  # reference rows of nearest neighbours


class Ensemble(Options):
    """The largest of the tail ranks that a few views give a row; which views depends on what is known.

    ``mode="reference"``, fitted on trusted rows: the mean distance to the nearest ones, alone. ``mode="unsupervised"``,
    fitted on the untrusted batch itself, where a row's near copies are its nearest neighbours: an isolation forest, the
    nearest of many small bags, and Mahalanobis.

    Chosen on 23 public sets by leaving families of sets out: what is best on the others is judged on the one left out.
    Unsupervised that is 81.2 (AUROC, mean; 5.0 above PyOD's MCD), of this rule 82.2; reference 89.9 (.7 above
    PyOD's nearest neighbours), for which every family chooses the neighbours alone: other views beside
    them, weighted or not, cost .3 and more (``benchmarks/results/ensemble.md``).

    The ranks come from two folds of the reference, each scored by detectors fitted on the other one.

    References: Aggarwal and Sathe, "Theoretical foundations and algorithms for outlier ensembles" (2015).
    """

    name: ClassVar[str] = "ensemble"

    def __init__(
        self,
        *,
        mode: str = "reference",
        seed: int = 0,
        device: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
    ) -> None:
        if mode not in MODES:
            raise UsageError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        super().__init__(seed=seed, device=device, dtype=dtype, threads=threads)
        self.mode = mode

    def fit(self, X: Any, y: object = None) -> Self:
        """Learn from at most 8,192 rows of `X` ``(n, d)``, n >= 1, chosen by hash."""
        rows = bounded(X, MAX_REFERENCE, self.seed)
        folds = (rows[::2], rows[1::2]) if len(rows) > 1 else (rows, rows)
        self.detectors_ = tuple(detector.fit(rows) for detector in self._detectors())
        each = zip(*[[d.fit(a).score(b) for d in self._detectors()] for a, b in (folds, folds[::-1])], strict=True)
        held_out = [np.concatenate(scores) for scores in each]
        self.ranks_ = tuple(TailRank.fit(scores) for scores in held_out)
        self.held_out_ = self._largest(held_out)
        return self

    def score(self, X: Any) -> np.ndarray:
        """Return the largest tail ranks ``(n,)``, >= 0; larger means stranger."""
        if isinstance(X, Iterator):
            scores = [self.score(block) for block in X]
            return np.concatenate(scores) if scores else np.empty(0)
        return self._largest([detector.score(X) for detector in self.detectors_])

    def _largest(self, scores: list[np.ndarray]) -> np.ndarray:
        return np.asarray(np.max([rank.apply(mine) for rank, mine in zip(self.ranks_, scores, strict=True)], axis=0))

    def block_bytes(self, rows: int) -> int:
        """Return the most bytes that scoring `rows` rows holds: those of its largest view."""
        return max(detector.block_bytes(rows) for detector in self.detectors_)

    def _detectors(self) -> tuple[Detector, ...]:
        shared: dict[str, Any] = {"seed": self.seed, "device": self.device}
        shared |= {"dtype": self.dtype, "threads": self.threads}
        if self.mode == "reference":
            return (NearestNeighbours(statistic="mean", reference=_NEIGHBOURS, **shared),)
        return IsolationForest(**shared), BaggedNeighbours(**shared), Mahalanobis(**shared)
