"""Count what the gate asks the store: audits of the accepted, what waits, deferred labels, the trusted set's purity."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa

from poison_guard.records import Place
from poison_guard.store import bulk, quarantine, tables
from poison_guard.store.engine import Store

__all__ = ["audit_counts", "backlog_counts", "trusted_facts"]


def audit_counts(store: Store, feed: str) -> dict[str, int]:
    """Return how many accepted records were drawn for audit, how many people have decided, and how many were wrong."""
    q, r = tables.queue.c, tables.records.c
    joined = tables.queue.join(tables.records, sa.and_(q.feed == r.feed, q.record_id == r.record_id))
    query = (
        sa.select(q.state, r.verdict, sa.func.count())
        .select_from(joined)
        .where(q.feed == feed, q.kind == "audit")
        .group_by(q.state, r.verdict)
    )
    with store.read() as conn:
        rows = [(str(state), int(verdict), int(n)) for state, verdict, n in conn.execute(query)]
    done = [(verdict, n) for state, verdict, n in rows if state == "done" and verdict]
    return {
        "drawn": sum(n for _, _, n in rows),
        "decided": sum(n for _, n in done),
        "wrong": sum(n for verdict, n in done if verdict < 0),
    }


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
    """Return ``n``, ``last_added`` (time of the newest addition, or None) and ``seen_in_feed`` of the trusted set.

    ``seen_in_feed`` counts trusted records, those from a review left out, whose id or content the feed has sent: then
    the feed knows what it is judged by, or has written it.
    """
    t, r, v = tables.trusted.c, tables.records.c, tables.reviews.c
    with store.read() as conn:
        rows = bulk.fetch_frame(conn, sa.select(t.record_id, t.content_hash, t.reviewed).where(t.feed == feed))
        last = conn.execute(sa.select(sa.func.max(v.at)).where(v.feed == feed, v.verb == "trust")).scalar()
        mine = rows[~rows["reviewed"].astype(bool)]
        by_id = sa.select(r.record_id).where(r.feed == feed)
        by_content = sa.select(r.content_hash).where(r.feed == feed)
        ids = bulk.select_many(conn, by_id, r.record_id, mine["record_id"].tolist())
        contents = bulk.select_many(conn, by_content, r.content_hash, mine["content_hash"].tolist())
    seen = mine["record_id"].isin(ids["record_id"]) | mine["content_hash"].isin(contents["content_hash"])
    return {"n": len(rows), "last_added": last, "seen_in_feed": int(seen.sum())}
