"""Where records are, now and as of an earlier version; every later change of place is an appended move."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
import sqlalchemy as sa

from poison_guard.errors import BusyError
from poison_guard.records import Place
from poison_guard.store import bulk, tables

__all__ = ["as_of", "find", "move"]

_FOUND = (
    "record_id",
    "content_hash",
    "place",
    "action",
    "verdict",
    "file_id",
    "seq",
    "source_id",
    "risk",
    "readable",
    "observed_at",
    "received_at",
)


def find(conn: sa.Connection, feed: str, record_ids: Iterable[str]) -> pd.DataFrame:
    """Return where the given records are now: ``record_id, content_hash, place, verdict, file_id, seq, …``."""
    c = tables.records.c
    query = sa.select(*(c[name] for name in _FOUND)).where(c.feed == feed)
    return bulk.select_many(conn, query, c.record_id, record_ids)


def as_of(conn: sa.Connection, feed: str, rows: pd.DataFrame, version: int) -> pd.DataFrame:
    """Return `rows` (``record_id, seq, place, content_hash``, perhaps ``verdict``) as of `version`, no later ones."""
    c = tables.moves.c
    first = (
        sa.select(c.record_id, sa.func.min(c.seq).label("seq"))
        .where(c.feed == feed, c.seq > version)
        .group_by(c.record_id)
        .subquery()
    )
    query = sa.select(c.record_id, c.from_place, c.from_hash, c.from_verdict).where(
        c.feed == feed, c.record_id == first.c.record_id, c.seq == first.c.seq
    )
    rows = rows[rows["seq"] <= version]
    later = bulk.fetch_frame(conn, query).set_index("record_id")
    if later.empty or rows.empty:
        return rows
    before = later.reindex(rows["record_id"])
    place = before["from_place"].set_axis(rows.index)
    content = before["from_hash"].set_axis(rows.index)
    if "verdict" in rows.columns:
        said = before["from_verdict"].set_axis(rows.index).fillna(rows["verdict"])
        rows = rows.assign(verdict=said.astype("int64"))
    return rows.assign(place=place.fillna(rows["place"]), content_hash=content.fillna(rows["content_hash"]))


def move(conn: sa.Connection, feed: str, rows: pd.DataFrame, *, seq: int) -> None:
    """Move records: `rows` is from `find`, with ``to_place`` and ``to_verdict`` added.

    Compare-and-set: `BusyError` when one of them is no longer where it was found, and the transaction must end.
    """
    c = tables.records.c
    changed = 0
    for (before, old, place, verdict), part in rows.groupby(["place", "verdict", "to_place", "to_verdict"]):
        ids = part["record_id"].tolist()
        for start in range(0, len(ids), 50_000):
            some = bulk.is_one_of(conn, c.record_id, ids[start : start + 50_000])
            done = conn.execute(
                sa.update(tables.records)
                .where(c.feed == feed, c.place == before, c.verdict == int(old), some)
                .values(place=Place(place).value, verdict=int(verdict))
            )
            changed += done.rowcount
    if changed != len(rows):
        raise BusyError(
            f"{len(rows) - changed} of {len(rows)} records were decided by someone else meanwhile; list them again"
        )
    names = {"place": "from_place", "content_hash": "from_hash", "file_id": "from_file", "verdict": "from_verdict"}
    bulk.insert_frame(conn, tables.moves, rows.drop(columns="seq").rename(columns=names).assign(feed=feed, seq=seq))
