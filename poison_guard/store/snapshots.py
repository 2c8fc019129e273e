"""Sealed snapshots: what may be trained on as of one sequence number, which hold a record, which were revoked."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from poison_guard.canonical_json import utc_or_now
from poison_guard.config import Contract
from poison_guard.errors import NotFoundError, StaleStateError, UsageError
from poison_guard.records import Place
from poison_guard.store import bulk, chain, outbox, quarantine, tables
from poison_guard.store.bulk import bounded_key, to_json
from poison_guard.store.engine import Store
from poison_guard.store.lake import LakeFile, add_files
from poison_guard.store.rows import item_rows
from poison_guard.store.runs import register_feed
from poison_guard.store.tables import snapshot_parts, snapshots

__all__ = [
    "Part",
    "Snapshot",
    "find_snapshot",
    "find_snapshots_holding",
    "last_snapshot",
    "list_snapshots",
    "load_snapshot",
    "revoke_holding",
    "revoke_snapshot",
    "revoke_snapshots",
    "seal",
    "snapshot_hash",
    "snapshots_holding",
    "snapshots_revoked_with",
]


_IDS_PER_QUERY = 50_000
_OPEN_END = np.iinfo(np.int64).max


def find_snapshots_holding(conn: sa.Connection, feed: str, record_ids: Iterable[str]) -> list[str]:
    """Return the snapshots not revoked in whose state any of the records was accepted, oldest first.

    Where a feed's examples are items, a snapshot holds every vote that was accepted when it was sealed.
    """
    c = snapshots.c
    query = sa.select(c.snapshot_id, c.seq).where(c.feed == feed, c.revoked_seq.is_(None)).order_by(c.seq, c.sealed_seq)
    live = bulk.fetch_frame(conn, query)
    if live.empty:
        return []
    ids = list(dict.fromkeys(bounded_key(name) for name in record_ids))
    sealed = live["seq"].to_numpy()
    steps = np.zeros(len(sealed) + 1, dtype=np.int64)
    for start in range(0, len(ids), _IDS_PER_QUERY):
        spans = _accepted_spans(conn, feed, ids[start : start + _IDS_PER_QUERY])
        np.add.at(steps, np.searchsorted(sealed, spans["start"]), 1)
        np.add.at(steps, np.searchsorted(sealed, spans["end"]), -1)
    return live.loc[np.cumsum(steps)[:-1] > 0, "snapshot_id"].tolist()


def _accepted_spans(conn: sa.Connection, feed: str, ids: list[str]) -> pd.DataFrame:
    """Return ``start, end``: sequence numbers from which and before which a record was accepted."""
    r, m = tables.records.c, tables.moves.c
    query = sa.select(m.record_id, m.seq, m.from_place, m.to_place).where(m.feed == feed)
    moves = bulk.select_many(conn, query, m.record_id, ids).sort_values(["record_id", "seq"], ignore_index=True)
    query = sa.select(r.record_id, r.seq, r.place).where(r.feed == feed)
    first = bulk.select_many(conn, query, r.record_id, ids)
    began = first["record_id"].map(moves.drop_duplicates("record_id").set_index("record_id")["from_place"])
    first = first.assign(place=began.astype("str").fillna(first["place"]))
    later = moves[["record_id", "seq", "to_place"]].rename(columns={"to_place": "place"})
    line = pd.concat([first, later], ignore_index=True).sort_values(["record_id", "seq"], kind="stable")
    until = line.groupby("record_id")["seq"].shift(-1, fill_value=_OPEN_END)
    spans = pd.DataFrame({"start": line["seq"], "end": until})
    return spans[line["place"] == Place.ACCEPTED.value]


@dataclass(frozen=True, slots=True)
class Part:
    """One file of training examples: those that share a bucket, the commit that first saw them."""

    bucket: int
    """Sequence number of that commit; 0 for items whose label was first settled by the seal itself."""
    path: str
    """Relative to the lake."""
    sha256: str
    size: int
    """Bytes."""
    rows: int
    members: str
    """SHA-256 of the sorted lines ``example_id<TAB>digest``, hex."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A sealed, cumulative set of training examples."""

    snapshot_id: str
    feed: str
    seq: int
    """Sequence number of the state that was sealed."""
    sealed_at: dt.datetime
    hash: str
    parts: tuple[Part, ...]
    """By bucket; empty where `list_snapshots` made it."""
    counts: Mapping[str, int]
    previous: str | None
    """Last snapshot that was not revoked when this one was sealed."""
    revoked_seq: int | None
    """Event that revoked it; None while it holds."""
    revoked_why: str | None


def seal(
    store: Store,
    contract: Contract,
    *,
    seq: int,
    parts: Sequence[Part],
    items: pd.DataFrame,
    counts: Mapping[str, int],
    asked: pd.DataFrame | None = None,
    now: dt.datetime | None = None,
) -> Snapshot:
    """Seal the state as of `seq`, made of all `parts`, and return it; what was sealed last where nothing differs.

    `items` (``item_id, label, probability, adopted, why``; may be empty) are labels that were settled again; they hold
    from the seal on. `asked` (``record_id, risk, p, code, args``) are accepted votes by which people are asked about
    their items; they enter the queue with the evidence. Raises `StaleStateError` when the feed's records, places or
    labels changed after `seq`: look again and seal anew. The files of new parts must be in the lake.
    """
    feed, ordered = contract.name, _ordered_parts(parts)
    digest = snapshot_hash(ordered)
    with store.write() as conn:
        new = chain.next_seq(conn)
        _check_unchanged(conn, feed, seq, head=new - 1)
        last = _newest_snapshot(conn, feed, revoked=False)
        if last is not None and last.hash == digest and items.empty:
            return last
        at, name = utc_or_now(now), f"{feed}-{seq}-{digest[:8]}"
        if conn.execute(sa.select(snapshots.c.seq).where(snapshots.c.snapshot_id == name)).first():
            raise StaleStateError(f"{name} was sealed before and does not hold any more; seal the state of now")
        register_feed(conn, contract, at)
        if len(items):
            bulk.insert_frame(conn, tables.items, item_rows(items).assign(feed=feed, seq=new))
        _write_parts(conn, feed, ordered, seq=new)
        if asked is not None and len(asked):
            _ask(conn, feed, asked, name, seq=new, at=at)
        row = {"snapshot_id": name, "feed": feed, "seq": seq, "sealed_seq": new, "sealed_at": at, "hash": digest}
        row |= {"counts": to_json(dict(counts)), "previous": last.snapshot_id if last else None}
        conn.execute(sa.insert(snapshots), [row])
        body = {"hash": digest, "state_version": seq}
        chain.append(conn, store.key, kind="snapshot.sealed", at=at, feed=feed, rows=[(snapshots, [name])], body=body)
        return find_snapshot(conn, name)


def _ask(conn: sa.Connection, feed: str, asked: pd.DataFrame, name: str, *, seq: int, at: dt.datetime) -> None:
    """Put votes into the queue with the evidence against their items' labels; those that wait already stay."""
    open_ = quarantine.open_ids(conn, feed, asked["record_id"].tolist(), expired=True)
    new = asked[~asked["record_id"].isin(open_)]
    evidence = new[["record_id", "p", "code", "args"]].assign(feed=feed, run_id=name, signal="label", level="record")
    bulk.insert_frame(conn, tables.evidence, evidence.assign(seq=seq))
    rows = new[["record_id", "risk"]].assign(kind=quarantine.ITEM)
    quarantine.open_entries(conn, feed, rows, seq=seq, at=at)


def snapshot_hash(parts: Iterable[Part]) -> str:
    """Return the SHA-256 over the parts' sorted (SHA-256, rows), hex: of their content, whatever their buckets."""
    lines = [f"{digest}\t{rows}" for digest, rows in sorted((part.sha256, part.rows) for part in parts)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def last_snapshot(store: Store, feed: str, *, revoked: bool = False) -> Snapshot | None:
    """Return the snapshot sealed last that holds (with `revoked`: also one that does not); None without any."""
    with store.read() as conn:
        return _newest_snapshot(conn, feed, revoked=revoked)


def load_snapshot(store: Store, snapshot_id: str) -> Snapshot:
    """Return a snapshot; `NotFoundError` when there is none of that id."""
    with store.read() as conn:
        return find_snapshot(conn, snapshot_id)


def list_snapshots(store: Store, feed: str, limit: int = 50) -> list[Snapshot]:
    """Return the last snapshots of a feed, newest first, without their parts (`load_snapshot` has them)."""
    c = snapshots.c
    query = sa.select(snapshots).where(c.feed == feed).order_by(c.sealed_seq.desc()).limit(limit)
    with store.read() as conn:
        return [_snapshot_of_row(row, ()) for row in conn.execute(query)]


def revoke_snapshot(
    store: Store, snapshot_id: str, *, by: str, reason: str, now: dt.datetime | None = None
) -> Snapshot:
    """Take a snapshot back for good and return it; one that was revoked before stays as it is.

    Raises `UsageError` without a name or reason.
    """
    if not by.strip() or not reason.strip():
        raise UsageError("a snapshot is revoked by a named person with a reason; give both `by` and `reason`")
    with store.write() as conn:
        chain.next_seq(conn)
        snapshot = find_snapshot(conn, snapshot_id)
        if snapshot.revoked_seq is None:
            why = {"by": by.strip(), "why": reason.strip(), "at": utc_or_now(now)}
            revoke_snapshots(conn, store.key, snapshot.feed, [snapshot_id], **why)
        return find_snapshot(conn, snapshot_id)


def snapshots_holding(store: Store, feed: str, record_ids: Iterable[str]) -> list[str]:
    """Return the snapshots not revoked in whose state any of the records was accepted, oldest first."""
    with store.read() as conn:
        return find_snapshots_holding(conn, feed, record_ids)


def snapshots_revoked_with(store: Store, feed: str, seq: int) -> list[str]:
    """Return the snapshots that were revoked together with event `seq`, oldest first: their event is the next one."""
    c = snapshots.c
    query = sa.select(c.snapshot_id).where(c.feed == feed, c.revoked_seq == seq + 1).order_by(c.sealed_seq)
    with store.read() as conn:
        return list(conn.execute(query).scalars())


def revoke_holding(
    conn: sa.Connection, key: bytes, feed: str, record_ids: Iterable[str], *, by: str, why: str, at: dt.datetime
) -> list[str]:
    """Revoke, in the transaction of `conn`, every snapshot that holds one of the records; return which."""
    holding = find_snapshots_holding(conn, feed, record_ids)
    if holding:
        revoke_snapshots(conn, key, feed, holding, by=by, why=why, at=at)
    return holding


def find_snapshot(conn: sa.Connection, snapshot_id: str) -> Snapshot:
    """Return a snapshot as the transaction of `conn` sees it."""
    row = conn.execute(sa.select(snapshots).where(snapshots.c.snapshot_id == snapshot_id)).first()
    if row is None:
        raise NotFoundError(f"there is no snapshot {snapshot_id!r}; `poison-guard seal` makes one")
    return _snapshot_of_row(row, _parts(conn, row.feed, row.sealed_seq))


def _newest_snapshot(conn: sa.Connection, feed: str, *, revoked: bool) -> Snapshot | None:
    c = snapshots.c
    query = sa.select(snapshots).where(c.feed == feed).order_by(c.sealed_seq.desc()).limit(1)
    row = conn.execute(query if revoked else query.where(c.revoked_seq.is_(None))).first()
    return None if row is None else _snapshot_of_row(row, _parts(conn, feed, row.sealed_seq))


def _snapshot_of_row(row: sa.Row[Any], parts: tuple[Part, ...]) -> Snapshot:
    values: dict[str, Any] = row._asdict()
    del values["sealed_seq"]
    values |= {"counts": json.loads(values["counts"]), "parts": parts}
    return Snapshot(**values)


def _ordered_parts(parts: Sequence[Part]) -> tuple[Part, ...]:
    ordered = tuple(sorted(parts, key=lambda part: part.bucket))
    if len({part.bucket for part in ordered}) < len(ordered):
        raise UsageError("two parts of a snapshot have the same bucket; write one part per bucket")
    return ordered


def _check_unchanged(conn: sa.Connection, feed: str, seq: int, *, head: int) -> None:
    if seq > head:
        raise UsageError(f"state {seq} cannot be sealed: the store is at {head}")
    for table in (tables.records, tables.moves, tables.items):
        if conn.execute(sa.select(table.c.seq).where(table.c.feed == feed, table.c.seq > seq).limit(1)).first():
            raise StaleStateError(f"{feed} changed after state {seq}; look at it again and seal anew")


def _parts(conn: sa.Connection, feed: str, seq: int) -> tuple[Part, ...]:
    """Return the parts as of the seal `seq`: the last row of each bucket."""
    c = snapshot_parts.c
    last = (
        sa.select(c.bucket, sa.func.max(c.seq).label("seq"))
        .where(c.feed == feed, c.seq <= seq)
        .group_by(c.bucket)
        .subquery()
    )
    query = (
        sa.select(c.bucket, c.path, c.sha256, c.size, c.rows, c.members)
        .where(c.feed == feed, c.bucket == last.c.bucket, c.seq == last.c.seq, c.path != "")
        .order_by(c.bucket)
    )
    return tuple(Part(*row) for row in conn.execute(query))


def _write_parts(conn: sa.Connection, feed: str, parts: Sequence[Part], *, seq: int) -> None:
    """Write what differs from the seal before, and the files that are new."""
    before = {part.bucket: part for part in _parts(conn, feed, seq)}
    changed = [part for part in parts if before.get(part.bucket) != part]
    dropped = sorted(before.keys() - {part.bucket for part in parts})
    changed += [Part(bucket, "", "", 0, 0, "") for bucket in dropped]
    names = ("bucket", "path", "sha256", "size", "rows", "members")
    rows = [{"feed": feed, "seq": seq, **{name: getattr(part, name) for name in names}} for part in changed]
    if rows:
        conn.execute(sa.insert(snapshot_parts), rows)
    c = tables.manifests.c
    known = bulk.select_many(conn, sa.select(c.path), c.path, [part.path for part in changed])
    fresh = {part.path: part for part in changed if part.path and part.path not in set(known["path"])}
    files = [("snapshot", LakeFile(p.path, p.rows, p.size, p.sha256)) for p in fresh.values()]
    add_files(conn, feed, files, run_id=None, seq=seq)


def revoke_snapshots(
    conn: sa.Connection, key: bytes, feed: str, snapshot_ids: Sequence[str], *, by: str, why: str, at: dt.datetime
) -> None:
    """Revoke snapshots in the transaction of `conn`, and have the signed list written anew."""
    seq, c = chain.next_seq(conn), snapshots.c
    chain.check_rows_unchanged(conn, key, feed=feed, table=snapshots, ids=snapshot_ids)
    for start in range(0, len(snapshot_ids), 500):
        some = c.snapshot_id.in_(snapshot_ids[start : start + 500])
        conn.execute(sa.update(snapshots).where(some).values(revoked_seq=seq, revoked_why=why))
    outbox.add(conn, outbox.REVOCATIONS, {}, at)  # outsiders learn of it by the signed list
    body = {"n": len(snapshot_ids), "reason": chain.keyed_hash(key, why)}
    chain.append(
        conn, key, kind="snapshot.revoked", at=at, feed=feed, rows=[(snapshots, snapshot_ids)], body=body, actor=by
    )
