"""Jobs: decisions about a frozen set of records, gone through part by part, that go on where they were killed."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import secrets
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from poison_guard.errors import BusyError, NotFoundError
from poison_guard.store import chain
from poison_guard.store.bulk import from_json, to_json
from poison_guard.store.engine import Store
from poison_guard.store.tables import jobs

__all__ = ["JobStoppedError", "advance", "change_state", "freeze", "job_ids", "list_jobs", "load_job", "start"]

_KEPT = dt.timedelta(days=1)
"""How long a set that nobody decides stays frozen."""


class JobStoppedError(BusyError):
    """A job was cancelled, or another process went on with it meanwhile."""


def freeze(conn: sa.Connection, feed: str, ids: Sequence[str], *, filters: Mapping[str, Any], at: dt.datetime) -> str:
    """Keep a set of records as of now, and return the job's id; sets that nobody decided for a day go."""
    c = jobs.c
    conn.execute(sa.delete(jobs).where(c.state == "frozen", c.at < at - _KEPT))
    job_id = f"job-{secrets.token_hex(8)}"
    text = json.dumps(list(ids))
    row = {"job_id": job_id, "feed": feed, "state": "frozen", "filters": to_json(filters), "at": at}
    row |= {"ids": zlib.compress(text.encode()), "digest": hashlib.sha256(text.encode()).hexdigest()}
    conn.execute(sa.insert(jobs), [{**row, "version": chain.head(conn), "total": len(ids)}])
    return job_id


def load_job(store: Store, feed: str, job_id: str) -> dict[str, Any]:
    """Return the row of a job without its ids; `NotFoundError` when the feed has none of that id."""
    with store.read() as conn:
        return _load(conn, feed, job_id)


def list_jobs(store: Store, feed: str, *, limit: int = 50) -> list[dict[str, Any]]:
    """Return the jobs that were decided, the newest first."""
    columns = [column for column in jobs.c if column.name != "ids"]
    query = sa.select(*columns).where(jobs.c.feed == feed, jobs.c.state != "frozen")
    with store.read() as conn:
        rows = conn.execute(query.order_by(jobs.c.at.desc(), jobs.c.job_id).limit(limit)).all()
    return [{**row._asdict(), "filters": from_json(row.filters)} for row in rows]


def _load(conn: sa.Connection, feed: str, job_id: str) -> dict[str, Any]:
    columns = [column for column in jobs.c if column.name != "ids"]
    row = conn.execute(sa.select(*columns).where(jobs.c.job_id == job_id, jobs.c.feed == feed)).first()
    if row is None:
        raise NotFoundError(f"{feed} has no job {job_id!r}; a set that was not decided is kept for a day")
    return {**row._asdict(), "filters": from_json(row.filters)}


def job_ids(store: Store, job_id: str) -> list[str]:
    """Return the frozen records of a job, in their order; none once it is over."""
    with store.read() as conn:
        body = conn.execute(sa.select(jobs.c.ids).where(jobs.c.job_id == job_id)).scalar()
    return [] if body is None else json.loads(zlib.decompress(body))


def start(conn: sa.Connection, job_id: str, *, event: int, **values: Any) -> bool:
    """Let a frozen job run, once; `values`: ``verb, actor, via, reason, at``. Return whether it was frozen."""
    changed = sa.update(jobs).where(jobs.c.job_id == job_id, jobs.c.state == "frozen")
    return conn.execute(changed.values(state="running", event=event, **values)).rowcount == 1


def advance(conn: sa.Connection, job_id: str, *, first: int, last: int, decided: int) -> None:
    """Note that a part was gone through; `JobStoppedError` where another process did so, or the job was cancelled."""
    c = jobs.c
    changed = sa.update(jobs).where(c.job_id == job_id, c.state == "running", c.done == first)
    left = last - first - decided
    if conn.execute(changed.values(done=last, decided=c.decided + decided, left=c.left + left)).rowcount != 1:
        raise JobStoppedError(f"job {job_id} was cancelled, or another process goes on with it")


def change_state(conn: sa.Connection, job_id: str, *, old: Sequence[str], new: str, fault: str | None = None) -> bool:
    """Move a job from one of the states `old` to `new`, and return whether it was in one; what is over keeps no ids."""
    values: dict[str, Any] = {"state": new, "fault": fault}
    if new != "running":
        values["ids"] = None
    changed = sa.update(jobs).where(jobs.c.job_id == job_id, jobs.c.state.in_(old))
    return conn.execute(changed.values(**values)).rowcount == 1
