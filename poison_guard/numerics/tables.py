"""A table of numbers out of whatever holds one; nothing is guessed, and what is missing is NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from poison_guard.errors import DataError

__all__ = ["as_matrix"]


def as_matrix(X: Any, *, width: int | None = None) -> np.ndarray:
    """Return `X` as floats ``(n, d)``, float32 kept; `DataError` unless numeric, 2-D, and `width` columns wide.

    Numbers are floats, integers and booleans; cells that a nullable or masked table lacks are NaN. Numbers written as
    text, dates and complex numbers are errors: what they should mean is not guessed.
    """
    matrix = _numeric(X)
    if matrix is None:
        raise DataError(
            f"detectors need a dense table of numbers, and this {type(X).__name__} holds something else; pass text,"
            " categories and dates through FeatureMap first"
        )
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise DataError(f"detectors need a table of (rows, columns) with at least one column, got shape {matrix.shape}")
    if width is not None and matrix.shape[1] != width:
        raise DataError(f"the detector was fitted on {width} columns and cannot score {matrix.shape[1]}")
    return matrix


def _numeric(X: Any) -> np.ndarray | None:
    """Return the cells of `X` as float32 or float64, None where they are no numbers."""
    try:
        cells = _cells(X)
        texts = cells.dtype.kind == "O" and any(isinstance(cell, str | bytes) for cell in cells.flat)
        if texts or cells.dtype.kind not in "biufO":
            return None
        return cells if cells.dtype in (np.float32, np.float64) else cells.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        return None


def _cells(X: Any) -> np.ndarray:
    if isinstance(X, pd.DataFrame) and any(isinstance(kind, pd.api.extensions.ExtensionDtype) for kind in X.dtypes):
        if not all(pd.api.types.is_numeric_dtype(kind) for kind in X.dtypes):
            raise TypeError
        return X.to_numpy(dtype=np.float64, na_value=np.nan)
    if isinstance(X, torch.Tensor):
        rows = X.detach().cpu()
        return (rows.double() if rows.dtype in (torch.float16, torch.bfloat16) else rows).numpy()
    if isinstance(X, np.ma.MaskedArray):
        return np.ma.filled(X.astype(np.float64), np.nan)
    return np.asarray(X)
