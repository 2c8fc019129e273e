"""Do outside the store what a transaction calls for: the task is written in it, and the next writer carries it out.

A task is done at least once: a drainer that dies between doing it and saying so leaves it to be done again, so handlers
must give the same result twice. Readers never drain.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from poison_guard.store import bulk, chain
from poison_guard.store.bulk import from_json, to_json
from poison_guard.store.columns import EPOCH, MICROSECOND
from poison_guard.store.engine import Store
from poison_guard.store.tables import outbox

__all__ = [
    "ADMISSION",
    "DECISIONS",
    "LINEAGE",
    "REMOVAL",
    "REVOCATIONS",
    "WEBHOOK",
    "Drained",
    "Handler",
    "Task",
    "add",
    "add_once",
    "drain",
    "pending",
]

REVOCATIONS = "revocations"
"""Kind of task: write the signed list of revoked snapshots anew."""
ADMISSION = "admission"
"""Kind of task: write the manifest of an admitted snapshot, and the list with it; payload ``feed, snapshot_id``."""
REMOVAL = "removal"
"""Kind of task: remove lake files that no manifest lists any more; payload ``paths``."""
DECISIONS = "decisions"
"""Kind of task: bring the table or files of a feed's ``[out]`` up to date; payload ``feed, contract, seq``."""
WEBHOOK = "webhook"
"""Kind of task: tell a server of the user's; payload ``feed, event, body``."""
LINEAGE = "lineage"
"""Kind of task: tell an OpenLineage server or file of a step; payload ``feed, step, ref`` and what went in and out."""
_FIRST_WAIT, _LONGEST_WAIT = dt.timedelta(minutes=1), dt.timedelta(hours=6)

Handler = Callable[[Mapping[str, Any]], object]
"""Does the tasks of one kind; is given a payload."""


@dataclass(frozen=True, slots=True)
class Task:
    """One row of the outbox."""

    seq: int
    kind: str
    payload: Mapping[str, Any]
    due: dt.datetime
    """When it may be tried; while it is tried, and after it failed, when it may be tried again."""
    tries: int


@dataclass(frozen=True, slots=True)
class Drained:
    """What `drain` did."""

    done: int
    failed: tuple[str, ...] = ()
    """``KIND: error`` of each task whose handler failed; they stay, and are tried again later."""


def add(conn: sa.Connection, kind: str, payload: Mapping[str, Any], due: dt.datetime) -> None:
    """Add a task in the transaction of `conn`, unless the same one is there and was not tried yet."""
    chain.next_seq(conn)  # takes the writers' lock: numbers are in the order of commits
    c, body = outbox.c, to_json(payload, bounded=False)
    same = sa.select(c.seq).where(c.kind == kind, c.payload == body, c.tries == 0, c.done.is_(False), c.due <= due)
    if conn.execute(same.limit(1)).first() is None:
        last = conn.execute(sa.select(sa.func.max(c.seq))).scalar() or 0
        conn.execute(sa.insert(outbox), [{"seq": last + 1, "kind": kind, "payload": body, "due": due}])


def add_once(store: Store, kind: str, payload: Mapping[str, Any], due: dt.datetime) -> None:
    """Add a task in a transaction of its own, unless the same one was ever added."""
    c = outbox.c
    same = sa.select(c.seq).where(c.kind == kind, c.payload == to_json(payload, bounded=False)).limit(1)
    with store.read() as conn:
        known = conn.execute(same).first() is not None
    if not known:
        with store.write() as conn:
            add(conn, kind, payload, due)


def drain(store: Store, handlers: Mapping[str, Handler], now: dt.datetime, *, at_once: Container[str] = ()) -> Drained:
    """Do the tasks that are due at `now` and have a handler, oldest first; those of the kinds `at_once` whenever due.

    No two drainers do one task at a time: each is claimed first, by putting its next try off. That grows from a minute
    to six hours, and is also how long a task rests whose handler failed or whose drainer died. Where one failed, others
    of its kind wait for the next drainer: who drains is held up by a place that is down once. A task that is done
    settles the same ones added before it. What is done `at_once` may be done by two at a time.
    """
    done, failed, down = 0, list[str](), set[str]()
    for task in pending(store):
        rests = task.kind in down or (task.due > now and task.kind not in at_once)
        if task.kind not in handlers or rests or not _claim(store, task, now):
            continue
        try:
            handlers[task.kind](task.payload)
        except Exception as error:  # noqa: BLE001  whatever fails is tried again, and what was committed stays
            failed.append(f"{task.kind}: {error}")
            if task.kind not in at_once:
                down.add(task.kind)
            continue
        c = outbox.c
        same = (c.kind == task.kind, c.payload == to_json(task.payload, bounded=False), c.seq <= task.seq)
        with store.write() as conn:
            conn.execute(sa.update(outbox).where(*same, c.done.is_(False)).values(done=True))
        done += 1
    return Drained(done, tuple(failed))


def pending(store: Store) -> list[Task]:
    """Return the tasks that are not done, oldest first."""
    query = "SELECT seq, kind, payload, due, tries FROM outbox WHERE NOT done ORDER BY seq"
    with store.read() as conn:
        rows = bulk.raw(conn, query).fetchall()
    return [Task(seq, kind, from_json(body), EPOCH + due * MICROSECOND, tries) for seq, kind, body, due, tries in rows]


def _claim(store: Store, task: Task, now: dt.datetime) -> bool:
    """Put the next try of a task off; false where another drainer did so since it was read, or it is done."""
    c = outbox.c
    unchanged = sa.and_(c.seq == task.seq, c.tries == task.tries, c.done.is_(False))
    wait = min(_FIRST_WAIT * 2 ** min(task.tries, 16), _LONGEST_WAIT)
    with store.write() as conn:
        done = conn.execute(sa.update(outbox).where(unchanged).values(tries=task.tries + 1, due=now + wait))
        return done.rowcount == 1
