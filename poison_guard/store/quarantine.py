"""The review queue: what waits for a person, who holds it for how long, and what became of it."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.records import ID_CONFLICT, Campaign, Place
from poison_guard.store import bulk, seals, tables
from poison_guard.store.columns import UtcTime
from poison_guard.store.writing import Seqs

__all__ = [
    "EXPIRED",
    "ITEM",
    "OPEN",
    "claim",
    "close_entries",
    "count_open",
    "decided_by",
    "entries",
    "forget",
    "one_of_each_group",
    "open_entries",
    "open_ids",
    "open_next_of_groups",
    "reopen",
    "unclaim",
]

HELD = "held"
AUDIT = "audit"
RECALLED = "recalled"
ITEM = "item"
"""An accepted vote by which a person is asked about its item, whose label trusted items deny."""


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


def open_next_of_groups(conn: sa.Connection, feed: str, left: Sequence[str], *, seq: int, at: dt.datetime) -> None:
    """Open an entry for each of the groups of conflicts (by campaign) where others wait and none is asked about."""
    r = tables.records.c
    held = (Place.QUARANTINED.value, Place.RECALLED.value)
    waiting = sa.select(r.record_id, r.campaign_id, r.place, r.risk).where(r.feed == feed, r.place.in_(held))
    members = bulk.select_many(conn, waiting, r.campaign_id, left)
    asked = open_ids(conn, feed, members["record_id"].tolist())
    done = set(members.loc[members["record_id"].isin(asked), "campaign_id"])
    following = members[~members["campaign_id"].isin(done)].sort_values("record_id").drop_duplicates("campaign_id")
    kind = following["place"].map({Place.QUARANTINED.value: HELD, Place.RECALLED.value: RECALLED})
    open_entries(conn, feed, following.assign(kind=kind)[["record_id", "kind", "risk"]], seq=seq, at=at)


def open_entries(conn: sa.Connection, feed: str, rows: pd.DataFrame, *, seq: int, at: dt.datetime) -> None:
    """Put records (``record_id, kind, risk``, perhaps ``preview``) into the queue, in the place of entries they had.

    What an entry is filtered by is copied from the record and its evidence, which are written before. Of records that
    were taken back the preview is missing until `waiting.fill_previews`.
    """
    if rows.empty:
        return
    c = tables.queue.c
    ids = rows["record_id"].tolist()
    seals.take(conn, tables.queue, feed, ids, seq=seq)
    _count(conn, feed, ids, sign=-1)
    if "preview" not in rows:  # what was shown before is shown again
        known = bulk.select_many(conn, sa.select(c.record_id, c.preview).where(c.feed == feed), c.record_id, ids)
        rows = rows.merge(known, on="record_id", how="left")
    conn.execute(sa.delete(tables.queue).where(c.feed == feed, bulk.is_one_of(conn, c.record_id, ids)))
    since = pd.Series([at] * len(rows), index=rows.index, dtype="datetime64[us, UTC]")
    rows = rows.merge(_facets(conn, feed, ids), on="record_id", how="left")
    rows = rows.assign(feed=feed, state="open", created_at=since.to_numpy(), opened_seq=seq, changed_seq=seq)
    bulk.insert_frame(conn, tables.queue, rows)
    _count(conn, feed, ids, sign=1)


def _facets(conn: sa.Connection, feed: str, ids: Sequence[str]) -> pd.DataFrame:
    """Return what entries of records are filtered by: the columns that the queue copies."""
    r, e = tables.records.c, tables.evidence.c
    names = ("record_id", "campaign_id", "source_id", "author_id", "item_id", "group", "run_id", "received_at")
    query = sa.select(*(r[name] for name in names), r.answer.label("label")).where(r.feed == feed)
    rows = bulk.select_many(conn, query, r.record_id, ids)
    said = sa.select(e.record_id, e.p, e.signal, e.code.label("reason")).where(e.feed == feed)
    told = bulk.select_many(conn, said, e.record_id, ids).sort_values(["p", "signal", "reason"], kind="stable")
    rows = rows.merge(told.drop_duplicates("record_id").drop(columns="p"), on="record_id", how="left")
    return rows.assign(day=rows["received_at"].dt.strftime("%Y-%m-%d")).drop(columns="received_at")


_COUNTED = ("kind", *tables.QUEUE_FACETS)


def _count(conn: sa.Connection, feed: str, ids: Sequence[str], *, sign: int) -> None:
    """Add the open entries among `ids` to the counts of the queue, or take them away."""
    names = ("created_at", "state", *_COUNTED)
    those, some = bulk.among(conn, ids)
    query = f"SELECT {', '.join(names)} FROM queue WHERE feed = ? AND record_id {those}"
    rows = bulk.raw(conn, query, (feed, some)) if ids else ()
    _count_rows(conn, feed, [dict(zip(names, row, strict=True)) for row in rows], sign=sign)


def _count_rows(conn: sa.Connection, feed: str, rows: Iterable[Mapping[str, Any]], *, sign: int) -> None:
    """Add those of the entries that are open to the counts of the queue, or take them away."""
    found: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        if row["state"] == "open":
            for facet, value in (("all", ""), *((name, row[name]) for name in _COUNTED)):
                if value is not None:
                    count = found.setdefault((facet, value), [0, row["created_at"]])
                    count[0], count[1] = count[0] + sign, min(count[1], row["created_at"])
    change = "ON CONFLICT (feed, facet, value) DO UPDATE SET n = queue_counts.n + excluded.n"
    counts = [(feed, *group, n, since) for group, (n, since) in found.items()]
    bulk.insert_rows(conn, tables.queue_counts, ("feed", "facet", "value", "n", "since"), counts, then=change)
    if sign < 0:
        facets = ", ".join(f"'{facet}'" for facet in ("all", *_COUNTED))
        bulk.raw(conn, f"DELETE FROM queue_counts WHERE feed = ? AND facet IN ({facets}) AND n <= 0", (feed,))


def close_entries(conn: sa.Connection, feed: str, record_ids: Sequence[str], *, seq: Seqs, state: str = "done") -> None:
    """Mark the open entries of records as decided (or ``expired``) by the events `seq`."""
    rows = seals.take(conn, tables.queue, feed, record_ids, seq=seq, where=f"AND {_WAITS}")
    if not rows:
        return
    _count_rows(conn, feed, rows, sign=-1)
    free = "claimed_by = NULL, token = NULL, lease_until = NULL"
    closed = [(feed, name, seq if isinstance(seq, int) else seq[name]) for name in (row["record_id"] for row in rows)]
    c = tables.queue.c
    columns = {"feed": c.feed.type, "record_id": c.record_id.type, "seq": c.changed_seq.type}
    those, values = bulk.as_table(conn, columns, closed)
    change = f"UPDATE queue SET state = ?, decided_seq = v.seq, changed_seq = v.seq, {free} FROM {those}"
    bulk.raw(
        conn, f"{change} WHERE queue.feed = v.feed AND queue.record_id = v.record_id AND {_WAITS}", (state, *values)
    )


_WAITS = "state || '' IN ('open', 'expired')"
"""`|| ''`: not by an index over all open entries, when some are asked about by id."""


def reopen(conn: sa.Connection, feed: str, record_ids: Sequence[str], *, seq: int, state: str = "done") -> None:
    """Put decided (or ``expired``) entries of records back into the queue, with their first date."""
    those, some = bulk.among(conn, record_ids)
    query = f"SELECT record_id FROM queue WHERE feed = ? AND state = ? AND record_id {those}"
    ids = [name for (name,) in bulk.raw(conn, query, (feed, state, some))]
    seals.take(conn, tables.queue, feed, ids, seq=seq)
    those, some = bulk.among(conn, ids)
    change = "UPDATE queue SET state = 'open', opened_seq = ?, decided_seq = NULL, changed_seq = ? WHERE feed = ?"
    bulk.raw(conn, f"{change} AND record_id {those}", (seq, seq, feed, some))
    _count(conn, feed, ids, sign=1)


def forget(conn: sa.Connection, feed: str, record_ids: Sequence[str]) -> None:
    """Remove the entries of erased records, and what the text index still holds of them."""
    c = tables.queue.c
    _count(conn, feed, record_ids, sign=-1)
    conn.execute(sa.delete(tables.queue).where(c.feed == feed, bulk.is_one_of(conn, c.record_id, record_ids)))
    if conn.dialect.name == "sqlite":
        conn.exec_driver_sql("INSERT INTO queue_text(queue_text) VALUES ('optimize')")


OPEN, EXPIRED = sa.literal_column("'open'"), sa.literal_column("'expired'")
"""Written out, so that SQLite sees that an index over the open (expired) entries will do."""


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
    among: Sequence[sa.ColumnElement[bool]] = (),
) -> tuple[str, tuple[str, ...]]:
    """Lease up to `limit` open entries to `by`, riskiest first; return the token and the ids.

    One conditional update: an entry whose lease runs is never given to someone else. Entries made before `since` have
    expired and are given only by id; a lease of one's own is renewed only by id. `among`: further conditions.
    """
    c = tables.queue.c
    free = sa.or_(c.lease_until.is_(None), c.lease_until < at)
    open_ = [c.feed == feed, c.state == OPEN, free if record_ids is None else sa.or_(free, c.claimed_by == by)]
    pick = sa.select(c.record_id).where(*open_).order_by(c.risk.desc(), c.record_id).limit(limit)
    if record_ids is None:
        pick = pick.where(c.created_at >= since, *among)
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


def open_ids(conn: sa.Connection, feed: str, record_ids: Sequence[str], *, expired: bool = False) -> set[str]:
    """Return which of the records wait in the queue; with `expired` also those that nobody read in time."""
    those, some = bulk.among(conn, record_ids)
    states = "('open', 'expired')" if expired else "('open')"
    query = f"SELECT record_id FROM queue WHERE feed = ? AND state || '' IN {states} AND record_id {those}"
    return {name for (name,) in bulk.raw(conn, query, (feed, some))}


def decided_by(conn: sa.Connection, feed: str, record_ids: Sequence[str], *, seqs: Collection[int]) -> set[str]:
    """Return which of the records' entries one of the events `seqs` closed."""
    c = tables.queue.c
    query = sa.select(c.record_id).where(c.feed == feed, c.state == "done", c.decided_seq.in_(seqs))
    return set(bulk.select_many(conn, query, c.record_id, record_ids)["record_id"])


def count_open(conn: sa.Connection, feed: str, *, since: dt.datetime) -> dict[str, object]:
    """Return how many entries are ``open`` and ``expired`` (made before `since`), and when the ``oldest`` came."""
    c, n = tables.queue.c, tables.queue_counts.c
    open_ = sa.select(n.n).where(n.feed == feed, n.facet == "all")
    late = sa.select(sa.func.count()).where(c.feed == feed, c.state == OPEN, c.created_at < since)
    closed = sa.select(sa.func.count()).where(c.feed == feed, c.state == EXPIRED)
    oldest = sa.select(sa.func.min(c.created_at, type_=UtcTime)).where(
        c.feed == feed, c.state == OPEN, c.created_at >= since
    )
    everything, overdue = conn.execute(open_).scalar() or 0, conn.execute(late).scalar() or 0
    expired = int(overdue) + int(conn.execute(closed).scalar() or 0)
    return {"open": everything - int(overdue), "expired": expired, "oldest": conn.execute(oldest).scalar()}
