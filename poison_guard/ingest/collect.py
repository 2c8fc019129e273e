"""Take a batch in: objects or a frame become records with identities, and what is no record stays accounted for."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from poison_guard.config import Contract
from poison_guard.errors import DataError
from poison_guard.ingest.assemble import ObjectRows, assemble_batch, map_objects
from poison_guard.ingest.cells import LIST_METADATA, array_from_values, nesting_depth, simplify
from poison_guard.ingest.objects import is_one_object, list_objects
from poison_guard.ingest.parquet import ParquetReader
from poison_guard.ingest.raw_table import NAME_CHARS, Flag, Limits, RawTable, Unreadable
from poison_guard.ingest.read import ObjectChanged, read_object
from poison_guard.records import Batch, ObjectRef

__all__ = ["batch_from_frame", "collect_frames", "empty_batch", "read_frame"]


def read_frame(frame: pd.DataFrame, limits: Limits) -> RawTable:
    """Return the rows of `frame`, in order, its index left out; `DataError` when it has none or is past the bounds."""
    names = [str(name) for name in frame.columns]
    if not len(frame) or not names:
        raise DataError("the frame has no rows; there is nothing to read")
    for found, key in ((len(frame), "max_rows"), (len(names), "max_columns")):
        if found > getattr(limits, key):
            raise DataError(f"the frame has {found:,} {key[4:]}, more than {key} = {getattr(limits, key):,} in [data]")
    if len(set(names)) < len(names):
        raise DataError(f"the frame names the column {next(n for n in names if names.count(n) > 1)} twice; rename one")
    if any(not n or len(n) > NAME_CHARS for n in names):
        raise DataError(f"the frame has a column name that is empty or longer than {NAME_CHARS} characters; rename it")
    fields: list[pa.Field] = []
    arrays: list[pa.Array] = []
    flags: list[Flag] = []
    for i, name in enumerate(names):
        array, nested, values = _frame_column(frame.iloc[:, i])
        fields.append(pa.field(name, array.type, metadata=LIST_METADATA if nested else None))
        arrays.append(array)
        if nested:
            flags += _nesting_flags(name, values, limits.max_depth)
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
    return RawTable(table, np.arange(1, len(frame) + 1, dtype=np.int64), flags=tuple(flags))


def _frame_column(series: pd.Series) -> tuple[pa.Array, bool, list[Any]]:
    if series.dtype != object:
        try:
            array = pa.array(series, from_pandas=True)
            nested = pa.types.is_nested(array.type)
            array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
            return simplify(array), nested, []
        except (pa.ArrowException, TypeError, ValueError):
            pass
    values = [None if _is_missing(v) else v for v in series.astype(object).tolist()]
    try:
        array, nested = array_from_values(values)
    except UnicodeEncodeError:
        values = [v.encode("utf-8", "backslashreplace").decode() if isinstance(v, str) else v for v in values]
        array, nested = array_from_values(values)
    return array, nested, values


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _nesting_flags(name: str, values: list[Any], limit: int) -> list[Flag]:
    args = {"column": name, "limit": limit}
    deep = (i for i, v in enumerate(values) if isinstance(v, (dict, list)) and nesting_depth(v, limit) > limit)
    return [Flag(i, "nested_too_deep", args) for i in deep]


def collect_frames(
    contract: Contract,
    source: pd.DataFrame | Sequence[str] | str | None,
    *,
    home: str | Path,
    received_at: dt.datetime,
    seen: Collection[str] = frozenset(),
) -> Batch:
    """Return the batch of all objects of `source` whose digests are not in `seen`.

    `source` is a frame, paths or URLs or patterns, or None for the contract's ``data.path``. An object that cannot be
    read is one row of ``unreadable``; one that changes while it is read is left for the next time. In
    ``Batch.objects`` an object's rows are all its rows (1 for an unreadable object), so that
    ``sum(rows) == len(records) + duplicates + len(unreadable)``.

    Raises `DataError` when a single object named by hand is missing, empty, or lacks a column of the contract.
    """
    if isinstance(source, pd.DataFrame):
        batch = batch_from_frame(contract, source, object_uri=None, received_at=received_at)
        return empty_batch(contract, received_at=received_at) if batch.objects[0].digest in seen else batch
    limits, alone = Limits.of(contract), is_one_object(contract, source)
    known = set(seen)
    pieces: list[ObjectRows] = []
    with ParquetReader(limits) as reader:
        for ref in list_objects(contract, source, home=home):
            if ref.digest not in known:
                known.add(ref.digest)
                piece = _read_object_rows(ref, contract, limits, reader, alone=alone)
                pieces += [piece] if piece else []
    if alone and pieces and not any(p.rows for p in pieces):
        raise DataError(f"{pieces[0].ref.uri} holds no records; there is nothing to read")
    return assemble_batch(map_objects(pieces, contract, limits), contract, received_at)


def batch_from_frame(
    contract: Contract,
    frame: pd.DataFrame,
    *,
    object_uri: str | None,
    received_at: dt.datetime,
    watermark: str | None = None,
) -> Batch:
    """Return the batch of one frame under the user's column names.

    `object_uri` names where it came from (``query:NAME``); None: ``frame:DIGEST``. The digest does not depend on the
    order of rows. Raises `DataError` for a frame without rows, past the bounds, or lacking a column of the contract.
    """
    limits = Limits.of(contract)
    raw = read_frame(frame, limits)
    why = _missing_column(raw, contract)
    if why:
        raise DataError(f"the frame cannot be used: {why}")
    blank = ObjectRef("", "", 0, len(frame), watermark)
    gathered = map_objects([ObjectRows(blank, raw)], contract, limits)
    given = gathered.mapped.columns.get("record_id")
    ids = [""] * len(frame) if given is None else given.fillna("").tolist()
    rows = sorted(f"{content}{record_id}" for content, record_id in zip(gathered.hashes, ids, strict=True))
    digest = hashlib.sha256("\n".join([object_uri or "", watermark or "", *rows]).encode()).hexdigest()
    ref = replace(blank, uri=object_uri or f"frame:{digest[:32]}", digest=digest)
    return assemble_batch(replace(gathered, pieces=(ObjectRows(ref, raw),)), contract, received_at)


def empty_batch(contract: Contract, *, received_at: dt.datetime) -> Batch:
    """Return a batch of no objects, its frames with all their columns and types."""
    return assemble_batch(map_objects([], contract, Limits.of(contract)), contract, received_at)


def _read_object_rows(
    ref: ObjectRef, contract: Contract, limits: Limits, reader: ParquetReader, *, alone: bool
) -> ObjectRows | None:
    """Read one object; None when it changed meanwhile."""
    mapped = [*contract.columns.values(), *contract.features]
    try:
        raw = read_object(ref, limits, reader, mapped)
    except ObjectChanged as refusal:
        if alone:
            raise DataError(f"{ref.uri} cannot be read: {refusal}; run again") from None
        return None
    except Unreadable as refusal:
        return ObjectRows(replace(ref, rows=1), None, str(refusal))
    why = _missing_column(raw, contract)
    if why and alone:
        raise DataError(f"{ref.uri} cannot be used: {why}")
    if why:
        return ObjectRows(replace(ref, rows=1), None, why)
    return ObjectRows(replace(ref, rows=len(raw.rows) + len(raw.bad)), raw)


def _missing_column(raw: RawTable, contract: Contract) -> str | None:
    """Why a table cannot be mapped: it lacks a column of the contract (where rows are sparse: all of them)."""
    roles = {**contract.columns, **{f"features ({name})": name for name in contract.features}}
    absent = {role: name for role, name in roles.items() if name not in raw.table.column_names}
    if not absent or (raw.sparse and (len(absent) < len(roles) or not np.size(raw.rows))):
        return None
    role, name = next(iter(absent.items()))
    there = ", ".join(raw.table.column_names[:20]) + (", …" if raw.table.num_columns > 20 else "")
    return f"it has no column {name}, which [columns] maps to {role}; it has {there}"
