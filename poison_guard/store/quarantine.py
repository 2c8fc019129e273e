"""The review queue: what waits for a person, who holds it for how long, and what became of it."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Collection, Iterable, Sequence

import pandas as pd
import sqlalchemy as sa

from poison_guard.records import ID_CONFLICT, Campaign, Place
from poison_guard.store import bulk, seals, tables

__all__ = [
    "claim",
    "close_entries",
    "count_open",
    "decided_by",
    "entries",
    "held_by_others",
    "one_of_each_group",
    "open_entries",
    "open_ids",
    "open_next_of_groups",
    "pending",
    "reopen",
    "unclaim",
]

HELD = "held"
AUDIT = "audit"
RECALLED = "recalled"


def entries(rows: pd.DataFrame, samples: Collection[str], campaigns: Iterable[Campaign]) -> pd.DataFrame:
    """Return the queue entries of decided rows: all that are quarantined, and the audit sample (pure).

    A group of conflicts has one entry, see `one_of_each_group`.
    """
    held = rows["place"] == Place.QUARANTINED.value
    kind = pd.Series(HELD, index=rows.index, dtype="str").where(held, AUDIT)
    waits = held | (rows["record_id"].isin(set(samples)) & (rows["place"] != Place.REJECTED.value))
    return one_of_each_group(rows.assign(kind=kind)[waits], campaigns).reset_index(drop=True)


def one_of_each_group(rows: pd.DataFrame, campaigns: Iterable[Campaign]) -> pd.DataFrame:
    """Return the entries of `rows` (with ``campaign_id``): of a group of conflicts the first alone, it stands for all.

    A person decides the group by its campaign, so that many conflicts are one entry of the queue (pure).
    """
    groups = {campaign.campaign_id for campaign in campaigns if campaign.kind == ID_CONFLICT}
    grouped = rows["campaign_id"].isin(groups)
    first = rows[grouped].sort_values("record_id").drop_duplicates("campaign_id").index
    return rows.loc[~grouped | rows.index.isin(first), ["record_id", "kind", "risk"]]


def open_next_of_groups(
    conn: sa.Connection, feed: str, record_ids: Sequence[str], *, seq: int, at: dt.datetime
) -> None:
    """Open an entry for each group of conflicts that these records left, where others wait in it and none is asked."""
    r, g = tables.records.c, tables.campaigns.c
    of_group = sa.and_(r.feed == g.feed, r.campaign_id == g.campaign_id, g.kind == ID_CONFLICT)
    groups = sa.select(r.campaign_id).join_from(tables.records, tables.campaigns, of_group).where(r.feed == feed)
    left = bulk.select_many(conn, groups, r.record_id, record_ids)["campaign_id"].unique().tolist()
    if not left:
        return
    held = (Place.QUARANTINED.value, Place.RECALLED.value)
    waiting = sa.select(r.record_id, r.campaign_id, r.place, r.risk).where(r.feed == feed, r.place.in_(held))
    members = bulk.select_many(conn, waiting, r.campaign_id, left)
    asked = open_ids(conn, feed, members["record_id"].tolist())
    done = set(members.loc[members["record_id"].isin(asked), "campaign_id"])
    following = members[~members["campaign_id"].isin(done)].sort_values("record_id").drop_duplicates("campaign_id")
    kind = following["place"].map({Place.QUARANTINED.value: HELD, Place.RECALLED.value: RECALLED})
    open_entries(conn, feed, following.assign(kind=kind)[["record_id", "kind", "risk"]], seq=seq, at=at)


def open_entries(conn: sa.Connection, feed: str, rows: pd.DataFrame, *, seq: int, at: dt.datetime) -> None:
    """Put records (``record_id, kind, risk``) into the queue, in the place of entries they had."""
    if rows.empty:
        return
    c = tables.queue.c
    ids = rows["record_id"].tolist()
    seals.take(conn, tables.queue, feed, ids, seq=seq)
    conn.execute(sa.delete(tables.queue).where(c.feed == feed, bulk.is_one_of(conn, c.record_id, ids)))
    since = pd.Series([at] * len(rows), index=rows.index, dtype="datetime64[us, UTC]")
    bulk.insert_frame(
        conn, tables.queue, rows.assign(feed=feed, state="open", created_at=since, opened_seq=seq, changed_seq=seq)
    )


def close_entries(conn: sa.Connection, feed: str, record_ids: Sequence[str], *, seq: int) -> None:
    """Mark the open entries of records as decided by event `seq`."""
    seals.take(conn, tables.queue, feed, sorted(open_ids(conn, feed, record_ids)), seq=seq)
    c = tables.queue.c
    conn.execute(
        sa.update(tables.queue)
        .where(c.feed == feed, c.state == "open", bulk.is_one_of(conn, c.record_id, record_ids))
        .values(state="done", decided_seq=seq, changed_seq=seq, claimed_by=None, token=None, lease_until=None)
    )


def reopen(conn: sa.Connection, feed: str, record_ids: Sequence[str], *, seq: int) -> None:
    """Put decided entries of records back into the queue, with their first date."""
    c = tables.queue.c
    done = sa.select(c.record_id).where(c.feed == feed, c.state == "done")
    ids = bulk.select_many(conn, done, c.record_id, record_ids)["record_id"].tolist()
    seals.take(conn, tables.queue, feed, ids, seq=seq)
    conn.execute(
        sa.update(tables.queue)
        .where(c.feed == feed, c.state == "done", bulk.is_one_of(conn, c.record_id, record_ids))
        .values(state="open", opened_seq=seq, decided_seq=None, changed_seq=seq)
    )


def claim(
    conn: sa.Connection,
    feed: str,
    *,
    by: str,
    until: dt.datetime,
    at: dt.datetime,
    since: dt.datetime,
    limit: int,
    record_ids: Sequence[str] | None = None,
) -> tuple[str, tuple[str, ...]]:
    """Lease up to `limit` open entries to `by`, riskiest first; return the token and the ids.

    One conditional update: an entry whose lease runs is never given to someone else. Entries made before `since` have
    expired and are given only by id; a lease of one's own is renewed only by id.
    """
    c = tables.queue.c
    free = sa.or_(c.lease_until.is_(None), c.lease_until < at)
    open_ = [c.feed == feed, c.state == "open", free if record_ids is None else sa.or_(free, c.claimed_by == by)]
    pick = sa.select(c.record_id).where(*open_).order_by(c.risk.desc(), c.record_id).limit(limit)
    if record_ids is None:
        pick = pick.where(c.created_at >= since)
    else:
        pick = pick.where(bulk.is_one_of(conn, c.record_id, record_ids))
    pick = pick.with_for_update(skip_locked=True)
    token = secrets.token_hex(16)
    chosen = conn.execute(pick).scalars().all()
    taken = conn.execute(
        sa.update(tables.queue)
        .where(*open_, bulk.is_one_of(conn, c.record_id, chosen))
        .values(claimed_by=by, token=token, lease_until=until)
        .returning(c.record_id)
    ).scalars()
    return token, tuple(sorted(taken))


def unclaim(conn: sa.Connection, feed: str, *, token: str) -> int:
    """Give leased entries back; return how many."""
    c = tables.queue.c
    done = conn.execute(
        sa.update(tables.queue)
        .where(c.feed == feed, c.token == token)
        .values(claimed_by=None, token=None, lease_until=None)
    )
    return done.rowcount


def open_ids(conn: sa.Connection, feed: str, record_ids: Sequence[str]) -> set[str]:
    """Return which of the records wait in the queue."""
    c = tables.queue.c
    query = sa.select(c.record_id).where(c.feed == feed, c.state == "open")
    return set(bulk.select_many(conn, query, c.record_id, record_ids)["record_id"])


def decided_by(conn: sa.Connection, feed: str, record_ids: Sequence[str], *, seqs: Collection[int]) -> set[str]:
    """Return which of the records' entries one of the events `seqs` closed."""
    c = tables.queue.c
    query = sa.select(c.record_id).where(c.feed == feed, c.state == "done", c.decided_seq.in_(seqs))
    return set(bulk.select_many(conn, query, c.record_id, record_ids)["record_id"])


def held_by_others(
    conn: sa.Connection, feed: str, record_ids: Sequence[str], *, by: str, token: str | None, at: dt.datetime
) -> tuple[int, str | None]:
    """Return how many of the records are on lease to another name or under another token, and the first name."""
    c = tables.queue.c
    other = c.claimed_by != by if token is None else sa.or_(c.claimed_by != by, c.token != token)
    query = (
        sa.select(c.claimed_by)
        .where(c.feed == feed, c.state == "open", c.lease_until >= at, other)
        .where(bulk.is_one_of(conn, c.record_id, record_ids))
        .order_by(c.record_id)
    )
    names = conn.execute(query).scalars().all()
    return len(names), names[0] if names else None


def pending(
    conn: sa.Connection,
    feed: str | None = None,
    *,
    since: dt.datetime | None = None,
    campaign_id: str | None = None,
    source_id: str | None = None,
    kind: str | None = None,
    limit: int | None = None,
) -> tuple[pd.DataFrame, int]:
    """Return open entries, riskiest first and at most `limit`, and how many there are in all.

    Columns: the queue's with ``source_id, item_id, answer, campaign_id, place``. Entries made before `since` have
    expired and are left out.
    """
    q, r = tables.queue.c, tables.records.c
    shown = (q.feed, q.record_id, q.kind, q.risk, q.created_at, q.claimed_by, q.lease_until)
    query = (
        sa.select(
            *shown, r.place, r.source_id, r.author_id, r.item_id, r.answer, r.campaign_id, r.readable, r.received_at
        )
        .join_from(tables.queue, tables.records, sa.and_(q.feed == r.feed, q.record_id == r.record_id))
        .where(q.state == "open")
    )
    wanted = ((q.feed, feed), (r.campaign_id, campaign_id), (r.source_id, source_id), (q.kind, kind))
    for column, value in wanted:
        if value is not None:
            query = query.where(column == value)
    if since is not None:
        query = query.where(q.created_at >= since)
    total = conn.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
    return bulk.fetch_frame(conn, query.order_by(q.risk.desc(), q.created_at, q.record_id).limit(limit)), int(total)


def count_open(conn: sa.Connection, feed: str, *, since: dt.datetime) -> dict[str, object]:
    """Return how many entries are ``open`` and ``expired`` (made before `since`), and when the ``oldest`` came."""
    c = tables.queue.c
    late = sa.case((c.created_at < since, 1), else_=0)
    fresh_at = sa.case((c.created_at >= since, c.created_at))
    query = sa.select(
        sa.func.count().label("all"),
        sa.func.coalesce(sa.func.sum(late), 0),
        sa.func.min(fresh_at, type_=tables.UtcTime),
    ).where(c.feed == feed, c.state == "open")
    everything, expired, oldest = conn.execute(query).one()
    return {"open": everything - int(expired), "expired": int(expired), "oldest": oldest}
