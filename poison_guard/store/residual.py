"""Count what the gate asks the store: audits of the accepted, what waits, deferred labels, the trusted set's purity."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa

from poison_guard.records import Place
from poison_guard.store import quarantine, tables
from poison_guard.store.engine import Store

__all__ = ["audit_counts", "backlog_counts", "trusted_facts"]


def audit_counts(store: Store, feed: str, *, since: dt.datetime) -> dict[str, int]:
    """Return how many accepted records people have audited since a time, ``decided``, and how many were ``wrong``.

    Those drawn and not decided, or decided earlier, say nothing of the misses of now.
    """
    q, r, e = tables.queue.c, tables.records.c, tables.events.c
    joined = tables.queue.join(tables.records, sa.and_(q.feed == r.feed, q.record_id == r.record_id))
    query = (
        sa.select(r.verdict, sa.func.count())
        .select_from(joined.join(tables.events, q.decided_seq == e.seq))
        .where(q.feed == feed, q.kind == "audit", q.state == "done", r.verdict != 0, e.at >= since)
        .group_by(r.verdict)
    )
    with store.read() as conn:
        done = {int(verdict): int(n) for verdict, n in conn.execute(query)}
    return {"decided": sum(done.values()), "wrong": done.get(-1, 0)}


def backlog_counts(store: Store, feed: str, *, now: dt.datetime, expire_days: int) -> dict[str, int]:
    """Return ``accepted, held, open, expired, deferred, adopted``: records by place, queue entries and item labels."""
    r, i = tables.records.c, tables.items.c
    newest = sa.select(i.item_id, sa.func.max(i.seq).label("seq")).where(i.feed == feed).group_by(i.item_id).subquery()
    labels = (
        sa.select(i.adopted, sa.func.count())
        .where(i.feed == feed, i.item_id == newest.c.item_id, i.seq == newest.c.seq)
        .group_by(i.adopted)
    )
    with store.read() as conn:
        places = {
            str(p): int(n)
            for p, n in conn.execute(sa.select(r.place, sa.func.count()).where(r.feed == feed).group_by(r.place))
        }
        waiting = quarantine.count_open(conn, feed, since=now - dt.timedelta(days=expire_days))
        items = {bool(adopted): int(n) for adopted, n in conn.execute(labels)}
    accepted = places.get(Place.ACCEPTED.value, 0)
    return {
        "accepted": accepted,
        "held": sum(places.values()) - accepted,
        "open": int(str(waiting["open"])),
        "expired": int(str(waiting["expired"])),
        "deferred": items.get(False, 0),
        "adopted": items.get(True, 0),
    }


def trusted_facts(store: Store, feed: str) -> dict[str, Any]:
    """Return ``n``, ``last_added`` (time of the newest addition, or None) and ``seen_before`` of the trusted set.

    ``seen_before`` counts trusted records, those from a review left out, whose id or content the feed had sent before
    they were vetted: then the feed may have written what it is judged by. A record that repeats a trusted one later is
    the feed's own affair.
    """
    t, r, v = tables.trusted.c, tables.records.c, tables.reviews.c
    same = sa.or_(r.record_id == t.record_id, r.content_hash == t.content_hash)
    before = sa.exists().where(r.feed == feed, same, r.seq < t.seq)
    mine = sa.select(sa.func.count()).where(t.feed == feed, t.reviewed.is_(False), before)
    with store.read() as conn:
        n = conn.execute(sa.select(sa.func.count()).where(t.feed == feed)).scalar() or 0
        last = conn.execute(sa.select(sa.func.max(v.at)).where(v.feed == feed, v.verb == "trust")).scalar()
        seen = conn.execute(mine).scalar() or 0
    return {"n": int(n), "last_added": last, "seen_before": int(seen)}
