"""Block a source, or let it speak again: each is a decision of a person, an event that `undo` takes back."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import sqlalchemy as sa

from poison_guard.errors import UsageError
from poison_guard.store import chain, ground_truth, tables
from poison_guard.store.bulk import bounded_key, to_json
from poison_guard.store.engine import Store
from poison_guard.store.reviews import append_review

__all__ = ["check_block_changes", "find_block", "set_blocked"]


def set_blocked(
    store: Store, *, feed: str, namespace: str, source_id: str, by: str, reason: str, at: dt.datetime, blocked: bool
) -> int:
    """Block a source, or let it speak again, and return the event's number; `UsageError` when that is so already."""
    with store.write() as conn:
        seq = chain.next_seq(conn)
        _check_block_changes(conn, namespace, source_id, blocked=blocked)
        delta = pd.DataFrame({"source_id": [source_id], "first_seen": [at], "blocked": [1 if blocked else -1]})
        ground_truth.add_ledger_deltas(conn, _with_utc_times(delta), namespace=namespace, feed=feed, seq=seq)
        verb = "block" if blocked else "unblock"
        return append_review(conn, store.key, feed, verb, by, reason, at, n=1, selector={"source_id": source_id})


def find_block(store: Store, *, feed: str, source_id: str, by: str, reason: str, blocked: bool) -> int | None:
    """Return the event by which the same person blocked (unblocked) a source for the same reason, if it is the last."""
    c = tables.reviews.c
    query = sa.select(c.seq, c.verb, c.actor, c.reason).where(
        c.feed == feed, c.verb.in_(("block", "unblock")), c.undone_by.is_(None)
    )
    with store.read() as conn:
        last = conn.execute(
            query.where(c.selector == to_json({"source_id": source_id})).order_by(c.seq.desc()).limit(1)
        ).first()
    same = last is not None and (last.verb, last.actor, last.reason) == ("block" if blocked else "unblock", by, reason)
    return int(last.seq) if last is not None and same else None


def check_block_changes(store: Store, *, namespace: str, source_id: str, blocked: bool) -> None:
    """Raise what `set_blocked` would raise for a source that is blocked already, or not blocked."""
    with store.read() as conn:
        _check_block_changes(conn, namespace, source_id, blocked=blocked)


def _check_block_changes(conn: sa.Connection, namespace: str, source_id: str, *, blocked: bool) -> None:
    now = ground_truth.ledger_sums(conn, namespace, source_ids=[bounded_key(source_id)])
    if bool(now["blocked"].any()) == blocked:
        raise UsageError(f"source {source_id!r} is {'blocked already' if blocked else 'not blocked'}")


def _with_utc_times(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(first_seen=pd.to_datetime(frame["first_seen"], utc=True).astype("datetime64[us, UTC]"))
