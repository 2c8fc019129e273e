"""Take a batch in: objects or a frame become records with identities, and what is no record stays accounted for."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.errors import DataError
from poison_guard.ingest.assemble import Piece, assemble, gather
from poison_guard.ingest.frames import read_frame
from poison_guard.ingest.limits import Limits, Unreadable
from poison_guard.ingest.objects import by_hand, list_objects
from poison_guard.ingest.parquet import ParquetReader
from poison_guard.ingest.raw import RawTable
from poison_guard.ingest.read import Changed, read_object
from poison_guard.records import Batch, ObjectRef

__all__ = ["batch_from_frame", "collect_frames", "empty_batch"]


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
    limits, alone = Limits.of(contract), by_hand(contract, source)
    known = set(seen)
    pieces: list[Piece] = []
    with ParquetReader(limits) as reader:
        for ref in list_objects(contract, source, home=home):
            if ref.digest not in known:
                known.add(ref.digest)
                piece = _read(ref, contract, limits, reader, alone=alone)
                pieces += [piece] if piece else []
    if alone and pieces and not any(p.rows for p in pieces):
        raise DataError(f"{pieces[0].ref.uri} holds no records; there is nothing to read")
    return assemble(gather(pieces, contract, limits), contract, received_at)


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
    why = _lacks(raw, contract)
    if why:
        raise DataError(f"the frame cannot be used: {why}")
    blank = ObjectRef("", "", 0, len(frame), watermark)
    gathered = gather([Piece(blank, raw)], contract, limits)
    given = gathered.mapped.columns.get("record_id")
    ids = [""] * len(frame) if given is None else given.fillna("").tolist()
    rows = sorted(f"{content}{record_id}" for content, record_id in zip(gathered.hashes, ids, strict=True))
    digest = hashlib.sha256("\n".join([object_uri or "", watermark or "", *rows]).encode()).hexdigest()
    ref = replace(blank, uri=object_uri or f"frame:{digest[:32]}", digest=digest)
    return assemble(replace(gathered, pieces=(Piece(ref, raw),)), contract, received_at)


def empty_batch(contract: Contract, *, received_at: dt.datetime) -> Batch:
    """Return a batch of no objects, its frames with all their columns and types."""
    return assemble(gather([], contract, Limits.of(contract)), contract, received_at)


def _read(ref: ObjectRef, contract: Contract, limits: Limits, reader: ParquetReader, *, alone: bool) -> Piece | None:
    """Read one object; None when it changed meanwhile."""
    mapped = [*contract.columns.values(), *contract.features]
    try:
        raw = read_object(ref, limits, reader, mapped)
    except Changed as refusal:
        if alone:
            raise DataError(f"{ref.uri} cannot be read: {refusal}; run again") from None
        return None
    except Unreadable as refusal:
        return Piece(replace(ref, rows=1), None, str(refusal))
    why = _lacks(raw, contract)
    if why and alone:
        raise DataError(f"{ref.uri} cannot be used: {why}")
    if why:
        return Piece(replace(ref, rows=1), None, why)
    return Piece(replace(ref, rows=len(raw.rows) + len(raw.bad)), raw)


def _lacks(raw: RawTable, contract: Contract) -> str | None:
    """Why a table cannot be mapped: it lacks a column of the contract (where rows are sparse: all of them)."""
    roles = {**contract.columns, **{f"features ({name})": name for name in contract.features}}
    absent = {role: name for role, name in roles.items() if name not in raw.table.column_names}
    if not absent or (raw.sparse and (len(absent) < len(roles) or not np.size(raw.rows))):
        return None
    role, name = next(iter(absent.items()))
    there = ", ".join(raw.table.column_names[:20]) + (", …" if raw.table.num_columns > 20 else "")
    return f"it has no column {name}, which [columns] maps to {role}; it has {there}"
