"""Robust Mahalanobis distance: strange is what breaks the correlations that most trusted rows keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import torch

from poison_guard.numerics.robust import column_scale
from poison_guard.numerics.tensors import limited_threads, pick_device
from poison_guard.signals.anomaly.base import (
    MAX_REFERENCE,
    Columns,
    Options,
    bounded,
    check_share,
    item_bytes,
    score_blocks,
)

__all__ = ["Mahalanobis", "trimmed_covariance"]

_WIDEST = 1024  # columns up to which a full covariance is kept; wider data keeps variances alone
_CPU_CELLS, _GPU_CELLS = 2**17, 2**24  # cells of a block: what fits a cache, what fills a GPU


_WILD = 3.0  # scales from the median beyond which a single cell is not taken for more


def trimmed_covariance(
    X: np.ndarray, *, keep: float = 0.75, steps: int = 6, ridge: float = 1e-3
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean ``(d,)`` and covariance ``(d, d)`` of the most central `keep` share of the rows of `X` ``(n, d)``.

    Deterministic concentration steps, at most `steps`, until they keep the same rows. They start from the rows whose
    columns, each for itself, lie nearest to the median, a wild cell counting no more than three scales; starts from
    rank and sign correlations led to no better places and, where copies of one row are many, to worse ones. `ridge`
    times the squared scale is added to each column's variance, so the covariance can be inverted with constant or
    duplicate columns and with fewer rows than columns.

    References: Rousseeuw and Van Driessen, "A fast algorithm for the minimum covariance determinant estimator" (1999);
    Hubert, Rousseeuw and Verdonck, "A deterministic algorithm for robust location and scatter" (2012).
    """
    n, d = X.shape
    half = max(1, min(n, int(np.ceil(keep * n))))
    centre, scale = column_scale(X)
    distance = np.minimum(np.abs(X - centre) / scale, _WILD).sum(axis=1)
    mean, covariance, before = centre, np.diag(scale**2), np.empty(0)
    for _ in range(steps):
        at = np.sort(np.argpartition(distance, half - 1)[:half])
        if np.array_equal(at, before):
            break
        kept, before = X[at], at
        mean = kept.mean(axis=0)
        covariance = (kept - mean).T @ (kept - mean) / max(1, half - 1)
        variance = np.diagonal(covariance).copy()
        # of a column that is wild even here, its variance decides: else the sum of both could not be factored
        covariance[np.diag_indices(d)] += ridge * np.maximum(scale**2, 1e-3 * variance)
        whiten = np.linalg.inv(np.linalg.cholesky(covariance))
        distance = (((X - mean) @ whiten.T) ** 2).sum(axis=1)
    return mean, covariance


class Mahalanobis(Options):
    """Distance from the trimmed mean in units of the trimmed covariance.

    The share `keep` of the rows, the most central ones, decide what is usual: rows that are strange together stay out
    of it while they are fewer than the rest. Over 23 public sets 0.9 is 1 point of AUROC better than 0.75, in batches
    with strange rows as well as against clean ones. Fitting costs at most six passes over 8,192 rows, scoring one
    product of a row with a ``(d, d)`` matrix; data wider than 1,024 columns is judged by variances alone.

    References: Rousseeuw and Van Driessen, "A fast algorithm for the minimum covariance determinant estimator" (1999).

    >>> line = [[0.1 * i, 0.1 * i + 0.01 * (i % 3)] for i in range(30)]
    >>> Mahalanobis(device="cpu").fit(line).score([[2.9, 2.9], [1.0, 2.0]]).argmax()
    np.int64(1)
    """

    name: ClassVar[str] = "mahalanobis"

    def __init__(
        self,
        *,
        keep: float = 0.9,
        seed: int = 0,
        device: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
    ) -> None:
        check_share(keep=keep)
        self.keep = keep
        super().__init__(seed=seed, device=device, dtype=dtype, threads=threads)

    def fit(self, X: Any, y: object = None) -> Self:
        """Learn mean and covariance from at most 8,192 rows of `X` ``(n, d)``, chosen by hash."""
        rows = bounded(X, MAX_REFERENCE, self.seed)
        self.columns_ = Columns.fit(rows)
        rows = self.columns_.apply(rows, np.float64)
        with limited_threads(self.threads):
            if rows.shape[1] > _WIDEST:
                mean, whiten, precision = _apart(rows)
            else:
                mean, covariance = trimmed_covariance(rows, keep=self.keep)
                precision = np.linalg.inv(covariance)
                whiten = np.linalg.inv(np.linalg.cholesky(covariance)).T
        device = pick_device(self.device)
        self.mean_, self.whiten_, self.precision_ = (
            torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in (mean, whiten, precision)
        )
        return self

    def score(self, X: Any) -> np.ndarray:
        """Return distances ``(n,)``, >= 0."""
        return self._blocks(
            X, lambda block: _times(block.double() - self.mean_, self.whiten_).square().sum(dim=1).sqrt()
        )

    def explain(self, X: Any) -> np.ndarray:
        """Return by how much the squared distance falls when a column is what the others predict ``(n, d)``, >= 0."""
        return self._blocks(X, self._falls)

    def block_bytes(self, rows: int) -> int:
        """Return the most bytes that scoring `rows` rows holds: a cell, and two of float64."""
        return rows * self.columns_.width * (16 + item_bytes(self.dtype))

    def _falls(self, block: torch.Tensor) -> torch.Tensor:
        own = self.precision_ if self.precision_.ndim == 1 else self.precision_.diagonal()
        return _times(block.double() - self.mean_, self.precision_).square() / own

    def _blocks(self, X: Any, part: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
        device = self.mean_.device
        rows = max(64, (_CPU_CELLS if device.type == "cpu" else _GPU_CELLS) // self.columns_.width)
        # float64, then rounded: the shape of the block leaves no trace in the score
        return score_blocks(
            X,
            self.columns_,
            device,
            rows,
            lambda block: part(block).float(),
            dtype=self.dtype,
            threads=self.threads,
            block_bytes=self.block_bytes,
        )


def _apart(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, and as ``(d,)`` the inverse deviation and variance of each column of `rows`, for itself."""
    capped = rows.clip(-10.0, 10.0)  # scales from the median: wild cells do not set the measure
    deviation = capped.std(axis=0) + 0.03  # as much as the ridge of a full covariance
    return capped.mean(axis=0), 1.0 / deviation, 1.0 / deviation**2


def _times(off: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    return off * matrix if matrix.ndim == 1 else off @ matrix
