"""How records stand: where they are now, and what people decided of them that holds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import sqlalchemy as sa

from poison_guard.records import Place
from poison_guard.store import bulk, status, tables
from poison_guard.store.bulk import from_json
from poison_guard.store.engine import Store

__all__ = [
    "OPPOSITE",
    "PAST",
    "WAITING",
    "Found",
    "count_decided_otherwise",
    "count_decided_since",
    "count_reviews",
    "find_now",
    "job_events",
    "list_reviews",
    "standing_decisions",
]

WAITING = (Place.QUARANTINED.value, Place.RECALLED.value)
"""Places from which the queue asks about a record."""
OPPOSITE = {"release": "reject", "reject": "release"}
PAST = {"release": "released", "reject": "rejected"}


class Found(NamedTuple):
    """A record as it is now, with its entry of the queue where it has one; times are whole microseconds."""

    record_id: str
    content_hash: str
    place: str
    verdict: int
    file_id: int
    source_id: str | None
    campaign_id: str | None
    risk: float
    readable: bool
    observed_at: int | None
    received_at: int
    changed_seq: int
    state: str | None
    claimed_by: str | None
    token: str | None
    lease_until: int | None
    campaign_kind: str | None

    @property
    def waits(self) -> bool:
        """Whether the queue asks about it."""
        return self.state in ("open", "expired")

    @property
    def given_at(self) -> int:
        """When it was given: the sender's word, but no later than it came."""
        seen = self.observed_at
        return self.received_at if seen is None else min(seen, self.received_at)


_OF_QUEUE = ("state", "claimed_by", "token", "lease_until")
_FOUND = ", ".join(f"{'q' if name in _OF_QUEUE else 'r'}.{name}" for name in Found._fields[:-1])
_JOINED = (
    "FROM records r LEFT JOIN queue q ON q.feed = r.feed AND q.record_id = r.record_id "
    "LEFT JOIN campaigns g ON g.feed = r.feed AND g.campaign_id = r.campaign_id WHERE r.feed = ?"
)


def find_now(conn: sa.Connection, feed: str, record_ids: Sequence[str]) -> list[Found]:
    """Return the records of some ids as they are now, in the order of their ids."""
    those, some = bulk.among(conn, record_ids)
    query = f"SELECT {_FOUND}, g.kind {_JOINED} AND r.record_id {those}"
    return sorted(Found(*row) for row in bulk.raw(conn, query, (feed, some)))


def count_decided_otherwise(store: Store, feed: str, verb: str, record_ids: Sequence[str]) -> int:
    """Return about how many of the records a person decided the opposite of `verb`, and it holds."""
    with store.read() as conn:
        standing = standing_decisions(conn, feed, record_ids)
    return int((standing["verb"] == OPPOSITE.get(verb)).sum())


def standing_decisions(conn: sa.Connection, feed: str, record_ids: Sequence[str]) -> pd.DataFrame:
    """Return ``record_id, seq, verb, actor, at`` of what a person decided last of each record, by event.

    ``last`` is the event that moved it last, which `undo` takes: of a decision that was undone and made again, another.
    Records that a run moved since, or that nobody decided, are left out.
    """
    m, c = tables.moves.c, tables.reviews.c
    query = (
        sa.select(m.record_id, m.seq, c.verb, c.actor, c.at)
        .join_from(tables.moves, tables.reviews, m.seq == c.seq, isouter=True)
        .where(m.feed == feed)
    )
    moves = bulk.select_many(conn, query, m.record_id, record_ids)
    moves = moves.assign(last=moves.groupby("record_id")["seq"].transform("max"))
    moves = moves[~moves["seq"].isin(status.void_events(conn, feed))].sort_values("seq")
    last = moves.drop_duplicates("record_id", keep="last")
    return last[last["verb"].notna()].reset_index(drop=True)


def list_reviews(store: Store, feed: str, *, limit: int = 50) -> pd.DataFrame:
    """Return what people decided, last first: ``seq, verb, actor, reason, at, n, selector, undoes, undone_by``."""
    query = (
        sa.select(tables.reviews)
        .where(tables.reviews.c.feed == feed, _not_a_part())
        .order_by(tables.reviews.c.seq.desc())
        .limit(limit)
    )
    with store.read() as conn:
        frame = bulk.fetch_frame(conn, query)
    return frame.assign(selector=[from_json(text) for text in frame["selector"]])


def count_reviews(store: Store, feed: str) -> int:
    """Return how many decisions people made about a feed."""
    query = sa.select(sa.func.count()).where(tables.reviews.c.feed == feed, _not_a_part())
    with store.read() as conn:
        return int(conn.execute(query).scalar_one())


def job_events(store: Store, job_id: str) -> list[int]:
    """Return the events of the parts of a bulk decision that hold, in their order."""
    c = tables.reviews.c
    query = sa.select(c.seq).where(c.job == job_id, c.verb.in_(("release", "reject")), c.undone_by.is_(None))
    with store.read() as conn:
        return [int(seq) for seq in conn.execute(query.order_by(c.seq)).scalars()]


def _not_a_part() -> sa.ColumnElement[bool]:
    """Return the condition that a decision stands for itself: a bulk decision does, its parts do not."""
    return sa.or_(tables.reviews.c.job.is_(None), tables.reviews.c.verb == "bulk")


def count_decided_since(store: Store, feed: str, since: dt.datetime) -> int:
    """Return how many records people released or rejected since a time, without what was undone."""
    c = tables.reviews.c
    last = sa.select(sa.func.coalesce(sa.func.sum(c.n), 0)).where(
        c.feed == feed, c.at >= since, c.verb.in_(("release", "reject")), c.undone_by.is_(None)
    )
    with store.read() as conn:
        return int(conn.execute(last).scalar_one())
