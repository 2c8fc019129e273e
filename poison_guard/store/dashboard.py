"""Counts that a dashboard shows: held records by group, decisions by reviewer, items by label; changes nothing."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.records import Place
from poison_guard.store import bulk, tables
from poison_guard.store.engine import Store
from poison_guard.store.reviews import append_review

__all__ = ["groups_held", "items_page", "note_reveal", "reviewers"]


def groups_held(store: Store, feed: str) -> pd.DataFrame:
    """Return ``group, records, held, looked_at, honest``, a row a group, the largest first.

    `held` counts what was decided to be held or rejected, wherever it is now; `looked_at` the held ones that people
    released or rejected since, and `honest` those of them that they released.
    """
    c = tables.records.c
    held = c.action != "accept"
    # What a run holds waits or is rejected; only a person moves it to accepted.
    honest = sa.and_(held, c.place == Place.ACCEPTED.value)
    rejected = sa.and_(held, c.place == Place.REJECTED.value, c.verdict == -1)

    def count(which: Any, name: str) -> Any:
        return sa.func.count(sa.case((which, 1))).label(name)

    query = (
        sa.select(
            c.group,
            sa.func.count().label("records"),
            count(held, "held"),
            count(sa.or_(honest, rejected), "looked_at"),
            count(honest, "honest"),
        )
        .where(c.feed == feed)
        .group_by(c.group)
        .order_by(sa.func.count().desc(), c.group)
        .limit(50)
    )
    with store.read() as conn:
        return bulk.fetch_frame(conn, query)


def reviewers(store: Store, feed: str) -> pd.DataFrame:
    """Return ``by, decisions, records, undone``, a row a person who decided something, the busiest first."""
    c = tables.reviews.c
    decided = c.verb.in_(("release", "reject"))
    query = (
        sa.select(
            c.actor.label("by"),
            sa.func.count().label("decisions"),
            sa.func.sum(c.n).label("records"),
            sa.func.count(c.undone_by).label("undone"),
        )
        .where(c.feed == feed, decided)
        .group_by(c.actor)
        .order_by(sa.func.sum(c.n).desc(), c.actor)
        .limit(200)
    )
    with store.read() as conn:
        return bulk.fetch_frame(conn, query)


def items_page(store: Store, feed: str, *, limit: int, offset: int) -> tuple[pd.DataFrame, int, int]:
    """Return a page of items, deferred first, how many there are, and how many of them are deferred."""
    c = tables.items.c
    last = sa.select(c.item_id, sa.func.max(c.seq).label("seq")).where(c.feed == feed).group_by(c.item_id).subquery()
    now = sa.and_(c.feed == feed, c.item_id == last.c.item_id, c.seq == last.c.seq)
    columns = (c.item_id, c.label, c.probability, c.adopted, c.why)
    page = sa.select(*columns).where(now).order_by(c.adopted, c.probability, c.item_id).limit(limit).offset(offset)
    counts = sa.select(sa.func.count(), sa.func.count(sa.case((~c.adopted, 1)))).where(now)
    with store.read() as conn:
        total, deferred = conn.execute(counts).one()
        return bulk.fetch_frame(conn, page), int(total), int(deferred)


def note_reveal(store: Store, feed: str, record_id: str, *, by: str, reason: str, at: dt.datetime) -> int:
    """Note in the audit chain that a person looked at the private columns of a record; return the event's number."""
    with store.write() as conn:
        return append_review(conn, store.key, feed, "reveal", by, reason, at, n=1, selector={"record_ids": [record_id]})
