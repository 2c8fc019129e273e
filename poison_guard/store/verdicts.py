"""Verdicts of the gate over snapshots, each one event; the policies they were given under are stored whole."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from poison_guard.config.gate import GatePolicy
from poison_guard.errors import ClosedError, UsageError
from poison_guard.store import bulk, chain, gate_events, tables
from poison_guard.store.clock import moment
from poison_guard.store.engine import Store
from poison_guard.store.plain import from_json, to_json
from poison_guard.store.snapshots import Snapshot, find_snapshot
from poison_guard.store.tables_gate import verdicts

__all__ = ["OUTCOMES", "add_verdict", "find_verdict", "last_verdict", "standing_snapshot"]

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
        seq, at = chain.next_seq(conn), moment(now)
        standing_snapshot(conn, feed, snapshot_id)
        if policy is not None:
            body = json.dumps(dataclasses.asdict(policy), sort_keys=True)
            bulk.insert_missing(conn, tables.policies, [{"hash": policy_hash, "body": body, "at": at}])
        row = {"seq": seq, "feed": feed, "snapshot_id": snapshot_id, "at": at, "outcome": outcome}
        row |= {"verdict": to_json(verdict, bounded=False), "policy_hash": policy_hash, "candidate": candidate}
        conn.execute(sa.insert(verdicts), [row])
        told = {"outcome": outcome, "policy": policy_hash}
        return gate_events.note(
            conn, store.key, kind="gate.verdict", at=at, feed=feed, table=verdicts, ids=[seq], body=told
        )


def last_verdict(store: Store, snapshot_id: str, *, candidate: str | None = None) -> dict[str, Any] | None:
    """Return the last verdict over a snapshot and exactly this candidate (None: without one); None when none was given.

    Keys ``seq, feed, snapshot_id, at, outcome, verdict, policy_hash, candidate``.
    """
    c = verdicts.c
    judged = c.candidate.is_(None) if candidate is None else c.candidate == candidate
    query = sa.select(verdicts).where(c.snapshot_id == snapshot_id, judged).order_by(c.seq.desc()).limit(1)
    with store.read() as conn:
        row = conn.execute(query).first()
    return None if row is None else _mapping(row)


def find_verdict(conn: sa.Connection, snapshot_id: str, seq: int) -> dict[str, Any]:
    """Return a verdict over a snapshot; `UsageError` when event `seq` gave none over it."""
    row = conn.execute(sa.select(verdicts).where(verdicts.c.seq == seq, verdicts.c.snapshot_id == snapshot_id)).first()
    if row is None:
        raise UsageError(f"event {seq} is no verdict over {snapshot_id}; run `poison-guard gate check` first")
    return _mapping(row)


def standing_snapshot(conn: sa.Connection, feed: str, snapshot_id: str) -> Snapshot:
    """Return a snapshot of the feed; `ClosedError` when it was revoked, `UsageError` when it is another feed's."""
    snapshot = find_snapshot(conn, snapshot_id)
    if snapshot.feed != feed:
        raise UsageError(f"{snapshot_id} is a snapshot of {snapshot.feed}, not of {feed}")
    if snapshot.revoked_seq is not None:
        raise ClosedError(f"{snapshot_id} was revoked ({snapshot.revoked_why}); seal the feed again")
    return snapshot


def _mapping(row: sa.Row[Any]) -> dict[str, Any]:
    return {**row._asdict(), "verdict": from_json(row.verdict)}
