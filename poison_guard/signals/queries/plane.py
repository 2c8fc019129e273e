"""Queries as short vectors: the main directions of trusted queries, and how far a query lies outside of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from poison_guard.numerics.robust import column_scale

__all__ = ["Plane"]

_DIRECTIONS = 31  # with the distance outside 32 columns a query: 128 bytes that later batches remember
_FITTED = 2_000  # trusted queries that directions are found from: bounds time
_FAR = 1e9  # scales from the centre beyond which a cell is as far as any


@dataclass(frozen=True, slots=True)
class Plane:
    """Directions fitted on trusted queries; two of these are about 1 apart."""

    centre: np.ndarray
    scale: np.ndarray
    """Of each column ``(d,)``."""
    bent: bool
    """Whether columns of different units are compared: far cells then count by their logarithm."""
    middle: np.ndarray
    axes: np.ndarray
    """``(d, r)``, orthonormal."""
    unit: float
    """Root of the mean squared distance of two trusted queries."""

    @classmethod
    def fit(cls, flat: np.ndarray, *, units: bool) -> Self:
        """Learn from trusted queries ``(n, d)``, at least two, NaN for missing cells; `units`: each column has its own.

        Pixels and the coordinates of texts have one unit, and are compared as they are.
        """
        rows = np.asarray(flat, dtype=np.float64)[:: max(1, len(flat) // _FITTED)][:_FITTED]
        columns = [column[np.isfinite(column)] for column in rows.T] if units else []
        fitted = [column_scale((column if len(column) else np.zeros(1))[:, None]) for column in columns]
        d = rows.shape[1]
        centre, scale = (np.array([float(pair[i][0]) for pair in fitted]) if units else np.full(d, i) for i in (0, 1))
        moved = _moved(rows, centre, scale, bent=units)
        middle = moved.mean(axis=0)
        axes = _main_directions(moved - middle)
        return cls(centre, scale, units, middle, axes, float(np.sqrt(2 * moved.var(axis=0).sum())) or 1.0)

    def vectors(self, flat: np.ndarray) -> np.ndarray:
        """Return ``(n, r + 1)`` float32 of queries ``(n, d)``: along the directions, and the distance outside them."""
        moved = _moved(np.asarray(flat, dtype=np.float64), self.centre, self.scale, bent=self.bent) - self.middle
        inside = moved @ self.axes
        outside = np.sqrt(np.maximum(0.0, (moved**2).sum(axis=1) - (inside**2).sum(axis=1)))
        return (np.column_stack([inside, outside]) / self.unit).astype(np.float32)


def _moved(flat: np.ndarray, centre: np.ndarray, scale: np.ndarray, *, bent: bool) -> np.ndarray:
    """Return cells in scales from their centre, a missing one there."""
    away = np.nan_to_num((flat - centre) / scale, nan=0.0, posinf=_FAR, neginf=-_FAR)
    return np.arcsinh(np.clip(away, -_FAR, _FAR)) if bent else away


def _main_directions(rows: np.ndarray) -> np.ndarray:
    """Return the `_DIRECTIONS` directions ``(d, r)`` in which centred `rows` ``(n, d)`` vary most."""
    from scipy.linalg import eigh

    n, d = rows.shape
    r = max(1, min(_DIRECTIONS, d, n - 1))
    if d <= n:
        return np.asarray(eigh(rows.T @ rows, subset_by_index=[d - r, d - 1])[1])
    size, turns = eigh(rows @ rows.T, subset_by_index=[n - r, n - 1])
    return np.asarray(rows.T @ (turns / np.sqrt(np.maximum(size, 1e-12))))
