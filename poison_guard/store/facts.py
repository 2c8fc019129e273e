"""Facts as people are shown them: campaigns, everything about one record, a run's report, a feed's status."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from poison_guard.errors import NotFoundError
from poison_guard.store import bulk, quarantine, tables, trusted
from poison_guard.store.bulk import bounded_key, from_json
from poison_guard.store.engine import Store
from poison_guard.store.lake import file_rows
from poison_guard.store.reading import count_places
from poison_guard.store.runs import list_runs, load_run, run_sources

__all__ = [
    "evidence_of",
    "explain",
    "feed_facts",
    "find_campaigns",
    "list_campaigns",
    "load_campaign",
    "load_policy",
    "run_facts",
]


def find_campaigns(store: Store, feed: str, campaign_ids: Sequence[str]) -> pd.DataFrame:
    """Return the rows of some campaigns; `args` are mappings again."""
    c = tables.campaigns.c
    with store.read() as conn:
        rows = bulk.select_many(conn, sa.select(tables.campaigns).where(c.feed == feed), c.campaign_id, campaign_ids)
    return rows.assign(args=[from_json(text) for text in rows["args"]])


def list_campaigns(store: Store, feed: str, *, run_id: str | None = None, limit: int | None = None) -> pd.DataFrame:
    """Return campaigns, largest first, with the number of their records in each place (``accepted``, ``held``, …).

    `held` counts what waits for a decision: quarantined, staged or recalled.
    """
    c, r = tables.campaigns.c, tables.records.c
    places = {"accepted": ("accepted",), "rejected": ("rejected",), "held": ("quarantined", "staged", "recalled")}
    counts = [sa.func.count(sa.case((r.place.in_(names), 1))).label(label) for label, names in places.items()]
    columns = [column for column in tables.campaigns.c if column.name != "seq"]
    query = (
        sa.select(*columns, *counts)
        .join_from(
            tables.campaigns, tables.records, sa.and_(c.feed == r.feed, c.campaign_id == r.campaign_id), isouter=True
        )
        .where(c.feed == feed)
        .group_by(*columns)
        .order_by(c.n_records.desc(), c.campaign_id)
    )
    if run_id is not None:
        query = query.where(c.run_id == run_id)
    with store.read() as conn:
        frame = bulk.fetch_frame(conn, query if limit is None else query.limit(limit))
    return frame.assign(args=[from_json(text) for text in frame["args"]])


def load_campaign(store: Store, feed: str, campaign_id: str) -> dict[str, Any]:
    """Return one campaign as a mapping; `NotFoundError` when the feed has none of that id."""
    c = tables.campaigns.c
    with store.read() as conn:
        row = conn.execute(sa.select(tables.campaigns).where(c.feed == feed, c.campaign_id == campaign_id)).first()
    if row is None:
        raise NotFoundError(f"there is no campaign {campaign_id!r} in {feed}; `poison-guard review list` shows them")
    return {**row._asdict(), "args": from_json(row.args)}


def explain(store: Store, feed: str, record_id: str) -> dict[str, Any]:
    """Return the facts of one record; `NotFoundError` when the feed has none of that id.

    Keys: ``record`` (its row), ``payload`` (column to value; of an unreadable row what could be saved), ``shape``,
    ``evidence`` (list of ``signal, level, p, code, args, run_id``, most suspicious first), ``campaign`` (with
    ``others``, how many more records it has) or None, ``history`` (list of ``seq, at, kind, actor, reason, from_place,
    to_place``), ``queue`` (its entry) or None.
    """
    name = bounded_key(record_id)
    c = tables.records.c
    with store.read() as conn:
        rows = bulk.fetch_frame(conn, sa.select(tables.records).where(c.feed == feed, c.record_id == name))
        if rows.empty:
            raise NotFoundError(f"there is no record {record_id!r} in {feed}")
        record = _plain_mapping(rows.iloc[0].rename({"changed_seq": "version"}))
        files = file_rows(conn, [record["file_id"]])
        history = _history(conn, feed, name, first=record["seq"])
        shown = (column for column in tables.queue.columns if column.name not in ("entry_id", "changed_seq"))
        queue = conn.execute(
            sa.select(*shown).where(tables.queue.c.feed == feed, tables.queue.c.record_id == name)
        ).first()
    group = record["campaign_id"]
    campaign = None if group is None else load_campaign(store, feed, group)
    if campaign is not None:
        campaign["others"] = campaign["n_records"] - 1
    shape: str | None = None
    payload: dict[str, Any] = {}  # nothing is left of an erased record
    for file in files.itertuples():
        row = store.lake.read_frame(file.path, record_ids=[name], sha256=file.sha256).iloc[0]
        shape = row.get("shape")
        payload = _plain_mapping(row[[c for c in row.index if c != "shape" and (_said(row[c]) or not _beside(c))]])
    return {
        "record": record,
        "payload": payload,
        "shape": shape,
        "evidence": evidence_of(store, feed, [name]).drop(columns=["feed", "record_id"]).to_dict("records"),
        "campaign": campaign,
        "history": history,
        "queue": None if queue is None else queue._asdict(),
    }


def _beside(column: str) -> bool:
    """Whether a column holds what was written where the record's own cell says it otherwise."""
    return column.startswith(("was.", "given."))


def _said(value: Any) -> bool:
    return isinstance(value, str) and not value.startswith("\0")


def evidence_of(store: Store, feed: str, record_ids: list[str]) -> pd.DataFrame:
    """Return the stored evidence of records, most suspicious first; `args` are mappings again."""
    c = tables.evidence.c
    with store.read() as conn:
        shown = (column for column in tables.evidence.columns if column.name != "seq")
        query = sa.select(*shown).where(c.feed == feed)
        frame = bulk.select_many(conn, query, c.record_id, [bounded_key(i) for i in record_ids])
    frame = frame.assign(args=[from_json(text) for text in frame["args"]])
    return frame.sort_values(["p", "signal", "code"], kind="stable", ignore_index=True)


def _history(conn: sa.Connection, feed: str, name: str, *, first: int) -> list[dict[str, Any]]:
    m, e, r = tables.moves.c, tables.events.c, tables.reviews.c
    query = (
        sa.select(e.seq, e.at, e.kind, e.actor, r.reason, m.from_place, m.to_place)
        .select_from(tables.events)
        .outerjoin(tables.moves, sa.and_(m.feed == feed, m.record_id == name, m.seq == e.seq))
        .outerjoin(tables.reviews, r.seq == e.seq)
        .where(sa.or_(e.seq == first, m.seq.is_not(None)))
        .order_by(e.seq)
    )
    return [row._asdict() for row in conn.execute(query)]


def _plain_mapping(row: pd.Series) -> dict[str, Any]:
    return {str(k): None if pd.api.types.is_scalar(v) and pd.isna(v) else _python_scalar(v) for k, v in row.items()}


def _python_scalar(value: Any) -> Any:
    return value.item() if hasattr(value, "item") and not hasattr(value, "__len__") else value


_RISK_BINS = 20
_EXAMPLES = 3


def run_facts(store: Store, run_id: str, *, sources: int | None = 200) -> dict[str, Any]:
    """Return what the report of a run shows.

    Keys: ``run`` (mapping of `Run`), ``counts``, ``places`` (of the feed, now), ``reasons`` (frame: ``code, signal,
    level, records, examples``), ``risk`` (frame: ``low, high`` and one column of counts a place), ``campaigns``
    (frame), ``sources`` (frame: the most suspicious of the run, at most `sources`; None: all), ``trusted`` (counts),
    ``measurements``, ``notes``, ``policy`` (thresholds) and ``runs`` (the feed's last 30, oldest first).
    """
    run = load_run(store, run_id)
    frame = run_sources(store, run_id)
    frame = frame.sort_values([name for name in ("p", "source_id") if name in frame], ignore_index=True)
    return {
        "run": dataclasses.asdict(run),
        "counts": dict(run.counts),
        "places": count_places(store, run.feed),
        "reasons": _run_reasons(store, run_id),
        "risk": _risk_histogram(store, run_id),
        "campaigns": list_campaigns(store, run.feed, run_id=run_id),
        "sources": frame.iloc[:sources],
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


def _run_reasons(store: Store, run_id: str) -> pd.DataFrame:
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
            _evidence_examples(conn, run_id, code, signal)
            for code, signal in zip(frame["code"], frame["signal"], strict=True)
        ]
    return frame.assign(examples=pd.Series(examples, index=frame.index, dtype=object))


def _evidence_examples(conn: sa.Connection, run_id: str, code: str, signal: str) -> list[dict[str, Any]]:
    c = tables.evidence.c
    query = (
        sa.select(c.record_id, c.args, c.p)
        .where(c.run_id == run_id, c.code == code, c.signal == signal)
        .order_by(c.p, c.record_id)
        .limit(_EXAMPLES)
    )
    return [{"record_id": name, "args": from_json(args), "p": p} for name, args, p in conn.execute(query)]


def _risk_histogram(store: Store, run_id: str) -> pd.DataFrame:
    c = tables.records.c
    with store.read() as conn:
        rows = bulk.fetch_frame(conn, sa.select(c.place, c.risk).where(c.run_id == run_id))
    edges = np.linspace(0.0, 1.0, _RISK_BINS + 1)
    counts = {str(place): np.histogram(part, edges)[0] for place, part in rows.groupby("place")["risk"]}
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], **counts})
