"""Bring the cells of one column to its role's type and to the canonical bytes that identity is made of.

What does not fit is noted and left missing. A canonical cell is its column's name, a tag and its value, each with its
length, so that no two rows share their bytes, whether they came from CSV, JSON or Parquet. A missing cell is no bytes
at all, so that a new column without values changes no identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.ingest.cells import as_text
from poison_guard.ingest.parsing import ParsedCells, parse_numbers, parse_times, present_cells
from poison_guard.ingest.raw_table import ID_CHARS, SHOWN_CHARS

__all__ = [
    "IssueLog",
    "RoleColumn",
    "canonical_numbers",
    "canonical_text",
    "canonical_times",
    "coerce_column",
    "plain_numbers",
]


_MAX_PER_ROW = 5
"""Issues kept of one row: one is enough to quarantine it, and a hostile row may have hundreds."""


class IssueLog:
    """Issues of the rows of one table, as ``(position, code, args)`` in `listed`."""

    def __init__(self, rows: int) -> None:
        self._counts = np.zeros(rows, np.int8)
        self.listed: list[tuple[int, str, Mapping[str, Any]]] = []

    def add(self, code: str, where: np.ndarray, column: str, **args: Any) -> None:
        """Note `code` for the rows where the mask `where`, ``(n,)``, is set.

        An argument that is an Arrow array gives each row its cell's text, cut; a NumPy array its number; others are the
        same for all.
        """
        positions = np.flatnonzero(where & (self._counts < _MAX_PER_ROW))
        self._counts[positions] += 1
        each = {key: _value_each(value, positions) for key, value in args.items()}
        for k, position in enumerate(positions.tolist()):
            own = {key: values[k] for key, values in each.items()}
            self.listed.append((position, code, {"column": column, **own}))


def _value_each(value: Any, positions: np.ndarray) -> list[Any]:
    if isinstance(value, pa.Array):
        shown = as_text(value.take(pa.array(positions))).fill_null("bytes that are not text")
        return pc.utf8_slice_codeunits(shown, 0, SHOWN_CHARS).to_pylist()
    return value[positions].tolist() if isinstance(value, np.ndarray) else [value] * len(positions)


def canonical_numbers(name: str, values: np.ndarray, there: np.ndarray) -> pa.Array:
    """Return ``(n,)`` large_binary: tag ``n`` and the float64, big-endian; minus zero is zero."""
    plain = np.where(there, values + 0.0, 0.0)
    return _fixed_width_cells(_cell_head(name, b"n"), plain.astype(">f8"), there)


def canonical_times(name: str, micros: np.ndarray, there: np.ndarray) -> pa.Array:
    """Return ``(n,)`` large_binary: tag ``d`` and the microseconds since 1970 as a big-endian int64."""
    return _fixed_width_cells(_cell_head(name, b"d"), micros.astype(">i8"), there)


def canonical_text(name: str, values: pa.Array) -> pa.Array:
    """Return ``(n,)`` large_binary of a large_string or large_binary array: tag ``t``, the length and the bytes."""
    there = np.asarray(values.is_valid())
    lengths = pc.fill_null(pc.cast(pc.binary_length(values), pa.int64()), 0).to_numpy(zero_copy_only=False)
    heads = _fixed_width_cells(_cell_head(name, b"t"), lengths.astype(">i8"), there)
    body = values.cast(pa.large_binary()).fill_null(b"")
    return pc.binary_join_element_wise(heads, body, pa.scalar(b"", pa.large_binary()))


def _cell_head(name: str, tag: bytes) -> bytes:
    text = name.encode("utf-8", "surrogatepass")
    return len(text).to_bytes(4, "big") + text + tag


def _fixed_width_cells(head: bytes, eights: np.ndarray, there: np.ndarray) -> pa.Array:
    """Cells of a head and eight bytes each, laid out in one buffer; empty where not `there`."""
    kept = np.ascontiguousarray(eights[there])
    data = np.empty((len(kept), len(head) + 8), np.uint8)
    data[:, : len(head)] = np.frombuffer(head, np.uint8)
    data[:, len(head) :] = kept.view(np.uint8).reshape(-1, 8)
    offsets = np.zeros(len(there) + 1, np.int64)
    np.cumsum(there * data.shape[1], out=offsets[1:])
    return pa.Array.from_buffers(pa.large_binary(), len(there), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


_IDENTITY_ROLES = ("record_id", "source_id", "author_id", "item_id", "answer", "label", "group")
"""Roles whose values are compared for being the same: a whole number is written without a fraction."""
_NEEDED_ROLES = ("record_id", "source_id", "item_id")
"""Roles without which a record of a feed that maps them cannot be judged."""
_NO_TEXT = pa.scalar(None, pa.large_string())

Coerced = tuple[pd.Series, pa.Array]
"""Values for the records frame, and each cell's canonical bytes (of the cell as it came, where it does not fit)."""


@dataclass(frozen=True, slots=True)
class RoleColumn:
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


def coerce_column(column: RoleColumn, log: IssueLog) -> Coerced:
    """Return the column in its role's type; cells that do not fit go to `log` and are missing in the values."""
    is_time = pa.types.is_timestamp(column.cells.type)
    match column.role:
        case "observed_at" | "source_since":
            return _coerce_times(column, log)
        case "rating":
            return _coerce_numbers(column, parse_numbers(column.cells), log)
        case "image" if pa.types.is_large_binary(column.cells.type):
            return _coerce_bytes(column, log)
        case "extra" if is_time:
            micros, there = column.cells.cast(pa.int64()), present_cells(column.cells)
            values = micros.fill_null(0).to_numpy(zero_copy_only=False)
            return _time_series(values, there), canonical_times(column.name, values, there)
        case "feature" | "extra" if column.kind in ("number", "bool", "text", "empty"):
            return _number_or_text(column, log)
        case _:
            return _coerce_text(column, log)


def plain_numbers(text: pa.Array) -> pa.Array:
    """Write ``4.0`` as ``4``: the same column arrives with a fraction when a tool read its blanks as NaN."""
    pattern = r"^(-?(?:0|[1-9][0-9]{0,17}))\.0{1,3}$"
    if not pc.any(pc.ends_with(text, ".0")).as_py() and not pc.any(pc.ends_with(text, "00")).as_py():
        return text
    return pc.replace_substring_regex(text, pattern, r"\1")


def _number_or_text(column: RoleColumn, log: IssueLog) -> Coerced:
    """A feature or a column without a role: numbers where the column's kind is, text else; one hash for both."""
    parsed = parse_numbers(column.cells)
    if column.kind in ("number", "bool") or (column.kind == "empty" and column.role == "feature"):
        return _coerce_numbers(column, parsed, log)
    values, cells = _coerce_text(replace(column, cells=as_text(column.cells)), log)
    if parsed.ok.any():
        cells = pc.if_else(pa.array(parsed.ok), canonical_numbers(column.name, parsed.values, parsed.ok), cells)
    return values, cells


def _coerce_numbers(column: RoleColumn, parsed: ParsedCells, log: IssueLog) -> Coerced:
    wrong = parsed.present & ~parsed.ok
    endless = parsed.ok & ~np.isfinite(parsed.values)
    log.add("wrong_type", wrong, column.given, value=column.cells, expected="a number")
    log.add("not_finite", endless, column.given, value=column.cells)
    cells = _or_original_text(column, canonical_numbers(column.name, parsed.values, parsed.ok), wrong)
    return pd.Series(np.where(endless, np.nan, parsed.values), dtype="float64"), cells


def _coerce_times(column: RoleColumn, log: IssueLog) -> Coerced:
    parsed = parse_times(column.cells)
    wrong = parsed.present & ~parsed.ok
    log.add("bad_time", wrong, column.given, value=column.cells)
    cells = _or_original_text(column, canonical_times(column.name, parsed.values, parsed.ok), wrong)
    return _time_series(parsed.values, parsed.ok), cells


def _or_original_text(column: RoleColumn, cells: pa.Array, wrong: np.ndarray) -> pa.Array:
    """Canonical cells, those that do not fit by their text: two wrong cells that differ stay different."""
    if not wrong.any():
        return cells
    return pc.if_else(pa.array(wrong), canonical_text(column.name, as_text(column.cells)), cells)


def _time_series(micros: np.ndarray, there: np.ndarray) -> pd.Series:
    times = micros.astype("datetime64[us]")
    times[~there] = np.datetime64("NaT")
    return pd.Series(times).dt.tz_localize("UTC")


def _coerce_bytes(column: RoleColumn, log: IssueLog) -> Coerced:
    lengths = pc.fill_null(pc.binary_length(column.cells), 0).to_numpy(zero_copy_only=False)
    long = lengths > column.max_chars
    log.add("cell_too_long", long, column.given, length=lengths, limit=column.max_chars)
    kept = pc.if_else(pa.array(long), pa.scalar(None, pa.large_binary()), column.cells)
    return pd.Series(kept.to_pylist(), dtype=object), canonical_text(column.name, column.cells)


def _coerce_text(column: RoleColumn, log: IssueLog) -> Coerced:
    present, text = present_cells(column.cells), as_text(column.cells)
    wrong = present & np.asarray(text.is_null()) & pa.types.is_large_binary(column.cells.type)
    log.add("wrong_type", wrong, column.given, value="bytes that are not UTF-8", expected="text")
    text = pc.if_else(pa.array(present), text, _NO_TEXT)
    if column.role in _IDENTITY_ROLES:
        text = plain_numbers(text)
    if column.role in _NEEDED_ROLES:
        log.add("missing_id", np.asarray(text.is_null()) & ~wrong, column.given)
    cells = canonical_text(column.name, text)
    if wrong.any():
        cells = pc.if_else(pa.array(wrong), canonical_text(column.name, column.cells), cells)
    return pd.Series(_shorten(column, text, log).to_pandas(), dtype="str"), cells


def _shorten(column: RoleColumn, text: pa.Array, log: IssueLog) -> pa.Array:
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
