"""Plan an erasure: which records, files and snapshots hold what a source sent or wrote. Nothing is changed here."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
import sqlalchemy as sa

from poison_guard.config import Contract
from poison_guard.frames import columns_marked
from poison_guard.store import bulk, snapshots
from poison_guard.store import tables as t
from poison_guard.store.bulk import bounded_keys
from poison_guard.store.engine import Store

__all__ = ["ErasurePlan", "is_erased", "ledger_of", "plan_of"]

_NAME_COLUMNS = columns_marked("id", "private")


@dataclass(frozen=True, slots=True)
class ErasurePlan:
    """What is held of a source."""

    source: str
    records: pd.DataFrame
    """``record_id, place, seq, file_id, verdict, item_id, changed_seq`` of what the source sent or wrote."""
    trusted: frozenset[str]
    ledger: int
    """Rows of the ledger that name the source."""
    items: frozenset[str]
    """Items that these records were about."""
    own_items: frozenset[str]
    """Those that no other record is about."""
    held: tuple[str, ...]
    """Snapshots that hold them."""
    files: pd.DataFrame
    """Manifest rows of the files that hold erased rows."""
    parts: frozenset[str] = frozenset()
    """Paths among them that are parts of revoked snapshots."""

    @property
    def ids(self) -> frozenset[str]:
        """Ids of all records to erase, trusted ones among them."""
        return frozenset(self.records["record_id"]) | self.trusted

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held of the source."""
        return not (self.ids or self.ledger)


def plan_of(store: Store, conn: sa.Connection, contract: Contract, source: str) -> ErasurePlan:
    """Return what the store, its lake and its snapshots hold of a source of a feed."""
    feed, r = contract.name, t.records.c
    shown = (r.record_id, r.place, r.seq, r.file_id, r.verdict, r.item_id, r.changed_seq)
    query = sa.select(*shown).where(r.feed == feed, sa.or_(r.source_id == source, r.author_id == source))
    records = bulk.fetch_frame(conn, query).sort_values("record_id", ignore_index=True)
    ids = set(records["record_id"])
    items = frozenset(records["item_id"].dropna())
    about = bulk.select_many(conn, sa.select(r.record_id, r.item_id).where(r.feed == feed), r.item_id, items)
    own = items - set(about.loc[~about["record_id"].isin(ids), "item_id"])
    n = sa.select(sa.func.count()).where(*ledger_of(contract, source))
    trusted = _trusted_ids(store, conn, feed, source, ids)
    held = tuple(snapshots.find_snapshots_holding(conn, feed, sorted(ids)))
    ledger = int(conn.execute(n).scalar_one())
    plan = ErasurePlan(source, records, frozenset(trusted), ledger, items, frozenset(own), held, pd.DataFrame())
    if plan.is_empty:
        return plan
    parts = _dead_parts(conn, feed, held)
    files = _files_holding(store, conn, feed, plan, parts)
    return dataclasses.replace(plan, files=files, parts=parts & set(files["path"]))


def ledger_of(contract: Contract, source: str) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions that a row of the ledger is about a source in a feed."""
    c = t.ledger.c
    return c.namespace == contract.namespace, c.feed == contract.name, c.source_id == source


def _trusted_ids(store: Store, conn: sa.Connection, feed: str, source: str, ids: Collection[str]) -> set[str]:
    """Return the trusted records that the source sent, whether the feed has them or they came from a file."""
    c, m = t.trusted.c, t.manifests.c
    known = bulk.fetch_frame(conn, sa.select(c.record_id, c.file_id).where(c.feed == feed))
    found = set(known.loc[known["record_id"].isin(set(ids)), "record_id"])
    lane = sa.select(m.path, m.sha256).where(m.feed == feed, m.lane == "trusted")
    for path, digest in conn.execute(lane).all():
        frame = store.lake.read_frame(path, sha256=digest)
        found |= set(frame.loc[_names(frame, source), "record_id"]) & set(known["record_id"])
    return found


def _dead_parts(conn: sa.Connection, feed: str, held: Collection[str]) -> frozenset[str]:
    """Return the paths of parts that no snapshot has which holds after `held` are revoked."""
    p, s = t.snapshot_parts.c, t.snapshots.c
    parts = bulk.fetch_frame(conn, sa.select(p.bucket, p.seq, p.path).where(p.feed == feed)).sort_values("seq")
    if parts.empty:
        return frozenset()
    query = sa.select(s.snapshot_id, s.sealed_seq).where(s.feed == feed, s.revoked_seq.is_(None))
    live = bulk.fetch_frame(conn, query)
    sealed = np.sort(live.loc[~live["snapshot_id"].isin(list(held)), "sealed_seq"].to_numpy())
    until = parts.groupby("bucket")["seq"].shift(-1, fill_value=np.iinfo(np.int64).max)
    used = np.searchsorted(sealed, until.to_numpy()) > np.searchsorted(sealed, parts["seq"].to_numpy())
    return frozenset(parts["path"]) - {""} - set(parts.loc[used, "path"])


def _files_holding(
    store: Store, conn: sa.Connection, feed: str, plan: ErasurePlan, parts: Collection[str]
) -> pd.DataFrame:
    """Return the manifest rows of the files that hold a row to erase, by their number."""
    m, v = t.manifests.c, t.moves.c
    shown = (m.file_id, m.lane, m.path, m.sha256, m.seq)
    moved = bulk.select_many(conn, sa.select(v.from_file).where(v.feed == feed), v.record_id, plan.records["record_id"])
    numbers = {int(n) for n in (*plan.records["file_id"], *moved["from_file"])}
    every = bulk.fetch_frame(conn, sa.select(*shown).where(m.feed == feed).order_by(m.file_id))
    wanted = every["file_id"].isin(numbers) | every["lane"].isin(["memory", "sources", "trusted"])
    wanted |= every["path"].isin(set(parts))
    hits = [
        bool(is_erased(store.lake.read_frame(row.path, sha256=row.sha256), plan, row.lane).any())
        for row in every[wanted].itertuples()
    ]
    return every[wanted][np.array(hits, dtype=bool)].reset_index(drop=True)


def is_erased(frame: pd.DataFrame, plan: ErasurePlan, lane: str) -> pd.Series:
    """Return which rows of a file are to be erased."""
    found = _names(frame, plan.source)
    if "record_id" in frame:
        found |= frame["record_id"].isin(plan.ids)
    if lane == "snapshot":
        for name in ("guard.example_id", "example_id"):
            if name in frame:
                found |= frame[name].isin(plan.ids | plan.items)
    return found


def _names(frame: pd.DataFrame, source: str) -> pd.Series:
    """Return which rows name the source."""
    found = pd.Series(False, index=frame.index)
    for column in _NAME_COLUMNS:
        if column in frame:
            found |= (bounded_keys(frame[column].astype("str")) == source).fillna(False).astype(bool)
    return found
