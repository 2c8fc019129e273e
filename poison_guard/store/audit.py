"""Check the audit chain from its first event to its head, and the rows it speaks of: places, moves, ledger, gate."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.results import Result
from poison_guard.store import bulk, chain, tables
from poison_guard.store.chain import head
from poison_guard.store.engine import Store

__all__ = ["AuditResult", "head", "verify"]

_GENESIS_HASH = "0" * 64


@dataclass(frozen=True, slots=True)
class AuditResult(Result):
    """What `verify` found; its JSON has these keys."""

    ok: bool
    events: int
    """How many events were read."""
    first_bad: int | None
    """Sequence number of the first event that does not fit; None when all fit."""
    why: str
    """One sentence; empty when all fit."""

    def __str__(self) -> str:
        if self.ok:
            return f"the audit chain is whole: {self.events:,} events"
        return f"the audit chain is broken: {self.why}"


def verify(store: Store) -> AuditResult:
    """Return whether every event follows the one before it, and the records are where the events left them."""
    with store.read() as conn:
        rows = conn.execute(sa.select(tables.events).order_by(tables.events.c.seq))
        events = [row._asdict() for row in rows]
        bad = _first_fault(conn, store.key, events)
    if bad is None:
        return AuditResult(True, len(events), None, "")
    return AuditResult(False, len(events), *bad)


def _first_fault(conn: sa.Connection, key: bytes, events: list[dict[str, Any]]) -> tuple[int, str] | None:
    prev = _GENESIS_HASH
    for number, event in enumerate(events, start=1):
        why = _event_fault(key, event, prev, number)
        if why:
            return number, why
        prev = event["hash"]
    if not _head_fits(conn, key, len(events), prev):
        return len(events) + 1, f"the chain ends after event {len(events)}, but its head says otherwise"
    changed = min(_changed_digests(conn, key, events), default=None)  # places are told from moves, so these come first
    astray = min(_changed_statuses(conn, key, events), default=None) if changed is None else changed
    return chain.first_changed_row(conn, key, events) if astray is None else astray


def _event_fault(key: bytes, event: dict[str, Any], prev: str, number: int) -> str:
    if event["seq"] != number:
        return f"event {number} is missing"
    if event["prev"] != prev:
        return f"event {number} does not follow the one before it"
    if not hmac.compare_digest(chain.event_hash(key, event), event["hash"]):
        return f"event {number} was changed after it was written, or the key is another one"
    return ""


def _head_fits(conn: sa.Connection, key: bytes, count: int, last: str) -> bool:
    c = tables.chain.c
    head = conn.execute(sa.select(c.seq, c.hash, c.mac).where(c.id == 1)).first()
    if head is None or head.seq != count or head.hash != last:
        return False
    return count == 0 or hmac.compare_digest(chain.head_mac(key, count, last), head.mac)


def _changed_digests(conn: sa.Connection, key: bytes, events: list[dict[str, Any]]) -> Iterator[tuple[int, str]]:
    for event in events:
        digests = json.loads(event["body"]).get("written")
        if digests is None:
            continue
        now = chain.written_digests(conn, key, event["seq"])
        if any(now.get(name) != digest for name, digest in digests.items()):  # events of older versions tell less
            yield event["seq"], f"the moves, ledger or verified rows of event {event['seq']} were changed afterwards"


def _changed_statuses(conn: sa.Connection, key: bytes, events: list[dict[str, Any]]) -> Iterator[tuple[int, str]]:
    for feed in sorted({event["feed"] for event in events if event["kind"] == "run.committed"}):
        rows = _first_and_last(conn, feed)
        astray = rows[rows["place"] != rows["last_place"]]
        if len(astray):
            yield int(astray["seq"].min()), f"{len(astray)} records of {feed} are not where the last decision put them"
        by_seq = dict(list(rows.groupby("seq")))
        for event in events:
            if event["kind"] == "run.committed" and event["feed"] == feed:
                part = by_seq.get(event["seq"], rows.iloc[:0])
                decided = zip(part["record_id"], part["first_hash"], part["first_place"], strict=True)
                if json.loads(event["body"])["decisions"] != chain.rows_digest(key, decided):
                    yield event["seq"], f"the decisions that event {event['seq']} stored were changed afterwards"


def _first_and_last(conn: sa.Connection, feed: str) -> pd.DataFrame:
    """Return every record with the place and content it was first stored with, and the place it was last moved to."""
    r, m = tables.records.c, tables.moves.c
    rows = bulk.fetch_frame(conn, sa.select(r.record_id, r.seq, r.place, r.content_hash).where(r.feed == feed))
    query = sa.select(m.record_id, m.from_place, m.from_hash, m.to_place).where(m.feed == feed).order_by(m.seq)
    moves = bulk.fetch_frame(conn, query).groupby("record_id")
    first, last = moves.first().reindex(rows["record_id"]), moves.last().reindex(rows["record_id"])
    return rows.assign(
        first_place=first["from_place"].set_axis(rows.index).fillna(rows["place"]),
        first_hash=first["from_hash"].set_axis(rows.index).fillna(rows["content_hash"]),
        last_place=last["to_place"].set_axis(rows.index).fillna(rows["place"]),
    )
