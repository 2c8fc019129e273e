"""What people say of trusted records when they look again: found wrong, one leaves the set it was judged by."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import sqlalchemy as sa

from poison_guard.errors import NotFoundError
from poison_guard.store import bulk, chain, tables
from poison_guard.store.engine import Store
from poison_guard.store.names import fit_name
from poison_guard.store.plain import from_json, to_json

__all__ = ["check_trusted", "first_entry", "found_wrong", "judge_trusted", "load_verdicts", "verdicts"]

_VERBS = {"trust-wrong": -1, "trust-right": 1}


def judge_trusted(
    store: Store, feed: str, record_ids: Sequence[str], *, wrong: bool, by: str, reason: str, at: dt.datetime
) -> int:
    """Note in a person's name that trusted records are wrong (or right after all); return the event's number.

    The event can be undone like any decision. `NotFoundError` for an id that was never trusted.
    """
    ids = [fit_name(name) for name in dict.fromkeys(record_ids)]
    verb = "trust-wrong" if wrong else "trust-right"
    selector = to_json({"record_ids": ids})
    with store.write() as conn:
        _check_known(conn, feed, ids)
        seq = chain.next_seq(conn)
        told = {"n": len(ids), "reason": chain.subject(store.key, reason)}
        body = {**told, "selector": chain.subject(store.key, selector), "undoes": None}
        chain.append(conn, store.key, kind=f"review.{verb}", at=at, body=body, feed=feed, actor=by)
        row = {"seq": seq, "feed": feed, "verb": verb, "actor": by, "reason": reason, "at": at, "n": len(ids)}
        conn.execute(sa.insert(tables.reviews), [{**row, "selector": selector}])
    return seq


def check_trusted(store: Store, feed: str, record_ids: Sequence[str]) -> None:
    """Raise what `judge_trusted` would raise for an id that was never trusted."""
    with store.read() as conn:
        _check_known(conn, feed, [fit_name(name) for name in record_ids])


def verdicts(conn: sa.Connection, feed: str, version: int | None = None) -> dict[str, int]:
    """Return what was said last of each trusted record that people looked at, as of `version`: 1 right, -1 wrong."""
    c = tables.reviews.c
    query = sa.select(c.verb, c.selector, c.undone_by).where(c.feed == feed, c.verb.in_(_VERBS)).order_by(c.seq)
    if version is not None:
        query = query.where(c.seq <= version)
    said: dict[str, int] = {}
    for verb, selector, undone_by in conn.execute(query):
        if undone_by is None or (version is not None and undone_by > version):
            said |= dict.fromkeys(from_json(selector)["record_ids"], _VERBS[verb])
    return said


def found_wrong(conn: sa.Connection, feed: str, version: int | None = None) -> set[str]:
    """Return the ids of trusted records that people found wrong, as of `version`."""
    return {name for name, verdict in verdicts(conn, feed, version).items() if verdict < 0}


def load_verdicts(store: Store, feed: str, *, version: int | None = None) -> dict[str, int]:
    """Return `verdicts` of a feed."""
    with store.read() as conn:
        return verdicts(conn, feed, version)


def _check_known(conn: sa.Connection, feed: str, ids: Sequence[str]) -> None:
    t = tables.trusted.c
    query = sa.select(t.record_id).where(t.feed == feed)
    missing = set(ids) - set(bulk.select_many(conn, query, t.record_id, ids)["record_id"])
    if missing or not ids:
        raise NotFoundError(f"there is no trusted record {min(missing, default='')!r} in {feed}")


def first_entry(conn: sa.Connection, feed: str) -> set[str]:
    """Return the ids that were entered into the trusted set first, at once: the anchor, which never changes."""
    t = tables.trusted.c
    first = sa.select(sa.func.min(t.seq)).where(t.feed == feed).scalar_subquery()
    return set(conn.execute(sa.select(t.record_id).where(t.feed == feed, t.seq == first)).scalars())
