"""Histograms, column by column: strange is what falls where a column of the trusted rows is thin."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from poison_guard.numerics.tensors import pick_device
from poison_guard.signals.anomaly.base import (
    MAX_REFERENCE,
    ByColumn,
    Columns,
    bounded,
    check_whole,
    float_dtype,
)
from poison_guard.signals.anomaly.columnwise import most_rows, step_functions

__all__ = ["HBOS"]

_GRIDS = (3, 6, 12, 24)  # bins from end to end; every grid's edges are edges of the last


class HBOS(ByColumn):
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
        check_whole(reference=reference)
        self.reference = reference
        super().__init__(seed=seed, device=device, dtype=dtype, threads=threads)

    def fit(self, X: Any, y: object = None) -> Self:
        """Count at most `reference` rows of `X` ``(n, d)``, fewer when they have over 4,096 columns."""
        dtype = float_dtype(self.dtype)
        rows = bounded(X, self.reference, self.seed)
        rows = rows[: most_rows(rows.shape[1])]
        self.columns_ = Columns.fit(rows)
        scaled = self.columns_.apply(rows, np.float64)
        edges, values = zip(*[_histogram(column, np.dtype(self.dtype)) for column in scaled.T], strict=True)
        self.steps_ = step_functions(edges, values, np.ones((len(edges), 2)), dtype, pick_device(self.device))
        return self


def _histogram(column: np.ndarray, kind: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return edges ``(m + 1,)`` in scales and minus log heights ``(m + 2,)``, open ends first and last, least 0.

    Heights are the mean over `_GRIDS` of histograms with one row added to every bin; the open ends are empty on all.
    Bins have one width in inverse hyperbolic sines of scales.
    """
    low, high = np.arcsinh((column.min(), column.max())).tolist()
    if not high > low:  # one value: nothing to tell but the distance from it
        return np.sinh([low, low]), np.zeros(3)
    bins = max(_GRIDS)
    edges = np.linspace(low - (high - low) / bins / 2, high + (high - low) / bins / 2, bins + 1)
    edges = np.sinh(edges).astype(kind)
    # compared as rows are when they are scored: a value on an edge counts where it will be looked up
    at = np.searchsorted(edges, column.astype(kind), side="right") - 1
    counts = np.bincount(at.clip(0, bins - 1), minlength=bins)
    heights, empty = np.zeros(bins), 0.0
    for grid in _GRIDS:
        share = grid / (len(column) + grid) / len(_GRIDS)
        heights += np.repeat((counts.reshape(grid, -1).sum(axis=1) + 1) * share, bins // grid)
        empty += share
    thin = -np.log(np.concatenate([[empty], heights, [empty]]))
    return edges, thin - thin.min()
