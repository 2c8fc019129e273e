"""Convert the cells of one column to its role's type, and to the canonical bytes that a record's identity is made of.

A cell that does not fit becomes an issue and is missing. A canonical cell is its column's name, a tag and its value,
each with its length: no two different rows share their bytes, and equal rows do, from CSV, JSON and Parquet alike. A
missing cell has no bytes, so that a new column without values changes no identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.config import Parse
from poison_guard.ingest.cells import as_text, sorted_json
from poison_guard.ingest.parsing import ParsedCells, parse_numbers, parse_times, present_cells
from poison_guard.ingest.raw_table import ID_CHARS, SHOWN_CHARS
from poison_guard.ingest.times import iso_times
from poison_guard.ingest.values import bytes_text, canonical_ids, canonical_labels, is_null_word, uuid_text

__all__ = [
    "IssueLog",
    "RoleColumn",
    "canonical_cells",
    "canonical_text",
    "coerce_column",
]


_MAX_PER_ROW = 5
"""Issues listed per row: one is enough to quarantine it, and a hostile row may have hundreds."""


@dataclass(frozen=True, slots=True)
class IssueLog:
    """Issues of the rows of one table."""

    counts: np.ndarray
    """``(n,)`` int8, issues per row."""
    issues: list[tuple[int, str, Mapping[str, Any]]] = field(default_factory=list)
    """``(position, code, args)``."""

    def add(self, code: str, mask: np.ndarray, column: str, **args: Any) -> None:
        """Add `code` for the rows where `mask`, ``(n,)``, is set.

        An argument that is an Arrow array gives each row its cell's text, cut; a NumPy array its number; others are the
        same for all rows.
        """
        positions = np.flatnonzero(mask & (self.counts < _MAX_PER_ROW))
        self.counts[positions] += 1
        by_row: dict[str, list[Any]] = {}
        for key, value in args.items():
            if isinstance(value, pa.Array):
                shown = as_text(value.take(pa.array(positions))).fill_null("bytes that are not text")
                by_row[key] = pc.utf8_slice_codeunits(shown, 0, SHOWN_CHARS).to_pylist()
            else:
                by_row[key] = value[positions].tolist() if isinstance(value, np.ndarray) else [value] * len(positions)
        for k, position in enumerate(positions.tolist()):
            self.issues.append((position, code, {"column": column, **{key: by_row[key][k] for key in by_row}}))


def canonical_cells(name: str, tag: bytes, values: np.ndarray, present: np.ndarray) -> pa.Array:
    """Return ``(n,)`` large_binary of eight-byte values: name, tag and value; empty if not `present`.

    Tag ``n`` goes with float64 (minus zero is zero), ``d`` with microseconds since 1970 as int64; all big-endian.
    """
    text = name.encode("utf-8", "surrogatepass")
    head = len(text).to_bytes(4, "big") + text + tag
    eights = np.ascontiguousarray((values[present] + 0).astype(values.dtype.newbyteorder(">")))
    data = np.empty((len(eights), len(head) + 8), np.uint8)
    data[:, : len(head)] = np.frombuffer(head, np.uint8)
    data[:, len(head) :] = eights.view(np.uint8).reshape(-1, 8)
    offsets = np.zeros(len(present) + 1, np.int64)
    np.cumsum(present * data.shape[1], out=offsets[1:])
    return pa.Array.from_buffers(pa.large_binary(), len(present), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def canonical_text(name: str, values: pa.Array) -> pa.Array:
    """Return ``(n,)`` large_binary of a large_string or large_binary array: name, tag ``t``, length and bytes."""
    lengths = pc.fill_null(pc.cast(pc.binary_length(values), pa.int64()), 0).to_numpy(zero_copy_only=False)
    heads = canonical_cells(name, b"t", lengths, np.asarray(values.is_valid()))
    body = values.cast(pa.large_binary()).fill_null(b"")
    return pc.binary_join_element_wise(heads, body, pa.scalar(b"", pa.large_binary()))


_IDS = ("record_id", "source_id", "author_id", "item_id", "group")
"""Roles whose values name something."""
_LABELS = ("answer", "label")
_NEEDED_ROLES = ("record_id", "source_id", "item_id")
"""Roles without which a record of a feed that maps them cannot be judged."""
_NO_TEXT = pa.scalar(None, pa.large_string())


class Coerced(NamedTuple):
    """One column in its role's type."""

    values: pd.Series
    """Values for the records frame."""
    cells: pa.Array
    """Canonical bytes of each cell (those of its text if it does not fit)."""
    given: pa.Array | None = None
    """large_string: what was written where the value is another one, else null; None where no value is."""


@dataclass(frozen=True, slots=True)
class RoleColumn:
    """One column to coerce."""

    name: str
    """Its name in the records frame."""
    data_name: str
    """Its name in the user's data, which issues use."""
    role: str
    """A role of the contract, ``feature``, or ``extra`` for a column without one."""
    cells: pa.Array
    """Its cells, of a type of `cells.simple_type`."""
    kind: str
    """Its kind in the payload schema."""
    max_chars: int
    """Characters (bytes of an image) that a cell may have."""
    parse: Parse = field(default_factory=Parse)
    """How its cells are written."""
    naive: bool = False
    """Whether its cells are timestamps without a zone."""


def coerce_column(column: RoleColumn, log: IssueLog) -> Coerced:
    """Return the column in its role's type; a cell that does not fit goes to `log` and is missing in the values."""
    match column.role:
        case "observed_at" | "source_since" | "sent_at":
            return _coerce_parsed(column, parse_times(column.cells, column.parse, naive=column.naive), log)
        case "rating" | "reward":
            return _coerce_parsed(column, parse_numbers(column.cells, column.parse), log)
        case "image" if pa.types.is_large_binary(column.cells.type):
            return _coerce_bytes(column, log)
        case "extra" if pa.types.is_timestamp(column.cells.type):
            micros = column.cells.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
            present = present_cells(column.cells)
            return _coerce_parsed(column, ParsedCells(micros, present, present), log)
        case "extra" if pa.types.is_large_binary(column.cells.type):
            return _kept_bytes(column)
        case "extra":
            return _number_or_text(column, log)
        case "feature" if column.kind in ("number", "bool", "text", "empty"):
            return _number_or_text(column, log)
        case _:
            return _coerce_text(column, log)


def _number_or_text(column: RoleColumn, log: IssueLog) -> Coerced:
    """A feature or a column without a role: numbers if that is the column's kind, else text; one hash for both.

    A time in ISO 8601 in a column without a role has the hash of the time that a typed file holds.
    """
    is_feature = column.role == "feature"
    parsed = parse_numbers(column.cells, column.parse) if is_feature else parse_numbers(column.cells)
    if column.kind in ("number", "bool") or (column.kind == "empty" and is_feature):
        return _coerce_parsed(column, parsed, log)
    values, cells, given = _coerce_text(column, log)
    if parsed.ok.any():
        numbers = canonical_cells(column.name, b"n", parsed.values, parsed.ok)
        cells = pc.if_else(pa.array(parsed.ok), numbers, cells)
    if not is_feature and (times := iso_times(column.cells)).ok.any():
        cells = pc.if_else(pa.array(times.ok), canonical_cells(column.name, b"d", times.values, times.ok), cells)
    return Coerced(values, cells, given)


def _kept_bytes(column: RoleColumn) -> Coerced:
    """Bytes without a role: the value is text where they are; the hash is that of the text that they are written as."""
    values = pd.Series(as_text(column.cells).to_pandas(), dtype="str")
    return Coerced(values, canonical_text(column.name, bytes_text(column.cells)))


def _coerce_parsed(column: RoleColumn, parsed: ParsedCells, log: IssueLog) -> Coerced:
    """Return numbers (float64), or times if `parsed` holds microseconds (int64).

    The canonical bytes of a wrong cell are its text: two wrong cells that differ stay different.
    """
    wrong = parsed.present & ~parsed.ok
    text = as_text(column.cells) if wrong.any() else None
    if text is not None and (column.role != "extra"):
        wrong &= ~is_null_word(pc.utf8_trim_whitespace(text), column.parse.null_set)
    parsed_values = parsed.values  # noqa: PD011  a NumPy array
    is_time = parsed_values.dtype == np.int64
    if is_time:
        formats = {"formats": ", ".join(column.parse.time_format)} if column.parse.time_format else {}
        log.add("bad_time", wrong, column.data_name, value=column.cells, **formats)
        times = parsed_values.astype("datetime64[us]")
        times[~parsed.ok] = np.datetime64("NaT")
        values = pd.Series(times).dt.tz_localize("UTC")
    else:
        infinite = parsed.ok & ~np.isfinite(parsed_values)
        log.add("wrong_type", wrong, column.data_name, value=column.cells, expected="a number")
        log.add("not_finite", infinite, column.data_name, value=column.cells)
        values = pd.Series(np.where(infinite, np.nan, parsed_values + 0.0), dtype="float64")  # minus zero is zero
    cells = canonical_cells(column.name, b"d" if is_time else b"n", parsed_values, parsed.ok)
    if text is None or not wrong.any():
        return Coerced(values, cells)
    cells = pc.if_else(pa.array(wrong), canonical_text(column.name, text), cells)
    return Coerced(values, cells, pc.if_else(pa.array(wrong), text, _NO_TEXT))


def _coerce_bytes(column: RoleColumn, log: IssueLog) -> Coerced:
    lengths = pc.fill_null(pc.binary_length(column.cells), 0).to_numpy(zero_copy_only=False)
    long = lengths > column.max_chars
    log.add("cell_too_long", long, column.data_name, length=lengths, limit=column.max_chars)
    short = pc.if_else(pa.array(long), pa.scalar(None, pa.large_binary()), column.cells)
    return Coerced(pd.Series(short.to_pylist(), dtype=object), canonical_text(column.name, bytes_text(column.cells)))


def _coerce_text(column: RoleColumn, log: IssueLog) -> Coerced:
    raw, role = column.cells, column.role
    is_bytes = pa.types.is_large_binary(raw.type)
    written = uuid_text(raw) if is_bytes and role in _IDS else as_text(raw)
    wrong = present_cells(raw) & np.asarray(written.is_null()) & is_bytes
    log.add("wrong_type", wrong, column.data_name, value="bytes that are not UTF-8", expected="text")
    written = pc.if_else(pa.array(present_cells(written)), written, _NO_TEXT)
    text = written
    if role in _IDS:
        text = canonical_ids(written, column.parse.null_set)
        if role == "source_id" and column.parse.anonymous:
            text = pc.if_else(pa.array(np.asarray(text.is_null()) & ~wrong), column.parse.anonymous.strip(), text)
    elif role in _LABELS:
        text = canonical_labels(written if pa.types.is_large_string(raw.type) else raw, ordered=column.parse.ordered)
    if role in _NEEDED_ROLES:
        missing, blank = np.asarray(text.is_null()) & ~wrong, np.asarray(written.is_null())
        log.add("missing_id", missing & blank, column.data_name)
        log.add("missing_id", missing & ~blank, column.data_name, value=written)
    cells = canonical_text(column.name, sorted_json(text))
    if wrong.any():
        cells = pc.if_else(pa.array(wrong), canonical_text(column.name, raw), cells)
    given = _written_otherwise(written, text) if role in _IDS or role in _LABELS else None
    limit = min(ID_CHARS, column.max_chars) if role in _IDS else column.max_chars  # an answer may be a transcript
    if (pc.max(pc.binary_length(text)).as_py() or 0) > limit:
        text = _cut(column, text, limit, log)
    return Coerced(pd.Series(text.to_pandas(), dtype="str"), cells, given)


def _written_otherwise(written: pa.Array, text: pa.Array) -> pa.Array | None:
    """Return the cells of `written` that `text` has otherwise; None if there is none."""
    if written is text:
        return None
    same = pc.and_(pc.is_null(written), pc.is_null(text))
    same = pc.or_(same, pc.fill_null(pc.equal(written, text), False))
    return None if pc.all(same).as_py() in (True, None) else pc.if_else(same, _NO_TEXT, written)


def _cut(column: RoleColumn, text: pa.Array, limit: int, log: IssueLog) -> pa.Array:
    """Cut cells that are too long; an identity ends in a hash of its whole text, so that two ids stay different."""
    lengths = pc.fill_null(pc.utf8_length(text), 0).to_numpy(zero_copy_only=False)
    long = lengths > limit
    log.add("cell_too_long", long, column.data_name, length=lengths, limit=limit)
    if column.role not in (*_IDS, *_LABELS):
        return pc.utf8_slice_codeunits(text, 0, limit)
    full = text.filter(pa.array(long)).to_pylist()
    ends = [f"{v[: max(0, limit - 33)]}~{hashlib.blake2b(v.encode(), digest_size=16).hexdigest()}" for v in full]
    return pc.replace_with_mask(text, pa.array(long), pa.array(ends, pa.large_string()))
