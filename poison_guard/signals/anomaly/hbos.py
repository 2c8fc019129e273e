"""Histograms, column by column: strange is what falls where a column of the trusted rows is thin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import torch

from poison_guard.numerics.columnwise import block_rows, evaluate, most_rows, step_functions
from poison_guard.numerics.device import pick_device
from poison_guard.signals.anomaly.base import MAX_REFERENCE, Columns, bounded, float_dtype, score_blocks

__all__ = ["HBOS"]

_GRIDS = (3, 6, 12, 24)  # bins from end to end; every grid's edges are edges of the last


class HBOS:
    """Sum over the columns of minus the log of a histogram's height, relative to its highest bin (HBOS)."""

    name: ClassVar[str] = "hbos"

    def __init__(
        self,
        *,
        reference: int = MAX_REFERENCE,
        seed: int = 0,
        device: str = "auto",
        dtype: str = "float32",
        threads: int | None = None,
    ) -> None:
        self.reference = reference
        self.seed, self.device, self.dtype, self.threads = seed, device, dtype, threads

    def fit(self, X: Any) -> Self:
        """Count at most `reference` rows of `X` ``(n, d)``, fewer when they have over 4,096 columns."""
        dtype = float_dtype(self.dtype)
        rows = bounded(X, self.reference, self.seed)
        rows = rows[: most_rows(rows.shape[1])]
        self.columns_ = Columns.fit(rows)
        scaled = np.arcsinh(self.columns_.apply(rows, np.float64))
        edges, values = zip(*[_histogram(column) for column in scaled.T], strict=True)
        self.steps_ = step_functions(edges, values, np.ones((len(edges), 2)), dtype, pick_device(self.device))
        return self

    def score(self, X: Any) -> np.ndarray:
        """Return the sum over the columns ``(n,)``, >= 0, in natural logs."""
        return self._blocks(X, lambda block: evaluate(block, self.steps_).double().sum(dim=0).float())

    def explain(self, X: Any) -> np.ndarray:
        """Return each column's term of the score ``(n, d)``, >= 0."""
        return self._blocks(X, lambda block: evaluate(block, self.steps_).T)

    def _blocks(self, X: Any, part: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
        device, width = self.steps_[0].device, self.columns_.width
        rows = block_rows(width, device)
        return score_blocks(X, self.columns_, device, rows, part, dtype=self.dtype, threads=self.threads)


def _histogram(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return edges ``(m + 1,)`` in scales and minus log heights ``(m + 2,)``, open ends first and last, least 0.

    Heights are the mean over `_GRIDS` of histograms with one row added to every bin; the open ends are empty on all.
    """
    low, high = float(column.min()), float(column.max())
    if not high > low:  # one value: nothing to tell but the distance from it
        return np.sinh([low, low]), np.zeros(3)
    bins = max(_GRIDS)
    edges = np.linspace(low - (high - low) / bins / 2, high + (high - low) / bins / 2, bins + 1)
    at = ((column - edges[0]) * (bins / (edges[-1] - edges[0]))).astype(np.int64)
    counts = np.bincount(np.minimum(at, bins - 1), minlength=bins)
    heights, empty = np.zeros(bins), 0.0
    for grid in _GRIDS:
        share = grid / (len(column) + grid) / len(_GRIDS)
        heights += np.repeat((counts.reshape(grid, -1).sum(axis=1) + 1) * share, bins // grid)
        empty += share
    thin = -np.log(np.concatenate([[empty], heights, [empty]]))
    return np.sinh(edges), thin - thin.min()
