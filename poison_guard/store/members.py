"""Read what belongs together: the records of a campaign, a source or an item, and their counts."""

from __future__ import annotations

from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.store import bulk, tables
from poison_guard.store.columns import UtcTime
from poison_guard.store.engine import Store

__all__ = ["item_votes", "label_of", "members", "places_of", "sources_of", "timeline"]

_MOST = 500
"""Rows of a table of sources, hours or votes."""
_HOUR = 3_600_000_000


def _which(campaign_id: str | None, source_id: str | None, item_id: str | None) -> list[sa.ColumnElement[bool]]:
    r = tables.records.c
    found = [column == value for column, value in ((r.campaign_id, campaign_id), (r.item_id, item_id)) if value]
    if source_id:
        found.append(sa.or_(r.source_id == source_id, r.author_id == source_id))
    return found


def members(
    store: Store,
    feed: str,
    *,
    campaign_id: str | None = None,
    source_id: str | None = None,
    item_id: str | None = None,
    limit: int,
    newest: bool = False,
) -> pd.DataFrame:
    """Return records, riskiest (or `newest`) first, with the ``preview`` of those in the queue."""
    r, q = tables.records.c, tables.queue.c
    by = "seq" if newest else "risk"
    sides = [r.source_id == source_id, r.author_id == source_id] if source_id else [sa.true()]
    query = sa.select(*(r[name] for name in _SHOWN)).where(r.feed == feed, *_which(campaign_id, None, item_id))
    query = query.order_by(r[by].desc(), r.record_id.desc() if newest else r.record_id).limit(limit)
    shown = sa.select(q.record_id, q.preview).where(q.feed == feed)
    with store.read() as conn:  # each side by its own index: together they are sought among all records
        found = pd.concat([bulk.fetch_frame(conn, query.where(side)) for side in sides], ignore_index=True)
        rows = found.drop_duplicates("record_id").sort_values([by, "record_id"], ascending=[False, not newest])
        rows = rows.head(limit).drop(columns="seq")
        return rows.merge(bulk.select_many(conn, shown, q.record_id, rows["record_id"]), on="record_id", how="left")


_SHOWN = (
    *("record_id", "source_id", "author_id", "item_id", "answer", "campaign_id", "place", "risk", "received_at", "seq"),
)


def places_of(store: Store, feed: str, **which: Any) -> dict[str, int]:
    """Return how many records are in each place."""
    r = tables.records.c
    query = sa.select(r.place, sa.func.count()).where(r.feed == feed, *_which(**{**_NONE, **which})).group_by(r.place)
    with store.read() as conn:
        return {str(place): int(n) for place, n in conn.execute(query)}


_NONE: dict[str, str | None] = {"campaign_id": None, "source_id": None, "item_id": None}


def timeline(store: Store, feed: str, **which: Any) -> pd.DataFrame:
    """Return ``hour, records`` by the time they were observed (else received), oldest first, the last 500 hours."""
    r = tables.records.c
    at = sa.func.coalesce(r.observed_at, r.received_at, type_=sa.BigInteger)
    hour = sa.type_coerce(at - at % _HOUR, UtcTime).label("hour")
    query = sa.select(hour, sa.func.count().label("records")).where(r.feed == feed, *_which(**{**_NONE, **which}))
    with store.read() as conn:
        rows = bulk.fetch_frame(conn, query.group_by(hour).order_by(sa.desc("hour")).limit(_MOST))
    return rows.sort_values("hour", ignore_index=True)


def sources_of(store: Store, feed: str, **which: Any) -> pd.DataFrame:
    """Return ``source_id, records, since``: when the account began, else when it first sent; the youngest first."""
    r = tables.records.c
    since = sa.func.min(sa.func.coalesce(r.source_since, r.received_at), type_=UtcTime).label("since")
    query = sa.select(r.source_id, sa.func.count().label("records"), since)
    query = query.where(r.feed == feed, r.source_id.is_not(None), *_which(**{**_NONE, **which})).group_by(r.source_id)
    with store.read() as conn:
        return bulk.fetch_frame(conn, query.order_by(sa.desc("since"), r.source_id).limit(_MOST))


def item_votes(store: Store, feed: str, **which: Any) -> pd.DataFrame:
    """Return ``answer, place, records, sources``, most first."""
    r = tables.records.c
    counts = (sa.func.count().label("records"), sa.func.count(r.source_id.distinct()).label("sources"))
    query = sa.select(r.answer, r.place, *counts).where(r.feed == feed, *_which(**{**_NONE, **which}))
    query = query.group_by(r.answer, r.place).order_by(sa.desc("records"), r.answer).limit(_MOST)
    with store.read() as conn:
        return bulk.fetch_frame(conn, query)


def label_of(store: Store, feed: str, item_id: str) -> dict[str, Any] | None:
    """Return the last label of an item: ``label, probability, adopted, why``; None where none was decided."""
    c = tables.items.c
    query = sa.select(c.label, c.probability, c.adopted, c.why).where(c.feed == feed, c.item_id == item_id)
    with store.read() as conn:
        row = conn.execute(query.order_by(c.seq.desc()).limit(1)).first()
    return None if row is None else row._asdict()
