"""Records and votes as they were placed at a sequence number, read in SQL: no payloads, no table held whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.records import Place
from poison_guard.store import bulk, tables
from poison_guard.store.engine import Store
from poison_guard.store.names import fit_name

__all__ = ["accepted_votes", "chunks", "held_votes", "items_with_votes", "placed", "some_votes"]

ACCEPTED = (Place.ACCEPTED.value,)
_HELD = (Place.QUARANTINED.value, Place.REJECTED.value, Place.RECALLED.value)
_CHUNK = 500


def placed(feed: str, seq: int, places: Sequence[str], columns: Sequence[str]) -> bulk.Query:
    """Return the query of the readable records that were in one of `places` as of `seq`: some of their columns.

    What a move changes (content, file, verdict) is as of `seq` too: the first later move holds what was there.
    """
    r, m = tables.records.c, tables.moves.c
    first = (
        sa.select(m.record_id, sa.func.min(m.seq).label("seq"))
        .where(m.feed == feed, m.seq > seq)
        .group_by(m.record_id)
        .subquery()
    )
    moved = (
        sa.select(m.record_id, m.from_place, m.from_hash, m.from_file, m.from_verdict)
        .where(m.feed == feed, m.record_id == first.c.record_id, m.seq == first.c.seq)
        .subquery()
    )
    was = {"content_hash": moved.c.from_hash, "file_id": moved.c.from_file, "verdict": moved.c.from_verdict}
    shown: list[sa.ColumnElement[Any]] = [
        sa.func.coalesce(was[name], r[name]).label(name) if name in was else r[name] for name in columns
    ]
    return (
        sa.select(*shown)
        .join_from(tables.records, moved, r.record_id == moved.c.record_id, isouter=True)
        .where(r.feed == feed, r.seq <= seq, r.readable.is_(True))
        .where(sa.func.coalesce(moved.c.from_place, r.place).in_(places))
    )


def accepted_votes(store: Store, feed: str, item_ids: Iterable[str], *, seq: int) -> pd.DataFrame:
    """Return the accepted votes about some items as of `seq`, ordered by record.

    Columns ``record_id, item_id, source_id, answer, observed_at, source_since, file_id, seq, received_at, verdict``;
    `seq` is when the record was first stored. Where a revision replaced a vote after `seq`, item and answer are
    today's.
    """
    return _votes(store, feed, item_ids, ACCEPTED, seq)


def held_votes(store: Store, feed: str, item_ids: Iterable[str], *, seq: int) -> pd.DataFrame:
    """Return the votes about some items that were quarantined, rejected or recalled as of `seq`; same columns."""
    return _votes(store, feed, item_ids, _HELD, seq)


def some_votes(store: Store, feed: str, *, seq: int, limit: int = 1000) -> pd.DataFrame:
    """Return ``item_id, source_id, answer`` of the first accepted votes of a feed as of `seq`, ordered by record."""
    c = tables.records.c
    shown = ("record_id", "item_id", "source_id", "answer")
    query = placed(feed, seq, ACCEPTED, shown).where(c.answer.is_not(None)).order_by(c.record_id).limit(limit)
    with store.read() as conn:
        return bulk.fetch_frame(conn, query)[["item_id", "source_id", "answer"]]


def items_with_votes(conn: sa.Connection, feed: str, item_ids: Iterable[str], *, seq: int) -> set[str]:
    """Return which of the items have an accepted vote as of `seq`."""
    c = tables.records.c
    query = placed(feed, seq, ACCEPTED, ("item_id",)).where(c.answer.is_not(None)).distinct()
    return set(bulk.select_many(conn, query, c.item_id, item_ids)["item_id"])


def chunks(numbers: Iterable[int]) -> Iterator[list[int]]:
    """Yield the numbers in lists short enough to be bound one by one; at least one list."""
    left = iter(dict.fromkeys(int(number) for number in numbers))
    yield list(islice(left, _CHUNK))
    while some := list(islice(left, _CHUNK)):
        yield some


_VOTE = (
    *("record_id", "item_id", "source_id", "answer", "observed_at", "source_since"),
    *("file_id", "seq", "received_at", "verdict"),
)


def _votes(store: Store, feed: str, item_ids: Iterable[str], places: Sequence[str], seq: int) -> pd.DataFrame:
    c = tables.records.c
    query = placed(feed, seq, places, _VOTE).where(c.answer.is_not(None))
    with store.read() as conn:
        found = bulk.select_many(conn, query, c.item_id, [fit_name(name) for name in item_ids])
    return found.sort_values("record_id", ignore_index=True)
