"""What a committed run decided, read back as it was stored."""

from __future__ import annotations

import json

import pandas as pd
import sqlalchemy as sa

from poison_guard.store import bulk, tables
from poison_guard.store.engine import Store
from poison_guard.store.runs import Run

__all__ = ["run_outcome"]


def run_outcome(store: Store, run: Run) -> dict[str, pd.DataFrame]:
    """Return the frames ``decisions, evidence, items, campaigns`` of a committed run.

    `decisions` are ``record_id, action, risk, campaign_id, reasons`` as decided then, whatever reviewers moved since;
    codes are those of the evidence kept, which is that of held records.
    """
    r, e, c, i = (t.c for t in (tables.records, tables.evidence, tables.campaigns, tables.items))
    with store.read() as conn:
        records = bulk.fetch_frame(
            conn,
            sa.select(r.record_id, r.action, r.risk, r.campaign_id).where(r.run_id == run.run_id).order_by(r.record_id),
        )
        evidence = bulk.fetch_frame(
            conn,
            sa.select(e.record_id, e.signal, e.level, e.p, e.code, e.args)
            .where(e.run_id == run.run_id)
            .order_by(e.record_id, e.p, e.signal),
        )
        campaigns = bulk.fetch_frame(conn, sa.select(tables.campaigns).where(c.run_id == run.run_id))
        items = bulk.fetch_frame(
            conn,
            sa.select(i.item_id, i.label, i.probability, i.adopted, i.why)
            .where(i.feed == run.feed, i.seq == run.commit_seq)
            .order_by(i.item_id),
        )
    codes = evidence.groupby("record_id")["code"].agg(lambda s: list(dict.fromkeys(s)))
    reasons = records["record_id"].map(codes)
    records["reasons"] = [v if isinstance(v, list) else [] for v in reasons]
    return {"decisions": records, "evidence": evidence, "items": items, "campaigns": _campaigns(campaigns)}


def _campaigns(stored: pd.DataFrame) -> pd.DataFrame:
    columns = ["campaign_id", "kind", "p", "strength", "n_records", "n_sources", "first_at", "last_at", "code", "args"]
    frame = stored[columns].copy()
    frame["args"] = pd.Series([json.loads(text) for text in frame["args"]], dtype=object, index=frame.index)
    return frame
