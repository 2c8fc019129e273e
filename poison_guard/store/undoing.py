"""Take a decision back: places, verdicts, ledger, queue and schema as they were; undoing that redoes it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.errors import NotFoundError, UsageError
from poison_guard.store import bulk, chain, places, quarantine, state, tables, verified
from poison_guard.store.decisions import WAITS, note_decision, revoke_lost
from poison_guard.store.engine import Store
from poison_guard.store.plain import to_json

__all__ = ["Undone", "undo"]


@dataclass(frozen=True, slots=True)
class Undone:
    """What `undo` did."""

    seq: int
    """Number of the event; undoing that one restores the decision."""
    record_ids: tuple[str, ...]
    places: Mapping[str, int]
    """How many of the records came from where."""


def undo(store: Store, feed: str, seq: int, *, by: str, reason: str, at: dt.datetime) -> Undone:
    """Put everything an event changed back as it was; only revoked snapshots stay revoked.

    `UsageError` when the event was undone already, or its records were decided again since. Snapshots that hold records
    which are not accepted any more are revoked with them.
    """
    with store.write() as conn:
        new = chain.next_seq(conn)
        event = _undoable(conn, feed, seq)
        moved = _moves_of(conn, feed, seq)
        void = {other for other in _cancelled(conn, feed) if other > seq}
        _check_last(conn, feed, moved, seq, void)
        rows = places.find(conn, feed, moved["record_id"]).sort_values("record_id", ignore_index=True)
        back = {"to_place": moved["from_place"].to_numpy(), "to_verdict": moved["from_verdict"].to_numpy()}
        if len(rows):
            places.move(conn, feed, rows.assign(**back), seq=new)
            _requeue(conn, feed, rows.assign(place=back["to_place"]), old={seq, *void}, seq=new)
        _negate_blocks(conn, seq, new=new)
        verified.take_back(conn, feed, seq, seq=new, at=at)
        _restore_schema(conn, feed, seq, new=new)
        c = tables.reviews.c
        conn.execute(sa.update(tables.reviews).where(c.seq == seq).values(undone_by=new))
        selector = {"event": seq, "verb": event.verb}
        note_decision(conn, store.key, feed, "undo", by, reason, at, n=len(rows), selector=selector, undoes=seq)
        revoke_lost(conn, store.key, feed, rows.assign(to_place=back["to_place"]), f"undo: {reason}", by, at)
    counts = {str(place): int(n) for place, n in rows["place"].value_counts().items()}
    return Undone(new, tuple(rows["record_id"]), counts)


def _requeue(conn: sa.Connection, feed: str, rows: pd.DataFrame, *, old: set[int], seq: int) -> None:
    """Give records the queue entries they had before the events `old`."""
    ids = rows["record_id"].tolist()
    closed = quarantine.decided_by(conn, feed, ids, seqs=old)
    waits = rows["place"].isin(WAITS)
    again = set(rows.loc[waits, "record_id"]) | closed
    quarantine.close_entries(conn, feed, [name for name in ids if name not in again], seq=seq)
    quarantine.reopen(conn, feed, sorted(again), seq=seq)


def _undoable(conn: sa.Connection, feed: str, seq: int) -> Any:
    c = tables.reviews.c
    event = conn.execute(sa.select(tables.reviews).where(c.feed == feed, c.seq == seq)).first()
    if event is None:
        raise NotFoundError(f"there is no decision {seq} in {feed}; `poison-guard review list --decided` shows them")
    if event.undone_by is not None:
        raise UsageError(f"decision {seq} was undone already, by {event.undone_by}")
    if event.verb == "trust":
        raise UsageError(f"decision {seq} added to the trusted set, which only grows; it cannot be undone")
    return event


def _moves_of(conn: sa.Connection, feed: str, seq: int) -> pd.DataFrame:
    c = tables.moves.c
    query = (
        sa.select(c.record_id, c.from_place, c.from_verdict).where(c.feed == feed, c.seq == seq).order_by(c.record_id)
    )
    return bulk.fetch_frame(conn, query)


def _check_last(conn: sa.Connection, feed: str, moved: pd.DataFrame, seq: int, void: set[int]) -> None:
    c = tables.moves.c
    query = sa.select(c.record_id, c.seq).where(c.feed == feed, c.seq > seq)
    later = bulk.select_many(conn, query, c.record_id, moved["record_id"])
    later = later[~later["seq"].isin(void)]
    if len(later):
        raise UsageError(
            f"{later['record_id'].nunique()} records of decision {seq} were decided again since, last by "
            f"{int(later['seq'].max())}; undo that first"
        )


def _cancelled(conn: sa.Connection, feed: str) -> set[int]:
    """Return the events without effect: decisions that were undone, and what undid them."""
    c = tables.reviews.c
    query = sa.select(c.seq, c.undoes).where(c.feed == feed, c.undoes.is_not(None)).order_by(c.seq.desc())
    found: set[int] = set()
    for seq, undoes in conn.execute(query):
        if seq not in found:  # an undo that was undone itself: what it undid holds again
            found |= {int(seq), int(undoes)}
    return found


def _negate_blocks(conn: sa.Connection, seq: int, *, new: int) -> None:
    c = tables.ledger.c
    rows = bulk.fetch_frame(conn, sa.select(tables.ledger).where(c.seq == seq, c.blocked != 0))
    bulk.insert_frame(conn, tables.ledger, rows.assign(seq=new, **{n: -rows[n] for n in tables.LEDGER_COUNTS}))


def _restore_schema(conn: sa.Connection, feed: str, seq: int, *, new: int) -> None:
    c = tables.schemas.c
    if conn.execute(sa.select(sa.func.max(c.seq)).where(c.feed == feed)).scalar() != seq:
        return
    body = to_json(state.load_schema(conn, feed, seq - 1), bounded=False)
    conn.execute(sa.insert(tables.schemas), [{"feed": feed, "seq": new, "run_id": None, "body": body}])
