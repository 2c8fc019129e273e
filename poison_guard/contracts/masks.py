"""Failing rows of the common row expectations, one vectorised mask each; agrees with Great Expectations row for row.

Great Expectations takes several times as long (``benchmarks/results/validate.md``). Its rules hold: null cells pass
every rule except those about nulls, and a rule about several columns skips rows as ``ignore_row_if`` says.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.contracts.expectation import Expectation
from poison_guard.text import number_text

__all__ = ["BATCH_ONLY", "MASKS", "Comparable", "failing_mask", "make_comparable", "scalar_text"]


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


BATCH_ONLY = ("expect_column_values_to_be_increasing", "expect_column_values_to_be_decreasing")
"""Row expectations that depend on the order of rows: they judge the batch, never a row (decisions ignore row order)."""


def failing_mask(comparable: Comparable) -> np.ndarray | None:
    """Return ``(n,)`` bool, True if the row fails; None without a mask for the expectation or its columns."""
    expectation, kwargs = comparable.expectation, comparable.expectation.kwargs
    missing = len(comparable.columns) < len(expectation.columns)
    if expectation.type not in MASKS or missing or "row_condition" in kwargs:
        return None
    if expectation.type in _COLUMN_RULES:
        failing = _COLUMN_RULES[expectation.type](comparable.columns, kwargs)
    else:  # a rule about cells: null ones pass
        cells = comparable.columns[kwargs["column"]]
        present = cells.notna().to_numpy()
        failing = np.zeros(len(cells), dtype=bool)
        if present.any():
            cells = cells if present.all() else cells[present]
            failing[present] = ~np.asarray(_CELL_RULES[expectation.type](cells, kwargs), dtype=bool)
    return failing if comparable.misfits is None else failing | comparable.misfits


def _between(cells: pd.Series, kwargs: Mapping[str, Any]) -> np.ndarray:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        low, high = (None if bound is None else pd.Timestamp(bound) for bound in (low, high))
    meets = np.ones(len(cells), dtype=bool)
    if low is not None:
        meets &= np.asarray(cells > low if kwargs.get("strict_min") else cells >= low, dtype=bool)
    if high is not None:
        meets &= np.asarray(cells < high if kwargs.get("strict_max") else cells <= high, dtype=bool)
    return meets


def _in_set(cells: pd.Series, kwargs: Mapping[str, Any]) -> np.ndarray:
    values = kwargs.get("value_set")
    return np.ones(len(cells), dtype=bool) if values is None else cells.isin(values).to_numpy()


def _not_in_set(cells: pd.Series, kwargs: Mapping[str, Any]) -> np.ndarray:
    return ~cells.isin(kwargs.get("value_set") or ()).to_numpy()


def _matches(cells: pd.Series, kwargs: Mapping[str, Any]) -> np.ndarray:
    """Return the cells that match the pattern, or any (``match_on: all``: all) of the patterns."""
    patterns = kwargs["regex_list"] if "regex_list" in kwargs else [kwargs["regex"]]
    texts = cells.astype(str)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pandas warns of groups, which are harmless here
        matches = [texts.str.contains(pattern).to_numpy(dtype=bool) for pattern in patterns]
    return np.all(matches, axis=0) if kwargs.get("match_on", "any") == "all" else np.any(matches, axis=0)


def _matches_none(cells: pd.Series, kwargs: Mapping[str, Any]) -> np.ndarray:
    return ~_matches(cells, {**kwargs, "match_on": "any"})


def _lengths_between(cells: pd.Series, kwargs: Mapping[str, Any]) -> np.ndarray:
    return _between(cells.astype(str).str.len(), kwargs)


def _length_equals(cells: pd.Series, kwargs: Mapping[str, Any]) -> Any:
    return cells.astype(str).str.len() == kwargs["value"]


def _unique(cells: pd.Series, _: Mapping[str, Any]) -> Any:
    return ~cells.duplicated(keep=False)


def _null(columns: Mapping[str, pd.Series], kwargs: Mapping[str, Any]) -> np.ndarray:
    return columns[kwargs["column"]].isna().to_numpy()


def _not_null(columns: Mapping[str, pd.Series], kwargs: Mapping[str, Any]) -> np.ndarray:
    return ~_null(columns, kwargs)


def _pair_greater(columns: Mapping[str, pd.Series], kwargs: Mapping[str, Any]) -> np.ndarray:
    a, b = columns[kwargs["column_A"]], columns[kwargs["column_B"]]
    meets = a >= b if kwargs.get("or_equal") else a > b
    return ~_filled(meets) & _counted(a, b, kwargs)


def _pair_equal(columns: Mapping[str, pd.Series], kwargs: Mapping[str, Any]) -> np.ndarray:
    a, b = columns[kwargs["column_A"]], columns[kwargs["column_B"]]
    return ~_filled(a == b) & _counted(a, b, kwargs)


def _filled(meets: pd.Series) -> np.ndarray:
    return meets.fillna(False).to_numpy(dtype=bool) if meets.hasnans else meets.to_numpy(dtype=bool)


def _counted(a: pd.Series, b: pd.Series, kwargs: Mapping[str, Any]) -> np.ndarray:
    """Return the rows that a pair expectation judges."""
    missing_a, missing_b = a.isna().to_numpy(), b.isna().to_numpy()
    match kwargs.get("ignore_row_if", "both_values_are_missing"):
        case "both_values_are_missing":
            return ~(missing_a & missing_b)
        case "either_value_is_missing":
            return ~(missing_a | missing_b)
        case _:
            return np.ones(len(a), dtype=bool)


def _compound_unique(columns: Mapping[str, pd.Series], kwargs: Mapping[str, Any]) -> np.ndarray:
    rows = pd.DataFrame({c: columns[c] for c in kwargs["column_list"]})
    match kwargs.get("ignore_row_if", "all_values_are_missing"):
        case "all_values_are_missing":
            counted = rows.notna().any(axis=1).to_numpy()
        case "any_value_is_missing":
            counted = rows.notna().all(axis=1).to_numpy()
        case _:
            counted = np.ones(len(rows), dtype=bool)
    failing = np.zeros(len(rows), dtype=bool)
    failing[counted] = rows[counted].duplicated(keep=False).to_numpy()
    return failing


_CELL_RULES: Mapping[str, Callable[[pd.Series, Mapping[str, Any]], Any]] = {
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_not_be_in_set": _not_in_set,
    "expect_column_values_to_match_regex": _matches,
    "expect_column_values_to_not_match_regex": _matches_none,
    "expect_column_values_to_match_regex_list": _matches,
    "expect_column_values_to_not_match_regex_list": _matches_none,
    "expect_column_value_lengths_to_be_between": _lengths_between,
    "expect_column_value_lengths_to_equal": _length_equals,
    "expect_column_values_to_be_unique": _unique,
}
"""What a cell that is not null must meet."""
_COLUMN_RULES: Mapping[str, Callable[[Mapping[str, pd.Series], Mapping[str, Any]], np.ndarray]] = {
    "expect_column_values_to_not_be_null": _null,
    "expect_column_values_to_be_null": _not_null,
    "expect_column_pair_values_a_to_be_greater_than_b": _pair_greater,
    "expect_column_pair_values_to_be_equal": _pair_equal,
    "expect_compound_columns_to_be_unique": _compound_unique,
}
"""Which rows fail, for rules about nulls or several columns."""
MASKS = frozenset((*_CELL_RULES, *_COLUMN_RULES))
"""Expectations whose failing rows are found here."""
