"""Keep the rules about sources that lapse, and end what time ended: rules, and entries that nobody read."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa

from poison_guard.errors import NotFoundError, UsageError
from poison_guard.store import chain, quarantine, tables
from poison_guard.store.bulk import bounded_key
from poison_guard.store.engine import Store
from poison_guard.store.quarantine import OPEN
from poison_guard.store.reviews import append_review
from poison_guard.store.tables import queue, reviews, source_rules

__all__ = ["add_rule", "allowed_entries", "count_source", "end_rule", "expire_entries", "find_rules"]

_MOST = 50_000
"""Entries that one event lets expire."""


def add_rule(
    store: Store,
    feed: str,
    source_id: str,
    verb: str,
    *,
    expires: dt.datetime | None,
    by: str,
    reason: str,
    at: dt.datetime,
) -> int:
    """Add a rule (``allow`` or ``block``) and return its event; `UsageError` where one of the kind holds."""
    name, c = bounded_key(source_id), source_rules.c
    with store.write() as conn:
        seq = chain.next_seq(conn)
        same = (c.feed == feed, c.source_id == name, c.verb == verb, _holds())
        if conn.execute(sa.select(c.seq).where(*same)).first() is not None:
            raise UsageError(f"there is a rule to {verb} {source_id!r} already; end that one first")
        row = {"seq": seq, "feed": feed, "source_id": name, "verb": verb, "expires": expires}
        conn.execute(sa.insert(source_rules), [row])
        until = None if expires is None else expires.isoformat()
        selector = {"source_id": name, "rule": verb, "expires": until}
        return append_review(conn, store.key, feed, "rule", by, reason, at, n=1, selector=selector)


def end_rule(store: Store, feed: str, rule: int, *, by: str, reason: str, at: dt.datetime) -> int:
    """End a rule and return the event; `NotFoundError` where it does not hold."""
    c = source_rules.c
    with store.write() as conn:
        chain.next_seq(conn)
        if conn.execute(sa.select(c.seq).where(c.seq == rule, c.feed == feed, _holds())).first() is None:
            raise NotFoundError(f"{feed} has no rule {rule} that holds")
        return append_review(conn, store.key, feed, "end_rule", by, reason, at, n=1, selector={"rule": rule})


def _holds() -> sa.ColumnElement[bool]:
    """Return the condition that no decision ended a rule."""
    ended = reviews.alias().c
    selector = sa.literal('{"rule":') + sa.cast(source_rules.c.seq, sa.Text) + sa.literal("}")
    return ~sa.exists().where(ended.feed == source_rules.c.feed, ended.verb == "end_rule", ended.selector == selector)


def find_rules(store: Store, feed: str, *, source_id: str | None = None) -> list[dict[str, Any]]:
    """Return the rules that were not ended: ``event, source_id, verb, by, reason, at, expires``, the newest first."""
    c, r = source_rules.c, reviews.c
    columns = (c.seq.label("event"), c.source_id, c.verb, r.actor.label("by"), r.reason, r.at, c.expires)
    query = sa.select(*columns).join_from(source_rules, reviews, c.seq == r.seq)
    query = query.where(c.feed == feed, _holds()).order_by(c.seq.desc())
    if source_id is not None:
        query = query.where(c.source_id == bounded_key(source_id))
    with store.read() as conn:
        return [row._asdict() for row in conn.execute(query)]


_OWN = ("anomaly", "content", "label")
"""Signals of a record's own content: what they alone hold, a rule may release."""


def allowed_entries(store: Store, feed: str, source_id: str, *, since: dt.datetime | None = None) -> list[str]:
    """Return what waits of a source for its own content alone: in no campaign, and broken no rule; free to decide."""
    q, e = queue.c, tables.evidence.c
    other = sa.exists().where(e.feed == q.feed, e.record_id == q.record_id, e.signal.not_in((*_OWN, "decide")))
    query = sa.select(q.record_id).where(
        *(q.feed == feed, q.state == OPEN, q.kind == "held", q.source_id == bounded_key(source_id)),
        *(q.campaign_id.is_(None), q.signal.in_(_OWN), q.lease_until.is_(None), ~other),
    )
    if since is not None:
        query = query.where(q.created_at >= since)
    with store.read() as conn:
        return list(conn.execute(query.order_by(q.record_id).limit(_MOST)).scalars())


def count_source(store: Store, feed: str, source_id: str, *, since: dt.datetime) -> dict[str, int]:
    """Return how many records of a source are in each place, of those received since a time."""
    r = tables.records.c
    query = sa.select(r.place, sa.func.count()).where(r.feed == feed, r.source_id == bounded_key(source_id))
    with store.read() as conn:
        rows = conn.execute(query.where(r.received_at >= since).group_by(r.place)).all()
    return {str(place): int(n) for place, n in rows}


def expire_entries(store: Store, feed: str, *, since: dt.datetime, at: dt.datetime) -> int:
    """Close the entries made before `since` that nobody read or holds, as one event each 50,000; return how many.

    They stay excluded and counted, and can be decided at any time.
    """
    q, total = queue.c, 0
    free = sa.or_(q.lease_until.is_(None), q.lease_until < at)
    late = sa.select(q.record_id).where(q.feed == feed, q.state == OPEN, q.created_at < since, free).limit(_MOST)
    while True:
        with store.read() as conn:
            if conn.execute(late.limit(1)).first() is None:
                return total
        with store.write() as conn:
            seq = chain.next_seq(conn)
            ids = list(conn.execute(late).scalars())
            quarantine.close_entries(conn, feed, ids, seq=seq, state="expired")
            chain.append(conn, store.key, kind="queue.expired", at=at, body={"n": len(ids)}, feed=feed)
        total += len(ids)
