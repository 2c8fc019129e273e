"""Read one object by its format, and small tables that people keep beside a feed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.config import Parse
from poison_guard.errors import DataError, ReadError
from poison_guard.ingest.cells import LIST_METADATA, as_text, join_tables
from poison_guard.ingest.folders import with_folder_columns
from poison_guard.ingest.formats import format_of
from poison_guard.ingest.nested import Shape
from poison_guard.ingest.numbers import are_names
from poison_guard.ingest.objects import ObjectChanged, local_copy, refused_link, resolve_paths
from poison_guard.ingest.parsing import column_kind, parse_numbers, parse_times
from poison_guard.ingest.raw_table import Limits, NotRead, RawTable, Unreadable, is_fault_of_file
from poison_guard.ingest.reader import read_in_child
from poison_guard.ingest.values import canonical_ids, canonical_labels, is_null_word, uuid_text
from poison_guard.records import ObjectRef
from poison_guard.text import shown_url, without_secrets

__all__ = ["READER_FORMAT", "natural_frame", "read_cells", "read_object", "read_raw", "read_table", "read_tables"]

_PLAIN = Parse()
READER_FORMAT = 3
"""Raise it when a reader reads what it could not read before: then unreadable objects are tried again at once."""


def read_object(
    ref: ObjectRef,
    limits: Limits,
    columns: Sequence[str] = (),
    *,
    shape: Shape | None = None,
    beside: Sequence[ObjectRef] = (),
) -> RawTable:
    """Return the rows of an object as they are, under the user's column names.

    `columns` are kept in a JSON object with too many keys; with a `shape` rows become the records that it makes of
    them, joined to those of the objects `beside`. Raises `Unreadable` if the object cannot be read for what it
    is, is past a bound, or changed since `ref` was made; `ReadError` if anything else failed while it was read.
    """
    if (link := refused_link(ref)) is not None:
        raise Unreadable(link)
    if ref.size > limits.max_bytes:
        raise Unreadable(f"it has {ref.size:,} bytes, more than max_bytes = {limits.max_bytes:,}")
    if ref.size == 0:
        raise Unreadable("it is empty")
    try:
        with ExitStack() as stack:
            path = stack.enter_context(local_copy(ref, limits))
            others = [(stack.enter_context(local_copy(other, limits)), other.uri) for other in beside]
            kinds = [(copy, format_of(copy, uri)) for copy, uri in others]
            raw = read_in_child(path, format_of(path, ref.uri), limits, columns, shape=shape, beside=kinds)
            raw = with_folder_columns(raw, ref.uri) if "=" in ref.uri else raw
    except NotRead as fault:
        raise ReadError.of(shown_url(ref.uri), str(fault)) from None
    except FileNotFoundError:
        raise ObjectChanged("it was removed while it was being read") from None
    except OSError as error:
        reason = error.strerror or without_secrets(error, ref.uri)
        if is_fault_of_file(error):
            raise Unreadable(f"it could not be opened again: {reason}") from None
        raise ReadError.of(shown_url(ref.uri), reason) from None
    if raw.table.num_columns == 0 and not raw.bad:
        raise Unreadable("it holds no column and no row")
    return raw


def read_raw(paths: Sequence[str], *, sample_rows: int | None = None) -> pd.DataFrame:
    """Return the readable rows of files under the user's column names, in natural types; see `natural_frame`.

    `sample_rows`: return only so many rows. Raises `DataError` if a file cannot be read or there is no row.
    """
    return natural_frame(read_cells(paths, sample_rows=sample_rows))


def read_cells(paths: Sequence[str], *, limits: Limits | None = None, sample_rows: int | None = None) -> pa.Table:
    """Return the readable rows of files as they came: text of CSV stays text. Raises as `read_raw` does."""
    table = _read_rows(paths, limits or Limits())
    return table if sample_rows is None else table.slice(0, sample_rows)


def natural_frame(table: pa.Table, parse: Parse = _PLAIN, times: Collection[str] = ()) -> pd.DataFrame:
    """Return a raw table as a frame: text columns of numbers (as `parse` writes them) are numeric.

    Nine in ten cells must be numbers, placeholders aside, none with a leading zero or more digits than a number holds.
    The columns of `times` are read as times.
    """
    columns = {}
    for name in table.column_names:
        cells = table[name].combine_chunks()
        if name in times:
            columns[name] = _times_of(cells, parse)
            continue
        if pa.types.is_large_binary(cells.type) and (ids := uuid_text(cells)).null_count == cells.null_count:
            cells = ids
        plain = _without_placeholders(cells, parse)
        kind = column_kind(plain, nested=table.schema.field(name).metadata == LIST_METADATA, parse=parse)
        columns[name] = _natural_series(plain if kind in ("number", "time", "bool") else cells, kind, parse)
    return pd.DataFrame(columns)


def _without_placeholders(cells: pa.Array, parse: Parse) -> pa.Array:
    if not pa.types.is_large_string(cells.type):
        return cells
    missing = is_null_word(pc.utf8_trim_whitespace(cells), parse.null_set)
    return pc.if_else(pa.array(missing), pa.scalar(None, pa.large_string()), cells) if missing.any() else cells


def _times_of(cells: pa.Array, parse: Parse) -> pd.Series:
    parsed = parse_times(cells, parse)
    times = parsed.values.astype("datetime64[us]")  # noqa: PD011  a NumPy array
    times[~parsed.ok] = np.datetime64("NaT")
    return pd.Series(times).dt.tz_localize("UTC")


def read_table(
    path: str,
    *,
    columns: Sequence[str],
    limits: Limits | None = None,
    labels: Sequence[str] = (),
    ordered: bool = False,
) -> pd.DataFrame:
    """Return the named columns of a small file that people keep beside a feed (controls, items, outcomes), as str.

    Cells are in the canonical form of ids, those of `labels` (lists `ordered` or not) in that of labels, as in records.
    Raises `DataError` with the file and what is missing or wrong in it.
    """
    table = _read_rows([path], limits or Limits(), strict=True)
    missing = next((c for c in columns if c not in table.column_names), None)
    if missing is not None:
        raise DataError(f"{shown_url(path)} has no column {missing}; it has {', '.join(table.column_names[:20])}")
    cells = {c: table[c].combine_chunks() for c in columns}
    texts = {
        c: canonical_labels(each, ordered=ordered) if c in labels else canonical_ids(as_text(each))
        for c, each in cells.items()
    }
    return pd.DataFrame({c: pd.Series(t.to_pandas(), dtype="str") for c, t in texts.items()})


def read_tables(path: str) -> list[RawTable]:
    """Return the rows of the files that a path names; `DataError` if one cannot be read."""
    bounds = Limits()
    read: list[RawTable] = []
    for ref in resolve_paths([path], bounds, by_hand=True):
        try:
            read.append(read_object(ref, bounds))
        except Unreadable as refusal:
            raise DataError(f"{shown_url(ref.uri)} cannot be read: {refusal}") from None
    return read


def _read_rows(paths: Sequence[str], limits: Limits, *, strict: bool = False) -> pa.Table:
    tables: list[pa.Table] = []
    fault = ""
    for ref in resolve_paths([paths] if isinstance(paths, str) else list(paths), limits, by_hand=True):
        try:
            raw = read_object(ref, limits)
        except Unreadable as refusal:
            raise DataError(f"{shown_url(ref.uri)} cannot be read: {refusal}") from None
        if strict and raw.bad:
            raise DataError(f"row {raw.bad[0].row} of {shown_url(ref.uri)} cannot be read: {raw.bad[0].reason}")
        tables.append(raw.table)
        if raw.bad and not fault:
            fault = f"; row {raw.bad[0].row} of {shown_url(ref.uri)}: {raw.bad[0].reason}"
    table = join_tables(tables)
    if table.num_rows == 0:
        raise DataError(f"{', '.join(map(shown_url, paths))} holds no rows that can be read{fault}")
    return table


def _natural_series(array: pa.Array, kind: str, parse: Parse) -> pd.Series:
    if not pa.types.is_large_string(array.type):
        return pd.Series(array.to_pandas())
    text = pd.Series(array.to_pandas(), dtype="str").replace("", None)
    if kind != "number" or are_names(array) or text.str.match(r"[+-]?0[0-9]").fillna(False).any():
        return text
    values = pd.Series(parse_numbers(array, parse).values)
    are_integers = values.notna().all() and bool((values % 1 == 0).all())
    return values.astype("int64") if are_integers else values
