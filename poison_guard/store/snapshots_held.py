"""Which snapshots hold a record: told from the times between which it was accepted."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import sqlalchemy as sa

from poison_guard.records import Place
from poison_guard.store import bulk, tables
from poison_guard.store.names import fit_name
from poison_guard.store.tables_gate import snapshots

__all__ = ["held_by"]

_CHUNK = 50_000
_NOW = np.iinfo(np.int64).max


def held_by(conn: sa.Connection, feed: str, record_ids: Iterable[str]) -> list[str]:
    """Return the snapshots not revoked in whose state any of the records was accepted, oldest first.

    Where a feed's examples are items, a snapshot holds every vote that was accepted when it was sealed.
    """
    c = snapshots.c
    query = sa.select(c.snapshot_id, c.seq).where(c.feed == feed, c.revoked_seq.is_(None)).order_by(c.seq, c.sealed_seq)
    live = bulk.fetch_frame(conn, query)
    if live.empty:
        return []
    ids = list(dict.fromkeys(fit_name(name) for name in record_ids))
    sealed = live["seq"].to_numpy()
    steps = np.zeros(len(sealed) + 1, dtype=np.int64)
    for start in range(0, len(ids), _CHUNK):
        spans = _accepted_spans(conn, feed, ids[start : start + _CHUNK])
        np.add.at(steps, np.searchsorted(sealed, spans["start"]), 1)
        np.add.at(steps, np.searchsorted(sealed, spans["end"]), -1)
    return live.loc[np.cumsum(steps)[:-1] > 0, "snapshot_id"].tolist()


def _accepted_spans(conn: sa.Connection, feed: str, ids: list[str]) -> pd.DataFrame:
    """Return ``start, end``: sequence numbers from which and before which a record was accepted."""
    r, m = tables.records.c, tables.moves.c
    query = sa.select(m.record_id, m.seq, m.from_place, m.to_place).where(m.feed == feed)
    moves = bulk.select_many(conn, query, m.record_id, ids).sort_values(["record_id", "seq"], ignore_index=True)
    query = sa.select(r.record_id, r.seq, r.place).where(r.feed == feed)
    first = bulk.select_many(conn, query, r.record_id, ids)
    began = first["record_id"].map(moves.drop_duplicates("record_id").set_index("record_id")["from_place"])
    first = first.assign(place=began.astype("str").fillna(first["place"]))
    later = moves[["record_id", "seq", "to_place"]].rename(columns={"to_place": "place"})
    line = pd.concat([first, later], ignore_index=True).sort_values(["record_id", "seq"], kind="stable")
    until = line.groupby("record_id")["seq"].shift(-1, fill_value=_NOW)
    spans = pd.DataFrame({"start": line["seq"], "end": until})
    return spans[line["place"] == Place.ACCEPTED.value]
