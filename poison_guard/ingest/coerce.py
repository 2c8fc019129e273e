"""Bring the cells of one column to its role's type; what does not fit is noted and left missing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.ingest.canonical import number_cells, text_cells, time_cells
from poison_guard.ingest.cells import as_text
from poison_guard.ingest.issues import IssueLog
from poison_guard.ingest.limits import ID_CHARS
from poison_guard.ingest.numbers import Parsed, parse_numbers, present_cells
from poison_guard.ingest.times import parse_times

__all__ = ["Column", "coerce", "plain_numbers"]

_IDENTITY_ROLES = ("record_id", "source_id", "author_id", "item_id", "answer", "label", "group")
"""Roles whose values are compared for being the same: a whole number is written without a fraction."""
_NEEDED_ROLES = ("record_id", "source_id", "item_id")
"""Roles without which a record of a feed that maps them cannot be judged."""
_NO_TEXT = pa.scalar(None, pa.large_string())

Coerced = tuple[pd.Series, pa.Array]
"""Values for the records frame, and each cell's canonical bytes (of the cell as it came, where it does not fit)."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column to coerce."""

    name: str
    """Its name in the records frame."""
    given: str
    """Its name in the user's data, which issues speak of."""
    role: str
    """A role of the contract, ``feature``, or ``extra`` for a column without one."""
    cells: pa.Array
    """Its cells, of a type of `cells.simple_type`."""
    kind: str
    """Its kind in the payload schema."""
    max_chars: int
    """Characters (bytes of an image) a cell may have."""


def coerce(column: Column, log: IssueLog) -> Coerced:
    """Return the column in its role's type; cells that do not fit go to `log` and are missing in the values."""
    is_time = pa.types.is_timestamp(column.cells.type)
    match column.role:
        case "observed_at" | "source_since":
            return _times(column, log)
        case "rating":
            return _numbers(column, parse_numbers(column.cells), log)
        case "image" if pa.types.is_large_binary(column.cells.type):
            return _bytes(column, log)
        case "extra" if is_time:
            micros, there = column.cells.cast(pa.int64()), present_cells(column.cells)
            values = micros.fill_null(0).to_numpy(zero_copy_only=False)
            return _moments(values, there), time_cells(column.name, values, there)
        case "feature" | "extra" if column.kind in ("number", "bool", "text", "empty"):
            return _number_or_text(column, log)
        case _:
            return _text(column, log)


def plain_numbers(text: pa.Array) -> pa.Array:
    """Write ``4.0`` as ``4``: the same column arrives with a fraction when a tool read its blanks as NaN."""
    pattern = r"^(-?(?:0|[1-9][0-9]{0,17}))\.0{1,3}$"
    if not pc.any(pc.ends_with(text, ".0")).as_py() and not pc.any(pc.ends_with(text, "00")).as_py():
        return text
    return pc.replace_substring_regex(text, pattern, r"\1")


def _number_or_text(column: Column, log: IssueLog) -> Coerced:
    """A feature or a column without a role: numbers where the column's kind is, text else; one hash for both."""
    parsed = parse_numbers(column.cells)
    if column.kind in ("number", "bool") or (column.kind == "empty" and column.role == "feature"):
        return _numbers(column, parsed, log)
    values, cells = _text(replace(column, cells=as_text(column.cells)), log)
    if parsed.ok.any():
        cells = pc.if_else(pa.array(parsed.ok), number_cells(column.name, parsed.values, parsed.ok), cells)
    return values, cells


def _numbers(column: Column, parsed: Parsed, log: IssueLog) -> Coerced:
    wrong = parsed.present & ~parsed.ok
    endless = parsed.ok & ~np.isfinite(parsed.values)
    log.add("wrong_type", wrong, column.given, value=column.cells, expected="a number")
    log.add("not_finite", endless, column.given, value=column.cells)
    cells = _or_as_it_came(column, number_cells(column.name, parsed.values, parsed.ok), wrong)
    return pd.Series(np.where(endless, np.nan, parsed.values), dtype="float64"), cells


def _times(column: Column, log: IssueLog) -> Coerced:
    parsed = parse_times(column.cells)
    wrong = parsed.present & ~parsed.ok
    log.add("bad_time", wrong, column.given, value=column.cells)
    cells = _or_as_it_came(column, time_cells(column.name, parsed.values, parsed.ok), wrong)
    return _moments(parsed.values, parsed.ok), cells


def _or_as_it_came(column: Column, cells: pa.Array, wrong: np.ndarray) -> pa.Array:
    """Canonical cells, those that do not fit by their text: two wrong cells that differ stay different."""
    if not wrong.any():
        return cells
    return pc.if_else(pa.array(wrong), text_cells(column.name, as_text(column.cells)), cells)


def _moments(micros: np.ndarray, there: np.ndarray) -> pd.Series:
    times = micros.astype("datetime64[us]")
    times[~there] = np.datetime64("NaT")
    return pd.Series(times).dt.tz_localize("UTC")


def _bytes(column: Column, log: IssueLog) -> Coerced:
    lengths = pc.fill_null(pc.binary_length(column.cells), 0).to_numpy(zero_copy_only=False)
    long = lengths > column.max_chars
    log.add("cell_too_long", long, column.given, length=lengths, limit=column.max_chars)
    kept = pc.if_else(pa.array(long), pa.scalar(None, pa.large_binary()), column.cells)
    return pd.Series(kept.to_pylist(), dtype=object), text_cells(column.name, column.cells)


def _text(column: Column, log: IssueLog) -> Coerced:
    present, text = present_cells(column.cells), as_text(column.cells)
    wrong = present & np.asarray(text.is_null()) & pa.types.is_large_binary(column.cells.type)
    log.add("wrong_type", wrong, column.given, value="bytes that are not UTF-8", expected="text")
    text = pc.if_else(pa.array(present), text, _NO_TEXT)
    if column.role in _IDENTITY_ROLES:
        text = plain_numbers(text)
    if column.role in _NEEDED_ROLES:
        log.add("missing_id", np.asarray(text.is_null()) & ~wrong, column.given)
    cells = text_cells(column.name, text)
    if wrong.any():
        cells = pc.if_else(pa.array(wrong), text_cells(column.name, column.cells), cells)
    return pd.Series(_shorten(column, text, log).to_pandas(), dtype="str"), cells


def _shorten(column: Column, text: pa.Array, log: IssueLog) -> pa.Array:
    """Cut cells beyond the limit; identities end in a hash of the whole, so that two stay two."""
    identity = column.role in _IDENTITY_ROLES
    is_key = identity and column.role not in ("answer", "label")  # a transcript is an answer, and long
    limit = min(ID_CHARS, column.max_chars) if is_key else column.max_chars
    if (pc.max(pc.binary_length(text)).as_py() or 0) <= limit:
        return text
    lengths = pc.fill_null(pc.utf8_length(text), 0).to_numpy(zero_copy_only=False)
    long = lengths > limit
    log.add("cell_too_long", long, column.given, length=lengths, limit=limit)
    if not identity:
        return pc.utf8_slice_codeunits(text, 0, limit)
    whole = text.filter(pa.array(long)).to_pylist()
    ends = [f"{v[: max(0, limit - 33)]}~{hashlib.blake2b(v.encode(), digest_size=16).hexdigest()}" for v in whole]
    return pc.replace_with_mask(text, pa.array(long), pa.array(ends, pa.large_string()))
