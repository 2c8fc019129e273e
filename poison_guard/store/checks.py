"""Keep what reviewers are asked to measure their agreement by: colleagues' decisions, and records of known answer."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.errors import BusyError
from poison_guard.store import bulk, chain
from poison_guard.store.engine import Store
from poison_guard.store.tables import checks, records, reviews, verified

__all__ = ["answer_check", "ask_second", "list_answers", "open_checks"]

SECOND, KNOWN = "second", "known"
_POOL = 2_000


def ask_second(conn: sa.Connection, feed: str, record_ids: Sequence[str], *, verb: str, by: str) -> None:
    """Let a colleague decide these records blind, too."""
    row = {"feed": feed, "kind": SECOND, "reviewer": "", "expected": verb, "first_by": str(by)}
    bulk.insert_missing(conn, checks, [{**row, "record_id": name} for name in record_ids])


def open_checks(store: Store, feed: str, by: str, *, limit: int, known_rate: float) -> list[tuple[str, str]]:
    """Return ``(record_id, kind)`` of what a reviewer is asked: colleagues' decisions, and known ones as owed."""
    c, v, r, d = checks.c, verified.c, records.c, reviews.c
    second = sa.select(c.record_id).where(c.feed == feed, c.kind == SECOND, c.answer.is_(None), c.first_by != by)
    mine = sa.select(c.record_id).where(c.feed == feed, c.reviewer == by)
    decided = sa.select(sa.func.count()).where(d.feed == feed, d.actor == by, d.verb.in_(("release", "reject")))
    pool = (
        sa.select(v.record_id)
        .join_from(verified, records, sa.and_(v.feed == r.feed, v.record_id == r.record_id))
        .where(v.feed == feed, v.kind.in_(("control", "outcome")), v.verdict != 0, r.readable.is_(True))
    )
    with store.read() as conn:
        seconds = [(name, SECOND) for name in conn.execute(second.limit(limit)).scalars()]
        asked = set(conn.execute(mine).scalars())
        n_known = conn.execute(
            sa.select(sa.func.count()).where(c.feed == feed, c.reviewer == by, c.kind == KNOWN)
        ).scalar()
        owed = int((conn.execute(decided).scalar() or 0) * known_rate) - int(n_known or 0)
        ids = set(conn.execute(pool.limit(_POOL)).scalars()) - asked if owed > 0 else set[str]()
    drawn = sorted(ids, key=lambda name: hashlib.blake2b(f"{by}\0{name}".encode(), key=store.key[:64]).digest())
    found = [*seconds, *((name, KNOWN) for name in drawn[: max(owed, 0)])]
    return [pair for pair in found if pair[0] not in asked][:limit]


def answer_check(store: Store, feed: str, record_id: str, answer: str, *, by: str, at: dt.datetime) -> None:
    """Keep what a reviewer answered, as one event; `BusyError` where nobody is asked, or somebody answered."""
    c, v = checks.c, verified.c
    with store.write() as conn:
        seq = chain.next_seq(conn)
        open_ = (c.feed == feed, c.record_id == record_id, c.kind == SECOND, c.answer.is_(None), c.first_by != str(by))
        values = {"reviewer": str(by), "answer": answer, "at": at, "seq": seq}
        if not conn.execute(sa.update(checks).where(*open_).values(**values)).rowcount:
            said = sa.select(v.verdict).where(
                v.feed == feed, v.record_id == record_id, v.kind.in_(("control", "outcome"))
            )
            verdict = conn.execute(said.order_by(v.seq.desc()).limit(1)).scalar()
            mine = sa.select(c.record_id).where(c.feed == feed, c.record_id == record_id, c.reviewer == str(by))
            if not verdict or conn.execute(mine).first() is not None:
                raise BusyError(f"{by} is not asked about {record_id!r}, or it was answered already")
            row = {"feed": feed, "record_id": record_id, "kind": KNOWN, **values}
            conn.execute(sa.insert(checks), [{**row, "expected": "release" if verdict > 0 else "reject"}])
        body = {"answer": answer, "record": chain.keyed_hash(store.key, record_id)}
        chain.append(conn, store.key, kind="review.checked", at=at, body=body, feed=feed, actor=str(by))


def list_answers(store: Store, feed: str) -> pd.DataFrame:
    """Return ``record_id, kind, reviewer, first_by, expected, answer, at`` of all that was answered."""
    names = ("record_id", "kind", "reviewer", "first_by", "expected", "answer", "at")
    query: Any = sa.select(*(checks.c[name] for name in names)).where(
        checks.c.feed == feed, checks.c.answer.is_not(None)
    )
    with store.read() as conn:
        return bulk.fetch_frame(conn, query)
