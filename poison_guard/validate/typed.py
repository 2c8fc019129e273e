"""Type a raw frame as its contract says, the way records come: what a suite is proposed from and tried on."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.validate.columns import cells_of, describe_columns, epoch_unit
from poison_guard.validate.comparable import canonical

__all__ = ["typed_view"]

_TIMES = ("observed_at", "source_since")


def typed_view(frame: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return `frame` under its own column names with ids, answers and texts as text, times in UTC, numbers as float64.

    A raw view of records comes back as it is: typing twice changes nothing.
    """
    kinds = {c.name: c.kind for c in describe_columns(frame)}
    role_of: dict[str, str] = {}
    for role, column in contract.columns.items():
        role_of.setdefault(column, role)
    return pd.DataFrame(
        {name: _typed(frame[name], role_of.get(str(name)), kinds[str(name)]) for name in frame.columns}, copy=False
    )


def _typed(cells: pd.Series, role: str | None, kind: str) -> pd.Series:
    cells = cells_of(cells)
    if role in _TIMES:
        return _times(cells)
    if role == "rating" or (role is None and kind in ("number", "bool", "empty")):
        return _numbers(cells)
    if role is None and kind in ("time", "binary"):
        return cells
    return _text(cells)


def _numbers(cells: pd.Series) -> pd.Series:
    """Numbers, and truth values as 1 and 0."""
    if cells.dtype == object or pd.api.types.is_string_dtype(cells.dtype):
        cells = cells.astype("str").str.lower().replace({"true": "1", "false": "0"})
    return pd.to_numeric(cells, errors="coerce").astype("float64")


def _text(cells: pd.Series) -> pd.Series:
    plain = cells.dtype != object and pd.api.types.is_string_dtype(cells.dtype)
    if plain or pd.api.types.is_integer_dtype(cells.dtype):
        return cells.astype("str")
    return cells.map(_written, na_action="ignore").astype("str")


def _written(cell: object) -> str | float:
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    if isinstance(cell, (list, tuple, dict)):
        return json.dumps(cell, ensure_ascii=False, default=str)
    return canonical(cell)


def _times(cells: pd.Series) -> pd.Series:
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        return cells.dt.tz_localize("UTC") if cells.dt.tz is None else cells.dt.tz_convert("UTC")
    numbers = pd.to_numeric(cells, errors="coerce").astype("float64")
    unit = epoch_unit(numbers.dropna().to_numpy())
    if unit is not None:
        return pd.to_datetime(numbers, unit=unit, errors="coerce", utc=True)
    return pd.to_datetime(cells, errors="coerce", format="ISO8601", utc=True)
