"""What a snapshot as of a sequence number is made of: which homes changed since another, and who their members are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
import sqlalchemy as sa

from poison_guard.config import Contract
from poison_guard.store import bulk, tables
from poison_guard.store.engine import Store
from poison_guard.store.membership_items import item_homes, item_members, moved_items
from poison_guard.store.membership_votes import ACCEPTED, accepted_votes, chunks, held_votes, placed

__all__ = [
    "Touched",
    "accepted_votes",
    "held_votes",
    "item_members",
    "record_members",
    "touched",
]


@dataclass(frozen=True, slots=True)
class Touched:
    """What may differ between two states of a feed."""

    homes: tuple[int, ...]
    """Commits whose examples must be looked at again, ascending; 0 stands for items without a label so far."""
    items: tuple[str, ...]
    """Items whose records people moved since their label was settled, sorted: it must be settled again."""


def touched(store: Store, contract: Contract, *, since: int, seq: int) -> Touched:
    """Return what may differ between the snapshot of state `since` (0: nothing) and the state `seq`.

    Costs what changed in between; only homes and ids of moved items are held in memory. A commit's home is the number
    of its event; a record's home is the commit that first stored it, an item's the one that first labelled it.
    """
    with store.read() as conn:
        if contract.vote is None:
            return Touched(tuple(sorted(_record_homes(conn, contract.name, since, seq))), ())
        items = sorted(moved_items(store, conn, contract, since=since, seq=seq))
        homes = item_homes(conn, contract.name, items, since=since, seq=seq)
    return Touched(tuple(sorted(homes)), tuple(items))


def record_members(store: Store, feed: str, *, homes: Iterable[int], seq: int) -> pd.DataFrame:
    """Return the records of some homes that were accepted as of `seq`: ``record_id, content_hash, home, file_id``.

    Ordered by home and record.
    """
    query = placed(feed, seq, ACCEPTED, ("record_id", "content_hash", "seq", "file_id"))
    with store.read() as conn:
        parts = [bulk.fetch_frame(conn, query.where(tables.records.c.seq.in_(some))) for some in chunks(homes)]
    whole = pd.concat(parts, ignore_index=True).rename(columns={"seq": "home"})
    return whole[["record_id", "content_hash", "home", "file_id"]].sort_values(["home", "record_id"], ignore_index=True)


def _record_homes(conn: sa.Connection, feed: str, since: int, seq: int) -> set[int]:
    """Return the commits after `since`, and those of records that were moved after it."""
    runs, r, m = tables.runs.c, tables.records.c, tables.moves.c
    new = sa.select(runs.commit_seq).where(runs.feed == feed, runs.commit_seq > since, runs.commit_seq <= seq)
    moved = (
        sa.select(r.seq)
        .join_from(tables.moves, tables.records, sa.and_(m.feed == r.feed, m.record_id == r.record_id))
        .where(m.feed == feed, m.seq > since, m.seq <= seq)
        .distinct()
    )
    return {*conn.execute(new).scalars(), *conn.execute(moved).scalars()}
