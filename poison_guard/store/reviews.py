"""Write what people decide: every decision is one event with a name and a reason, which `undo` can take back."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.errors import BusyError, NotFoundError, StaleDecisionError, UsageError
from poison_guard.records import ID_CONFLICT, Place, via_of
from poison_guard.store import bulk, chain, checks, ground_truth, jobs, quarantine, snapshots, status, tables
from poison_guard.store.bulk import bounded_key, to_json
from poison_guard.store.columns import EPOCH, MICROSECOND
from poison_guard.store.engine import Store
from poison_guard.store.standing import OPPOSITE, PAST, WAITING, Found, find_now, standing_decisions

__all__ = [
    "Applied",
    "JobPart",
    "ReviewDecision",
    "append_review",
    "apply_decision",
    "find_applied",
    "leaving",
    "revoke_stale_snapshots",
]


@dataclass(frozen=True, slots=True)
class JobPart:
    """A part of a bulk decision: what cannot be decided as it was frozen is left, and the job moves on with it."""

    job_id: str
    first: int
    last: int
    """Positions in the frozen set, `last` not included."""
    version: int
    """State version at which the set was frozen: a record that was written since is left."""
    credited: str | None = None
    """Source that an earlier part credited already."""


@dataclass(frozen=True, slots=True)
class ReviewDecision:
    """What one person decides about a frozen set of records."""

    feed: str
    namespace: str
    verb: str
    by: str
    reason: str
    at: dt.datetime
    record_ids: tuple[str, ...]
    place: Place
    """Where they go."""
    allowed: tuple[Place, ...]
    """Where they may come from."""
    verdict: int | None
    """1: was right, -1: was wrong, None: says nothing about their sources."""
    selector: Mapping[str, Any]
    """How the set was chosen, as it was asked for."""
    token: str | None = None
    """Lease under which it was decided; None: the name alone counts."""
    one_credit_per_source: bool = False
    """Whether they were reviewed as a group: then a source earns one right answer at most, however many it sent, and
    what was decided meanwhile is left as it is."""
    vouches: bool = False
    """Whether accepted records may be named too: the person says that they are right."""
    overrule: bool = False
    """Whether a colleague's opposite decision about one of the records is overruled, in place of refused."""
    same_person: Callable[[str, str], bool] = str.__eq__
    """Whether two names are of one person."""
    expected: Mapping[str, int] | None = None
    """Version of each record that was shown: one that has another now was decided meanwhile, and is refused."""
    part: JobPart | None = None
    """Of which bulk decision this is a part."""
    second: Collection[str] = ()
    """Those of the records that a colleague decides too, blind."""


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
    """Carry out a decision in one transaction.

    Compare-and-set: `BusyError` when any of the records moved, was decided otherwise by a colleague, or is on lease to
    somebody else, and `StaleDecisionError` when one is not as it was shown; then none is touched. Of a group, what was
    decided meanwhile is left out.
    Snapshots that hold records which are not accepted any more are revoked with them.
    """
    d = decision
    with store.write() as conn:
        seq = chain.next_seq(conn)
        rows = find_now(conn, d.feed, d.record_ids)
        _check_as_shown(conn, d, rows)
        fits = (lambda row: not _stuck(row, d)) if d.part is None else functools.partial(_is_as_frozen, d, d.part)
        movable = [row for row in rows if fits(row)]
        left = len(rows) - len(movable) if d.one_credit_per_source and (movable or d.part) else 0
        rows = movable if left else rows
        if d.part is not None:
            jobs.advance(conn, d.part.job_id, first=d.part.first, last=d.part.last, decided=len(rows))
            if not rows:
                return Applied(seq - 1, (), {}, 0, left)
        else:
            _check_movable(rows, d, n=len(set(d.record_ids)) - left)
            _check_colleagues(conn, d, rows)
            _check_leases(d, rows)
        revoked = _move(conn, store.key, d, rows, seq=seq)
        if d.second:
            checks.ask_second(conn, d.feed, sorted(d.second), verb=d.verb, by=d.by)
    done = _applied(seq, [(row.record_id, row.place, row.source_id) for row in rows], left)
    return replace(done, revoked=tuple(revoked))


def _move(conn: sa.Connection, key: bytes, d: ReviewDecision, rows: Sequence[Found], *, seq: int) -> list[str]:
    """Move the records, and write all that follows from it, as event `seq`; return the snapshots that were revoked."""
    moves = [
        status.Move(r.record_id, r.place, r.content_hash, r.file_id, r.verdict, d.place.value,
                    r.verdict if d.verdict is None else d.verdict)
        for r in rows
    ]  # fmt: skip
    ids = [row.record_id for row in rows]
    selector, job_id = dict(d.selector), None
    if d.part is not None:
        digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
        selector, job_id = {**selector, "first": d.part.first, "digest": digest}, d.part.job_id
    with bulk.together(conn) if _opens_none(d, rows) else nullcontext():
        status.move_records(conn, d.feed, moves, seq=seq)
        _note_verdicts(conn, d, rows, seq=seq)
        _update_queue(conn, d, rows, seq=seq)
        if d.verb == "release":
            _accept_schema(conn, d.feed, ids, seq=seq)
        append_review(conn, key, d.feed, d.verb, d.by, d.reason, d.at, n=len(rows), selector=selector, job=job_id)
    return revoke_stale_snapshots(conn, key, d.feed, moves, f"{d.verb}: {d.reason}", d.by, d.at)


_TOGETHER = 10
"""Records up to which all rows of a decision are few: each may be of another event, and seals are of events."""


def _opens_none(d: ReviewDecision, rows: Sequence[Found]) -> bool:
    """Return whether a decision is of a few records and opens no other entry: then it is our own SQL alone."""
    grouped = any(row.campaign_kind == ID_CONFLICT for row in rows)
    return len(rows) <= _TOGETHER and d.place.value not in WAITING and not grouped


def _check_as_shown(conn: sa.Connection, d: ReviewDecision, rows: Sequence[Found]) -> None:
    """Refuse to decide a record that is not as it was shown, and say who decided it meanwhile."""
    if d.expected is None:
        return
    shown = {bounded_key(name): version for name, version in d.expected.items()}
    stale = [row.record_id for row in rows if shown.get(row.record_id, row.changed_seq) != row.changed_seq]
    if stale:
        first, told = stale[0], standing_decisions(conn, d.feed, stale)
        by = "it was moved"
        if len(told):
            last = told.iloc[-1]
            first = last["record_id"]
            when = f"{last['at']:%Y-%m-%d %H:%M} UTC"
            by = f"{last['actor']} {PAST.get(last['verb'], last['verb'])} it on {when} (event {last['seq']})"
        raise StaleDecisionError(
            f"{len(stale)} of {len(rows)} records changed after they were shown to you: {first!r}, {by}; nothing was "
            "changed, look again"
        )


def _is_as_frozen(d: ReviewDecision, part: JobPart, row: Found) -> bool:
    """Return whether a record of a part is as it was frozen, free and ready for the verb."""
    good = row.waits and row.changed_seq <= part.version and not _stuck(row, d)
    return good and (row.readable or d.place is not Place.ACCEPTED) and not (_leased(d, row) and row.claimed_by != d.by)


def _leased(d: ReviewDecision, row: Found) -> bool:
    at = (d.at - EPOCH) // MICROSECOND
    return row.state == "open" and row.lease_until is not None and row.lease_until >= at


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


def _check_colleagues(conn: sa.Connection, d: ReviewDecision, rows: Sequence[Found]) -> None:
    """Refuse to turn round what a colleague decided, unless it is overruled or the queue asks again."""
    settled = [row.record_id for row in rows if row.place not in WAITING and not row.waits]
    if d.overrule or d.verb not in OPPOSITE or not settled:
        return
    standing = standing_decisions(conn, d.feed, settled)
    standing = standing[standing["verb"] == OPPOSITE[d.verb]]
    clash = standing[[not d.same_person(str(name), d.by) for name in standing["actor"]]]
    if len(clash):
        last = clash.iloc[-1]
        raise BusyError(
            f"{last['actor']} {PAST[last['verb']]} {len(clash)} of {len(rows)} records on {last['at']:%Y-%m-%d %H:%M} "
            f"UTC (event {last['seq']}), {last['record_id']!r} among them; `poison-guard review undo {last['last']}` "
            "takes that back, and --overrule decides over it"
        )


def _stuck(row: Found, d: ReviewDecision) -> bool:
    """Return whether a record is settled or elsewhere; one may stay where it is only while the queue asks."""
    settled = row.place == d.place.value and not row.waits and not d.vouches
    return settled or row.place not in d.allowed


def _check_movable(rows: Sequence[Found], d: ReviewDecision, *, n: int) -> None:
    """Refuse what is unknown (of `n` records), unreadable or settled."""
    if len(rows) < n:
        missing = sorted(set(d.record_ids) - {row.record_id for row in rows})
        raise NotFoundError(f"there is no record {missing[0]!r} in {d.feed}")
    if stuck := [row for row in rows if _stuck(row, d)]:
        first = stuck[0]
        raise BusyError(
            f"{len(stuck)} of {len(rows)} records cannot be moved by {d.verb}: {first.record_id!r} is already "
            f"{first.place}; list them again"
        )
    unreadable = [row.record_id for row in rows if not row.readable]
    if d.place is Place.ACCEPTED and unreadable:
        raise UsageError(
            f"{unreadable[0]!r} is a row that could not be read, so there is nothing to release; reject it instead"
        )


def _check_leases(d: ReviewDecision, rows: Sequence[Found]) -> None:
    held = [r.claimed_by for r in rows if _leased(d, r) and (r.claimed_by != d.by or d.token not in (None, r.token))]
    if held:
        raise BusyError(f"{len(held)} of {len(rows)} records are being reviewed by {held[0]}; wait or leave them out")


def _note_verdicts(conn: sa.Connection, d: ReviewDecision, rows: Sequence[Found], *, seq: int) -> None:
    """Let the ledger know what the verdicts say about the sources; a changed verdict takes the old one back.

    A rejected record whose id was given before says nothing: no record proves its source, and a forger names others.
    """
    sent = [row for row in rows if row.source_id is not None]
    if d.verdict is None or not sent:
        return
    if d.verdict < 0:
        contested = _with_evidence(conn, d.feed, [row.record_id for row in sent], ID_CONFLICT)
        sent = [row for row in sent if row.record_id not in contested]
    spoken = {d.part.credited} if d.part else set()
    said = []
    for row in sorted(sent, key=lambda row: (row.given_at, row.record_id)):
        once = d.one_credit_per_source and d.verdict > 0
        verdict = 0 if once and row.source_id in spoken else d.verdict
        spoken.add(row.source_id)
        said.append(ground_truth.Said(row.record_id, row.source_id, row.given_at, verdict))
    who: dict[str, Any] = {"feed": d.feed, "namespace": d.namespace, "kind": ground_truth.REVIEW}
    ground_truth.note_verdicts(conn, said, **who, seq=seq, at=d.at)


def _with_evidence(conn: sa.Connection, feed: str, record_ids: Sequence[str], code: str) -> dict[str, str]:
    """Return which of the records have evidence of a code, and the run that gave it."""
    those, some = bulk.among(conn, record_ids)
    query = f"SELECT record_id, run_id FROM evidence WHERE feed = ? AND code = ? AND record_id {those}"
    return dict(bulk.raw(conn, query, (feed, code, some)).fetchall())


def _update_queue(conn: sa.Connection, d: ReviewDecision, rows: Sequence[Found], *, seq: int) -> None:
    """Close the entries of records that were decided; open one for those that now wait."""
    if d.place.value in WAITING:
        entries = [(row.record_id, quarantine.RECALLED, row.risk) for row in rows]
        recalled = pd.DataFrame(entries, columns=["record_id", "kind", "risk"])
        quarantine.open_entries(conn, d.feed, recalled, seq=seq, at=d.at)
        return
    quarantine.close_entries(conn, d.feed, [row.record_id for row in rows if row.waits], seq=seq)
    left = {row.campaign_id for row in rows if row.campaign_id is not None and row.campaign_kind == ID_CONFLICT}
    if left:
        quarantine.open_next_of_groups(conn, d.feed, sorted(left), seq=seq, at=d.at)


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
    body = {
        "n": n,
        "reason": chain.keyed_hash(key, reason),
        "selector": chain.keyed_hash(key, to_json(selector)),
        "undoes": undoes,
        "via": via_of(by),
    }
    names = ("seq", "feed", "verb", "actor", "reason", "at", "n", "selector", "undoes", "via", "job")
    when = (at - EPOCH) // MICROSECOND
    row = (chain.next_seq(conn), feed, verb, str(by), reason, when, n, to_json(selector), undoes, via_of(by), job)
    bulk.insert_rows(conn, tables.reviews, names, [row])
    return chain.append(conn, key, kind=f"review.{verb}", at=at, body=body, feed=feed, actor=str(by))


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


def _accept_schema(conn: sa.Connection, feed: str, record_ids: Sequence[str], *, seq: int) -> None:
    """Take over the payload schema of released records that were held because of it."""
    held = _with_evidence(conn, feed, record_ids, "schema_drift")
    if not held:
        return
    run_id = max(held.values())
    (body,) = bulk.raw(conn, "SELECT schema FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    bulk.insert_rows(conn, tables.schemas, ("feed", "seq", "run_id", "body"), [(feed, seq, run_id, body)])
