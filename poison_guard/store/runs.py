"""Runs: one row a batch, pinned to the state version it reads, open until all of it is committed at once."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from poison_guard.config import Contract
from poison_guard.errors import NotFoundError
from poison_guard.records import ObjectRef
from poison_guard.store import bulk, chain, tables
from poison_guard.store.clock import moment
from poison_guard.store.engine import Store
from poison_guard.store.plain import to_json

__all__ = [
    "Run",
    "begin_run",
    "fail_run",
    "find_open_run",
    "last_watermark",
    "list_runs",
    "load_run",
    "register",
    "repin",
    "seen_objects",
]


@dataclass(frozen=True, slots=True)
class Run:
    """One batch's way through the guard."""

    run_id: str
    feed: str
    batch_id: str
    status: str
    """``open``, ``committed`` or ``failed``."""
    state_version: int
    """Sequence number whose state the run reads, and nothing later."""
    received_at: dt.datetime
    started_at: dt.datetime
    finished_at: dt.datetime | None
    policy_hash: str
    commit_seq: int | None = None
    """Sequence number of the commit; None before it."""
    schema: Mapping[str, str] = field(default_factory=dict)
    objects: tuple[ObjectRef, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    """Seconds and bytes by step."""
    measurements: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[Mapping[str, Any], ...] = ()
    """``{"code", "args"}`` of what the guard says about itself."""
    error: str | None = None


def begin_run(
    store: Store,
    contract: Contract,
    *,
    batch_id: str,
    objects: Sequence[ObjectRef],
    received_at: dt.datetime,
    schema: Mapping[str, str],
    now: dt.datetime | None = None,
) -> Run:
    """Return the run of a batch: the open or committed one if there is one, else a new one pinned to the state of now.

    A failed run is opened again, with a new pin.
    """
    run_id = f"{contract.name}-{batch_id[:16]}"
    started = moment(now)
    with store.write() as conn:
        register(conn, contract, started)
        known = _load(conn, run_id)
        if known is not None and known.status != "failed":
            return known
        if known is not None:
            return _pin(conn, known)
        row = {
            "run_id": run_id,
            "feed": contract.name,
            "batch_id": batch_id,
            "status": "open",
            "state_version": chain.head(conn),
            "received_at": moment(received_at),
            "started_at": started,
            "policy_hash": contract.policy.hash,
            "schema": to_json(dict(schema), bounded=False),
            "objects": json.dumps([dataclasses.asdict(ref) for ref in objects]),
            **dict.fromkeys(("counts", "cost", "measurements"), "{}"),
            "notes": "[]",
        }
        bulk.insert_missing(conn, tables.runs, [row])
        return load_run_in(conn, run_id)


def load_run(store: Store, run_id: str) -> Run:
    """Return a run; `NotFoundError` when there is none of that id."""
    with store.read() as conn:
        return load_run_in(conn, run_id)


def load_run_in(conn: sa.Connection, run_id: str) -> Run:
    """Return a run as the transaction of `conn` sees it."""
    run = _load(conn, run_id)
    if run is None:
        raise NotFoundError(f"there is no run {run_id!r}; `poison-guard status` lists the last ones")
    return run


def find_open_run(store: Store, feed: str) -> Run | None:
    """Return the oldest run of a feed that was begun and not committed; None when there is none."""
    c = tables.runs.c
    query = sa.select(tables.runs).where(c.feed == feed, c.status == "open").order_by(c.started_at, c.run_id).limit(1)
    with store.read() as conn:
        row = conn.execute(query).first()
    return None if row is None else _run(row)


def list_runs(store: Store, feed: str | None = None, *, limit: int = 20) -> tuple[Run, ...]:
    """Return the last runs, newest first."""
    c = tables.runs.c
    query = sa.select(tables.runs).order_by(c.started_at.desc(), c.run_id).limit(limit)
    if feed is not None:
        query = query.where(c.feed == feed)
    with store.read() as conn:
        return tuple(_run(row) for row in conn.execute(query))


def repin(store: Store, run: Run) -> Run:
    """Pin an open run to the state of now, so that it is scored again after `StaleStateError`."""
    with store.write() as conn:
        current = load_run_in(conn, run.run_id)
        return current if current.status == "committed" else _pin(conn, current)


def fail_run(store: Store, run: Run, *, error: str, now: dt.datetime | None = None) -> Run:
    """Note why an open run could not be finished; the batch can be begun again."""
    c = tables.runs.c
    with store.write() as conn:
        conn.execute(
            sa.update(tables.runs)
            .where(c.run_id == run.run_id, c.status == "open")
            .values(status="failed", error=error[:2000], finished_at=moment(now))
        )
        return load_run_in(conn, run.run_id)


def seen_objects(store: Store, feed: str) -> frozenset[str]:
    """Return the digests of all files and frames that a feed has taken in."""
    with store.read() as conn:
        return frozenset(
            conn.execute(sa.select(tables.objects.c.digest).where(tables.objects.c.feed == feed)).scalars()
        )


def last_watermark(store: Store, feed: str) -> str | None:
    """Return the watermark of the last query window that was committed; None before the first."""
    c = tables.objects.c
    query = sa.select(c.watermark).where(c.feed == feed, c.watermark.is_not(None)).order_by(c.seq.desc()).limit(1)
    with store.read() as conn:
        return conn.execute(query).scalar()


def register(conn: sa.Connection, contract: Contract, at: dt.datetime) -> None:
    """Note a feed and its policy where they are not known yet."""
    body = json.dumps(dataclasses.asdict(contract.policy), sort_keys=True)
    bulk.insert_missing(conn, tables.policies, [{"hash": contract.policy.hash, "body": body, "at": at}])
    bulk.insert_missing(conn, tables.feeds, [{"name": contract.name, "last_seq": 0, "created_at": at}])


def _pin(conn: sa.Connection, run: Run) -> Run:
    conn.execute(
        sa.update(tables.runs)
        .where(tables.runs.c.run_id == run.run_id)
        .values(status="open", state_version=chain.head(conn), error=None, finished_at=None)
    )
    return load_run_in(conn, run.run_id)


def _load(conn: sa.Connection, run_id: str) -> Run | None:
    row = conn.execute(sa.select(tables.runs).where(tables.runs.c.run_id == run_id)).first()
    return None if row is None else _run(row)


def _run(row: sa.Row[Any]) -> Run:
    values: dict[str, Any] = row._asdict()
    for name in ("schema", "counts", "cost", "measurements"):
        values[name] = json.loads(values[name])
    values["objects"] = tuple(ObjectRef(**ref) for ref in json.loads(values["objects"]))
    values["notes"] = tuple(json.loads(values["notes"]))
    return Run(**values)
