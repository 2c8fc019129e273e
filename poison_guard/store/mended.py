"""Find rows that wait for a person because they could not be read, and whose file came again without them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import sqlalchemy as sa

from poison_guard.records import ObjectRef
from poison_guard.store import bulk, tables
from poison_guard.store.engine import Store
from poison_guard.store.quarantine import OPEN
from poison_guard.store.reading import load_rows

__all__ = ["mended_rows"]

_SHARE = 0.5
"""Share of an object's readable rows that a later one of its name must hold, to be that object mended and no new one:
more than half cannot be there by chance, and a file may lose some rows when it is mended."""


def mended_rows(
    store: Store, feed: str, objects: Sequence[ObjectRef], seen: pd.DataFrame, unreadable: pd.DataFrame
) -> list[str]:
    """Return the waiting rows that could not be read, of objects that come again with their other rows, but not these.

    `seen` are the records (``object``) of the batch that the store has, `unreadable` the rows of the batch that cannot
    be read (``record_id, object, row``). An object that could not be read at all is mended by being read.
    """
    failed = set(unreadable.loc[unreadable["row"].astype(int) == 0, "object"])
    names = sorted({each.uri for each in objects} - failed)
    o, r, q = tables.objects.c, tables.records.c, tables.queue.c
    earlier = sa.select(o.uri, sa.func.max(o.rows).label("rows")).where(o.feed == feed).group_by(o.uri)
    waits = sa.and_(q.feed == r.feed, q.record_id == r.record_id, q.state == OPEN, q.lease_until.is_(None))
    lost = sa.select(r.record_id, r.file_id).join(tables.queue, waits).where(r.feed == feed, r.readable.is_(False))
    with store.read() as conn:
        rows = bulk.select_many(conn, earlier, o.uri, names).set_index("uri")["rows"] if names else pd.Series()
        waiting = bulk.fetch_frame(conn, lost) if len(rows) else pd.DataFrame()
    if waiting.empty:
        return []
    found = pd.concat(list(load_rows(store, waiting)), ignore_index=True)
    found = found[found["object"].isin(rows.index) & ~found["record_id"].isin(unreadable["record_id"])]
    readable = rows - found["object"].value_counts().reindex(rows.index, fill_value=0)
    again = seen["object"].value_counts().reindex(rows.index, fill_value=0)
    known = rows.index[(again > 0) & (again >= _SHARE * readable)]
    whole = found["row"].astype(int) == 0
    return sorted(found.loc[whole | found["object"].isin(known), "record_id"])
