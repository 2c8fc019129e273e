"""The audit chain: one event for each change of the store, each sealed by a keyed hash over itself and the one before.

People's and records' names stand in it only as keyed hashes, so that erasing a payload leaves the chain whole. A chain
cannot show that the whole database was put back to an older copy; compare its head with a copy kept elsewhere for that.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from poison_guard.errors import StoreError
from poison_guard.store import tables

__all__ = ["append", "digest", "head", "next_seq", "seal", "seal_event", "seal_head", "subject", "written"]


def subject(key: bytes, name: str) -> str:
    """Return the keyed hash under which a record, source or reason stands in the chain, 32 hex digits."""
    return hmac.digest(key, b"subject\0" + name.encode("utf-8", "surrogatepass"), "sha256").hex()[:32]


def digest(key: bytes, rows: Iterable[tuple[str, ...]]) -> str:
    """Return one hash over a set of rows whose first cell names a subject; the order of the rows does not matter."""
    lines = sorted("\t".join((subject(key, name), *rest)) for name, *rest in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def next_seq(conn: sa.Connection) -> int:
    """Take the chain's lock until the transaction ends and return the number the next event will have.

    All writers go through here, so sequence numbers are given in the order in which transactions are committed.
    """
    return _lock(conn)[0] + 1


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
    last, prev = _lock(conn)
    seq = last + 1
    event = {"seq": seq, "at": at, "kind": kind, "feed": feed, "run_id": run_id, "actor": actor, "prev": prev}
    event["body"] = json.dumps(body, sort_keys=True, separators=(",", ":"))
    event["hash"] = seal_event(key, event)
    conn.execute(sa.insert(tables.events), [event])
    conn.execute(
        sa.update(tables.chain)
        .where(tables.chain.c.id == 1)
        .values(seq=seq, hash=event["hash"], mac=seal_head(key, seq, event["hash"]))
    )
    return seq


def head(conn: sa.Connection) -> int:
    """Return the number of the last event, which is the state version of now; 0 for a new store."""
    return conn.execute(sa.select(tables.chain.c.seq)).scalar() or 0


def _moved_rows(conn: sa.Connection, seq: int) -> list[tuple[str, ...]]:
    """Return what an event moved, as `digest` takes it."""
    c = tables.moves.c
    query = sa.select(c.record_id, c.from_place, c.to_place, c.to_verdict).where(c.seq == seq)
    return [(name, before, after, str(verdict)) for name, before, after, verdict in conn.execute(query)]


def _ledger_rows(conn: sa.Connection, seq: int) -> list[tuple[str, ...]]:
    """Return what an event added to the ledger, as `digest` takes it."""
    c = tables.ledger.c
    query = sa.select(c.source_id, *(c[name] for name in tables.LEDGER_COUNTS)).where(c.seq == seq)
    return [(name, *(f"{float(count):.6g}" for count in counts)) for name, *counts in conn.execute(query)]


def _verified_rows(conn: sa.Connection, seq: int) -> list[tuple[str, ...]]:
    """Return what an event said of records, as `digest` takes it."""
    c = tables.verified.c
    query = sa.select(c.record_id, c.kind, c.source_id, c.verdict, c.given_at).where(c.seq == seq)
    return [
        (name, kind, source or "", str(verdict), at.isoformat())
        for name, kind, source, verdict, at in conn.execute(query)
    ]


def seal(
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
    whole = {**body, "written": written(conn, key, next_seq(conn))}
    return append(conn, key, kind=kind, at=at, body=whole, feed=feed, run_id=run_id, actor=actor)


def written(conn: sa.Connection, key: bytes, seq: int) -> dict[str, str]:
    """Return the digests of the moves, ledger and verified rows written under `seq`."""
    rows = {"moves": _moved_rows, "ledger": _ledger_rows, "verified": _verified_rows}
    return {name: digest(key, read(conn, seq)) for name, read in rows.items()}


def _lock(conn: sa.Connection) -> tuple[int, str]:
    query = sa.select(tables.chain.c.seq, tables.chain.c.hash).where(tables.chain.c.id == 1).with_for_update()
    row = conn.execute(query).first()
    if row is None:
        raise StoreError("the store has lost the head of its audit chain; restore it from a backup")
    return row[0], row[1]


def seal_event(key: bytes, event: Mapping[str, Any]) -> str:
    """Return the keyed hash over an event and the hash of the one before it."""
    fields = [event[name] for name in ("seq", "kind", "feed", "run_id", "actor", "body", "prev")]
    text = json.dumps([*fields, event["at"].isoformat()], separators=(",", ":"))
    return hmac.digest(key, b"event\0" + text.encode(), "sha256").hex()


def seal_head(key: bytes, seq: int, top: str) -> str:
    """Return the keyed hash over the head of the chain."""
    return hmac.digest(key, f"head\0{seq}\0{top}".encode(), "sha256").hex()
