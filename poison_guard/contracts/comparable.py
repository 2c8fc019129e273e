"""Make cells and bounds comparable: text columns with numeric rules, times with ISO bounds, ids written as numbers.

Roles such as `answer` are stored as text ("4"), but people write ``value_set: [4]`` or ``max_value: 9`` in a suite.
Both sides are converted to one type here, once, for Great Expectations and for the masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.contracts.expectation import Expectation
from poison_guard.text import number_text

__all__ = ["Comparable", "make_comparable", "scalar_text"]


_ORDERED = (
    "expect_column_values_to_be_between",
    "expect_column_max_to_be_between",
    "expect_column_min_to_be_between",
)
_NUMERIC = (
    "expect_column_mean_to_be_between",
    "expect_column_median_to_be_between",
    "expect_column_quantile_values_to_be_between",
    "expect_column_stdev_to_be_between",
    "expect_column_sum_to_be_between",
    "expect_column_value_z_scores_to_be_less_than",
)


@dataclass(frozen=True, slots=True)
class Comparable:
    """One expectation with the columns it reads, converted to one type."""

    expectation: Expectation
    columns: Mapping[str, pd.Series]
    misfits: np.ndarray | None = None
    """Rows whose cell could not be converted (text instead of a number); they fail, whatever the bounds."""


def make_comparable(frame: pd.DataFrame, expectation: Expectation) -> Comparable:
    """Return `expectation` and its columns of `frame` in comparable types, without columns that the frame lacks."""
    columns = {c: frame[c] for c in expectation.columns if c in frame.columns}
    for name, cells in columns.items():
        if cells.dtype == object and cells.map(lambda v: isinstance(v, (list, tuple, dict, set, np.ndarray))).any():
            columns[name] = cells.map(str, na_action="ignore").astype("str")  # nested: neither hashable nor ordered
    column = expectation.kwargs.get("column")
    if column not in columns or "row_condition" in expectation.kwargs:
        return Comparable(expectation, columns)
    cells, kwargs, misfits = columns[column], dict(expectation.kwargs), None
    bounds = {b: kwargs[b] for b in ("min_value", "max_value") if kwargs.get(b) is not None}
    numbers = {b: _number(v) for b, v in bounds.items()}
    if expectation.type in _NUMERIC:
        cells, misfits = _as_numbers(cells)
    elif expectation.type in _ORDERED and None not in numbers.values():
        cells, misfits = _as_numbers(cells)
        kwargs |= numbers
    elif expectation.type in _ORDERED:
        cells, misfits = _as_times(cells)
        kwargs |= {b: _utc(v) for b, v in bounds.items()}
    elif isinstance(kwargs.get("value_set"), list):
        kwargs["value_set"] = _value_set_like(cells, kwargs["value_set"])
    return Comparable(replace(expectation, kwargs=kwargs), columns | {column: cells}, misfits)


def scalar_text(value: Any) -> str:
    """Return a scalar as records hold it in ids and answers: 4.0 as "4", True as "true", text as it is.

    >>> scalar_text(4.0), scalar_text(0.5), scalar_text(True), scalar_text("x")
    ('4', '0.5', 'true', 'x')
    """
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    return number_text(float(value)) if isinstance(value, float | np.floating) else str(value)


def _number(bound: Any) -> float | None:
    """Return a bound as a number; Great Expectations reads "5" as 5, too."""
    try:
        return None if isinstance(bound, bool) else float(bound)
    except (TypeError, ValueError):
        return None


def _as_numbers(cells: pd.Series) -> tuple[pd.Series, np.ndarray | None]:
    if cells.dtype in (np.dtype("int64"), np.dtype("float64")) or pd.api.types.is_datetime64_any_dtype(cells.dtype):
        return cells, None
    if pd.api.types.is_numeric_dtype(cells.dtype):  # Great Expectations loops over nullable, narrow and Boolean types
        return pd.Series(cells.to_numpy("float64", na_value=np.nan), index=cells.index, name=cells.name), None
    return _with_misfits(cells, pd.to_numeric(cells, errors="coerce").astype("float64"))


def _as_times(cells: pd.Series) -> tuple[pd.Series, np.ndarray | None]:
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        return cells.dt.tz_localize("UTC") if cells.dt.tz is None else cells, None
    if pd.api.types.is_numeric_dtype(cells.dtype):
        return cells, None
    return _with_misfits(cells, pd.to_datetime(cells, errors="coerce", format="ISO8601", utc=True))


def _with_misfits(cells: pd.Series, converted: pd.Series) -> tuple[pd.Series, np.ndarray | None]:
    """Return the converted cells, and the rows whose cell is present but could not be converted."""
    misfits = (converted.isna() & cells.notna()).to_numpy()
    return converted, misfits if misfits.any() else None


def _utc(bound: Any) -> Any:
    """Return a bound on times as ISO text with its zone; what is not a time is left to Great Expectations to refuse."""
    try:
        stamp = pd.Timestamp(bound)
    except (TypeError, ValueError):
        return bound
    return (stamp.tz_localize("UTC") if stamp.tz is None else stamp).isoformat()


def _value_set_like(cells: pd.Series, values: list[Any]) -> list[Any]:
    """Return the values in the type of the cells: numbers as text for a text column, text as numbers for numbers."""
    if pd.api.types.is_string_dtype(cells.dtype):
        return [v if v is None else scalar_text(v) for v in values]
    if pd.api.types.is_numeric_dtype(cells.dtype) and any(isinstance(v, str) for v in values):
        numbers = pd.to_numeric(pd.Series(values, dtype="object"), errors="coerce")
        return values if numbers.isna().any() else numbers.tolist()
    return values
