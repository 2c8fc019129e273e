"""Principal components: strange is what leaves the directions in which the trusted rows vary, by how much they do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import torch

from poison_guard.numerics.tensors import pick_device
from poison_guard.signals.anomaly.base import (
    MAX_REFERENCE,
    Columns,
    Options,
    bounded,
    check_share,
    check_whole,
    item_bytes,
    score_blocks,
)

__all__ = ["PCA"]

_WIDE = 1024  # columns beyond which `_ROWS` rows are enough, and their inner products are taken apart instead
_ROWS = 512
_CELLS = {"cpu": 2**16, "cuda": 2**22}  # of one block, which stays in a cache, or keeps a GPU busy
_BLOCK = 256  # rows to share one reading of the axes of wide data, up to 32 MiB of them


class PCA(Options):
    """Sum of squared principal components, each in units of its variance, the minor ones too.

    The components are those of the correlations. They are found twice, the second time without the ``1 - keep`` of the
    rows that are farthest out the first time. The first `components` are taken one by one, the others together as one
    residual; with over 1,024 columns no more than 512 rows are learnt from. No variance counts as less than a
    thousandth of the mean one, so that a constant column that moves is strange, not infinitely so.

    The distance is the squared length of the row after the whitening that leaves each column nearest to itself; the
    squares of that row's columns are what `explain` gives.

    Cost: ``d ** 3`` once and ``d ** 2`` a row, both for up to `components` columns.

    References: Shyu et al., "A novel anomaly detection scheme based on principal component classifier" (2003); Tipping
    and Bishop, "Probabilistic principal component analysis" (1999), for the residual; Kessy, Lewin and Strimmer,
    "Optimal whitening and decorrelation" (2018), ZCA-cor, for the parts.

    >>> PCA(device="cpu").fit([[0.0, 0.0], [1.0, 1.1], [2.0, 1.9]]).score([[1.5, 1.5], [0.0, 2.0]]).argmax()
    np.int64(1)
    """

    name: ClassVar[str] = "pca"

    def __init__(
        self,
        *,
        components: int = 256,
        keep: float = 0.95,
        reference: int = MAX_REFERENCE,
        seed: int = 0,
        device: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
    ) -> None:
        check_whole(components=components, reference=reference)
        check_share(keep=keep)
        self.components, self.keep, self.reference = components, keep, reference
        super().__init__(seed=seed, device=device, dtype=dtype, threads=threads)

    def fit(self, X: Any, y: object = None) -> Self:
        """Learn from at most `reference` rows of `X` ``(n, d)``, 512 when they have over 1,024 columns."""
        rows = bounded(X, self.reference, self.seed)
        if rows.shape[1] > _WIDE:
            rows = rows[:_ROWS]
        self.columns_ = Columns.fit(rows)
        scaled = self.columns_.apply(rows, np.float64)
        everything = _spectrum(scaled, self.components)
        distance = (_whitened(torch.from_numpy(scaled), *map(torch.from_numpy, everything)) ** 2).sum(dim=1).numpy()
        kept = scaled[distance <= np.quantile(distance, self.keep)]
        device = pick_device(self.device)
        parts = _spectrum(kept, self.components)
        self.centre_, self.spread_, self.axes_, self.gain_ = (torch.from_numpy(part).to(device) for part in parts)
        return self

    def score(self, X: Any) -> np.ndarray:
        """Return the squared distance ``(n,)``, >= 0."""
        return self._blocks(X, self._distance)

    def explain(self, X: Any) -> np.ndarray:
        """Return each column's part of the squared distance ``(n, d)``, >= 0, which add up to it."""
        return self._blocks(X, lambda block: self._apart(block).square())

    def block_bytes(self, rows: int) -> int:
        """Return the most bytes that scoring `rows` rows holds: a cell, and of float64 cells and places on the axes."""
        d, k = self.axes_.shape
        return rows * (item_bytes(self.dtype) * d + 8 + (24 * d + 8 * k if k < d else 8 * d + 24 * k))

    def _distance(self, block: torch.Tensor) -> torch.Tensor:
        """As the sum of `explain`, at half the cost."""
        z = (block.double() - self.centre_) / self.spread_
        along = z @ self.axes_
        distance = (along * self.gain_[:-1]).square().sum(dim=1)
        if self.axes_.shape[1] < len(self.axes_):
            distance += ((z - along @ self.axes_.T) * self.gain_[-1]).square().sum(dim=1)
        return distance.float()

    def _apart(self, block: torch.Tensor) -> torch.Tensor:
        return _whitened(block.double(), self.centre_, self.spread_, self.axes_, self.gain_)

    def _blocks(self, X: Any, part: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
        device, width = self.axes_.device, self.columns_.width
        rows = max(_CELLS[device.type] // width, min(_BLOCK, 2**22 // width), 1)
        return score_blocks(
            X, self.columns_, device, rows, part, dtype=self.dtype, threads=self.threads, block_bytes=self.block_bytes
        )


def _spectrum(rows: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return centre ``(d,)``, spread ``(d,)``, axes ``(d, k)`` and gains ``(k + 1,)`` of `rows` ``(n, d)``.

    Gains are what brings each axis, and last all other directions, to variance 1.
    """
    n, d = rows.shape
    centre, spread = rows.mean(axis=0), rows.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    z = (rows - centre) / spread
    if d <= _WIDE:
        variance, axes = np.linalg.eigh(z.T @ z / n)
    else:
        variance, left = np.linalg.eigh(z @ z.T / n)
        held = variance > 1e-9 * max(variance[-1], 1e-300)
        variance, axes = variance[held], z.T @ left[:, held] / np.sqrt(n * variance[held])
    total = (z**2).sum() / n
    k = min(most, len(variance))
    variance, axes = variance[::-1][:k], axes[:, ::-1][:, :k].copy()  # torch takes no negative strides
    floor = max(1e-3 * total / d, 1e-9)
    rest = max((total - variance.sum()) / (d - k) if k < d else total / d, floor)
    return centre, spread, axes, 1 / np.sqrt(np.r_[np.maximum(variance, floor), rest])


def _whitened(
    block: torch.Tensor, centre: torch.Tensor, spread: torch.Tensor, axes: torch.Tensor, gain: torch.Tensor
) -> torch.Tensor:
    """Return `block` ``(n, d)`` stretched along `axes` so that every direction has variance 1, columns kept apart."""
    z = (block - centre) / spread
    return (z @ axes * (gain[:-1] - gain[-1])) @ axes.T + z * gain[-1]
