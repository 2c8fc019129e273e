"""The audit chain: one event per change of the store, each sealed by a keyed hash over itself and the one before.

People's and records' names stand in it only as keyed hashes, so that erasing a payload leaves the chain whole. An event
holds one hash over the seals of the rows it wrote (`seals`), and keyed hashes of single rows of the small tables, to
check them by. A chain cannot show that the whole database was put back to an older copy: that is what the high-water
mark beside the key (`mark`) and heads kept elsewhere are for.
"""

from __future__ import annotations

import datetime as dt
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from poison_guard.errors import TamperError
from poison_guard.store import bulk, seals, tables
from poison_guard.store.columns import EPOCH, MICROSECOND
from poison_guard.store.writing import head_of

__all__ = [
    "NAMED",
    "Event",
    "Head",
    "NamedRows",
    "append",
    "append_each",
    "check_rows_unchanged",
    "event_hash",
    "head",
    "head_mac",
    "keyed_hash",
    "last_event",
    "next_seq",
    "raw_named_rows",
]


def keyed_hash(key: bytes, name: str) -> str:
    """Return the keyed hash under which a record, source or reason stands in the chain, 32 hex digits."""
    return hmac.digest(key, b"subject\0" + name.encode("utf-8", "surrogatepass"), "sha256").hex()[:32]


def next_seq(conn: sa.Connection) -> int:
    """Take the chain's lock until the transaction ends and return the number the next event will have.

    All writers go through here, so sequence numbers are given in the order in which transactions are committed.
    """
    return head_of(conn).seq + 1


NamedRows = Sequence[tuple[sa.Table, Sequence[str | int]]]
"""Tables and the first primary key of rows in them."""


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
    rows: NamedRows = (),
) -> int:
    """Add one event at the end of the chain and return its sequence number, which is the new state version.

    It seals all rows that were written under that number (`next_seq`), so it comes last in its transaction; `rows` are
    those of `NAMED` tables, whose hashes it holds one by one, as they are now.
    """
    whole = dict(body)
    if rows:
        whole["rows"] = {table.name: dict(_hashes_of_named(conn, key, table, ids)) for table, ids in rows}
    return append_each(conn, key, [Event(kind, at, whole, feed, run_id, actor)])[-1]


class Event(NamedTuple):
    """What one event of several says; see `append`."""

    kind: str
    at: dt.datetime
    body: Mapping[str, Any]
    feed: str | None = None
    run_id: str | None = None
    actor: str | None = None


def append_each(conn: sa.Connection, key: bytes, said: Sequence[Event]) -> range:
    """Add events at the end of the chain, as `append` does one, and return their numbers.

    Each seals the rows that were written under its number: the first under `next_seq`, each following one a number on.
    """
    top, first = head_of(conn), next_seq(conn)
    seqs, kept = range(first, first + len(said)), list[tuple[Any, ...]]()
    sealed = seals.seal_rows(conn, key, seqs)
    for seq, one in zip(seqs, said, strict=True):
        body = {**one.body, "seals": sealed[seq]} if seq in sealed else one.body
        event = {**one._asdict(), "seq": seq, "prev": top.hash}
        event["body"] = json.dumps(body, sort_keys=True, separators=(",", ":"))
        event["hash"] = event_hash(key, event)
        top.seq, top.hash = seq, event["hash"]
        kept.append(tuple({**event, "at": (one.at - EPOCH) // MICROSECOND}.values()))
    bulk.insert_rows(conn, tables.events, (*Event._fields, "seq", "prev", "hash"), kept)
    head = (top.seq, top.hash, head_mac(key, top.seq, top.hash))
    bulk.raw(conn, "UPDATE chain SET seq = ?, hash = ?, mac = ? WHERE id = 1", head)
    return seqs


@dataclass(frozen=True, slots=True)
class Head:
    """The last event of a chain."""

    seq: int
    hash: str


def head(conn: sa.Connection) -> int:
    """Return the number of the last event, which is the state version of now; 0 for a new store."""
    return conn.execute(sa.select(tables.chain.c.seq)).scalar() or 0


def last_event(conn: sa.Connection) -> Head:
    """Return number and hash of the last event; ``Head(0, "000…")`` for a new store."""
    row = bulk.raw(conn, "SELECT seq, hash FROM chain").fetchone()
    return Head(0, "0" * 64) if row is None else Head(*row)


def event_hash(key: bytes, event: Mapping[str, Any]) -> str:
    """Return the keyed hash over an event and the hash of the one before it."""
    fields = [event[name] for name in ("seq", "kind", "feed", "run_id", "actor", "body", "prev")]
    text = json.dumps([*fields, event["at"].isoformat()], separators=(",", ":"))
    return hmac.digest(key, b"event\0" + text.encode(), "sha256").hex()


def head_mac(key: bytes, seq: int, top: str) -> str:
    """Return the keyed hash over the head of the chain."""
    return hmac.digest(key, f"head\0{seq}\0{top}".encode(), "sha256").hex()


NAMED: Mapping[str, sa.Table] = {
    table.name: table
    for table in (
        tables.snapshots,
        tables.verdicts,
        tables.approvals,
        tables.admissions,
        tables.models,
        tables.feeds,
        tables.policies,
        tables.users,
    )
}
"""The small tables whose rows change in place: events hold the hash of each row they write, under its first key."""


def check_rows_unchanged(
    conn: sa.Connection, key: bytes, *, feed: str, table: sa.Table, ids: Sequence[str | int]
) -> None:
    """Raise `TamperError` when a row is not as the last event that wrote it left it.

    Asked before a row is built upon, so that no later event can seal what somebody wrote past the guard.
    """
    wanted = dict(_hashes_of_named(conn, key, table, ids))
    e = tables.events.c
    pattern = f'%"{table.name}":{{%'
    query = sa.select(e.body).where(e.feed == feed, e.body.like(pattern)).order_by(e.seq.desc())
    for (body,) in conn.execute(query):
        if not wanted:
            return
        sealed = json.loads(body).get("rows", {}).get(table.name, {})
        for row_id in [name for name in wanted if name in sealed]:
            if sealed[row_id] != wanted.pop(row_id):
                raise TamperError(
                    f"{row_id} in the table {table.name} was changed past the guard; run `poison-guard audit verify`"
                )
    if wanted:
        raise TamperError(f"no event speaks of {min(wanted)} in the table {table.name}; it was written past the guard")


def raw_named_rows(conn: sa.Connection, table: sa.Table, where: str = "", values: Sequence[Any] = ()) -> Any:
    """Yield the rows of a `NAMED` table in chunks, as the driver reads them: the first key, then all columns."""
    key = next(iter(table.primary_key.columns)).name
    return seals.raw_rows(conn, seals.SealedTable(table, group=key), where, values)


def _hashes_of_named(
    conn: sa.Connection, key: bytes, table: sa.Table, ids: Sequence[str | int]
) -> Iterable[tuple[str, str]]:
    column = next(iter(table.primary_key.columns)).name
    for start in range(0, len(ids), 500):
        some = list(ids[start : start + 500])
        marks = ", ".join("?" * len(some))
        for rows in raw_named_rows(conn, table, f"{column} IN ({marks})", some):
            hashes = seals.hashes_of(key, table.name, "", (tuple(row[1:]) for row in rows))
            yield from ((str(row[0]), value.hex()) for row, value in zip(rows, hashes, strict=True))
