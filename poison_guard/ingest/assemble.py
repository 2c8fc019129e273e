"""Map the columns of all objects to roles and make one batch: records, issues, and the rows that are no record."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from poison_guard.config import Contract
from poison_guard.config.contract import ROLES
from poison_guard.ingest.cells import join_tables
from poison_guard.ingest.coerce import IssueLog, RoleColumn, coerce_column
from poison_guard.ingest.identity import ResolvedIds, content_hashes, derived_ids, resolve_repeats, unreadable_id
from poison_guard.ingest.parsing import payload_schema
from poison_guard.ingest.raw_table import Limits, RawTable
from poison_guard.records import Batch, ObjectRef

__all__ = [
    "MappedBatch",
    "MappedColumns",
    "ObjectRows",
    "assemble_batch",
    "frame_columns",
    "map_columns",
    "map_objects",
]


_BOOKKEEPING = ("record_id", "content_hash", "object", "row", "received_at")


@dataclass(frozen=True, slots=True)
class MappedColumns:
    """Columns of the records frame, before identities are given.

    `columns` maps frame column to its values. `canonical` holds, for the same columns, each cell's canonical bytes
    (empty where missing): what identity is made of. `issues` are ``(position, code, args)``.
    """

    columns: Mapping[str, pd.Series]
    canonical: Mapping[str, pa.Array]
    issues: tuple[tuple[int, str, Mapping[str, Any]], ...]


def frame_columns(contract: Contract) -> tuple[str, ...]:
    """Return the columns of ``Batch.records`` in order, without the ``extra.NAME`` of columns that play no role."""
    roles = [role for role in ROLES if role in contract.columns and role != "record_id"]
    return (*_BOOKKEEPING, *roles, *(f"feature.{name}" for name in contract.features))


def map_columns(table: pa.Table, contract: Contract, limits: Limits, schema: Mapping[str, str]) -> MappedColumns:
    """Bring a raw table (types of `cells.simple_type`, kinds of `payload_schema`) to the roles of `contract`.

    Columns of the contract that the table lacks are all missing.
    """
    log = IssueLog(table.num_rows)
    columns: dict[str, pd.Series] = {}
    canonical: dict[str, pa.Array] = {}
    for name, given, role in _column_plan(table, contract):
        cells = table[given].combine_chunks() if given in schema else pa.nulls(table.num_rows)
        column = RoleColumn(name, given, role, cells, schema.get(given, "empty"), limits.max_cell_chars)
        columns[name], canonical[name] = coerce_column(column, log)
    return MappedColumns(columns, canonical, tuple(log.listed))


def _column_plan(table: pa.Table, contract: Contract) -> Iterator[tuple[str, str, str]]:
    """Yield frame column, user's column and role of all columns, in the order of the records frame."""
    for role in ROLES:
        if role in contract.columns:
            yield role, contract.columns[role], role
    for column in contract.features:
        yield f"feature.{column}", column, "feature"
    mapped = {*contract.columns.values(), *contract.features}
    for column in sorted(set(table.column_names) - mapped):
        yield f"extra.{column}", column, "extra"


_UNREADABLE_COLUMNS = ("record_id", "object", "row", "code", "args", "raw")
_TIME_DTYPE = "datetime64[us, UTC]"
_TYPED_ROLES = ("rating", "observed_at", "source_since", "image")
_INFERRED_KINDS = ("number", "bool", "time", "empty")  # what text can look like in a small batch
_CLOCK_AHEAD = pd.Timedelta(hours=1)
"""How far a sender's clock may run ahead of the time a record was received."""


@dataclass(frozen=True, slots=True)
class ObjectRows:
    """One object of a batch: its rows, or why it has none."""

    ref: ObjectRef
    raw: RawTable | None
    why: str = ""

    @property
    def rows(self) -> int:
        """Rows of the object, unreadable ones included."""
        return self.ref.rows


@dataclass(frozen=True, slots=True)
class MappedBatch:
    """The readable rows of all objects, mapped to roles, with their content hashes."""

    pieces: tuple[ObjectRows, ...]
    mapped: MappedColumns
    hashes: np.ndarray
    schema: Mapping[str, str]


def map_objects(pieces: Sequence[ObjectRows], contract: Contract, limits: Limits) -> MappedBatch:
    """Join the rows of `pieces` and map them; a column's kind is judged over the whole batch."""
    raws = [p.raw for p in pieces if p.raw is not None]
    table = join_tables([raw.table for raw in raws]) if raws else pa.table({})
    schema = payload_schema(table)
    mapped = map_columns(table, contract, limits, schema)
    return MappedBatch(tuple(pieces), mapped, content_hashes(mapped.canonical, table.num_rows), schema)


def assemble_batch(gathered: MappedBatch, contract: Contract, received_at: dt.datetime) -> Batch:
    """Return the batch: ids given or derived, repeats settled, times clamped, every row accounted for."""
    received = _utc_timestamp(received_at)
    pieces = [p for p in gathered.pieces if p.raw is not None]
    places = _places(pieces)
    ids = _ids(gathered, contract, pieces)
    settled = _resolve(ids, gathered, places, contract)
    columns = {
        "record_id": settled.ids,
        "content_hash": pd.Series(gathered.hashes, dtype="str"),
        "object": places["object"],
        "row": places["row"],
        "received_at": pd.Series(
            np.full(len(places), received.tz_localize(None).to_datetime64()), dtype="datetime64[us]"
        ).dt.tz_localize("UTC"),
        **{name: series for name, series in gathered.mapped.columns.items() if name != "record_id"},
    }
    records = pd.DataFrame(columns)
    if "observed_at" in records:
        records["observed_at"] = _clamp_times(records["observed_at"], received, contract.policy.lateness_days)
    return Batch(
        feed=contract.name,
        batch_id=_batch_id(contract.name, gathered.pieces),
        received_at=received.to_pydatetime(),
        objects=tuple(p.ref for p in gathered.pieces),
        records=records[settled.keep].reset_index(drop=True),
        issues=_issues(gathered.mapped, pieces, settled, ids),
        unreadable=_unreadable(gathered.pieces, contract.name),
        schema=_stored_schema(gathered.schema, pieces, contract),
        duplicates=int((~settled.keep).sum()),
    )


def _stored_schema(schema: Mapping[str, str], pieces: Sequence[ObjectRows], contract: Contract) -> dict[str, str]:
    """Return the payload schema; where rows may lack columns (JSON), each kind ends in ``?``: it may be absent.

    Columns that are read as text whatever they look like are text: a day whose answers are digits alone is no drift.
    """
    sparse = any(p.raw is not None and p.raw.sparse for p in pieces)
    texts = {column for role, column in contract.columns.items() if role not in _TYPED_ROLES}
    plain = {name: "text" if name in texts and kind in _INFERRED_KINDS else kind for name, kind in schema.items()}
    return {name: f"{kind}?" if sparse else kind for name, kind in plain.items()}


def _clamp_times(observed: pd.Series, received: pd.Timestamp, days: int) -> pd.Series:
    """Return times held within the window before `received`; where most are older, the batch is history, not late.

    A wrong clock is the exception. A file of last year's records would lose all its times, every account of it would
    look old and no two records would act together.
    """
    earliest = received - pd.Timedelta(days=days)
    given = observed.dropna()
    history = len(given) > 0 and bool((given < earliest).mean() > 0.5)
    return observed.clip(None if history else earliest, received + _CLOCK_AHEAD).astype(_TIME_DTYPE)


def _utc_timestamp(value: dt.datetime) -> pd.Timestamp:
    stamp = pd.Timestamp(value).as_unit("us")
    return stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")


def _places(pieces: Sequence[ObjectRows]) -> pd.DataFrame:
    """Object and row of every readable row, in the order the pieces were joined."""
    counts = [len(p.raw.rows) for p in pieces if p.raw is not None]
    uris = pa.array([p.ref.uri for p in pieces], pa.large_string())
    index = np.repeat(np.arange(len(pieces)), counts)
    rows = [p.raw.rows for p in pieces if p.raw is not None]
    return pd.DataFrame(
        {
            "object": pd.Series(uris.take(pa.array(index, pa.int64())).to_pandas(), dtype="str"),
            "row": np.concatenate(rows) if rows else np.empty(0, np.int64),
        }
    )


def _ids(gathered: MappedBatch, contract: Contract, pieces: Sequence[ObjectRows]) -> pd.Series:
    """Ids given where there are some, else derived."""
    given = gathered.mapped.columns.get("record_id")
    n = len(gathered.hashes)
    missing = np.ones(n, bool) if given is None else given.isna().to_numpy()
    ids = np.empty(n, dtype=object) if given is None else given.to_numpy(dtype=object).copy()
    if missing.any():
        names = [p.ref.uri + (f"@{p.ref.watermark}" if p.ref.watermark else "") for p in pieces]
        counts = [len(p.raw.rows) for p in pieces if p.raw is not None]
        objects = np.repeat(np.array(names, dtype=object), counts)[missing]
        ids[missing] = derived_ids(contract.name, objects.tolist(), gathered.hashes[missing].tolist())
    return pd.Series(ids, dtype="str")


def _resolve(ids: pd.Series, gathered: MappedBatch, places: pd.DataFrame, contract: Contract) -> ResolvedIds:
    revisions = contract.data.revisions
    if revisions and "observed_at" in gathered.mapped.columns:
        places = pd.concat([gathered.mapped.columns["observed_at"].rename("at"), places], axis=1)
    return resolve_repeats(ids, gathered.hashes, places, revisions=revisions)


def _issues(
    mapped: MappedColumns, pieces: Sequence[ObjectRows], settled: ResolvedIds, given: pd.Series
) -> pd.DataFrame:
    """Issues of the records that are kept, under the ids they ended with."""
    found: list[tuple[int, str, Mapping[str, Any]]] = list(mapped.issues)
    first = 0
    for piece in pieces:
        if piece.raw is not None:
            found += [(first + f.position, f.code, f.args) for f in piece.raw.flags]
            first += len(piece.raw.rows)
    found += [(int(i), "id_conflict", {"record_id": given.iloc[i]}) for i in np.flatnonzero(settled.conflict)]
    kept = [(i, code, args) for i, code, args in found if settled.keep[i]]
    ids = settled.ids.take([i for i, _, _ in kept]).reset_index(drop=True)
    codes = pd.Series([code for _, code, _ in kept], dtype="str")
    return pd.DataFrame({"record_id": ids, "code": codes, "args": pd.Series([a for _, _, a in kept], dtype=object)})


def _unreadable(pieces: Sequence[ObjectRows], feed: str) -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = []
    for piece in pieces:
        uri = piece.ref.uri
        if piece.raw is None:
            key = unreadable_id(feed, uri, piece.ref.digest, 0)
            rows.append((key, uri, 0, "unreadable_object", {"why": piece.why}, ""))
            continue
        times: Counter[str] = Counter()
        for bad in piece.raw.bad:
            key = unreadable_id(feed, uri, bad.digest, times[bad.digest])
            times[bad.digest] += 1
            rows.append((key, uri, bad.row, "unreadable_row", {"line": bad.row, "why": bad.why}, bad.raw))
    frame = pd.DataFrame(rows, columns=list(_UNREADABLE_COLUMNS), dtype=object)
    return frame.astype({"record_id": "str", "object": "str", "row": "int64", "code": "str", "raw": "str"})


def _batch_id(feed: str, pieces: Sequence[ObjectRows]) -> str:
    """SHA-256 over the feed and the digests of all objects, in whatever order they came."""
    return hashlib.sha256("\n".join([feed, *sorted(p.ref.digest for p in pieces)]).encode()).hexdigest()
