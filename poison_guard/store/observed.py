"""What a feed let pass while it only observed: accepted records that the guard would have held, and nobody released."""

from __future__ import annotations

import pandas as pd
import sqlalchemy as sa

from poison_guard.records import Action, Place
from poison_guard.store import bulk, tables
from poison_guard.store.chain import head
from poison_guard.store.engine import Store
from poison_guard.store.membership_votes import placed

__all__ = ["count_let_pass", "let_pass_ids"]


def count_let_pass(store: Store, feed: str, *, seq: int) -> dict[str, int]:
    """Return how many records were ``accepted`` as of `seq`, and how many of them were only let ``passed``."""
    queries = {"accepted": placed(feed, seq, (Place.ACCEPTED.value,), ("record_id",)), "passed": _let_pass(feed, seq)}
    with store.read() as conn:
        return {
            name: int(conn.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar() or 0)
            for name, query in queries.items()
        }


def let_pass_ids(store: Store, feed: str) -> pd.Series:
    """Return the ids of the records that were only let pass and are accepted now, sorted."""
    with store.read() as conn:
        found = bulk.fetch_frame(conn, _let_pass(feed, head(conn)))
    return found["record_id"].sort_values(ignore_index=True)


def _let_pass(feed: str, seq: int) -> bulk.Query:
    """Return the query of the accepted records as of `seq` that were to be held, without those a person released."""
    r, m, v = tables.records.c, tables.moves.c, tables.reviews.c
    released = (
        sa.exists()
        .where(m.feed == feed, m.record_id == r.record_id, m.to_place == Place.ACCEPTED.value, m.seq <= seq)
        .where(m.seq == v.seq, v.feed == feed, v.verb == "release", v.undone_by.is_(None))
    )
    accepted = placed(feed, seq, (Place.ACCEPTED.value,), ("record_id",))
    return accepted.where(r.action != Action.ACCEPT.value, ~released)
