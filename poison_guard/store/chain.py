"""The audit chain: one event per change of the store, each sealed by a keyed hash over itself and the one before.

People's and records' names stand in it only as keyed hashes, so that erasing a payload leaves the chain whole.
Events of sealing, gate and retraining also hold keyed hashes of the rows they wrote, to check them by. A chain
cannot show that the whole database was put back to an older copy; compare its head with a copy kept elsewhere for
that.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from poison_guard.errors import StoreError, TamperError
from poison_guard.store import tables

__all__ = [
    "append",
    "append_with_digests",
    "append_with_row_hashes",
    "check_rows_unchanged",
    "event_hash",
    "first_changed_row",
    "head",
    "head_mac",
    "item_digest",
    "keyed_hash",
    "next_seq",
    "part_digest",
    "rows_digest",
    "written_digests",
]


def keyed_hash(key: bytes, name: str) -> str:
    """Return the keyed hash under which a record, source or reason stands in the chain, 32 hex digits."""
    return hmac.digest(key, b"subject\0" + name.encode("utf-8", "surrogatepass"), "sha256").hex()[:32]


def rows_digest(key: bytes, rows: Iterable[tuple[str, ...]]) -> str:
    """Return one hash over a set of rows whose first cell names a subject; the order of the rows does not matter."""
    lines = sorted("\t".join((keyed_hash(key, name), *rest)) for name, *rest in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def next_seq(conn: sa.Connection) -> int:
    """Take the chain's lock until the transaction ends and return the number the next event will have.

    All writers go through here, so sequence numbers are given in the order in which transactions are committed.
    """
    seq = conn.execute(sa.select(tables.chain.c.seq).where(tables.chain.c.id == 1).with_for_update()).scalar()
    if seq is None:
        raise StoreError("the store has lost the head of its audit chain; restore it from a backup")
    return int(seq) + 1


def append(
    conn: sa.Connection,
    key: bytes,
    *,
    kind: str,
    at: dt.datetime,
    body: Mapping[str, Any],
    feed: str | None = None,
    run_id: str | None = None,
    actor: str | None = None,
) -> int:
    """Add one event at the end of the chain and return its sequence number, which is the new state version."""
    seq = next_seq(conn)
    prev = conn.execute(sa.select(tables.chain.c.hash).where(tables.chain.c.id == 1)).scalar_one()
    event = {"seq": seq, "at": at, "kind": kind, "feed": feed, "run_id": run_id, "actor": actor, "prev": prev}
    event["body"] = json.dumps(body, sort_keys=True, separators=(",", ":"))
    event["hash"] = event_hash(key, event)
    conn.execute(sa.insert(tables.events), [event])
    conn.execute(
        sa.update(tables.chain)
        .where(tables.chain.c.id == 1)
        .values(seq=seq, hash=event["hash"], mac=head_mac(key, seq, event["hash"]))
    )
    return seq


def head(conn: sa.Connection) -> int:
    """Return the number of the last event, which is the state version of now; 0 for a new store."""
    return conn.execute(sa.select(tables.chain.c.seq)).scalar() or 0


def append_with_digests(
    conn: sa.Connection,
    key: bytes,
    *,
    kind: str,
    at: dt.datetime,
    body: Mapping[str, Any],
    feed: str,
    run_id: str | None = None,
    actor: str | None = None,
) -> int:
    """Append the event of a transaction that wrote moves, ledger or verified rows under `next_seq`, with digests."""
    sealed = {**body, "written": written_digests(conn, key, next_seq(conn))}
    return append(conn, key, kind=kind, at=at, body=sealed, feed=feed, run_id=run_id, actor=actor)


def written_digests(conn: sa.Connection, key: bytes, seq: int) -> dict[str, str]:
    """Return the digests of the moves, ledger and verified rows written under `seq`."""
    m, n, v = (table.c for table in (tables.moves, tables.ledger, tables.verified))
    moves = conn.execute(sa.select(m.record_id, m.from_place, m.to_place, m.to_verdict).where(m.seq == seq))
    sums = conn.execute(sa.select(n.source_id, *(n[name] for name in tables.LEDGER_COUNTS)).where(n.seq == seq))
    query = sa.select(v.record_id, v.kind, v.source_id, v.verdict, v.given_at).where(v.seq == seq)
    rows: dict[str, Iterable[tuple[str, ...]]] = {
        "moves": ((name, before, after, str(verdict)) for name, before, after, verdict in moves),
        "ledger": ((name, *(f"{float(count):.6g}" for count in counts)) for name, *counts in sums),
        "verified": (
            (name, kind, source or "", str(verdict), at.isoformat())
            for name, kind, source, verdict, at in conn.execute(query)
        ),
    }
    return {name: rows_digest(key, each) for name, each in rows.items()}


def event_hash(key: bytes, event: Mapping[str, Any]) -> str:
    """Return the keyed hash over an event and the hash of the one before it."""
    fields = [event[name] for name in ("seq", "kind", "feed", "run_id", "actor", "body", "prev")]
    text = json.dumps([*fields, event["at"].isoformat()], separators=(",", ":"))
    return hmac.digest(key, b"event\0" + text.encode(), "sha256").hex()


def head_mac(key: bytes, seq: int, top: str) -> str:
    """Return the keyed hash over the head of the chain."""
    return hmac.digest(key, f"head\0{seq}\0{top}".encode(), "sha256").hex()


_HASHED_TABLES: Mapping[str, tuple[sa.Table, sa.Column[Any]]] = {
    table.name: (table, next(iter(table.primary_key.columns)))
    for table in (
        tables.snapshots,
        tables.verdicts,
        tables.approvals,
        tables.admissions,
        tables.models,
    )
}
_SEALED_KIND = "snapshot.sealed"


def append_with_row_hashes(
    conn: sa.Connection,
    key: bytes,
    *,
    kind: str,
    at: dt.datetime,
    feed: str,
    table: sa.Table,
    ids: Sequence[str | int],
    body: Mapping[str, Any] | None = None,
    actor: str | None = None,
) -> int:
    """Append the event of rows that this transaction wrote, with their hashes as they are now; return its number."""
    name = _HASHED_TABLES[table.name][1]
    rows = {str(row[name.name]): _row_hash(key, table.name, row) for row in _stored_rows(conn, table, ids)}
    sealed = {**(body or {}), "rows": {table.name: rows}}
    return append(conn, key, kind=kind, at=at, body=sealed, feed=feed, actor=actor)


def check_rows_unchanged(
    conn: sa.Connection, key: bytes, *, feed: str, table: sa.Table, ids: Sequence[str | int]
) -> None:
    """Raise `TamperError` when a row is not as the last event that wrote it left it.

    Asked before a row is built upon, so that no later event can seal what somebody wrote past the guard.
    """
    wanted = {str(row[_HASHED_TABLES[table.name][1].name]): row for row in _stored_rows(conn, table, ids)}
    e = tables.events.c
    pattern = f'%"{table.name}":{{%'
    query = sa.select(e.body).where(e.feed == feed, e.body.like(pattern)).order_by(e.seq.desc())
    for (body,) in conn.execute(query):
        if not wanted:
            return
        hashes = json.loads(body).get("rows", {}).get(table.name, {})
        for row_id in [name for name in wanted if name in hashes]:
            if hashes[row_id] != _row_hash(key, table.name, wanted.pop(row_id)):
                raise TamperError(
                    f"{row_id} in the table {table.name} was changed past the guard; run `poison-guard audit verify`"
                )
    if wanted:
        raise TamperError(f"no event speaks of {min(wanted)} in the table {table.name}; it was written past the guard")


def first_changed_row(conn: sa.Connection, key: bytes, events: Sequence[Mapping[str, Any]]) -> tuple[int, str] | None:
    """Return the first event whose rows are not as it left them, with one sentence; None when all are.

    `events` are all rows of the events table by number; their own chain is `audit.verify`'s to check.
    """
    faults = [*_changed_rows(conn, key, events), *_changed_snapshot_parts(conn, key, events)]
    return min(faults, default=None)


def part_digest(key: bytes, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return one hash over rows of `snapshot_parts`, whatever their order."""
    names = ("bucket", "path", "sha256", "size", "rows", "members")
    return rows_digest(key, (tuple(str(row[name]) for name in names) for row in rows))


def item_digest(conn: sa.Connection, key: bytes, feed: str, seq: int) -> str:
    """Return one hash over the label rows that event `seq` wrote."""
    c = tables.items.c
    query = sa.select(c.item_id, c.label, c.probability, c.adopted, c.why).where(c.feed == feed, c.seq == seq)
    rows = ((name, json.dumps([label, f"{p:.9g}", bool(yes), why])) for name, label, p, yes, why in conn.execute(query))
    return rows_digest(key, rows)


def _stored_rows(conn: sa.Connection, table: sa.Table, ids: Sequence[str | int]) -> Iterator[dict[str, Any]]:
    column = _HASHED_TABLES[table.name][1]
    for start in range(0, len(ids), 500):
        for row in conn.execute(sa.select(table).where(column.in_(list(ids[start : start + 500])))):
            yield row._asdict()


def _row_hash(key: bytes, table: str, row: Mapping[str, Any]) -> str:
    plain = {name: value.isoformat() if isinstance(value, dt.datetime) else value for name, value in row.items()}
    text = json.dumps([table, plain], sort_keys=True, separators=(",", ":"))
    return hmac.digest(key, b"row\0" + text.encode("utf-8", "surrogatepass"), "sha256").hex()[:32]


def _changed_rows(conn: sa.Connection, key: bytes, events: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, str]]:
    hashes: dict[tuple[str, str], tuple[int, str]] = {}
    for event in events:
        for table, rows in json.loads(event["body"]).get("rows", {}).items():
            hashes |= {(table, row_id): (event["seq"], digest) for row_id, digest in rows.items()}
    for name, (table, column) in _HASHED_TABLES.items():
        for row in conn.execute(sa.select(table)):
            values = row._asdict()
            row_id = str(values[column.name])
            seq, digest = hashes.pop((name, row_id), (len(events) + 1, ""))
            if digest != _row_hash(key, name, values):
                yield seq, f"the row {row_id} of {name} is not as event {seq} left it"
    yield from (
        (seq, f"the row {row_id} of {name} that event {seq} wrote is gone")
        for (name, row_id), (seq, _) in hashes.items()
    )


def _changed_snapshot_parts(
    conn: sa.Connection, key: bytes, events: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[int, str]]:
    sealed = {event["seq"]: event for event in events if event["kind"] == _SEALED_KIND}
    c = tables.snapshot_parts.c
    rows = (row._asdict() for row in conn.execute(sa.select(tables.snapshot_parts).order_by(c.seq)))
    parts = {seq: part_digest(key, list(group)) for seq, group in groupby(rows, key=lambda row: row["seq"])}
    none = part_digest(key, [])
    for seq in sorted({*sealed, *parts}):
        event = sealed.get(seq)
        if event is None:
            yield seq, f"event {seq} sealed nothing, but there are parts of a snapshot under its number"
            continue
        body = json.loads(event["body"])
        if body["parts"] != parts.get(seq, none):
            yield seq, f"the parts that event {seq} sealed were changed afterwards"
        if body["items"] != item_digest(conn, key, event["feed"], seq):
            yield seq, f"the labels that event {seq} settled were changed afterwards"
