"""Everything the store knows of one record: its payload, the evidence, the decision, and what people did with it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.errors import NotFoundError
from poison_guard.store import bulk, campaigns, tables
from poison_guard.store.engine import Store
from poison_guard.store.manifests import file_rows
from poison_guard.store.names import fit_name
from poison_guard.store.plain import from_json

__all__ = ["evidence_of", "explain"]


def explain(store: Store, feed: str, record_id: str) -> dict[str, Any]:
    """Return the facts of one record; `NotFoundError` when the feed has none of that id.

    Keys: ``record`` (its row), ``payload`` (column to value; of an unreadable row what could be saved of it),
    ``evidence`` (list of ``signal, level, p, code, args, run_id``, most suspicious first), ``campaign`` (with
    ``others``, how many more records it has) or None, ``history`` (list of ``seq, at, kind, actor, reason, from_place,
    to_place``), ``queue`` (its entry) or None.
    """
    name = fit_name(record_id)
    c = tables.records.c
    with store.read() as conn:
        found = bulk.fetch_frame(conn, sa.select(tables.records).where(c.feed == feed, c.record_id == name))
        if found.empty:
            raise NotFoundError(f"there is no record {record_id!r} in {feed}")
        record = _mapping(found.iloc[0])
        file = file_rows(conn, [record["file_id"]]).iloc[0]
        history = _history(conn, feed, name, first=record["seq"])
        queue = conn.execute(
            sa.select(tables.queue).where(tables.queue.c.feed == feed, tables.queue.c.record_id == name)
        ).first()
    group = record["campaign_id"]
    campaign = None if group is None else campaigns.load_campaign(store, feed, group)
    if campaign is not None:
        campaign["others"] = campaign["n_records"] - 1
    payload = store.lake.read_frame(file["path"], sha256=file["sha256"])
    return {
        "record": record,
        "payload": _mapping(payload[payload["record_id"] == name].iloc[0]),
        "evidence": evidence_of(store, feed, [name]).drop(columns=["feed", "record_id"]).to_dict("records"),
        "campaign": campaign,
        "history": history,
        "queue": None if queue is None else queue._asdict(),
    }


def evidence_of(store: Store, feed: str, record_ids: list[str]) -> pd.DataFrame:
    """Return the stored evidence of records, most suspicious first; `args` are mappings again."""
    c = tables.evidence.c
    with store.read() as conn:
        query = sa.select(tables.evidence).where(c.feed == feed)
        frame = bulk.select_many(conn, query, c.record_id, [fit_name(i) for i in record_ids])
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


def _mapping(row: pd.Series) -> dict[str, Any]:
    return {str(k): None if pd.api.types.is_scalar(v) and pd.isna(v) else _plain(v) for k, v in row.items()}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") and not hasattr(value, "__len__") else value
