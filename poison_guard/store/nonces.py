"""The nonces of signed records that were taken in: a record sent again under another id shows by them."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import sqlalchemy as sa

from poison_guard.config import Contract
from poison_guard.config.signing import max_age
from poison_guard.frames import among
from poison_guard.store import bulk, tables
from poison_guard.store.engine import Store
from poison_guard.store.seals import take

__all__ = ["add_nonces", "find_nonces"]


def find_nonces(store: Store, feed: str, nonces: pd.Series, *, version: int) -> pd.DataFrame:
    """Return ``nonce, record_id`` of those of some nonces that were taken in as of `version`."""
    c = tables.nonces.c
    query = sa.select(c.nonce, c.record_id).where(c.feed == feed, c.seq <= version)
    with store.read() as conn:
        return bulk.select_many(conn, query, c.nonce, nonces.dropna())


def add_nonces(conn: sa.Connection, contract: Contract, rows: pd.DataFrame, *, seq: int, at: dt.datetime) -> None:
    """Note the nonces of `rows` (``nonce, record_id, sent_at``), each with the record that had it first.

    Those of records that would be stale by now are removed.
    """
    c, feed = tables.nonces.c, contract.name
    rows = rows.sort_values("record_id").drop_duplicates("nonce")
    known = bulk.select_many(conn, sa.select(c.nonce).where(c.feed == feed), c.nonce, rows["nonce"])
    bulk.insert_frame(conn, tables.nonces, rows[~among(rows["nonce"], known["nonce"])].assign(feed=feed, seq=seq))
    old = (c.feed == feed, c.sent_at < at - dt.timedelta(days=max_age(contract) + 1))
    if stale := conn.scalars(sa.select(c.record_id).where(*old)).all():
        take(conn, tables.nonces, feed, stale, seq=seq)
        conn.execute(sa.delete(tables.nonces).where(*old))
