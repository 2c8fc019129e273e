"""Count what the gate asks the store: audits, backlog, deferred labels, the trusted set's purity.

Also the records that an observing feed accepted although the guard would have held them.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.records import Action, Place
from poison_guard.store import bulk, quarantine, tables
from poison_guard.store.chain import head
from poison_guard.store.engine import Store
from poison_guard.store.membership import query_by_status

__all__ = ["audit_counts", "backlog_counts", "count_would_be_held", "trusted_facts", "would_be_held_ids"]


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


def count_would_be_held(store: Store, feed: str, *, seq: int) -> dict[str, int]:
    """Return how many records were ``accepted`` as of `seq`, and how many of them were only let ``passed``."""
    queries = {
        "accepted": query_by_status(feed, seq, (Place.ACCEPTED.value,), ("record_id",)),
        "passed": _would_be_held_query(feed, seq),
    }
    with store.read() as conn:
        return {
            name: int(conn.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar() or 0)
            for name, query in queries.items()
        }


def would_be_held_ids(store: Store, feed: str) -> pd.Series:
    """Return the ids of the records that were only let pass and are accepted now, sorted."""
    with store.read() as conn:
        rows = bulk.fetch_frame(conn, _would_be_held_query(feed, head(conn)))
    return rows["record_id"].sort_values(ignore_index=True)


def _would_be_held_query(feed: str, seq: int) -> bulk.Query:
    """Return the query of the accepted records as of `seq` that were to be held, without those a person released."""
    r, m, v = tables.records.c, tables.moves.c, tables.reviews.c
    released = (
        sa.exists()
        .where(m.feed == feed, m.record_id == r.record_id, m.to_place == Place.ACCEPTED.value, m.seq <= seq)
        .where(m.seq == v.seq, v.feed == feed, v.verb == "release", v.undone_by.is_(None))
    )
    accepted = query_by_status(feed, seq, (Place.ACCEPTED.value,), ("record_id",))
    return accepted.where(r.action != Action.ACCEPT.value, ~released)
