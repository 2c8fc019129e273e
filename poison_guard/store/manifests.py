"""Which lake files count: a file is there from the moment its row is committed, whatever lies in the lake."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
import sqlalchemy as sa

from poison_guard.store import bulk, tables
from poison_guard.store.lake import LakeFile

__all__ = ["add_files", "file_rows"]


def add_files(
    conn: sa.Connection, feed: str, files: Sequence[tuple[str, LakeFile]], *, run_id: str | None, seq: int
) -> int:
    """Make ``(lane, file)`` visible and return the id of the first; the others follow it.

    Ids are counted up under the chain's lock, so that a rolled-back commit leaves no gap.
    """
    last = conn.execute(sa.select(sa.func.max(tables.manifests.c.file_id))).scalar() or 0
    rows = [
        {
            "file_id": last + 1 + i,
            "feed": feed,
            "run_id": run_id,
            "lane": lane,
            "path": file.path,
            "rows": file.rows,
            "size": file.size,
            "sha256": file.sha256,
            "seq": seq,
        }
        for i, (lane, file) in enumerate(files)
    ]
    if rows:
        conn.execute(sa.insert(tables.manifests), rows)
    return int(last) + 1


def file_rows(conn: sa.Connection, file_ids: Iterable[int]) -> pd.DataFrame:
    """Return ``file_id, lane, path, rows, sha256`` of the given files, in the order they were written."""
    c = tables.manifests.c
    wanted = [int(i) for i in file_ids]
    query = sa.select(c.file_id, c.lane, c.path, c.rows, c.sha256).where(c.file_id.in_(wanted)).order_by(c.file_id)
    return bulk.fetch_frame(conn, query)
