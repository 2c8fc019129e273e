"""What every detector shares: protocol, input check and the columns' scale; detectors import nothing else here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import torch

from poison_guard.errors import DataError
from poison_guard.numerics.robust import column_scale

__all__ = ["HUGE", "LIMIT", "MAX_REFERENCE", "Columns", "Detector", "as_matrix", "score_blocks"]

LIMIT = 1e6  # scales from the median beyond which a value is as strange as infinity; its square still fits float32
HUGE = 1e100  # fitted values of this size count as infinite: their squares still fit float64
MAX_REFERENCE = 8192  # rows a detector keeps or learns from; more rows are subsampled by hash


@runtime_checkable
class Detector(Protocol):
    """One anomaly detector: `fit` on trusted rows, `score` others; larger scores are stranger.

    Scores are finite, deterministic under `seed`, and independent of the rows scored along with them and of the order
    of the rows fitted on. Columns are scaled inside, so units do not matter. NaN counts as the fitted median;
    infinities and values beyond a million scales count as a million scales.
    """

    name: ClassVar[str]

    def fit(self, X: Any) -> Self:
        """Learn from `X` ``(n, d)``, n >= 1; `DataError` names what is wrong with it."""

    def score(self, X: Any) -> np.ndarray:
        """Return raw scores ``(n,)`` float64 of `X` ``(n, d)``; larger means stranger; n may be 0."""


def as_matrix(X: Any, *, width: int | None = None) -> np.ndarray:
    """Return `X` as floats ``(n, d)``, float32 kept; `DataError` unless numeric, 2-D, and `width` columns wide."""
    try:
        matrix = np.asarray(X)
        if matrix.dtype not in (np.float32, np.float64):
            matrix = matrix.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("detectors need numbers only; pass mixed columns through FeatureMap first") from error
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise DataError(f"detectors need a table of (rows, columns) with at least one column, got shape {matrix.shape}")
    if width is not None and matrix.shape[1] != width:
        raise DataError(f"the detector was fitted on {width} columns and cannot score {matrix.shape[1]}")
    return matrix


@dataclass(frozen=True, slots=True)
class Columns:
    """Median and scale of the fitted columns, both ``(d,)`` float64."""

    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, X: np.ndarray) -> Self:
        """Learn from the finite cells of `X` ``(n, d)``, n >= 1."""
        if len(X) == 0:
            raise DataError("a detector cannot be fitted on 0 rows; give it at least one trusted record")
        X = X.astype(np.float64)
        finite = np.abs(X) < HUGE
        if finite.all():
            return cls(*column_scale(X))
        filled = np.where(finite, X, np.nan)
        empty = ~finite.any(axis=0)
        filled[:, empty] = 0.0
        middle = np.nanmedian(filled, axis=0)
        return cls(*column_scale(np.where(np.isnan(filled), middle, filled)))

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.centre)

    def apply(self, X: np.ndarray) -> np.ndarray:
        """Return `X` in scales from the median, float32 ``(n, d)``, finite, within plus and minus `LIMIT`."""
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = (X - self.centre) / self.scale
        np.nan_to_num(scaled, copy=False, nan=0.0, posinf=LIMIT, neginf=-LIMIT)
        return np.clip(scaled, -LIMIT, LIMIT, out=scaled).astype(np.float32)


def score_blocks(
    X: Any, columns: Columns, device: torch.device, rows: int, score: Callable[[torch.Tensor], torch.Tensor]
) -> np.ndarray:
    """Return ``(n,)`` float64: `score` applied to scaled blocks of `rows` rows of `X`, so that memory stays bounded."""
    matrix = as_matrix(X, width=columns.width)
    out = np.empty(len(matrix), dtype=np.float64)
    for start in range(0, len(matrix), rows):
        block = torch.from_numpy(columns.apply(matrix[start : start + rows])).to(device)
        out[start : start + rows] = score(block).double().cpu().numpy()
    return out
