"""Read the cells of a column as points in time: ISO 8601 with any zone or none (UTC), epoch numbers in any unit."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.ingest.numbers import Parsed, parse_numbers, present_cells

__all__ = ["EARLIEST", "LATEST", "parse_times"]

EARLIEST = int(dt.datetime(1970, 1, 1, tzinfo=dt.UTC).timestamp() * 1e6)
LATEST = int(dt.datetime(2200, 1, 1, tzinfo=dt.UTC).timestamp() * 1e6)
"""Microseconds since 1970 between which a sender's clock is believed."""
_EPOCH = r"^(?:[0-9]{9,19}(?:\.[0-9]{1,9})?|[0-9]\.[0-9]{1,17}[eE]\+?[0-9]{1,2})$"
_ISO = r"^[0-9]{4}-?[0-9]{2}-?[0-9]{2}(?:[T ][0-9:.,]{1,24} ?(?:Z|[+-][0-9]{2}:?(?:[0-9]{2})?)?)?$"


def parse_times(array: pa.Array) -> Parsed:
    """Read an array of a simple type as int64 microseconds since 1970, UTC.

    A number from 1e8 (1973) is seconds, from 1e11 milliseconds, from 1e14 microseconds, from 1e17 nanoseconds; one
    below is no time. Times outside 1970 to 2200 are not `ok`.
    """
    kind, n = array.type, len(array)
    if pa.types.is_timestamp(kind):
        micros = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        return _within(micros, present_cells(array), np.ones(n, bool))
    if pa.types.is_integer(kind):
        values = array.fill_null(0).to_numpy(zero_copy_only=False)
        return _within(_epoch(values), present_cells(array), np.ones(n, bool))
    if pa.types.is_floating(kind):
        numbers = parse_numbers(array)
        return _within(_epoch(numbers.values), numbers.present, numbers.ok)
    if pa.types.is_large_string(kind):
        return _parse_text(array)
    return Parsed(np.zeros(n, np.int64), present_cells(array), np.zeros(n, bool))


def _within(micros: np.ndarray, present: np.ndarray, ok: np.ndarray) -> Parsed:
    inside = ok & present & (micros >= EARLIEST) & (micros < LATEST)
    return Parsed(np.where(inside, micros, 0), present, inside)


def _epoch(values: np.ndarray) -> np.ndarray:
    """Microseconds of epoch numbers; what cannot be a time comes out as -1."""
    whole = values.dtype.kind == "i"
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
        micros[now] = scaled if whole else np.rint(scaled).astype(np.int64)
        open_ &= ~fits
    return micros


def _parse_text(array: pa.Array) -> Parsed:
    present = present_cells(array)
    text = pc.utf8_trim_whitespace(pc.if_else(pa.array(present), array, pa.scalar(None, pa.large_string())))
    text = pc.replace_substring_regex(text, r" ?UTC$", "Z")
    micros, ok = np.zeros(len(array), np.int64), np.zeros(len(array), bool)
    digits = _matches(text, _EPOCH)
    if digits.any():
        micros[digits] = _epoch_text(text.filter(pa.array(digits)))
        ok |= digits
    # the pattern keeps words such as "now" from pandas, which would read the clock
    iso = _matches(text, _ISO) & ~digits
    if iso.any():
        cells = pd.Series(text.filter(pa.array(iso)).to_pandas(), dtype="str")
        times = pd.to_datetime(cells, format="ISO8601", utc=True, errors="coerce").dt.as_unit("us")
        good = times.notna().to_numpy()
        micros[iso] = np.where(good, times.astype("int64").to_numpy(), 0)
        ok[iso] = good
    return _within(micros, present, ok)


def _epoch_text(text: pa.Array) -> np.ndarray:
    try:
        return _epoch(pc.cast(text, pa.int64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        return _epoch(np.array(text.to_pylist(), dtype="U").astype(np.float64))


def _matches(text: pa.Array, pattern: str) -> np.ndarray:
    return np.asarray(pc.fill_null(pc.match_substring_regex(text, pattern), False))
