"""Runs: one row per batch, pinned to the state version it reads, and what it decided.

A run is open until all of it is committed at once.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.canonical_json import utc_or_now
from poison_guard.config import Contract
from poison_guard.errors import NotFoundError
from poison_guard.frames import empty_frame
from poison_guard.records import ObjectRef
from poison_guard.store import bulk, chain, tables
from poison_guard.store.bulk import to_json
from poison_guard.store.engine import Store

__all__ = [
    "Run",
    "begin_run",
    "find_open_run",
    "last_watermark",
    "list_runs",
    "load_run",
    "load_run_result",
    "load_trails",
    "register_feed",
    "repin",
    "run_sources",
    "run_totals",
    "seen_objects",
]


_CAMPAIGN = ("campaign_id", "kind", "p", "strength", "n_records", "n_sources", "first_at", "last_at", "code", "args")


@dataclass(frozen=True, slots=True)
class Run:
    """One batch's way through the guard."""

    run_id: str
    feed: str
    batch_id: str
    status: str
    """``open`` or ``committed``."""
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
    """Return the run of a batch: the one that was begun before, else a new one pinned to the state of now."""
    run_id = f"{contract.name}-{batch_id[:16]}"
    started = utc_or_now(now)
    with store.write() as conn:
        register_feed(conn, contract, started)
        row = {
            "run_id": run_id,
            "feed": contract.name,
            "batch_id": batch_id,
            "status": "open",
            "state_version": chain.last_event(conn).seq,
            "received_at": utc_or_now(received_at),
            "started_at": started,
            "policy_hash": contract.policy_hash,
            "schema": to_json(dict(schema), bounded=False),
            "objects": json.dumps([dataclasses.asdict(dataclasses.replace(ref, trail=None)) for ref in objects]),
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
    row = conn.execute(sa.select(tables.runs).where(tables.runs.c.run_id == run_id)).first()
    if row is None:
        raise NotFoundError(f"there is no run {run_id!r}; `poison-guard status` lists the last ones")
    return _run_of_row(row)


def find_open_run(store: Store, feed: str) -> Run | None:
    """Return the oldest run of a feed that was begun and not committed; None when there is none."""
    c = tables.runs.c
    query = sa.select(tables.runs).where(c.feed == feed, c.status == "open").order_by(c.started_at, c.run_id).limit(1)
    with store.read() as conn:
        row = conn.execute(query).first()
    return None if row is None else _run_of_row(row)


def list_runs(store: Store, feed: str | None = None, *, limit: int = 20) -> tuple[Run, ...]:
    """Return the last runs, newest first."""
    c = tables.runs.c
    query = sa.select(tables.runs).order_by(c.started_at.desc(), c.run_id).limit(limit)
    if feed is not None:
        query = query.where(c.feed == feed)
    with store.read() as conn:
        return tuple(_run_of_row(row) for row in conn.execute(query))


def run_totals(store: Store, feed: str) -> dict[str, float]:
    """Return over the committed runs of a feed ``runs``, sums of what they counted, and of ``cpu_s`` and ``wall_s``."""
    c = tables.runs.c
    query = sa.select(c.counts, c.cost).where(c.feed == feed, c.status == "committed")
    totals: dict[str, float] = {"runs": 0}
    with store.read() as conn:
        for counts, cost in conn.execute(query):
            spent = {name: value for name, value in json.loads(cost).items() if name in ("cpu_s", "wall_s")}
            totals["runs"] += 1
            for name, value in {**json.loads(counts), **spent}.items():
                totals[name] = totals.get(name, 0) + value
    return totals


def repin(store: Store, run: Run) -> Run:
    """Pin an open run to the state of now, so that it is scored again after `StaleStateError`."""
    with store.write() as conn:
        c = tables.runs.c
        pin = sa.update(tables.runs).where(c.run_id == run.run_id, c.status == "open")
        conn.execute(pin.values(state_version=chain.last_event(conn).seq))
        return load_run_in(conn, run.run_id)


def seen_objects(store: Store, feed: str) -> frozenset[str]:
    """Return the digests of all files and frames that a feed has taken in."""
    with store.read() as conn:
        return frozenset(
            conn.execute(sa.select(tables.objects.c.digest).where(tables.objects.c.feed == feed)).scalars()
        )


def load_trails(store: Store, feed: str, *, limit: int = 256) -> list[tuple[str, str, str]]:
    """Return ``(digest, uri, trail)`` of the newest objects of rows without ids, newest first."""
    c = tables.objects.c
    query = sa.select(c.digest, c.uri, c.trail).where(c.feed == feed, c.trail.is_not(None))
    with store.read() as conn:
        rows = conn.execute(query.order_by(c.seq.desc(), c.uri.desc(), c.digest).limit(limit))
        return [(digest, uri, trail) for digest, uri, trail in rows]


def last_watermark(store: Store, feed: str) -> str | None:
    """Return the watermark of the last query window that was committed; None before the first."""
    c = tables.objects.c
    query = sa.select(c.watermark).where(c.feed == feed, c.watermark.is_not(None)).order_by(c.seq.desc()).limit(1)
    with store.read() as conn:
        return conn.execute(query).scalar()


def register_feed(conn: sa.Connection, contract: Contract, at: dt.datetime) -> None:
    """Note a feed and its policy where they are not known yet."""
    policy = {"hash": contract.policy_hash, "body": contract.policy.body, "at": at}
    bulk.insert_missing(conn, tables.policies, [policy])
    bulk.insert_missing(conn, tables.feeds, [{"name": contract.name, "last_seq": 0, "created_at": at}])


def _run_of_row(row: sa.Row[Any]) -> Run:
    values: dict[str, Any] = row._asdict()
    for name in ("schema", "counts", "cost", "measurements"):
        values[name] = json.loads(values[name])
    values["objects"] = tuple(ObjectRef(**ref) for ref in json.loads(values["objects"]))
    values["notes"] = tuple(json.loads(values["notes"]))
    return Run(**values)


def load_run_result(store: Store, run: Run) -> dict[str, pd.DataFrame]:
    """Return the frames ``decisions, evidence, items, campaigns, sources`` of a committed run, ordered as when decided.

    `decisions` are ``record_id, action, risk, campaign_id, reasons, file_id`` of the records that the run stored,
    whatever reviewers moved since; a later run that decides one of them again, or recalls it, writes its own decision
    instead.
    `evidence` is that of held records and audits alone.
    """
    r, e, c, i = (t.c for t in (tables.records, tables.evidence, tables.campaigns, tables.items))
    queries = {
        "decisions": sa.select(r.record_id, r.action, r.risk, r.campaign_id, r.reasons, r.file_id).where(
            r.run_id == run.run_id
        ),
        "evidence": sa.select(e.record_id, e.signal, e.level, e.p, e.code, e.args).where(e.run_id == run.run_id),
        "campaigns": sa.select(*(c[name] for name in _CAMPAIGN)).where(c.run_id == run.run_id),
        "items": sa.select(i.item_id, i.label, i.probability, i.adopted, i.why).where(
            i.feed == run.feed, i.seq == run.commit_seq
        ),
    }
    order = {  # not in SQL: databases sort text in their own ways
        "decisions": ["record_id"],
        "evidence": ["record_id", "p", "signal", "code", "args"],
        "campaigns": ["p", "campaign_id"],
        "items": ["item_id"],
    }
    with store.read() as conn:
        frames = {
            name: bulk.fetch_frame(conn, query).sort_values(order[name], ignore_index=True)
            for name, query in queries.items()
        }
    decisions, campaigns = frames["decisions"], frames["campaigns"]
    frames["decisions"] = decisions.assign(
        campaign_id=decisions["campaign_id"].astype(object).where(decisions["campaign_id"].notna(), None),
        reasons=pd.Series(
            [json.loads(v) if isinstance(v, str) else [] for v in decisions["reasons"].tolist()], dtype=object
        ),
    )
    frames["campaigns"] = campaigns.assign(args=pd.Series([json.loads(v) for v in campaigns["args"]], dtype=object))
    return {**frames, "sources": run_sources(store, run.run_id)}


def run_sources(store: Store, run_id: str) -> pd.DataFrame:
    """Return what a run found out about its sources, as it was decided."""
    c = tables.manifests.c
    with store.read() as conn:
        file = conn.execute(sa.select(c.path, c.sha256).where(c.run_id == run_id, c.lane == "sources")).first()
    if file is None:
        return empty_frame("sources")
    return store.lake.read_frame(file.path, sha256=file.sha256)
