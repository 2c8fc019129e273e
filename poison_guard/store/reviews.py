"""Write what people decide: every decision is one event with a name and a reason, which `undo` can take back."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pandas as pd
import sqlalchemy as sa

from poison_guard.errors import GuardError
from poison_guard.records import ID_CONFLICT, Place, via_of
from poison_guard.store import bulk, chain, checks, ground_truth, jobs, quarantine, snapshots, status, tables
from poison_guard.store.bulk import to_json
from poison_guard.store.columns import EPOCH, MICROSECOND
from poison_guard.store.deciding import ReviewDecision, decidable
from poison_guard.store.engine import Store
from poison_guard.store.standing import WAITING, Found, find_now
from poison_guard.store.writing import head_of

__all__ = [
    "Applied",
    "append_review",
    "apply_decision",
    "apply_decisions",
    "find_applied",
    "leaving",
    "revoke_stale_snapshots",
]


@dataclass(frozen=True, slots=True)
class Applied:
    """What a decision did."""

    seq: int
    record_ids: tuple[str, ...]
    places: Mapping[str, int]
    """How many of the records came from where."""
    sources: int
    """How many sources sent them."""
    left: int = 0
    """Records of a group that were decided meanwhile, and left as they are."""
    revoked: tuple[str, ...] = ()
    """Snapshots that were revoked with it."""


def apply_decision(store: Store, decision: ReviewDecision) -> Applied:
    """Carry out one decision, with those that other threads wait for, and return what it did.

    Raises why it was refused, as `decidable` says.
    """
    done: Applied | GuardError = store.turns.take(decision, functools.partial(apply_decisions, store))
    if isinstance(done, GuardError):
        raise done
    return done


def apply_decisions(store: Store, decisions: Sequence[ReviewDecision]) -> list[Applied | GuardError]:
    """Carry out decisions in one transaction, one after the other, each as an event of its own.

    Returns what each did, or the error for which it was refused (see `decidable`); then it touched nothing. Snapshots
    that hold records which are not accepted any more are revoked with them. Any other error undoes them all.
    """
    done: list[Applied | GuardError] = []
    with store.write() as conn:
        while len(done) < len(decisions):
            done += _apply_some(conn, store.key, decisions[len(done) :])
    return done


class _Ready(NamedTuple):
    """A decision that may be made: the records that it moves, and how many it leaves."""

    decision: ReviewDecision
    rows: list[Found]
    left: int


def _apply_some(conn: sa.Connection, key: bytes, waiting: Sequence[ReviewDecision]) -> list[Applied | GuardError]:
    """Carry out the first decision, and those after it that can be written with it: see `_side_by_side`."""
    some = _side_by_side(waiting)
    first = chain.next_seq(conn)
    names = list(dict.fromkeys(name for d in some for name in d.record_ids))
    found = {row.record_id: row for row in find_now(conn, some[0].feed, names)}
    made, done = list[_Ready](), list[Applied | GuardError | None]()
    for d in some:
        rows = [found[name] for name in sorted(set(d.record_ids)) if name in found]
        try:
            ready = _Ready(d, *decidable(conn, d, rows))
        except GuardError as error:
            done.append(error)
            continue
        alone = not _opens_none(ready)
        if alone and made:
            break
        done.append(None)
        made.append(ready)
        if alone:
            break
    if made and (part := made[0].decision.part) is not None:
        jobs.advance(conn, part.job_id, first=part.first, last=part.last, decided=len(made[0].rows))
        if not made[0].rows:
            return [Applied(first - 1, (), {}, 0, made[0].left)]
    each = iter(_write(conn, key, made, first=first))
    return [next(each) if one is None else one for one in done]


_TOGETHER = 10
"""Records up to which a decision is of few: each may be of another event, and seals are of events."""
_AT_ONCE = 200
"""Decisions that are written together: others wait no longer than these take."""


def _side_by_side(waiting: Sequence[ReviewDecision]) -> list[ReviewDecision]:
    """Return the first decision, and those after it about few other records of the same feed, in their order."""
    first, some, taken = waiting[0], list[ReviewDecision](), set[str]()
    for d in waiting[:_AT_ONCE]:
        few = d.part is None and len(d.record_ids) <= _TOGETHER
        here = (d.feed, d.namespace) == (first.feed, first.namespace)
        if some and not (few and here and taken.isdisjoint(d.record_ids)):
            break
        some.append(d)
        taken.update(d.record_ids)
        if not few:
            break
    return some


def _opens_none(ready: _Ready) -> bool:
    """Return whether a decision is of few records and opens no other entry: then it is our own SQL alone."""
    grouped = any(row.campaign_kind == ID_CONFLICT for row in ready.rows)
    return len(ready.rows) <= _TOGETHER and ready.decision.place.value not in WAITING and not grouped


def _write(conn: sa.Connection, key: bytes, made: Sequence[_Ready], *, first: int) -> list[Applied]:
    """Move the records of decisions and write all that follows, as events from `first` on; return what each did."""
    if not made:
        return []
    feed = made[0].decision.feed
    seqs = {row.record_id: first + k for k, one in enumerate(made) for row in one.rows}
    moves = [[_move_of(one.decision, row) for row in one.rows] for one in made]
    with bulk.together(conn) if all(map(_opens_none, made)) else nullcontext():
        status.move_records(conn, feed, [move for some in moves for move in some], seq=seqs)
        _note_verdicts(conn, made, first=first, seqs=seqs)
        _update_queue(conn, made, first=first, seqs=seqs)
        _accept_schemas(conn, feed, made, first=first)
        append_reviews(conn, key, feed, [_said_of(one) for one in made])
    done = list[Applied]()
    for k, ((d, rows, left), some) in enumerate(zip(made, moves, strict=True)):
        revoked = revoke_stale_snapshots(conn, key, feed, some, f"{d.verb}: {d.reason}", d.by, d.at)
        if d.second:
            checks.ask_second(conn, feed, sorted(d.second), verb=d.verb, by=d.by)
        what = _applied(first + k, [(row.record_id, row.place, row.source_id) for row in rows], left)
        done.append(replace(what, revoked=tuple(revoked)))
    return done


def _move_of(d: ReviewDecision, row: Found) -> status.Move:
    to_verdict = row.verdict if d.verdict is None else d.verdict
    return status.Move(
        row.record_id, row.place, row.content_hash, row.file_id, row.verdict, d.place.value, to_verdict
    )  # fmt: skip


def _said_of(one: _Ready) -> Review:
    d, rows, _ = one
    selector, job = dict(d.selector), None
    if d.part is not None:
        digest = hashlib.sha256("\n".join(row.record_id for row in rows).encode()).hexdigest()
        selector, job = {**selector, "first": d.part.first, "digest": digest}, d.part.job_id
    return Review(d.verb, d.by, d.reason, d.at, len(rows), selector, job=job)


def _applied(seq: int, rows: Iterable[tuple[str, str, str | None]], left: int = 0) -> Applied:
    names, places, sources = zip(*rows, strict=True)
    return Applied(seq, names, Counter(places), len(set(sources) - {None}), left)


def find_applied(store: Store, decision: ReviewDecision) -> Applied | None:
    """Return what the same decision did before, where it still holds: a command that was killed and is run again.

    The same person, reason, choice and records (where `record_ids` are given), not undone, and no record moved since.
    """
    d, c, m = decision, tables.reviews.c, tables.moves.c
    same = (c.feed == d.feed, c.verb == d.verb, c.actor == d.by, c.reason == d.reason, c.undone_by.is_(None))
    query = sa.select(c.seq).where(*same, c.selector == to_json(d.selector)).order_by(c.seq.desc())
    if d.record_ids:  # a file of decisions makes thousands of events that differ in the record alone
        query = query.where(c.seq.in_(sa.select(m.seq).where(m.feed == d.feed, m.record_id == d.record_ids[0])))
    with store.read() as conn:
        for seq in conn.execute(query).scalars().all():
            moved = conn.execute(
                sa.select(m.record_id, m.from_place, m.from_verdict, m.to_verdict)
                .where(m.feed == d.feed, m.seq == seq)
                .order_by(m.record_id)
            ).all()
            ids = [row.record_id for row in moved]
            if not moved or (d.record_ids and set(ids) != set(d.record_ids)):
                continue
            said = all(row.to_verdict == (row.from_verdict if d.verdict is None else d.verdict) for row in moved)
            later = sa.select(m.record_id).where(m.feed == d.feed, m.seq > seq)
            if said and bulk.select_many(conn, later, m.record_id, ids).empty:
                source = {row.record_id: row.source_id for row in find_now(conn, d.feed, ids)}
                return _applied(seq, [(row.record_id, row.from_place, source.get(row.record_id)) for row in moved])
    return None


def _note_verdicts(conn: sa.Connection, made: Sequence[_Ready], *, first: int, seqs: Mapping[str, int]) -> None:
    """Let the ledger know what the verdicts say about the sources; a changed verdict takes the old one back.

    A rejected record whose id was given before says nothing: no record proves its source, and a forger names others.
    """
    d = made[0].decision
    wrong = [row.record_id for one in made if (one.decision.verdict or 0) < 0 for row in one.rows if row.source_id]
    contested = _with_evidence(conn, d.feed, wrong, ID_CONFLICT) if wrong else {}
    said = [each for one in made for each in _said(one, contested)]
    if said:
        at = {first + k: one.decision.at for k, one in enumerate(made)}
        who: dict[str, Any] = {"feed": d.feed, "namespace": d.namespace, "kind": ground_truth.REVIEW}
        ground_truth.note_verdicts(conn, said, **who, seq=seqs, at=at)


def _said(one: _Ready, contested: Container[str]) -> Iterator[ground_truth.Said]:
    """Yield what one decision says of its records (pure)."""
    d = one.decision
    spoken = {d.part.credited} if d.part else set()
    for row in sorted(one.rows, key=lambda row: (row.given_at, row.record_id)):
        if d.verdict is None or row.source_id is None or (d.verdict < 0 and row.record_id in contested):
            continue
        once = d.one_credit_per_source and d.verdict > 0
        verdict = 0 if once and row.source_id in spoken else d.verdict
        spoken.add(row.source_id)
        yield ground_truth.Said(row.record_id, row.source_id, row.given_at, verdict)


def _with_evidence(conn: sa.Connection, feed: str, record_ids: Sequence[str], code: str) -> dict[str, str]:
    """Return which of the records have evidence of a code, and the run that gave it."""
    those, some = bulk.among(conn, record_ids)
    query = f"SELECT record_id, run_id FROM evidence WHERE feed = ? AND code = ? AND record_id {those}"
    return dict(bulk.raw(conn, query, (feed, code, some)).fetchall())


def _update_queue(conn: sa.Connection, made: Sequence[_Ready], *, first: int, seqs: Mapping[str, int]) -> None:
    """Close the entries of records that were decided; open one for those that now wait."""
    d, rows, _ = made[0]
    if d.place.value in WAITING:  # it is alone, as whatever opens an entry
        entries = [(row.record_id, quarantine.RECALLED, row.risk) for row in rows]
        recalled = pd.DataFrame(entries, columns=["record_id", "kind", "risk"])
        quarantine.open_entries(conn, d.feed, recalled, seq=first, at=d.at)
        return
    waits = [row.record_id for one in made for row in one.rows if row.waits]
    quarantine.close_entries(conn, d.feed, waits, seq=seqs)
    left = {row.campaign_id for row in rows if row.campaign_id is not None and row.campaign_kind == ID_CONFLICT}
    if left:
        quarantine.open_next_of_groups(conn, d.feed, sorted(left), seq=first, at=d.at)


def append_review(
    conn: sa.Connection,
    key: bytes,
    feed: str,
    verb: str,
    by: str,
    reason: str,
    at: dt.datetime,
    *,
    n: int,
    selector: Mapping[str, Any],
    undoes: int | None = None,
    job: str | None = None,
) -> int:
    """Seal the event of a decision and keep who made it and why."""
    append_reviews(conn, key, feed, [Review(verb, by, reason, at, n, selector, undoes, job)])
    return head_of(conn).seq


class Review(NamedTuple):
    """What the event of a decision says; see `append_review`."""

    verb: str
    by: str
    reason: str
    at: dt.datetime
    n: int
    selector: Mapping[str, Any]
    undoes: int | None = None
    job: str | None = None


def append_reviews(conn: sa.Connection, key: bytes, feed: str, said: Sequence[Review]) -> None:
    """Seal the events of decisions, in their order, and keep who made them and why."""
    names = ("seq", "feed", "verb", "actor", "reason", "at", "n", "selector", "undoes", "via", "job")
    first, rows, events = chain.next_seq(conn), list[tuple[Any, ...]](), list[chain.Event]()
    for k, one in enumerate(said):
        selector, via, by = to_json(one.selector), via_of(one.by), str(one.by)
        hashes = {name: chain.keyed_hash(key, text) for name, text in (("reason", one.reason), ("selector", selector))}
        body = {"n": one.n, **hashes, "undoes": one.undoes, "via": via}
        when = (one.at - EPOCH) // MICROSECOND
        rows.append((first + k, feed, one.verb, by, one.reason, when, one.n, selector, one.undoes, via, one.job))
        events.append(chain.Event(f"review.{one.verb}", one.at, body, feed=feed, actor=by))
    bulk.insert_rows(conn, tables.reviews, names, rows)
    chain.append_each(conn, key, events)


def revoke_stale_snapshots(
    conn: sa.Connection, key: bytes, feed: str, moves: Sequence[status.Move], why: str, by: str, at: dt.datetime
) -> list[str]:
    """Take back the snapshots that hold records which are not accepted any more; the event follows the decision's."""
    lost = leaving(moves)
    return snapshots.revoke_holding(conn, key, feed, lost, by=by, why=why, at=at) if lost else []


def leaving(moves: Iterable[status.Move]) -> list[str]:
    """Return the ids of records that leave the accepted ones."""
    accepted = Place.ACCEPTED.value
    return [move.record_id for move in moves if move.from_place == accepted != move.to_place]


def _accept_schemas(conn: sa.Connection, feed: str, made: Sequence[_Ready], *, first: int) -> None:
    """Take over the payload schemas of released records that were held because of them."""
    released = {row.record_id: k for k, one in enumerate(made) if one.decision.verb == "release" for row in one.rows}
    held = _with_evidence(conn, feed, [*released], "schema_drift") if released else {}
    runs: dict[int, str] = {}
    for name, run_id in held.items():
        runs[released[name]] = max(run_id, runs.get(released[name], run_id))
    for k, run_id in sorted(runs.items()):
        (body,) = bulk.raw(conn, "SELECT schema FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        row = (feed, first + k, run_id, body)
        bulk.insert_rows(conn, tables.schemas, ("feed", "seq", "run_id", "body"), [row])
