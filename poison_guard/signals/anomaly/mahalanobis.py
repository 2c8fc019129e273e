"""Robust Mahalanobis distance: strange is what breaks the correlations that most trusted rows keep."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import torch

from poison_guard.numerics.device import pick_device
from poison_guard.numerics.robust import trimmed_covariance
from poison_guard.signals.anomaly.base import MAX_REFERENCE, Columns, bounded, score_blocks

__all__ = ["Mahalanobis"]

_WIDEST = 2048  # columns up to which a full covariance is kept; wider data keeps variances alone


class Mahalanobis:
    """Distance from the trimmed mean in units of the trimmed covariance.

    References: Rousseeuw and Van Driessen, "A fast algorithm for the minimum covariance determinant estimator" (1999).
    """

    name: ClassVar[str] = "mahalanobis"

    def __init__(
        self,
        *,
        keep: float = 0.75,
        seed: int = 0,
        device: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
    ) -> None:
        self.keep = keep
        self.seed, self.device, self.dtype, self.threads = seed, device, dtype, threads

    def fit(self, X: Any) -> Self:
        """Learn mean and covariance from at most 8,192 rows of `X` ``(n, d)``, chosen by hash."""
        rows = bounded(X, MAX_REFERENCE, self.seed)
        self.columns_ = Columns.fit(rows)
        rows = self.columns_.apply(rows, np.float64)
        if rows.shape[1] > _WIDEST:
            mean, whiten = rows.mean(axis=0), np.diag(1.0 / (rows.std(axis=0) + 1e-3))
        else:
            mean, covariance = trimmed_covariance(rows, keep=self.keep)
            self.precision_ = np.linalg.inv(covariance)
            whiten = np.linalg.inv(np.linalg.cholesky(covariance)).T
        device = pick_device(self.device)
        self.mean_ = torch.from_numpy(mean).to(device)
        self.whiten_ = torch.from_numpy(np.ascontiguousarray(whiten)).to(device)
        return self

    def score(self, X: Any) -> np.ndarray:
        """Return distances ``(n,)``, >= 0."""
        rows = max(256, 2**22 // self.columns_.width)
        return score_blocks(
            X, self.columns_, self.mean_.device, rows, self._distance, dtype=self.dtype, threads=self.threads
        )

    def _distance(self, block: torch.Tensor) -> torch.Tensor:
        # float64, then rounded: the shape of the block leaves no trace in the score
        return ((block.double() - self.mean_) @ self.whiten_).square().sum(dim=1).sqrt().float()
