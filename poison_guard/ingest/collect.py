"""Collect a batch: the rows of objects or of a frame become records with ids; rows that are not records are counted."""

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
from poison_guard.errors import DataError, ReadError, UsageError
from poison_guard.frames import empty_frame
from poison_guard.ingest.assemble import assemble_batch, map_rows
from poison_guard.ingest.cells import LIST_METADATA, NAIVE_METADATA, array_from_values, simplify
from poison_guard.ingest.continuation import NOTHING_EARLIER, Earlier
from poison_guard.ingest.join import Joined
from poison_guard.ingest.nested import Shape, has_root, is_name, name_fault, path_roots, reshape_rows
from poison_guard.ingest.objects import ObjectChanged, find_path, is_pattern, resolve_paths
from poison_guard.ingest.raw_table import (
    NAME_CHARS,
    Flag,
    Limits,
    RawTable,
    Unreadable,
    nesting_flags,
    unreadable_object,
)
from poison_guard.ingest.read import READER_FORMAT, read_object, read_table
from poison_guard.ingest.reader import free_memory
from poison_guard.ingest.shapes import column_shape
from poison_guard.records import Batch, ObjectRef
from poison_guard.text import shown_url

__all__ = [
    "batch_from_frame",
    "collect_frames",
    "empty_batch",
    "failed_digest",
    "read_controls",
    "read_frame",
    "reading_of",
    "series_to_array",
]


def collect_frames(
    contract: Contract,
    source: pd.DataFrame | Sequence[str] | str | None,
    *,
    home: str | Path,
    received_at: dt.datetime,
    seen: Collection[str] = frozenset(),
    earlier: Earlier = NOTHING_EARLIER,
) -> Batch:
    """Return the batch of all objects of `source` whose digests are not in `seen`.

    `source` is a frame, paths or URLs or patterns, or None for the contract's ``data.path``. An object that cannot be
    read for what it is is one row of ``unreadable``, unless `seen` holds its `failed_digest` and no person named it;
    one that changes while it is read is left for the next time. Rows that an object repeats of one taken in `earlier`
    have the ids they had. In
    ``Batch.objects`` the rows of an object are all its rows (1 for an unreadable object), so that
    ``sum(rows) == len(records) + duplicates + len(unreadable)``.

    Raises `DataError` if a single object named without a pattern is missing, empty, or lacks a column of the contract,
    and `ReadError` if anything but the object is the reason that it could not be read.
    """
    if isinstance(source, pd.DataFrame):
        batch = batch_from_frame(contract, source, object_uri=None, received_at=received_at, earlier=earlier)
        return empty_batch(contract, received_at=received_at) if batch.objects[0].digest in seen else batch
    paths = _paths_of(contract, source, Path(home))
    single = len(paths) == 1 and not is_pattern(paths[0])
    limits, digests = Limits.of(contract), set(seen)
    objects: list[tuple[ObjectRef, RawTable]] = []
    beside = joined_objects(contract, Path(home), limits) if contract.data.join else []
    roots = [Path(home).absolute(), *([contract.path.absolute().parent] if contract.path is not None else [])]
    for ref in resolve_paths(paths, limits, by_hand=source is not None, roots=roots):
        tried = source is None and failed_digest(contract, ref, received_at) in digests
        half_read = joined_digest(contract, ref, beside)
        known = tried or not digests.isdisjoint((ref.digest, half_read))
        raw = None if known else _read(ref, contract, limits, beside, single=single)
        digests.add(ref.digest)
        if raw is not None:
            digest = half_read if raw.unpaired else ref.digest
            objects.append((replace(ref, digest=digest, rows=len(raw.row_numbers) + len(raw.bad)), raw))
    if single and objects and not objects[0][0].rows:
        raise DataError(f"{shown_url(objects[0][0].uri)} holds no records{_why_none(objects)}")
    _refuse_without_memory(objects)
    mapped = map_rows([raw for _, raw in objects], contract, limits)
    rest = [(ref, replace(raw, table=pa.table({}))) for ref, raw in objects]
    objects.clear()  # the rows are in `mapped` now
    return assemble_batch(rest, mapped, contract, received_at, earlier)


_BYTES_A_ROW, _COPIES = 700, 2
"""What judging a batch takes at least: bytes a row, and copies of its cells; a million rows of a dozen columns took 1.2
GB (`benchmarks/results/scan.md`)."""


def _refuse_without_memory(objects: Sequence[tuple[ObjectRef, RawTable]]) -> None:
    """Raise `ReadError` where the machine has less memory left than judging these rows takes: it would be killed."""
    rows = sum(len(raw.row_numbers) for _, raw in objects)
    needed = _BYTES_A_ROW * rows + _COPIES * sum(raw.table.nbytes for _, raw in objects)
    free = free_memory()
    if needed > free:
        name = shown_url(max(objects, key=lambda one: len(one[1].row_numbers))[0].uri)
        more = f" and {len(objects) - 1} more" if objects[1:] else ""
        raise ReadError.of(
            f"{name}{more}",
            f"judging {rows:,} rows takes {needed / 1e9:.1f} GB of memory or more and {free / 1e9:.1f} GB are free: "
            "give fewer rows at a time, or run where there is more",
        )


def _why_none(objects: Sequence[tuple[ObjectRef, RawTable]]) -> str:
    """Return what is known of why a single object has no rows."""
    notes = [note for _, raw in objects for note in raw.notes]
    return f": {notes[0]}" if notes else "; there is nothing to read"


def failed_digest(contract: Contract, ref: ObjectRef, at: dt.datetime) -> str:
    """Return what an object counts as that could not be read: itself, for its reader, for today.

    While this is in `seen`, a schedule does not read the object again: it does the next day, or when the object, the
    contract's way of reading or `READER_FORMAT` has changed. A person who names the object has it read at once.
    """
    day = (at if at.tzinfo is None else at.astimezone(dt.UTC)).date().isoformat()
    parts = ["unreadable", *reading_of(contract), ref.digest, READER_FORMAT, day]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def joined_digest(contract: Contract, ref: ObjectRef, beside: Sequence[ObjectRef]) -> str:
    """Return what an object counts as of which some rows found no partner: itself, with the second file as it is.

    When that file grows the object is read again. Only where its rows have ids and may be revised: else a row that
    found its partner would be another record, or in conflict with itself.
    """
    if not (contract.data.join and contract.data.revisions and contract.has("record_id")):
        return ref.digest
    parts = ["joined", ref.digest, *sorted(other.digest for other in beside)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def reading_of(contract: Contract) -> list[Any]:
    """Return what decides how `contract` reads an object."""
    return [
        contract.name,
        sorted(contract.columns.items()),
        contract.features,
        contract.data,
        contract.parse,
        contract.privacy.drop,
        *([contract.signature] if contract.signature else []),
    ]


def _paths_of(contract: Contract, source: Sequence[str] | str | None, home: Path) -> list[str]:
    if source is not None:
        return [source] if isinstance(source, str) else [str(path) for path in source]
    if contract.data.path is None:
        raise UsageError(f"feed {contract.name} reads a query, not files; name files or set path in [data]")
    return [find_path(contract.data.path, contract_file=contract.path, home=home)]


def joined_objects(contract: Contract, home: Path, limits: Limits) -> list[ObjectRef]:
    """Return the objects that a feed's rows are joined to; `DataError` where there is none."""
    assert contract.data.join is not None  # noqa: S101  asked by the caller
    path = find_path(contract.data.join.path, contract_file=contract.path, home=home)
    try:
        return list(resolve_paths([path], limits, by_hand=True))
    except DataError as error:
        raise DataError(f"the file that [data.join] names cannot be used: {error}") from None


def _read(
    ref: ObjectRef, contract: Contract, limits: Limits, beside: Sequence[ObjectRef], *, single: bool
) -> RawTable | None:
    """Read one object; None if it changed meanwhile. A `single` one that changed or lacks a column is an error."""
    shape, names = Shape.of(contract), [*contract.columns.values(), *contract.features]
    if shape is not None:
        names = [root for name in names for root in path_roots(name)]
    try:
        raw = read_object(ref, limits, names, shape=shape, beside=beside)
    except ObjectChanged as change:
        if single:
            raise DataError(f"{shown_url(ref.uri)} cannot be read: {change}; run again") from None
        return None
    except Unreadable as refusal:
        return unreadable_object(ref.digest, str(refusal))
    reason = _missing_column(raw, contract)
    if reason and single:
        raise DataError(f"{shown_url(ref.uri)} cannot be used: {reason}")
    return unreadable_object(ref.digest, reason) if reason else _with_path_notes(raw, contract, single=single)


def _with_path_notes(raw: RawTable, contract: Contract, *, single: bool) -> RawTable:
    """Return `raw` with a note for each path that finds nothing in any of its rows.

    Of a `single` object nothing is said here: it is the batch, of which validation names each role without a value.
    """
    vain = _vain(raw, contract) if not single else []
    found = [f"{name}, which [columns] maps to {role}, matches nothing in it" for role, name in vain]
    absent = [(role, name) for role, name in contract.columns.items() if name not in raw.table.column_names]
    found += [
        f"{name}, which [columns] maps to {role}, is no column of it, and no path: {fault}"
        for role, name in absent
        if (fault := name_fault(name))
    ]
    hidden = (*contract.privacy.drop, *contract.privacy.private)
    found += [
        f"[privacy] names {name}, and it has no such column" for name in hidden if name not in raw.table.column_names
    ]
    return replace(raw, notes=(*raw.notes, *found)) if found else raw


def _vain(raw: RawTable, contract: Contract) -> list[tuple[str, str]]:
    """Return role and path of each path that finds nothing."""
    rows = raw.table.num_rows
    paths = [(role, name) for role, name in contract.columns.items() if not is_name(name)]
    names = raw.table.column_names
    return [(r, n) for r, n in paths if rows and n in names and raw.table[n].null_count == rows]


def _missing_column(raw: RawTable, contract: Contract) -> str | None:
    """Return why a table cannot be mapped: it lacks a column of the contract (if rows are sparse: all of them)."""
    roles = {**contract.columns, **{f"features ({name})": name for name in contract.features}}
    names = [name for name in raw.table.column_names if is_name(name) or name not in roles.values()]
    vain = dict(_vain(raw, contract))
    rootless = {role: name for role, name in vain.items() if not has_root(name, names, contract)}
    absent = {role: name for role, name in roles.items() if name not in raw.table.column_names} | rootless
    absent |= vain if len(vain.keys() | absent.keys()) == len(roles) else {}
    if not absent or (raw.sparse and (len(absent) < len(roles) or not np.size(raw.row_numbers))):
        return None
    role, name = next(iter(absent.items()))
    columns = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    what = f"it has no column {name}" if is_name(name) else f"nothing in it is at {name}"
    return f"{what}, which [columns] maps to {role}; it has {columns}"


def read_controls(contract: Contract, home: Path) -> pd.DataFrame:
    """Return the controls as ``item_id, answer`` (text); an empty frame where the contract names none."""
    if contract.controls is None:
        return empty_frame("controls")
    path = find_path(contract.controls, contract_file=contract.path, home=home)
    columns, ordered = ("item_id", "answer"), contract.parse.ordered
    table = read_table(path, columns=columns, labels=("answer",), ordered=ordered)
    doubled = table["item_id"].duplicated()
    if doubled.any():
        first = table.loc[doubled, "item_id"].iloc[0]
        raise DataError(f"{shown_url(path)} names the control {first!r} twice; keep one answer an item")
    return table


def batch_from_frame(
    contract: Contract,
    frame: pd.DataFrame,
    *,
    object_uri: str | None,
    received_at: dt.datetime,
    watermark: str | None = None,
    earlier: Earlier = NOTHING_EARLIER,
) -> Batch:
    """Return the batch of one frame under the user's column names.

    `object_uri` names its origin (``query:NAME``); None: ``frame:DIGEST``. The digest does not depend on the order of
    rows. Raises `DataError` if the frame has no rows, is past the bounds, or lacks a column of the contract.
    """
    limits = Limits.of(contract)
    raw = read_frame(frame, limits)
    shape = Shape.of(contract)
    if shape is not None:
        raw = reshape_rows(raw, shape, limits, _joined_rows(contract, shape, limits))
    reason = _missing_column(raw, contract)
    if reason:
        raise DataError(f"the frame cannot be used: {reason}")
    mapped = map_rows([raw], contract, limits)
    given_ids = mapped.columns.get("record_id")
    ids = [""] * len(raw.row_numbers) if given_ids is None else given_ids.fillna("").tolist()
    rows = sorted(f"{content}{record_id}" for content, record_id in zip(mapped.hashes, ids, strict=True))
    digest = hashlib.sha256("\n".join([object_uri or "", watermark or "", *rows]).encode()).hexdigest()
    ref = ObjectRef(object_uri or f"frame:{digest[:32]}", digest, 0, len(raw.row_numbers) + len(raw.bad), watermark)
    return assemble_batch([(ref, raw)], mapped, contract, received_at, earlier)


def _joined_rows(contract: Contract, shape: Shape, limits: Limits) -> Joined | None:
    """Return the second file's rows for a frame."""
    if contract.data.join is None:
        return None
    home = Path() if contract.path is None else contract.path.absolute().parent
    beside = joined_objects(contract, home, limits)
    try:
        return shape.joined_by([read_object(ref, limits) for ref in beside])
    except Unreadable as refusal:
        raise DataError(f"the file that [data.join] names cannot be used: {refusal}") from None


def empty_batch(contract: Contract, *, received_at: dt.datetime) -> Batch:
    """Return a batch of no objects, its frames with all their columns and types."""
    return assemble_batch([], map_rows([], contract, Limits.of(contract)), contract, received_at)


def read_frame(frame: pd.DataFrame, limits: Limits) -> RawTable:
    """Return the rows of `frame` in order, without its index; raise `DataError` if it has none or too many."""
    names = [str(name) for name in frame.columns]
    if not len(frame) or not names:
        raise DataError("the frame has no rows; there is nothing to read")
    for size, key in ((len(frame), "max_rows"), (len(names), "max_columns")):
        if size > getattr(limits, key):
            raise DataError(f"the frame has {size:,} {key[4:]}, more than {key} = {getattr(limits, key):,} in [data]")
    if len(set(names)) < len(names):
        raise DataError(f"the frame names the column {next(n for n in names if names.count(n) > 1)} twice; rename one")
    if any(not n or len(n) > NAME_CHARS for n in names):
        raise DataError(f"the frame has a column name that is empty or longer than {NAME_CHARS} characters; rename it")
    fields: list[pa.Field] = []
    arrays: list[pa.Array] = []
    flags: list[Flag] = []
    for i, name in enumerate(names):
        array, nested, values = series_to_array(frame.iloc[:, i])
        naive = NAIVE_METADATA if pa.types.is_timestamp(array.type) and _has_no_zone(frame.iloc[:, i]) else None
        fields.append(pa.field(name, array.type, metadata=LIST_METADATA if nested else naive))
        arrays.append(array)
        if nested:
            flags += nesting_flags(name, values, limits.max_depth)
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
    numbers = np.arange(1, len(frame) + 1, dtype=np.int64)
    return RawTable(table, numbers, flags=tuple(flags), shapes=(column_shape("frame", table.schema),))


def _has_no_zone(series: pd.Series) -> bool:
    """Return whether the times of a series name no zone: what a database answers is often so."""
    if series.dtype == object:
        return all(getattr(value, "tzinfo", None) is None for value in series)
    return getattr(series.dt, "tz", None) is None


def series_to_array(series: pd.Series) -> tuple[pa.Array, bool, list[Any]]:
    """Return an array of a simple type, whether the cells are nested, and their Python values if they were needed."""
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
