"""Undo a decision: restore status, verdicts, ledger, queue and schema, as an event that can be undone itself."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from poison_guard.errors import NotFoundError, UsageError
from poison_guard.store import bulk, chain, ground_truth, jobs, quarantine, state, status, tables
from poison_guard.store.bulk import from_json, to_json
from poison_guard.store.engine import Store
from poison_guard.store.reviews import append_review, leaving, revoke_stale_snapshots
from poison_guard.store.standing import WAITING, find_now

__all__ = ["Undone", "end_undo", "find_undone", "preview_undo", "undo", "undo_job"]


@dataclass(frozen=True, slots=True)
class Undone:
    """What `undo` did, or would do."""

    seq: int | None
    """Number of the event, which can be undone itself; None when nothing was undone."""
    verb: str
    """Of the decision that is undone."""
    record_ids: tuple[str, ...]
    places: Mapping[str, int]
    """How many of the records came from where."""
    sources: int
    """How many sources sent them."""
    no_longer_accepted: tuple[str, ...]
    """Those that a release had accepted."""


def undo(store: Store, feed: str, seq: int, *, by: str, reason: str, at: dt.datetime) -> Undone:
    """Put everything an event changed back as it was; only revoked snapshots stay revoked.

    `UsageError` when the event was undone already, or its records were decided again since. Snapshots that hold records
    which are not accepted any more are revoked with them.
    """
    with store.write() as conn:
        return _undo(conn, store.key, feed, seq, by=by, reason=reason, at=at)


def undo_job(store: Store, feed: str, seq: int, *, job_id: str, by: str, reason: str, at: dt.datetime) -> Undone:
    """Undo one part of a bulk decision as `undo` does; what was decided again since is left as it is."""
    with store.write() as conn:
        return _undo(conn, store.key, feed, seq, by=by, reason=reason, at=at, job=job_id)


def end_undo(store: Store, feed: str, event: int, *, job_id: str, by: str, reason: str, at: dt.datetime) -> None:
    """Note that all parts of the bulk decision `event` were undone, once."""
    c = tables.reviews.c
    with store.write() as conn:
        new = chain.next_seq(conn)
        open_ = sa.update(tables.reviews).where(c.seq == event, c.undone_by.is_(None))
        if conn.execute(open_.values(undone_by=new)).rowcount:
            jobs.change_state(conn, job_id, old=["done", "cancelled"], new="undone")
            selector = {"event": event, "verb": "bulk"}
            more = {"n": 0, "selector": selector, "undoes": event, "job": job_id}
            append_review(conn, store.key, feed, "undo", by, reason, at, **more)


def _undo(
    conn: sa.Connection,
    key: bytes,
    feed: str,
    seq: int,
    *,
    by: str,
    reason: str,
    at: dt.datetime,
    job: str | None = None,
) -> Undone:
    new = chain.next_seq(conn)
    event = _find_undoable(conn, feed, seq, part=job is not None)
    moves, sources, void = _moves_back(conn, feed, seq, leave=job is not None)
    if moves:
        status.move_records(conn, feed, moves, seq=new)
        _restore_queue(conn, feed, moves, old={seq, *void}, seq=new)
    _negate_blocks(conn, seq, new=new)
    only = {move.record_id for move in moves} if job else None
    ground_truth.retract_verdicts(conn, feed, seq, seq=new, at=at, record_ids=only)
    _restore_schema(conn, feed, seq, new=new)
    c = tables.reviews.c
    conn.execute(sa.update(tables.reviews).where(c.seq == seq).values(undone_by=new))
    selector, n = {"event": seq, "verb": event.verb}, len(moves)
    append_review(conn, key, feed, "undo", by, reason, at, n=n, selector=selector, undoes=seq, job=job)
    revoke_stale_snapshots(conn, key, feed, moves, f"undo: {reason}", by, at)
    return _undone(new, event.verb, moves, sources)


def find_undone(store: Store, feed: str, seq: int, *, by: str, reason: str) -> Undone | None:
    """Return what the same person's undoing of an event did, for the same reason, where it holds and nothing moved."""
    c, m = tables.reviews.c, tables.moves.c
    with store.read() as conn:
        query = sa.select(c.seq, c.selector).where(
            c.feed == feed, c.undoes == seq, c.actor == by, c.reason == reason, c.undone_by.is_(None)
        )
        event = conn.execute(query.order_by(c.seq.desc()).limit(1)).first()
        if event is None:
            return None
        moves = _moves_of(conn, feed, event.seq)
        ids = [move.record_id for move in moves]
        later = sa.select(m.record_id).where(m.feed == feed, m.seq > event.seq)
        if len(bulk.select_many(conn, later, m.record_id, ids)):
            return None
        sources = {row.source_id for row in find_now(conn, feed, ids)}
    return _undone(event.seq, from_json(event.selector)["verb"], moves, sources)


def preview_undo(store: Store, feed: str, seq: int) -> Undone:
    """Return what `undo` would do, and raise what it would raise."""
    with store.read() as conn:
        event = _find_undoable(conn, feed, seq)
        moves, sources, _ = _moves_back(conn, feed, seq)
    return _undone(None, event.verb, moves, sources)


def _moves_back(
    conn: sa.Connection, feed: str, seq: int, *, leave: bool = False
) -> tuple[list[status.Move], set[str | None], set[int]]:
    """Return the moves that put back what event `seq` moved, the sources of these records, and the void events since.

    With `leave`, those that were decided again since are left out in place of refused.
    """
    moved = {move.record_id: move for move in _moves_of(conn, feed, seq)}
    void = {other for other in status.void_events(conn, feed) if other > seq}
    later = [(name, at) for name, at in _moved_since(conn, feed, [*moved], seq) if at not in void]
    if later and not leave:
        raise UsageError(
            f"{len({name for name, _ in later})} records of decision {seq} were decided again since, last by "
            f"{max(at for _, at in later)}; undo that first"
        )
    rows = find_now(conn, feed, [*(moved.keys() - {name for name, _ in later})])
    back = [
        status.Move(row.record_id, row.place, row.content_hash, row.file_id, row.verdict,
                    moved[row.record_id].from_place, moved[row.record_id].from_verdict)
        for row in rows
    ]  # fmt: skip
    return back, {row.source_id for row in rows}, void


def _undone(seq: int | None, verb: str, moves: Sequence[status.Move], sources: set[str | None]) -> Undone:
    ids, counts = tuple(move.record_id for move in moves), Counter(move.from_place for move in moves)
    return Undone(seq, verb, ids, counts, len(sources - {None}), tuple(leaving(moves)))


def _restore_queue(conn: sa.Connection, feed: str, moves: Sequence[status.Move], *, old: set[int], seq: int) -> None:
    """Give records the queue entries they had before the events `old`."""
    ids = [move.record_id for move in moves]
    again = {move.record_id for move in moves if move.to_place in WAITING}
    again |= quarantine.decided_by(conn, feed, ids, seqs=old)
    quarantine.close_entries(conn, feed, [name for name in ids if name not in again], seq=seq)
    quarantine.reopen(conn, feed, sorted(again), seq=seq)


def _find_undoable(conn: sa.Connection, feed: str, seq: int, *, part: bool = False) -> Any:
    c = tables.reviews.c
    event = conn.execute(sa.select(tables.reviews).where(c.feed == feed, c.seq == seq)).first()
    if event is None:
        raise NotFoundError(f"there is no decision {seq} in {feed}; `poison-guard review list --decided` shows them")
    if event.undone_by is not None:
        raise UsageError(f"decision {seq} was undone already, by {event.undone_by}")
    if event.job is not None and not part:
        raise UsageError(
            f"decision {seq} is of the bulk decision {event.job}; `poison-guard review jobs {event.job} --undo` takes "
            "that back as a whole"
        )
    if event.verb in ("rule", "end_rule"):
        raise UsageError(f"event {seq} is of a rule about a source; `poison-guard sources --end-rule` ends a rule")
    if event.verb == "erase":
        raise UsageError(f"decision {seq} erased what a source sent; it cannot be undone")
    if event.verb == "reveal":
        raise UsageError(f"event {seq} showed private columns to a person; that cannot be undone")
    if event.verb == "trust":
        raise UsageError(f"decision {seq} added to the trusted set, which only grows; it cannot be undone")
    return event


def _moves_of(conn: sa.Connection, feed: str, seq: int) -> list[status.Move]:
    query = f"SELECT {', '.join(status.Move._fields)} FROM moves WHERE feed = ? AND seq = ? ORDER BY record_id"
    return [status.Move(*row) for row in bulk.raw(conn, query, (feed, seq))]


def _moved_since(conn: sa.Connection, feed: str, record_ids: Sequence[str], seq: int) -> list[tuple[str, int]]:
    """Return ``record_id, seq`` of the moves of records after `seq`."""
    those, some = bulk.among(conn, record_ids)
    query = f"SELECT record_id, seq FROM moves WHERE feed = ? AND seq > ? AND record_id {those}"
    return bulk.raw(conn, query, (feed, seq, some)).fetchall()


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
