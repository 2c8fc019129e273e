"""Verdicts of the gate over snapshots, approvals by named people, and the signed admissions to train.

Each is one event; the policies of verdicts are stored whole.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from poison_guard.canonical_json import utc_or_now
from poison_guard.config.policies import GatePolicy
from poison_guard.errors import ClosedError, UsageError
from poison_guard.records import via_of
from poison_guard.store import bulk, chain, outbox
from poison_guard.store import tables as t
from poison_guard.store.bulk import from_json, to_json
from poison_guard.store.engine import Store
from poison_guard.store.snapshots import Snapshot, find_snapshot
from poison_guard.store.tables import verdicts

__all__ = [
    "OUTCOMES",
    "add_admission",
    "add_approval",
    "add_verdict",
    "admitted_snapshots",
    "check_admission_rows",
    "due_snapshot",
    "find_verdict",
    "last_verdict",
    "list_admissions",
    "list_approvals",
    "require_unrevoked",
    "revoked_snapshots",
]


OUTCOMES = ("pass", "fail", "inconclusive", "error")


def add_verdict(
    store: Store,
    feed: str,
    *,
    snapshot_id: str,
    outcome: str,
    verdict: Mapping[str, Any],
    policy_hash: str,
    candidate: str | None = None,
    policy: GatePolicy | None = None,
    now: dt.datetime | None = None,
) -> int:
    """Store a verdict (JSON-able) and return its event's number.

    `candidate` names the model that was judged with the snapshot; `policy` is stored under its hash. Raises
    `UsageError` for an outcome that is none, or a policy of another hash; `ClosedError` for a revoked snapshot.
    """
    if outcome not in OUTCOMES:
        raise UsageError(f"a verdict is one of {', '.join(OUTCOMES)}, got {outcome!r}")
    if policy is not None and policy.hash != policy_hash:
        raise UsageError(f"the policy given with a verdict has the hash {policy.hash}, not {policy_hash}")
    with store.write() as conn:
        seq, at = chain.next_seq(conn), utc_or_now(now)
        require_unrevoked(conn, feed, snapshot_id)
        if policy is not None:
            bulk.insert_missing(conn, t.policies, [{"hash": policy_hash, "body": policy.body, "at": at}])
        row = {"seq": seq, "feed": feed, "snapshot_id": snapshot_id, "at": at, "outcome": outcome}
        row |= {"verdict": to_json(verdict, bounded=False), "policy_hash": policy_hash, "candidate": candidate}
        conn.execute(sa.insert(verdicts), [row])
        named = [(verdicts, [seq]), *([] if policy is None else [(t.policies, [policy_hash])])]
        summary = {"outcome": outcome, "policy": policy_hash}
        return chain.append(conn, store.key, kind="gate.verdict", at=at, feed=feed, rows=named, body=summary)


def last_verdict(store: Store, snapshot_id: str, *, candidate: str | None = None) -> dict[str, Any] | None:
    """Return the last verdict over a snapshot and exactly this candidate (None: without one); None when none was given.

    Keys ``seq, feed, snapshot_id, at, outcome, verdict, policy_hash, candidate``.
    """
    c = verdicts.c
    judged = c.candidate.is_(None) if candidate is None else c.candidate == candidate
    query = sa.select(verdicts).where(c.snapshot_id == snapshot_id, judged).order_by(c.seq.desc()).limit(1)
    with store.read() as conn:
        row = conn.execute(query).first()
    return None if row is None else _verdict_of_row(row)


def find_verdict(conn: sa.Connection, snapshot_id: str, seq: int) -> dict[str, Any]:
    """Return a verdict over a snapshot; `UsageError` when event `seq` gave none over it."""
    row = conn.execute(sa.select(verdicts).where(verdicts.c.seq == seq, verdicts.c.snapshot_id == snapshot_id)).first()
    if row is None:
        raise UsageError(f"event {seq} is no verdict over {snapshot_id}; run `poison-guard gate check` first")
    return _verdict_of_row(row)


def require_unrevoked(conn: sa.Connection, feed: str, snapshot_id: str) -> Snapshot:
    """Return a snapshot of the feed; `ClosedError` when it was revoked, `UsageError` when it is another feed's."""
    snapshot = find_snapshot(conn, snapshot_id)
    if snapshot.feed != feed:
        raise UsageError(f"{snapshot_id} is a snapshot of {snapshot.feed}, not of {feed}")
    if snapshot.revoked_seq is not None:
        raise ClosedError(f"{snapshot_id} was revoked ({snapshot.revoked_why}); seal the feed again")
    return snapshot


def _verdict_of_row(row: sa.Row[Any]) -> dict[str, Any]:
    return {**row._asdict(), "verdict": from_json(row.verdict)}


def add_approval(
    store: Store,
    feed: str,
    *,
    snapshot_id: str,
    verdict_seq: int,
    by: str,
    reason: str,
    same: Callable[[str, str], bool],
    expires: dt.datetime | None = None,
    now: dt.datetime | None = None,
) -> int:
    """Store that a named person approves of training on a snapshot despite its verdict; return the event's number.

    Raises `UsageError` without name or reason, for an expiry that has passed, and when the same person (two names that
    are `same`) approves of a verdict twice while the first approval holds; `ClosedError` for a revoked snapshot and for
    a verdict of ERROR, which nobody can approve.
    """
    if not by.strip() or not reason.strip():
        raise UsageError("an approval is given by a named person with a reason; give both `by` and `reason`")
    at = utc_or_now(now)
    until = None if expires is None else utc_or_now(expires)
    if until is not None and until <= at:
        raise UsageError(f"an approval must expire later than now, got {until.isoformat()}")
    with store.write() as conn:
        seq = chain.next_seq(conn)
        require_unrevoked(conn, feed, snapshot_id)
        before = _standing_approvers(conn, snapshot_id, verdict_seq, at)
        if any(same(by, name) for name in before):
            raise UsageError(f"{by.strip()} approved of this verdict already; another person must be the second")
        row = {"seq": seq, "feed": feed, "snapshot_id": snapshot_id, "verdict_seq": verdict_seq}
        row |= {"actor": by.strip(), "via": via_of(by), "reason": reason.strip(), "at": at, "expires": until}
        conn.execute(sa.insert(t.approvals), [row])
        body = {"verdict": verdict_seq, "reason": chain.keyed_hash(store.key, reason.strip())}
        event = {"kind": "gate.approved", "at": at, "feed": feed, "actor": by.strip(), "body": body}
        return chain.append(conn, store.key, rows=[(t.approvals, [seq])], **event)


def check_admission_rows(store: Store, feed: str, *, snapshot_id: str, verdict_seq: int, admission_seq: int) -> None:
    """Raise `TamperError` where a row that an admission rests on is not as its event left it."""
    c = t.approvals.c
    with store.read() as conn:
        approvals = list(conn.execute(sa.select(c.seq).where(c.verdict_seq == verdict_seq)).scalars())
        rows = (
            (t.snapshots, [snapshot_id]),
            (t.verdicts, [verdict_seq]),
            (t.approvals, approvals),
            (t.admissions, [admission_seq]),
        )
        for table, ids in rows:
            chain.check_rows_unchanged(conn, store.key, feed=feed, table=table, ids=ids)


def list_approvals(store: Store, verdict_seq: int) -> list[dict[str, Any]]:
    """Return who approved of a verdict, first first: ``by, via, reason, at, expires, seq``; lapsed ones as well."""
    c = t.approvals.c
    query = sa.select(c.actor.label("by"), c.via, c.reason, c.at, c.expires, c.seq).where(c.verdict_seq == verdict_seq)
    with store.read() as conn:
        return [row._asdict() for row in conn.execute(query.order_by(c.seq))]


def add_admission(
    store: Store,
    feed: str,
    *,
    snapshot_id: str,
    verdict_seq: int,
    envelope: str,
    digest: str,
    issued: dt.datetime,
    expires: dt.datetime,
) -> int:
    """Store a signed admission (`digest`: SHA-256 of `envelope`) and return its event's number.

    A snapshot has one live admission a verdict: where one holds at `issued`, its number is returned and nothing is
    written. Raises `ClosedError` for a revoked snapshot and for a verdict of ERROR.
    """
    at, until = utc_or_now(issued), utc_or_now(expires)
    if until <= at:
        raise UsageError(f"an admission must expire after it is issued, got {until.isoformat()}")
    with store.write() as conn:
        seq, c = chain.next_seq(conn), t.admissions.c
        require_unrevoked(conn, feed, snapshot_id)
        if find_verdict(conn, snapshot_id, verdict_seq)["outcome"] == "error":
            raise ClosedError(f"the checks of {snapshot_id} ended in an error; mend it and check again")
        live = sa.select(c.seq).where(c.snapshot_id == snapshot_id, c.verdict_seq == verdict_seq, c.expires > at)
        there = conn.execute(live.order_by(c.seq.desc()).limit(1)).scalar()
        if there is not None:
            return int(there)
        row = {"seq": seq, "feed": feed, "snapshot_id": snapshot_id, "verdict_seq": verdict_seq}
        row |= {"envelope": envelope, "digest": digest, "issued": at, "expires": until}
        conn.execute(sa.insert(t.admissions), [row])
        outbox.add(conn, outbox.ADMISSION, {"feed": feed, "snapshot_id": snapshot_id}, at)
        body = {"verdict": verdict_seq, "manifest": digest}
        return chain.append(
            conn, store.key, kind="gate.admitted", at=at, feed=feed, rows=[(t.admissions, [seq])], body=body
        )


def list_admissions(
    store: Store,
    feed: str,
    *,
    snapshot_id: str | None = None,
    valid_at: dt.datetime | None = None,
    limit: int | None = 50,
) -> list[dict[str, Any]]:
    """Return the last `limit` admissions of a feed (of one snapshot; valid at a time), newest first.

    Keys ``snapshot_id, verdict_seq, envelope, digest, issued, expires, revoked, seq``; ``revoked``: its snapshot was.
    """
    a, s = t.admissions.c, t.snapshots.c
    conditions = [a.feed == feed]
    if snapshot_id is not None:
        conditions.append(a.snapshot_id == snapshot_id)
    if valid_at is not None:
        conditions += [a.issued <= utc_or_now(valid_at), a.expires > utc_or_now(valid_at), s.revoked_seq.is_(None)]
    shown = (a.snapshot_id, a.verdict_seq, a.envelope, a.digest, a.issued, a.expires)
    query = (
        sa.select(*shown, s.revoked_seq.is_not(None).label("revoked"), a.seq)
        .join_from(t.admissions, t.snapshots, a.snapshot_id == s.snapshot_id)
        .where(*conditions)
        .order_by(a.seq.desc())
        .limit(limit)
    )
    with store.read() as conn:
        return [{**row._asdict(), "revoked": bool(row.revoked)} for row in conn.execute(query)]


def admitted_snapshots(store: Store, feed: str) -> list[str]:
    """Return the snapshots of a feed that were ever admitted, the last admitted first."""
    a = t.admissions.c
    last = sa.func.max(a.seq)
    query = sa.select(a.snapshot_id).where(a.feed == feed).group_by(a.snapshot_id).order_by(last.desc())
    with store.read() as conn:
        return list(conn.execute(query).scalars())


def due_snapshot(store: Store, feed: str, *, now: dt.datetime) -> str | None:
    """Return the newest snapshot with a live admission, unless a model was made from it or from a newer one.

    Measurements do not count: a model made without an admission trains nobody's champion.
    """
    a, s, m = t.admissions.c, t.snapshots.c, t.models.c
    newest = (
        sa.select(s.snapshot_id, s.sealed_seq)
        .join_from(t.admissions, t.snapshots, a.snapshot_id == s.snapshot_id)
        .where(a.feed == feed, a.expires > utc_or_now(now), s.revoked_seq.is_(None))
        .order_by(s.sealed_seq.desc())
        .limit(1)
    )
    with store.read() as conn:
        snapshot = conn.execute(newest).first()
        if snapshot is None:
            return None
        used = (
            sa.select(m.model_id)
            .join_from(t.models, t.snapshots, m.snapshot_id == s.snapshot_id)
            .where(m.feed == feed, m.admission_seq.is_not(None), s.sealed_seq >= snapshot.sealed_seq)
        )
        return None if conn.execute(used.limit(1)).first() else str(snapshot.snapshot_id)


def revoked_snapshots(store: Store) -> list[dict[str, Any]]:
    """Return every revoked snapshot, first first: ``snapshot_id, feed, why, at, admissions`` (digests)."""
    s, a, e = t.snapshots.c, t.admissions.c, t.events.c
    query = (
        sa.select(s.snapshot_id, s.feed, s.revoked_why.label("why"), e.at)
        .join_from(t.snapshots, t.events, s.revoked_seq == e.seq)
        .order_by(s.revoked_seq, s.sealed_seq)
    )
    issued = (
        sa.select(a.snapshot_id, a.digest)
        .join_from(t.admissions, t.snapshots, a.snapshot_id == s.snapshot_id)
        .where(s.revoked_seq.is_not(None))
        .order_by(a.seq)
    )
    digests: dict[str, list[str]] = {}
    with store.read() as conn:
        for snapshot_id, digest in conn.execute(issued):
            digests.setdefault(snapshot_id, []).append(digest)
        return [{**row._asdict(), "admissions": digests.get(row.snapshot_id, [])} for row in conn.execute(query)]


def _standing_approvers(conn: sa.Connection, snapshot_id: str, verdict_seq: int, at: dt.datetime) -> list[str]:
    """Return who approved of a verdict and still does; `ClosedError` for one that nobody can approve."""
    if find_verdict(conn, snapshot_id, verdict_seq)["outcome"] == "error":
        raise ClosedError(f"the checks of {snapshot_id} ended in an error, which nobody can approve; check it again")
    c = t.approvals.c
    holds = sa.or_(c.expires.is_(None), c.expires > at)
    return list(conn.execute(sa.select(c.actor).where(c.verdict_seq == verdict_seq, holds)).scalars())
