"""Read campaigns: what was found, and where the records that carry it are now."""

from __future__ import annotations

from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.errors import NotFoundError
from poison_guard.store import bulk, tables
from poison_guard.store.engine import Store
from poison_guard.store.plain import from_json

__all__ = ["list_campaigns", "load_campaign"]


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
