"""Feature cells that hold several numbers: embeddings written as lists, and moments as places on a clock."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from poison_guard.numerics.robust import column_scale
from poison_guard.signals.anomaly.base import LIMIT

__all__ = ["Embedding", "Moment", "spread"]

WIDEST = 4096
"""Numbers of an embedding that are read; the rest is left out."""
_MOST = 0.99  # share of the trusted cells that must be of a kind
_MANY = 50  # different moments below which a column of dates is one of names (releases, seasons)
_PEEK = 1000  # cells that tell the kind
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?")
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Embedding:
    """Lists of numbers of one length, each number in robust scales from its median."""

    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, column: pd.Series) -> Self:
        """Learn from trusted cells; the length is the most common one."""
        lists = [cell for cell in map(_listed, column) if cell is not None]
        width = int(np.bincount([len(cell) for cell in lists]).argmax())
        centre, scale = column_scale(np.array([cell for cell in lists if len(cell) == width]))
        return cls(centre, scale)

    @property
    def width(self) -> int:
        """Numbers in a cell."""
        return len(self.centre)

    def apply(self, column: pd.Series) -> np.ndarray:
        """Return ``(n, width)`` float64; rows of NaN for cells that are no such list."""
        out = np.full((len(column), self.width), np.nan)
        for row, cell in enumerate(map(_listed, column)):
            if cell is not None and len(cell) == self.width:
                out[row] = cell
        return np.clip((out - self.centre) / self.scale, -LIMIT, LIMIT)


@dataclass(frozen=True, slots=True)
class Moment:
    """Moments as points on two circles, the day and the week, in UTC.

    The date itself is left out: every later record would be stranger than the one before. Where it matters how long ago
    something was, map a column of numbers.
    """

    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, column: pd.Series) -> Self:
        """Learn from trusted cells."""
        circles = _circles(column)
        return cls(*column_scale(circles[~np.isnan(circles[:, 0])]))

    @property
    def width(self) -> int:
        """Sine and cosine of the time of day and of the time of week."""
        return 4

    def apply(self, column: pd.Series) -> np.ndarray:
        """Return ``(n, 4)`` float64; rows of NaN for cells that are no moment."""
        return (_circles(column) - self.centre) / self.scale


def spread(column: pd.Series) -> type[Embedding] | type[Moment] | None:
    """Return what the strings of a trusted `column` hold when nearly all are lists of numbers or moments; else None."""
    cells = column.dropna().head(_PEEK)
    if not len(cells):
        return None
    if cells.str.startswith("[").mean() >= _MOST and np.mean([_listed(c) is not None for c in cells]) >= _MOST:
        return Embedding
    dated = cells.map(lambda cell: _DATE.fullmatch(cell) is not None).mean() >= _MOST
    return Moment if dated and column.nunique() > _MANY and _times(cells).notna().mean() >= _MOST else None


def _listed(cell: object) -> np.ndarray | None:
    """Return the numbers of a cell such as ``[0.1, -2]``, None when it is no list of finite numbers."""
    if not isinstance(cell, str) or not cell.startswith("["):
        return None
    try:
        found = np.array(json.loads(cell)[:WIDEST], dtype=np.float64)
    except (ValueError, TypeError, RecursionError, OverflowError):
        return None
    return found if found.ndim == 1 and len(found) and np.isfinite(found).all() else None


def _times(column: pd.Series) -> pd.Series:
    return pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")


def _circles(column: pd.Series) -> np.ndarray:
    times = _times(column)
    seconds = (times - pd.Timestamp("1970-01-01", tz="UTC")).dt.total_seconds().to_numpy(dtype=np.float64)
    day, week = (2 * np.pi * np.mod(seconds, length) / length for length in (_DAY, 7 * _DAY))
    return np.column_stack([np.sin(day), np.cos(day), np.sin(week), np.cos(week)])
