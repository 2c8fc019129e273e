"""The queue as it is looked at: pages of entries by filter, how many there are, and the groups that hold most.

Filters are those of `review.filters.QueueFilter`, as a mapping. What is not filtered is counted by `queue_counts`; of
anything else at most `COUNTED` entries are, so that a page of a million entries costs what a small one does.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.store import bulk, tables
from poison_guard.store.bulk import bounded_key
from poison_guard.store.columns import UtcTime
from poison_guard.store.engine import Store
from poison_guard.store.quarantine import EXPIRED, OPEN

__all__ = [
    "COUNTED",
    "Page",
    "aged_entries",
    "conditions",
    "fill_previews",
    "find_page",
    "group_page",
    "held_campaigns",
    "ids_of",
    "missing_previews",
    "previews_of",
]

COUNTED = 10_000
"""Entries that are counted one by one; more are ``COUNTED`` or more."""
_EQUAL = ("kind", "reason", "signal", "campaign_id", "item_id", "label", "group", "run_id")
_SHOWN = (
    *("record_id", "kind", "state", "risk", "created_at", "day", "reason", "signal", "source_id", "author_id"),
    *("item_id", "label", "group", "campaign_id", "run_id", "claimed_by", "lease_until", "preview"),
)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of entries, or of groups."""

    rows: pd.DataFrame
    total: int
    """Entries (groups) in all; at least so many where `capped`."""
    capped: bool = False


def conditions(
    conn: sa.Connection, feed: str, filters: Mapping[str, Any], *, at: dt.datetime, since: dt.datetime
) -> list[sa.ColumnElement[bool]]:
    """Return what the entries of a filter meet; those made before `since` have expired."""
    q = tables.queue.c
    of_feed = _SOUGHT_BY_TEXT if _by_text(conn, filters) else q.feed
    found = [of_feed == feed, *_state(conn, feed, filters["state"], at=at, since=since)]
    found += [q[name] == bounded_key(filters[name]) for name in _EQUAL if filters[name] is not None]
    if filters["source_id"] is not None:
        name = bounded_key(filters["source_id"])
        authors = sa.select(q.entry_id).where(q.feed == feed, q.state == OPEN, q.author_id.is_not(None)).limit(1)
        has_authors = conn.execute(authors).first() is not None  # without any, one index finds and orders them
        found.append(sa.or_(q.source_id == name, q.author_id == name) if has_authors else q.source_id == name)
    bounds = ((q.risk, "risk_from", "risk_to"), (q.day, "since", "until"))
    for column, low, high in bounds:
        as_kept = (lambda v: v) if column is q.risk else str
        if filters[low] is not None:
            found.append(column >= as_kept(filters[low]))
        if filters[high] is not None:
            found.append(column <= as_kept(filters[high]))
    return found if filters["text"] is None else [*found, _holds(conn, filters["text"])]


_SOUGHT_BY_TEXT: sa.ColumnElement[str] = sa.literal_column("+queue.feed", sa.Text)
"""The feed, by no index: SQLite then starts from the entries that hold the words, in place of testing all that wait."""


def _by_text(conn: sa.Connection, filters: Mapping[str, Any]) -> bool:
    return filters["text"] is not None and conn.dialect.name == "sqlite"


def _state(
    conn: sa.Connection, feed: str, state: str, *, at: dt.datetime, since: dt.datetime
) -> list[sa.ColumnElement[bool]]:
    q = tables.queue.c
    if state == "all":
        return [q.state.in_(("open", "expired"))]
    if state == "expired":
        return [sa.or_(q.state == EXPIRED, sa.and_(q.state == OPEN, q.created_at < since))]
    found: list[sa.ColumnElement[bool]] = [q.state == OPEN]
    oldest = sa.select(sa.func.min(q.created_at, type_=UtcTime)).where(q.feed == feed, q.state == OPEN)
    first = conn.execute(oldest).scalar()
    if first is not None and first < since:  # nobody swept them yet
        found.append(q.created_at >= since)
    if state == "claimed":
        found.append(q.lease_until >= at)
    if state == "free":
        found.append(sa.or_(q.lease_until.is_(None), q.lease_until < at))
    return found


def _holds(conn: sa.Connection, text: str) -> sa.ColumnElement[bool]:
    """Return the condition that a payload's beginning holds all words of `text`; each is taken as it is written."""
    q = tables.queue.c
    if conn.dialect.name == "postgresql":
        found = sa.func.to_tsvector(sa.literal_column("'simple'"), q.preview)
        return found.op("@@")(sa.func.plainto_tsquery(sa.literal_column("'simple'"), text.replace("\0", " ")))
    words = " ".join('"' + word.replace('"', '""') + '"' for word in text.replace("\0", " ").split())
    hits = sa.text("SELECT rowid FROM queue_text WHERE queue_text MATCH :words").bindparams(words=words)
    return q.entry_id.in_(hits.columns(sa.column("rowid", sa.Integer)))


_ORDER = {"risk": ("risk", True), "oldest": ("created_at", False), "newest": ("created_at", True)}


def find_page(
    store: Store,
    feed: str,
    filters: Mapping[str, Any],
    *,
    at: dt.datetime,
    since: dt.datetime,
    sort: str = "risk",
    offset: int = 0,
    limit: int = 50,
) -> Page:
    """Return entries with ``place`` and ``version`` of their records, in the order of `sort`."""
    q = tables.queue.c
    name, down = _ORDER[sort]
    order = (q[name].desc() if down else q[name], q.record_id.desc() if sort == "newest" else q.record_id)
    with store.read() as conn:
        where = conditions(conn, feed, filters, at=at, since=since)
        total, capped = _count(conn, feed, filters, where)
        if capped and _by_text(conn, filters):  # words that many entries hold are soon met in the order of the page
            where[0] = q.feed == feed
        ids = sa.select(q.entry_id).where(*where).order_by(*order).offset(offset).limit(limit).subquery()
        columns = [q[name] for name in _SHOWN]
        query = sa.select(*columns).where(q.entry_id == ids.c.entry_id).order_by(*order)
        rows = bulk.fetch_frame(conn, query)
        r = tables.records.c
        now = sa.select(r.record_id, r.place, r.readable, r.changed_seq.label("version")).where(r.feed == feed)
        rows = rows.merge(bulk.select_many(conn, now, r.record_id, rows["record_id"]), on="record_id", how="left")
    return Page(rows, total, capped)


def _count(
    conn: sa.Connection, feed: str, filters: Mapping[str, Any], where: Sequence[sa.ColumnElement[bool]]
) -> tuple[int, bool]:
    """Return how many entries meet a filter, and whether there may be more."""
    n, q = tables.queue_counts.c, tables.queue.c
    said = {name: value for name, value in filters.items() if value is not None and name != "state"}
    simple = filters["state"] == "waiting" and len(where) == 2 + len(said) and len(said) <= 1
    if simple and not said.keys() - {"kind", "reason", "campaign_id", "item_id", "label"}:
        facet, value = next(((name, bounded_key(v)) for name, v in said.items()), ("all", ""))
        query = sa.select(n.n).where(n.feed == feed, n.facet == facet, n.value == value)
        return int(conn.execute(query).scalar() or 0), False
    some = sa.select(q.entry_id).where(*where).limit(COUNTED + 1).subquery()
    counted = int(conn.execute(sa.select(sa.func.count()).select_from(some)).scalar_one())
    return min(counted, COUNTED), counted > COUNTED


def ids_of(
    conn: sa.Connection,
    feed: str,
    filters: Mapping[str, Any],
    *,
    at: dt.datetime,
    since: dt.datetime,
    limit: int,
) -> list[str]:
    """Return the records whose entries meet a filter, at most `limit`, by source so that each stays together."""
    q = tables.queue.c
    query = sa.select(q.record_id).where(*conditions(conn, feed, filters, at=at, since=since))
    return list(conn.execute(query.order_by(q.source_id, q.record_id).limit(limit)).scalars())


def group_page(
    store: Store,
    feed: str,
    facet: str,
    filters: Mapping[str, Any],
    *,
    at: dt.datetime,
    since: dt.datetime,
    offset: int = 0,
    limit: int = 50,
) -> Page:
    """Return ``value, records, since`` of the groups that entries make by a column, those that hold most first.

    With ``risk`` (the highest), and ``record_id`` and ``preview`` of the entry that has it.
    """
    n, q = tables.queue_counts.c, tables.queue.c
    with store.read() as conn:
        where = conditions(conn, feed, filters, at=at, since=since)
        if len(where) == 2 and filters["state"] == "waiting":
            of_facet = (n.feed == feed, n.facet == facet)
            query = sa.select(n.value, n.n.label("records"), n.since).where(*of_facet)
            query = query.order_by(n.n.desc(), n.value)
            total = conn.execute(sa.select(sa.func.count()).where(*of_facet)).scalar_one()
        else:
            first = sa.func.min(q.created_at, type_=UtcTime).label("since")
            query = sa.select(q[facet].label("value"), sa.func.count().label("records"), first)
            query = query.where(*where, q[facet].is_not(None)).group_by(q[facet])
            total = conn.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
            query = query.order_by(sa.desc("records"), q[facet])
        rows = bulk.fetch_frame(conn, query.offset(offset).limit(limit))
        top = [_riskiest(conn, where, facet, value) for value in rows["value"]]
    shown = pd.DataFrame(top, columns=["risk", "record_id", "preview"], index=rows.index)
    return Page(pd.concat([rows, shown], axis=1), int(total))


def _riskiest(conn: sa.Connection, where: Sequence[sa.ColumnElement[bool]], facet: str, value: str) -> tuple[Any, ...]:
    q = tables.queue.c
    query = sa.select(q.risk, q.record_id, q.preview).where(*where, q[facet] == value)
    row = conn.execute(query.order_by(q.risk.desc(), q.record_id).limit(1)).first()
    return (None, None, None) if row is None else tuple(row)


def previews_of(store: Store, feed: str, record_ids: Sequence[str]) -> dict[str, str | None]:
    """Return the beginnings of the payloads of some entries, as the queue may show them."""
    with store.read() as conn:
        those, some = bulk.among(conn, record_ids)
        query = f"SELECT record_id, preview FROM queue WHERE feed = ? AND record_id {those}"
        return dict(bulk.raw(conn, query, (feed, some)).fetchall())


def missing_previews(store: Store, feed: str, *, limit: int = 20_000) -> list[str]:
    """Return open entries without the beginning of a payload, at most `limit`."""
    q, r = tables.queue.c, tables.records.c
    query = (
        sa.select(q.record_id)
        .join_from(tables.queue, tables.records, sa.and_(q.feed == r.feed, q.record_id == r.record_id))
        .where(q.feed == feed, q.state == OPEN, q.preview.is_(None), r.readable.is_(True))
    )
    with store.read() as conn:
        return list(conn.execute(query.limit(limit)).scalars())


def fill_previews(store: Store, feed: str, shown: Mapping[str, str]) -> None:
    """Write the beginnings of payloads (record to text) where the queue lacks them; no event: the lake holds them."""
    q = tables.queue.c
    statement = (
        sa.update(tables.queue)
        .where(q.feed == feed, q.record_id == sa.bindparam("which"), q.preview.is_(None))
        .values(preview=sa.bindparam("text"))
    )
    if shown:
        with store.write() as conn:
            conn.execute(statement, [{"which": name, "text": text} for name, text in shown.items()])


def held_campaigns(store: Store, feed: str, *, limit: int = 50) -> list[dict[str, Any]]:
    """Return the largest campaigns that wait: ``campaign_id, kind, records`` (when it was found)."""
    n, g = tables.queue_counts.c, tables.campaigns.c
    of_feed = sa.and_(g.feed == n.feed, g.campaign_id == n.value)
    query = sa.select(g.campaign_id, g.kind, g.n_records.label("records"))
    query = query.join_from(tables.queue_counts, tables.campaigns, of_feed)
    query = query.where(n.feed == feed, n.facet == "campaign_id").order_by(n.n.desc(), n.value).limit(limit)
    with store.read() as conn:
        return [row._asdict() for row in conn.execute(query)]


def aged_entries(store: Store, feed: str, *, before: dt.datetime) -> int:
    """Return how many open entries came before a time."""
    q = tables.queue.c
    query = sa.select(sa.func.count()).where(q.feed == feed, q.state == OPEN, q.created_at < before)
    with store.read() as conn:
        return int(conn.execute(query).scalar_one())
