"""Write what people decide: every decision is one event with a name and a reason (`undoing` takes one back)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.errors import BusyError, NotFoundError, UsageError
from poison_guard.records import Place
from poison_guard.store import bulk, chain, ledger, places, quarantine, snapshots, tables, verified
from poison_guard.store.engine import Store
from poison_guard.store.names import fit_name
from poison_guard.store.plain import from_json, to_json

__all__ = ["WAITS", "Decision", "block", "decide", "list_decisions", "note_decision", "revoke_lost"]

WAITS = (Place.QUARANTINED.value, Place.RECALLED.value)


@dataclass(frozen=True, slots=True)
class Decision:
    """What one person decides about a frozen set of records."""

    feed: str
    namespace: str
    verb: str
    by: str
    reason: str
    at: dt.datetime
    record_ids: tuple[str, ...]
    place: Place
    """Where they go."""
    allowed: tuple[Place, ...]
    """Where they may come from."""
    verdict: int | None
    """1: was right, -1: was wrong, None: says nothing about their sources."""
    selector: Mapping[str, Any]
    """How the set was chosen, as it was asked for."""
    token: str | None = None
    """Lease under which it was decided; None: the name alone counts."""
    as_one: bool = False
    """Whether they were looked at as one: a source then earns no more than one right answer, however many it sent."""


def decide(store: Store, decision: Decision) -> int:
    """Carry out a decision in one transaction and return its sequence number.

    Compare-and-set: `BusyError` when any of the records moved, or is on lease to somebody else; then none is touched.
    Snapshots that hold records which are not accepted any more are revoked with them.
    """
    d = decision
    with store.write() as conn:
        seq = chain.next_seq(conn)
        rows = places.find(conn, d.feed, d.record_ids).sort_values("record_id", ignore_index=True)
        _check_rows(rows, d, quarantine.open_ids(conn, d.feed, d.record_ids))
        _check_leases(conn, d)
        verdict = rows["verdict"] if d.verdict is None else d.verdict
        places.move(conn, d.feed, rows.assign(to_place=d.place.value, to_verdict=verdict), seq=seq)
        _feed_back(conn, d, rows, seq=seq)
        _queue(conn, d.feed, rows.assign(place=d.place.value), seq=seq, at=d.at)
        if d.verb == "release":
            _accept_schema(conn, d.feed, rows["record_id"].tolist(), seq=seq)
        note_decision(conn, store.key, d.feed, d.verb, d.by, d.reason, d.at, n=len(rows), selector=d.selector)
        revoke_lost(conn, store.key, d.feed, rows.assign(to_place=d.place.value), f"{d.verb}: {d.reason}", d.by, d.at)
    return seq


def block(
    store: Store, *, feed: str, namespace: str, source_id: str, by: str, reason: str, at: dt.datetime, blocked: bool
) -> int:
    """Block a source, or let it speak again, and return the event's number; `UsageError` when that is so already."""
    with store.write() as conn:
        seq = chain.next_seq(conn)
        now = ledger.sums(conn, namespace, source_ids=[fit_name(source_id)])
        is_blocked = bool(now["blocked"].any())
        if is_blocked == blocked:
            raise UsageError(f"source {source_id!r} is {'blocked already' if blocked else 'not blocked'}")
        delta = pd.DataFrame({"source_id": [source_id], "first_seen": [at], "blocked": [1 if blocked else -1]})
        ledger.add_deltas(conn, _timed(delta), namespace=namespace, feed=feed, seq=seq)
        verb = "block" if blocked else "unblock"
        return note_decision(conn, store.key, feed, verb, by, reason, at, n=1, selector={"source_id": source_id})


def list_decisions(store: Store, feed: str, *, limit: int = 50) -> pd.DataFrame:
    """Return what people decided, last first: ``seq, verb, actor, reason, at, n, selector, undoes, undone_by``."""
    query = (
        sa.select(tables.reviews)
        .where(tables.reviews.c.feed == feed)
        .order_by(tables.reviews.c.seq.desc())
        .limit(limit)
    )
    with store.read() as conn:
        frame = bulk.fetch_frame(conn, query)
    return frame.assign(selector=[from_json(text) for text in frame["selector"]])


def _check_rows(rows: pd.DataFrame, d: Decision, waiting: set[str]) -> None:
    """Refuse what is unknown, unreadable or settled; a record may stay where it is only while the queue asks."""
    if len(rows) < len(set(d.record_ids)):
        missing = sorted(set(d.record_ids) - set(rows["record_id"]))
        raise NotFoundError(f"there is no record {missing[0]!r} in {d.feed}")
    settled = (rows["place"] == d.place.value) & ~rows["record_id"].isin(waiting)
    stuck = rows[settled | ~rows["place"].isin([place.value for place in d.allowed])]
    if len(stuck):
        first = stuck.iloc[0]
        raise BusyError(
            f"{len(stuck)} of {len(rows)} records cannot be moved by {d.verb}: {first['record_id']!r} is already "
            f"{first['place']}; list them again"
        )
    if d.place is Place.ACCEPTED and not rows["readable"].all():
        first = rows.loc[~rows["readable"], "record_id"].iloc[0]
        raise UsageError(
            f"{first!r} is a row that could not be read, so there is nothing to release; reject it instead"
        )


def _check_leases(conn: sa.Connection, d: Decision) -> None:
    count, holder = quarantine.held_by_others(conn, d.feed, d.record_ids, by=d.by, token=d.token, at=d.at)
    if count:
        raise BusyError(
            f"{count} of {len(d.record_ids)} records are being reviewed by {holder}; wait or leave them out"
        )


def _feed_back(conn: sa.Connection, d: Decision, rows: pd.DataFrame, *, seq: int) -> None:
    """Let the ledger know what the verdicts say about the sources; a changed verdict takes the old one back."""
    spoken = rows[rows["source_id"].notna()]
    if d.verdict is None or spoken.empty:
        return
    said = spoken.assign(given_at=verified.given_at(spoken), verdict=d.verdict)
    if d.as_one and d.verdict > 0:
        first = said.sort_values(["given_at", "record_id"]).drop_duplicates("source_id").index
        said = said.assign(verdict=said["verdict"].where(said.index.isin(first), 0))
    said = said[["record_id", "source_id", "given_at", "verdict"]]
    verified.note(conn, said, feed=d.feed, namespace=d.namespace, kind=verified.REVIEW, seq=seq, at=d.at)


def _timed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(first_seen=pd.to_datetime(frame["first_seen"], utc=True).astype("datetime64[us, UTC]"))


def _queue(conn: sa.Connection, feed: str, rows: pd.DataFrame, *, seq: int, at: dt.datetime) -> None:
    """Close the entries of records that were decided; open one for those that now wait."""
    waits = rows["place"].isin(WAITS)
    quarantine.close_entries(conn, feed, rows.loc[~waits, "record_id"].tolist(), seq=seq)
    if waits.any():
        recalled = rows[waits].assign(kind=quarantine.RECALLED)[["record_id", "kind", "risk"]]
        quarantine.open_entries(conn, feed, recalled, seq=seq, at=at)


def note_decision(
    conn: sa.Connection,
    key: bytes,
    feed: str,
    verb: str,
    by: str,
    reason: str,
    at: dt.datetime,
    *,
    n: int,
    selector: Mapping[str, Any],
    undoes: int | None = None,
) -> int:
    """Seal the event of a decision and keep who made it and why."""
    body = {
        "n": n,
        "reason": chain.subject(key, reason),
        "selector": chain.subject(key, to_json(selector)),
        "undoes": undoes,
    }
    seq = chain.seal(conn, key, kind=f"review.{verb}", at=at, body=body, feed=feed, actor=by)
    row = {"seq": seq, "feed": feed, "verb": verb, "actor": by, "reason": reason, "at": at, "n": n}
    conn.execute(sa.insert(tables.reviews), [{**row, "selector": to_json(selector), "undoes": undoes}])
    return seq


def revoke_lost(
    conn: sa.Connection, key: bytes, feed: str, rows: pd.DataFrame, why: str, by: str, at: dt.datetime
) -> None:
    """Take back the snapshots that hold records which are not accepted any more; the event follows the decision's."""
    accepted = Place.ACCEPTED.value
    lost = rows.loc[(rows["place"] == accepted) & (rows["to_place"] != accepted), "record_id"]
    if len(lost):
        snapshots.revoke_holding(conn, key, feed, lost, by=by, why=why, at=at)


def _accept_schema(conn: sa.Connection, feed: str, record_ids: Sequence[str], *, seq: int) -> None:
    """Take over the payload schema of released records that were held because of it."""
    c = tables.evidence.c
    query = sa.select(c.run_id).where(c.feed == feed, c.code == "schema_drift")
    held = bulk.select_many(conn, query, c.record_id, record_ids)
    if held.empty:
        return
    run_id = held["run_id"].max()
    body = conn.execute(sa.select(tables.runs.c.schema).where(tables.runs.c.run_id == run_id)).scalar_one()
    conn.execute(sa.insert(tables.schemas), [{"feed": feed, "seq": seq, "run_id": run_id, "body": body}])
