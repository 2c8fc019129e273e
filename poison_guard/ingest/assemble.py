"""Put what was read of all objects together: one records frame, its issues, and the rows that are no record."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from poison_guard.config import Contract
from poison_guard.ingest.columns import join_tables
from poison_guard.ingest.identity import Settled, content_hashes, derived_ids, settle_repeats, unreadable_id
from poison_guard.ingest.limits import Limits
from poison_guard.ingest.raw import RawTable
from poison_guard.ingest.roles import Mapped, map_columns
from poison_guard.ingest.schema import payload_schema
from poison_guard.records import Batch, ObjectRef

__all__ = ["Gathered", "Piece", "assemble", "gather"]

_UNREADABLE = ("record_id", "object", "row", "code", "args", "raw")
_MICROS = "datetime64[us, UTC]"
_TYPED_ROLES = ("rating", "observed_at", "source_since", "image")
_LOOKS = ("number", "bool", "time", "empty")  # what text can look like in a small batch
_AHEAD = pd.Timedelta(hours=1)
"""How far a sender's clock may run ahead of the time a record was received."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One object of a batch: its rows, or why it has none."""

    ref: ObjectRef
    raw: RawTable | None
    why: str = ""

    @property
    def rows(self) -> int:
        """Rows of the object, unreadable ones included."""
        return self.ref.rows


@dataclass(frozen=True, slots=True)
class Gathered:
    """The readable rows of all objects, mapped to roles, with their content hashes."""

    pieces: tuple[Piece, ...]
    mapped: Mapped
    hashes: np.ndarray
    schema: Mapping[str, str]


def gather(pieces: Sequence[Piece], contract: Contract, limits: Limits) -> Gathered:
    """Join the rows of `pieces` and map them; a column's kind is judged over the whole batch."""
    raws = [p.raw for p in pieces if p.raw is not None]
    table = join_tables([raw.table for raw in raws]) if raws else pa.table({})
    schema = payload_schema(table)
    mapped = map_columns(table, contract, limits, schema)
    return Gathered(tuple(pieces), mapped, content_hashes(mapped.canonical, table.num_rows), schema)


def assemble(gathered: Gathered, contract: Contract, received_at: dt.datetime) -> Batch:
    """Return the batch: ids given or derived, repeats settled, times clamped, every row accounted for."""
    received = _moment(received_at)
    pieces = [p for p in gathered.pieces if p.raw is not None]
    places = _places(pieces)
    ids = _ids(gathered, contract, pieces)
    settled = _settle(ids, gathered, places, contract)
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
        records["observed_at"] = _in_window(records["observed_at"], received, contract.policy.lateness_days)
    return Batch(
        feed=contract.name,
        batch_id=_batch_id(contract.name, gathered.pieces),
        received_at=received.to_pydatetime(),
        objects=tuple(p.ref for p in gathered.pieces),
        records=records[settled.keep].reset_index(drop=True),
        issues=_issues(gathered.mapped, pieces, settled, ids),
        unreadable=_unreadable(gathered.pieces, contract.name),
        schema=_told_schema(gathered.schema, pieces, contract),
        duplicates=int((~settled.keep).sum()),
    )


def _told_schema(schema: Mapping[str, str], pieces: Sequence[Piece], contract: Contract) -> dict[str, str]:
    """Return the payload schema; where rows may lack columns (JSON), each kind ends in ``?``: it may be absent.

    Columns that are read as text whatever they look like are text: a day whose answers are digits alone is no drift.
    """
    sparse = any(p.raw is not None and p.raw.sparse for p in pieces)
    texts = {column for role, column in contract.columns.items() if role not in _TYPED_ROLES}
    plain = {name: "text" if name in texts and kind in _LOOKS else kind for name, kind in schema.items()}
    return {name: f"{kind}?" if sparse else kind for name, kind in plain.items()}


def _in_window(observed: pd.Series, received: pd.Timestamp, days: int) -> pd.Series:
    """Return times held within the window before `received`; where most are older, the batch is history, not late.

    A wrong clock is the exception. A file of last year's records would lose all its times, every account of it would
    look old and no two records would act together.
    """
    earliest = received - pd.Timedelta(days=days)
    given = observed.dropna()
    history = len(given) > 0 and bool((given < earliest).mean() > 0.5)
    return observed.clip(None if history else earliest, received + _AHEAD).astype(_MICROS)


def _moment(value: dt.datetime) -> pd.Timestamp:
    stamp = pd.Timestamp(value).as_unit("us")
    return stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")


def _places(pieces: Sequence[Piece]) -> pd.DataFrame:
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


def _ids(gathered: Gathered, contract: Contract, pieces: Sequence[Piece]) -> pd.Series:
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


def _settle(ids: pd.Series, gathered: Gathered, places: pd.DataFrame, contract: Contract) -> Settled:
    revisions = contract.data.revisions
    if revisions and "observed_at" in gathered.mapped.columns:
        places = pd.concat([gathered.mapped.columns["observed_at"].rename("at"), places], axis=1)
    return settle_repeats(ids, gathered.hashes, places, revisions=revisions)


def _issues(mapped: Mapped, pieces: Sequence[Piece], settled: Settled, given: pd.Series) -> pd.DataFrame:
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


def _unreadable(pieces: Sequence[Piece], feed: str) -> pd.DataFrame:
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
    frame = pd.DataFrame(rows, columns=list(_UNREADABLE), dtype=object)
    return frame.astype({"record_id": "str", "object": "str", "row": "int64", "code": "str", "raw": "str"})


def _batch_id(feed: str, pieces: Sequence[Piece]) -> str:
    """SHA-256 over the feed and the digests of all objects, in whatever order they came."""
    return hashlib.sha256("\n".join([feed, *sorted(p.ref.digest for p in pieces)]).encode()).hexdigest()
