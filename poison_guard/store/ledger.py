"""The source ledger: what each source did, as append-only deltas; a state is their sum up to a version."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import sqlalchemy as sa

from poison_guard.store import bulk, tables
from poison_guard.store.names import fit_names

__all__ = ["add_deltas", "sums"]


def add_deltas(conn: sa.Connection, frame: pd.DataFrame, *, namespace: str, feed: str, seq: int) -> None:
    """Append deltas: `frame` has ``source_id, first_seen`` and any of `tables.LEDGER_COUNTS`, one row a source."""
    counts = [name for name in tables.LEDGER_COUNTS if name in frame.columns]
    rows = frame.assign(
        source_id=fit_names(frame["source_id"]), **{c: frame[c].fillna(0).astype(float) for c in counts}
    )
    moved = rows[rows[counts].ne(0).any(axis=1)] if counts else rows.iloc[:0]
    bulk.insert_frame(conn, tables.ledger, moved.assign(namespace=namespace, feed=feed, seq=seq))


def sums(
    conn: sa.Connection, namespace: str, *, version: int | None = None, source_ids: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return one row a source: ``source_id``, the sums up to `version`, ``first_seen`` and ``blocked`` (bool).

    Sorted by source, so that the same ledger is always the same frame.
    """
    c = tables.ledger.c
    totals = [sa.func.sum(c[name]).label(name) for name in tables.LEDGER_COUNTS]
    query = (
        sa.select(c.source_id, *totals, sa.func.min(c.first_seen, type_=tables.Moment).label("first_seen"))
        .where(c.namespace == namespace)
        .group_by(c.source_id)
    )
    if version is not None:
        query = query.where(c.seq <= version)
    if source_ids is None:
        frame = bulk.fetch_frame(conn, query)
    else:
        frame = bulk.select_many(conn, query, c.source_id, source_ids)
    frame = frame.assign(blocked=frame["blocked"] > 0)
    return frame.sort_values("source_id", ignore_index=True)
