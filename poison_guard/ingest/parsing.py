"""Parse the cells of a column as numbers or times, and infer the kind of each column (the payload schema)."""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.ingest.cells import LIST_METADATA, MAX_EXACT_INT

__all__ = [
    "EARLIEST",
    "LATEST",
    "NUMBER_SHARE",
    "ParsedCells",
    "parse_numbers",
    "parse_times",
    "payload_schema",
    "present_cells",
]


_NUMBER_PATTERN = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?$"
_NUMBER_CHARS = 40
"""Characters of the longest text that is read as a number; bounds the memory of the slow path."""
_TRUTH_PATTERN = r"^(?:true|false|True|False|TRUE|FALSE)$"
_INFINITY_PATTERN = r"^[+-]?(?i:inf|infinity)$"
_NAN_PATTERN = r"^[+-]?(?i:nan)$"
_NO_TEXT = pa.scalar(None, pa.large_string())


@dataclass(frozen=True, slots=True)
class ParsedCells:
    """Cells of one column read as one kind; all arrays are ``(n,)``."""

    values: np.ndarray
    """float64 numbers (NaN where not `ok`), or int64 microseconds since 1970."""
    present: np.ndarray
    """bool: the cell holds something."""
    ok: np.ndarray
    """bool: its content could be parsed."""


def present_cells(array: pa.Array) -> np.ndarray:
    """Return ``(n,)`` bool: cells that are neither null nor empty text."""
    if pa.types.is_null(array.type):
        return np.zeros(len(array), bool)
    if pa.types.is_large_string(array.type):
        return np.asarray(pc.fill_null(pc.greater(pc.binary_length(array), 0), False))
    return np.asarray(array.is_valid())


def parse_numbers(array: pa.Array) -> ParsedCells:
    """Read an array of a simple type as float64; NaN is missing, infinity is a number (judged by the caller).

    Text that is a number counts, except whole numbers above 2^53, which float64 would change. ``true`` is 1.
    """
    kind, n = array.type, len(array)
    if pa.types.is_large_string(kind):
        return _numbers_of_text(array)
    present = present_cells(array)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return ParsedCells(np.full(n, np.nan), present, np.zeros(n, bool))
    filled = array.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy(zero_copy_only=False)
    values = np.where(present, filled.astype(np.float64), np.nan)
    if pa.types.is_integer(kind):
        exact = (filled >= -MAX_EXACT_INT) & (filled <= MAX_EXACT_INT)
        return ParsedCells(np.where(exact, values, np.nan), present, present & exact)
    present = present & ~np.isnan(values)
    return ParsedCells(values, present, present)


def _numbers_of_text(array: pa.Array) -> ParsedCells:
    present = present_cells(array)
    text = pc.if_else(pa.array(present), array, _NO_TEXT)
    values = None
    if (pc.max(pc.binary_length(text)).as_py() or 0) <= _NUMBER_CHARS:
        with contextlib.suppress(pa.ArrowInvalid):  # fast path: every cell is a plain number
            values = pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False)
    if values is None:
        text = pc.utf8_trim_whitespace(text)
        values = _parse_each(text)
    missing = np.zeros(len(array), bool)
    if bool(np.isnan(values[present]).any()):
        missing = _matches(text, _NAN_PATTERN)
    ok = present & ~np.isnan(values)
    inexact = ok & (np.abs(values) > MAX_EXACT_INT) & np.isfinite(values)
    if inexact.any():
        inexact &= _matches(text, r"^[+-]?[0-9]+$")
        values, ok = np.where(inexact, np.nan, values), ok & ~inexact
    return ParsedCells(values, present & ~missing, ok)


def _parse_each(text: pa.Array) -> np.ndarray:
    values = np.full(len(text), np.nan)
    text = pc.if_else(pc.less_equal(pc.binary_length(text), _NUMBER_CHARS), text, _NO_TEXT)
    plain = _matches(text, _NUMBER_PATTERN)
    if plain.any():
        # NumPy reads "1e999" as infinity, where Arrow refuses
        values[plain] = np.array(text.filter(pa.array(plain)).to_pylist(), dtype="U").astype(np.float64)
    truth = _matches(text, _TRUTH_PATTERN)
    if truth.any():
        values[truth] = np.asarray(pc.starts_with(pc.utf8_lower(text.filter(pa.array(truth))), "t"))
    endless = _matches(text, _INFINITY_PATTERN)
    if endless.any():
        negative = np.asarray(pc.starts_with(text.filter(pa.array(endless)), "-"))
        values[endless] = np.where(negative, -np.inf, np.inf)
    return values


def _matches(text: pa.Array, pattern: str) -> np.ndarray:
    return np.asarray(pc.fill_null(pc.match_substring_regex(text, pattern), False))


EARLIEST = int(dt.datetime(1970, 1, 1, tzinfo=dt.UTC).timestamp() * 1e6)
LATEST = int(dt.datetime(2200, 1, 1, tzinfo=dt.UTC).timestamp() * 1e6)
"""Microseconds since 1970 between which a sender's time is accepted."""
_EPOCH_PATTERN = r"^(?:[0-9]{9,19}(?:\.[0-9]{1,9})?|[0-9]\.[0-9]{1,17}[eE]\+?[0-9]{1,2})$"
_ISO_PATTERN = r"^[0-9]{4}-?[0-9]{2}-?[0-9]{2}(?:[T ][0-9:.,]{1,24} ?(?:Z|[+-][0-9]{2}:?(?:[0-9]{2})?)?)?$"


def parse_times(array: pa.Array) -> ParsedCells:
    """Read an array of a simple type as int64 microseconds since 1970, UTC.

    A number from 1e8 (1973) is seconds, from 1e11 milliseconds, from 1e14 microseconds, from 1e17 nanoseconds; one
    below is not a time. Times outside 1970 to 2200 are not `ok`.
    """
    kind, present = array.type, present_cells(array)
    ok = present
    if pa.types.is_timestamp(kind):
        micros = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    elif pa.types.is_integer(kind):
        micros = _epoch_micros(array.fill_null(0).to_numpy(zero_copy_only=False))
    elif pa.types.is_floating(kind):
        numbers = parse_numbers(array)
        micros, present, ok = _epoch_micros(numbers.values), numbers.present, numbers.ok
    elif pa.types.is_large_string(kind):
        micros, ok = _micros_of_text(array, present)
    else:
        micros, ok = np.zeros(len(array), np.int64), np.zeros(len(array), bool)
    ok = ok & present & (micros >= EARLIEST) & (micros < LATEST)
    return ParsedCells(np.where(ok, micros, 0), present, ok)


def _epoch_micros(values: np.ndarray) -> np.ndarray:
    """Return the microseconds of epoch numbers; -1 for a number that cannot be a time."""
    are_integers = values.dtype.kind == "i"
    values = np.where(np.isfinite(values), values, -1)
    size = np.abs(values.astype(np.float64))
    parts = [
        (size < 1e8, lambda v: v * 0 - 1),
        (size < 1e11, lambda v: v * 1_000_000),
        (size < 1e14, lambda v: v * 1_000),
        (size < 1e17, lambda v: v),
        (size < 9e18, lambda v: v // 1_000),
    ]
    micros = np.full(len(values), -1, np.int64)
    open_ = np.ones(len(values), bool)
    for fits, scale in parts:
        now = open_ & fits
        scaled = scale(values[now])
        micros[now] = scaled if are_integers else np.rint(scaled).astype(np.int64)
        open_ &= ~fits
    return micros


def _micros_of_text(array: pa.Array, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return microseconds since 1970, and which cells could be parsed."""
    text = pc.utf8_trim_whitespace(pc.if_else(pa.array(present), array, _NO_TEXT))
    text = pc.replace_substring_regex(text, r" ?UTC$", "Z")
    micros, ok = np.zeros(len(array), np.int64), np.zeros(len(array), bool)
    digits = _matches(text, _EPOCH_PATTERN)
    if digits.any():
        micros[digits] = _epoch_micros_of_text(text.filter(pa.array(digits)))
        ok |= digits
    # the pattern keeps words such as "now" from pandas, which would read the clock
    iso = _matches(text, _ISO_PATTERN) & ~digits
    if iso.any():
        cells = pd.Series(text.filter(pa.array(iso)).to_pandas(), dtype="str")
        times = pd.to_datetime(cells, format="ISO8601", utc=True, errors="coerce").dt.as_unit("us")
        good = times.notna().to_numpy()
        micros[iso] = np.where(good, times.astype("int64").to_numpy(), 0)
        ok[iso] = good
    return micros, ok


def _epoch_micros_of_text(text: pa.Array) -> np.ndarray:
    try:
        return _epoch_micros(pc.cast(text, pa.int64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        return _epoch_micros(np.array(text.to_pylist(), dtype="U").astype(np.float64))


NUMBER_SHARE = 0.9
"""Share of numbers (or times) from which a text column counts as numbers (or times) with some wrong cells."""
_SCALAR_CHARS = 64
"""Bytes of the longest cell that may be a number or a time."""


def payload_schema(table: pa.Table) -> dict[str, str]:
    """Return column name to kind: ``text``, ``number``, ``time``, ``bool``, ``binary``, ``list``, or ``empty``.

    ``empty`` is a column without a single value: it agrees with every kind.
    """
    return {
        field.name: column_kind(table[field.name].combine_chunks(), nested=field.metadata == LIST_METADATA)
        for field in table.schema
    }


def column_kind(array: pa.Array, *, nested: bool = False) -> str:
    """Return the kind of a column of a simple type; `nested`: some cells are JSON text of nested values."""
    types, kind = pa.types, array.type
    if array.null_count == len(array):
        return "empty"
    if nested and not types.is_large_string(kind):
        return "list"
    if types.is_boolean(kind):
        return "bool"
    if types.is_integer(kind):
        ends = pc.min_max(array).as_py()
        return "number" if ends["min"] >= -MAX_EXACT_INT and ends["max"] <= MAX_EXACT_INT else "text"
    if types.is_floating(kind):
        return "number"
    if types.is_timestamp(kind):
        return "time"
    if types.is_large_binary(kind):
        return "binary"
    if nested:
        lists = pc.sum(pc.match_substring_regex(array, r"^[\[{]")).as_py() or 0
        if lists >= NUMBER_SHARE * (len(array) - array.null_count):
            return "list"
    return _text_kind(array)


def _text_kind(array: pa.Array) -> str:
    """Return the kind of a large_string column: that of nine in ten of its non-empty cells."""
    full = array.filter(pc.fill_null(pc.greater(pc.binary_length(array), 0), False))
    if not len(full):
        return "empty"
    short = full.filter(pc.less_equal(pc.binary_length(full), _SCALAR_CHARS))
    if len(short) < NUMBER_SHARE * len(full):
        return "text"
    numbers = parse_numbers(full)
    if numbers.ok.sum() / max(1, numbers.present.sum()) >= NUMBER_SHARE:
        binary = np.isin(numbers.values, (0.0, 1.0)).mean() >= NUMBER_SHARE
        words = (pc.sum(pc.match_substring_regex(full, _TRUTH_PATTERN)).as_py() or 0) if binary else 0
        return "bool" if words >= NUMBER_SHARE * len(full) else "number"
    times = parse_times(full)
    return "time" if times.ok.sum() / max(1, times.present.sum()) >= NUMBER_SHARE else "text"
