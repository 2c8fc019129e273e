"""Write what people decide: every decision is one event with a name and a reason, which `undo` can take back."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.errors import BusyError, NotFoundError, StaleDecisionError, UsageError
from poison_guard.records import ID_CONFLICT, Place, via_of
from poison_guard.store import bulk, chain, checks, ground_truth, jobs, quarantine, snapshots, status, tables
from poison_guard.store.bulk import bounded_key, from_json, to_json
from poison_guard.store.engine import Store

__all__ = [
    "WAITING",
    "Applied",
    "JobPart",
    "ReviewDecision",
    "append_review",
    "apply_decision",
    "check_block_changes",
    "count_decided_otherwise",
    "count_decided_since",
    "count_reviews",
    "find_applied",
    "find_block",
    "job_events",
    "leaving",
    "list_reviews",
    "revoke_stale_snapshots",
    "set_blocked",
]


WAITING = (Place.QUARANTINED.value, Place.RECALLED.value)


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
        rows = status.find_status(conn, d.feed, d.record_ids).sort_values("record_id", ignore_index=True)
        waiting = quarantine.open_ids(conn, d.feed, d.record_ids, expired=True)
        _check_as_shown(conn, d, rows)
        movable = ~_stuck(rows, d, waiting) if d.part is None else _as_frozen(conn, d, d.part, rows, waiting)
        left = int((~movable).sum()) if d.one_credit_per_source and (movable.any() or d.part) else 0
        rows = rows[movable].reset_index(drop=True) if left else rows
        if d.part is not None:
            jobs.advance(conn, d.part.job_id, first=d.part.first, last=d.part.last, decided=len(rows))
            if rows.empty:
                return Applied(seq - 1, (), {}, 0, left)
        else:
            _check_movable(rows, d, waiting, n=len(set(d.record_ids)) - left)
            _check_colleagues(conn, d, rows, waiting)
            _check_leases(conn, d, rows["record_id"].tolist())
        _move(conn, store.key, d, rows, seq=seq)
        if d.second:
            checks.ask_second(conn, d.feed, sorted(d.second), verb=d.verb, by=d.by)
    return _applied(seq, rows, left)


def _move(conn: sa.Connection, key: bytes, d: ReviewDecision, rows: pd.DataFrame, *, seq: int) -> None:
    """Move the records, and write all that follows from it, as event `seq`."""
    verdict = rows["verdict"] if d.verdict is None else d.verdict
    status.move_records(conn, d.feed, rows.assign(to_place=d.place.value, to_verdict=verdict), seq=seq)
    _note_verdicts(conn, d, rows, seq=seq)
    _update_queue(conn, d.feed, rows.assign(place=d.place.value), seq=seq, at=d.at)
    if d.verb == "release":
        _accept_schema(conn, d.feed, rows["record_id"].tolist(), seq=seq)
    selector, job_id = dict(d.selector), None
    if d.part is not None:
        digest = hashlib.sha256("\n".join(rows["record_id"]).encode()).hexdigest()
        selector, job_id = {**selector, "first": d.part.first, "digest": digest}, d.part.job_id
    append_review(conn, key, d.feed, d.verb, d.by, d.reason, d.at, n=len(rows), selector=selector, job=job_id)
    to = rows.assign(to_place=d.place.value)
    revoke_stale_snapshots(conn, key, d.feed, to, f"{d.verb}: {d.reason}", d.by, d.at)


def _check_as_shown(conn: sa.Connection, d: ReviewDecision, rows: pd.DataFrame) -> None:
    """Refuse to decide a record that is not as it was shown, and say who decided it meanwhile."""
    if d.expected is None:
        return
    shown = rows["record_id"].map({bounded_key(name): version for name, version in d.expected.items()})
    stale = rows.loc[shown.notna() & (shown != rows["changed_seq"]), "record_id"]
    if len(stale):
        first, told = stale.iloc[0], _standing_decisions(conn, d.feed, stale)
        by = "it was moved"
        if len(told):
            last = told.iloc[-1]
            first = last["record_id"]
            when = f"{last['at']:%Y-%m-%d %H:%M} UTC"
            by = f"{last['actor']} {_PAST.get(last['verb'], last['verb'])} it on {when} (event {last['seq']})"
        raise StaleDecisionError(
            f"{len(stale)} of {len(rows)} records changed after they were shown to you: {first!r}, {by}; nothing was "
            "changed, look again"
        )


def _as_frozen(
    conn: sa.Connection, d: ReviewDecision, part: JobPart, rows: pd.DataFrame, waiting: set[str]
) -> pd.Series:
    """Return which records of a part are as they were frozen, free and ready for the verb."""
    good = ~_stuck(rows, d, waiting) & (rows["changed_seq"] <= part.version) & rows["record_id"].isin(waiting)
    if d.place is Place.ACCEPTED:
        good &= rows["readable"]
    held = quarantine.held_ids(conn, d.feed, rows["record_id"].tolist(), by=d.by, at=d.at)
    return good & ~rows["record_id"].isin(held)


def _applied(seq: int, rows: pd.DataFrame, left: int = 0) -> Applied:
    places = {str(place): int(n) for place, n in rows["place"].value_counts().items()}
    return Applied(seq, tuple(rows["record_id"]), places, int(rows["source_id"].nunique()), left)


def find_applied(store: Store, decision: ReviewDecision) -> Applied | None:
    """Return what the same decision did before, where it still holds: a command that was killed and is run again.

    The same person, reason, choice and records (where `record_ids` are given), not undone, and no record moved since.
    """
    d, c, m = decision, tables.reviews.c, tables.moves.c
    same = (c.feed == d.feed, c.verb == d.verb, c.actor == d.by, c.reason == d.reason, c.undone_by.is_(None))
    query = sa.select(c.seq).where(*same, c.selector == to_json(d.selector)).order_by(c.seq.desc())
    with store.read() as conn:
        for seq in conn.execute(query).scalars().all():
            moved = bulk.fetch_frame(
                conn,
                sa.select(m.record_id, m.from_place.label("place"), m.from_verdict, m.to_verdict)
                .where(m.feed == d.feed, m.seq == seq)
                .order_by(m.record_id),
            )
            if d.record_ids and set(moved["record_id"]) != set(d.record_ids):
                continue
            verdict = moved["from_verdict"] if d.verdict is None else d.verdict
            later = sa.select(m.record_id).where(m.feed == d.feed, m.seq > seq)
            if (moved["to_verdict"] == verdict).all() and bulk.select_many(
                conn, later, m.record_id, moved["record_id"]
            ).empty:
                now = status.find_status(conn, d.feed, moved["record_id"])
                return _applied(seq, moved.merge(now[["record_id", "source_id"]], on="record_id"))
    return None


def count_decided_otherwise(store: Store, feed: str, verb: str, record_ids: Sequence[str]) -> int:
    """Return about how many of the records a person decided the opposite of `verb`, and it holds."""
    with store.read() as conn:
        standing = _standing_decisions(conn, feed, record_ids)
    return int((standing["verb"] == _OPPOSITE.get(verb)).sum())


_OPPOSITE = {"release": "reject", "reject": "release"}
_PAST = {"release": "released", "reject": "rejected"}


def _check_colleagues(conn: sa.Connection, d: ReviewDecision, rows: pd.DataFrame, waiting: set[str]) -> None:
    """Refuse to turn round what a colleague decided, unless it is overruled or the queue asks again."""
    settled = rows.loc[~rows["place"].isin(WAITING) & ~rows["record_id"].isin(waiting), "record_id"]
    if d.overrule or d.verb not in _OPPOSITE or settled.empty:
        return
    standing = _standing_decisions(conn, d.feed, settled)
    standing = standing[standing["verb"] == _OPPOSITE[d.verb]]
    clash = standing[[not d.same_person(str(name), d.by) for name in standing["actor"]]]
    if len(clash):
        last = clash.iloc[-1]
        raise BusyError(
            f"{last['actor']} {_PAST[last['verb']]} {len(clash)} of {len(rows)} records on {last['at']:%Y-%m-%d %H:%M} "
            f"UTC (event {last['seq']}), {last['record_id']!r} among them; `poison-guard review undo {last['last']}` "
            "takes that back, and --overrule decides over it"
        )


def _standing_decisions(conn: sa.Connection, feed: str, record_ids: Sequence[str] | pd.Series) -> pd.DataFrame:
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


def _stuck(rows: pd.DataFrame, d: ReviewDecision, waiting: set[str]) -> pd.Series:
    """Return which records are settled or elsewhere; one may stay where it is only while the queue asks."""
    settled = (rows["place"] == d.place.value) & ~rows["record_id"].isin(waiting) & (not d.vouches)
    return settled | ~rows["place"].isin([place.value for place in d.allowed])


def _check_movable(rows: pd.DataFrame, d: ReviewDecision, waiting: set[str], *, n: int) -> None:
    """Refuse what is unknown (of `n` records), unreadable or settled."""
    if len(rows) < n:
        missing = sorted(set(d.record_ids) - set(rows["record_id"]))
        raise NotFoundError(f"there is no record {missing[0]!r} in {d.feed}")
    stuck = rows[_stuck(rows, d, waiting)]
    if len(stuck):
        first = stuck.iloc[0]
        raise BusyError(
            f"{len(stuck)} of {len(rows)} records cannot be moved by {d.verb}: {first['record_id']!r} is already "
            f"{first['place']}; list them again"
        )
    if d.place is Place.ACCEPTED and not rows["readable"].all():
        first = rows.loc[~rows["readable"], "record_id"].iloc[0]
        raise UsageError(
            f"{first!r} is a row that could not be read, so there is nothing to release; reject it instead"
        )


def _check_leases(conn: sa.Connection, d: ReviewDecision, ids: Sequence[str]) -> None:
    count, holder = quarantine.held_by_others(conn, d.feed, ids, by=d.by, token=d.token, at=d.at)
    if count:
        raise BusyError(f"{count} of {len(ids)} records are being reviewed by {holder}; wait or leave them out")


def _note_verdicts(conn: sa.Connection, d: ReviewDecision, rows: pd.DataFrame, *, seq: int) -> None:
    """Let the ledger know what the verdicts say about the sources; a changed verdict takes the old one back.

    A rejected record whose id was given before says nothing: no record proves its source, and a forger names others.
    """
    sent = rows[rows["source_id"].notna()]
    if d.verdict is not None and d.verdict < 0 and len(sent):
        c = tables.evidence.c
        query = sa.select(c.record_id).where(c.feed == d.feed, c.code == ID_CONFLICT)
        contested = bulk.select_many(conn, query, c.record_id, sent["record_id"])["record_id"]
        sent = sent[~sent["record_id"].isin(contested)]
    if d.verdict is None or sent.empty:
        return
    verdicts = sent.assign(given_at=ground_truth.given_at(sent), verdict=d.verdict)
    if d.one_credit_per_source and d.verdict > 0:
        first = verdicts.sort_values(["given_at", "record_id"]).drop_duplicates("source_id").index
        spoken = verdicts["source_id"] == (d.part.credited if d.part else None)
        verdicts = verdicts.assign(verdict=verdicts["verdict"].where(verdicts.index.isin(first) & ~spoken, 0))
    verdicts = verdicts[["record_id", "source_id", "given_at", "verdict"]]
    ground_truth.note_verdicts(
        conn, verdicts, feed=d.feed, namespace=d.namespace, kind=ground_truth.REVIEW, seq=seq, at=d.at
    )


def _with_utc_times(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(first_seen=pd.to_datetime(frame["first_seen"], utc=True).astype("datetime64[us, UTC]"))


def _update_queue(conn: sa.Connection, feed: str, rows: pd.DataFrame, *, seq: int, at: dt.datetime) -> None:
    """Close the entries of records that were decided; open one for those that now wait."""
    waits = rows["place"].isin(WAITING)
    quarantine.close_entries(conn, feed, rows.loc[~waits, "record_id"].tolist(), seq=seq)
    if waits.any():
        recalled = rows[waits].assign(kind=quarantine.RECALLED)[["record_id", "kind", "risk"]]
        quarantine.open_entries(conn, feed, recalled, seq=seq, at=at)
    quarantine.open_next_of_groups(conn, feed, rows.loc[~waits, "record_id"].tolist(), seq=seq, at=at)


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
    row = {
        "seq": chain.next_seq(conn),
        "feed": feed,
        "verb": verb,
        "actor": str(by),
        "reason": reason,
        "at": at,
        "n": n,
    }
    row |= {"selector": to_json(selector), "undoes": undoes, "via": via_of(by), "job": job}
    conn.execute(sa.insert(tables.reviews), [row])
    return chain.append(conn, key, kind=f"review.{verb}", at=at, body=body, feed=feed, actor=str(by))


def revoke_stale_snapshots(
    conn: sa.Connection, key: bytes, feed: str, rows: pd.DataFrame, why: str, by: str, at: dt.datetime
) -> None:
    """Take back the snapshots that hold records which are not accepted any more; the event follows the decision's."""
    lost = leaving(rows)
    if len(lost):
        snapshots.revoke_holding(conn, key, feed, lost, by=by, why=why, at=at)


def leaving(rows: pd.DataFrame) -> pd.Series:
    """Return the ids of records that leave the accepted ones."""
    accepted = Place.ACCEPTED.value
    return rows.loc[(rows["place"] == accepted) & (rows["to_place"] != accepted), "record_id"]


def _accept_schema(conn: sa.Connection, feed: str, record_ids: Sequence[str], *, seq: int) -> None:
    """Take over the payload schema of released records that were held because of it."""
    c = tables.evidence.c
    query = sa.select(c.run_id).where(c.feed == feed, c.code == "schema_drift")
    held = bulk.select_many(conn, query, c.record_id, record_ids)
    if held.empty:
        return
    run_id = held["run_id"].max()
    body = conn.execute(sa.select(tables.runs.c.schema).where(tables.runs.c.run_id == run_id)).scalar_one()
    conn.execute(sa.insert(tables.schemas), [{"feed": feed, "seq": seq, "run_id": run_id, "body": body}])
