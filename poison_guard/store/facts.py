"""Gather the facts that a run's report and the status page show."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from poison_guard.store import bulk, campaigns, quarantine, tables, trusted
from poison_guard.store.engine import Store
from poison_guard.store.plain import from_json
from poison_guard.store.reading import count_places
from poison_guard.store.runs import list_runs, load_run

__all__ = ["feed_facts", "load_policy", "run_facts"]

_BINS = 20
_EXAMPLES = 3


def run_facts(store: Store, run_id: str, *, sources: int = 200) -> dict[str, Any]:
    """Return what the report of a run shows.

    Keys: ``run`` (mapping of `Run`), ``counts``, ``places`` (of the feed, now), ``reasons`` (frame: ``code, signal,
    level, records, examples``), ``risk`` (frame: ``low, high`` and one column of counts a place), ``campaigns``
    (frame), ``sources`` (frame: the most suspicious of the run, at most `sources`), ``trusted`` (counts),
    ``measurements``, ``notes``, ``policy`` (thresholds) and ``runs`` (the feed's last 30, oldest first).
    """
    run = load_run(store, run_id)
    return {
        "run": dataclasses.asdict(run),
        "counts": dict(run.counts),
        "places": count_places(store, run.feed),
        "reasons": _reasons(store, run_id),
        "risk": _risk(store, run_id),
        "campaigns": campaigns.list_campaigns(store, run.feed, run_id=run_id),
        "sources": _sources(store, run_id, sources),
        "trusted": trusted.count_trusted(store, run.feed),
        "measurements": dict(run.measurements),
        "notes": list(run.notes),
        "policy": load_policy(store, run.policy_hash),
        "runs": [dataclasses.asdict(r) for r in reversed(list_runs(store, run.feed, limit=30))],
    }


def load_policy(store: Store, policy_hash: str) -> dict[str, Any]:
    """Return the thresholds stored under a policy's hash; empty when there are none."""
    with store.read() as conn:
        body = conn.execute(sa.select(tables.policies.c.body).where(tables.policies.c.hash == policy_hash)).scalar()
    return {} if body is None else from_json(body)


def feed_facts(store: Store, feed: str, *, now: dt.datetime, expire_days: int) -> dict[str, Any]:
    """Return what `status` shows of a feed.

    Keys: ``feed, places, open`` (queue entries that wait), ``oldest`` (when the oldest of them came; None without any),
    ``expired`` (entries nobody read in `expire_days`: excluded, counted, recoverable), ``trusted`` (counts), ``run``
    (the last one as a mapping, or None), ``version`` (of the state).
    """
    since = now - dt.timedelta(days=expire_days)
    runs = list_runs(store, feed, limit=1)
    with store.read() as conn:
        waiting = quarantine.count_open(conn, feed, since=since)
        version = conn.execute(sa.select(tables.chain.c.seq)).scalar() or 0
    return {
        "feed": feed,
        "places": count_places(store, feed),
        **waiting,
        "trusted": trusted.count_trusted(store, feed),
        "run": dataclasses.asdict(runs[0]) if runs else None,
        "version": version,
    }


def _reasons(store: Store, run_id: str) -> pd.DataFrame:
    c = tables.evidence.c
    query = (
        sa.select(c.code, c.signal, c.level, sa.func.count(c.record_id.distinct()).label("records"))
        .where(c.run_id == run_id)
        .group_by(c.code, c.signal, c.level)
        .order_by(sa.desc("records"), c.code)
    )
    with store.read() as conn:
        frame = bulk.fetch_frame(conn, query)
        examples = [
            _examples(conn, run_id, code, signal) for code, signal in zip(frame["code"], frame["signal"], strict=True)
        ]
    return frame.assign(examples=pd.Series(examples, index=frame.index, dtype=object))


def _examples(conn: sa.Connection, run_id: str, code: str, signal: str) -> list[dict[str, Any]]:
    c = tables.evidence.c
    query = (
        sa.select(c.record_id, c.args, c.p)
        .where(c.run_id == run_id, c.code == code, c.signal == signal)
        .order_by(c.p, c.record_id)
        .limit(_EXAMPLES)
    )
    return [{"record_id": name, "args": from_json(args), "p": p} for name, args, p in conn.execute(query)]


def _risk(store: Store, run_id: str) -> pd.DataFrame:
    c = tables.records.c
    with store.read() as conn:
        rows = bulk.fetch_frame(conn, sa.select(c.place, c.risk).where(c.run_id == run_id))
    edges = np.linspace(0.0, 1.0, _BINS + 1)
    counts = {str(place): np.histogram(part, edges)[0] for place, part in rows.groupby("place")["risk"]}
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], **counts})


def _sources(store: Store, run_id: str, limit: int) -> pd.DataFrame:
    c = tables.manifests.c
    with store.read() as conn:
        file = conn.execute(sa.select(c.path, c.sha256).where(c.run_id == run_id, c.lane == "sources")).first()
    if file is None:
        return pd.DataFrame({"source_id": pd.Series(dtype="str")})
    frame = store.lake.read_frame(file.path, sha256=file.sha256)
    by = [name for name in ("p", "source_id") if name in frame.columns]
    return frame.sort_values(by, ignore_index=True).head(limit)
