"""What several tests of the store compare by, and how they seal."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from poison_guard.config import Contract
from poison_guard.store import Part, Snapshot, Store, chain, last_snapshot, tables
from poison_guard.store.membership import accepted_votes, find_changes, item_members, record_members
from poison_guard.store.snapshots import seal


def dump_tables(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table, in an order that does not depend on how it was written."""
    with store.read() as conn:
        return {
            name: sorted((tuple(row) for row in conn.execute(sa.select(table))), key=repr)
            for name, table in tables.METADATA.tables.items()
        }


@pytest.fixture
def dump() -> Callable[[Store], dict[str, list[tuple[Any, ...]]]]:
    """Return a reader of all tables."""
    return dump_tables


class Sealing:
    """Seals a feed as the guard does, with one line a member where the guard writes training examples."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract

    def settle(self, store: Store, item_ids: Iterable[str], *, seq: int) -> pd.DataFrame:
        """Return the labels of items: the highest accepted answer, adopted where there is one."""
        ids = sorted(item_ids)
        votes = accepted_votes(store, self.contract.name, ids, seq=seq)
        return label_rows(ids, votes)

    def look(self, store: Store, *, since: int, seq: int) -> tuple[dict[int, list[tuple[str, str]]], pd.DataFrame]:
        """Return the members of each bucket that may have changed, and the labels that were settled again."""
        name, changed = self.contract.name, find_changes(store, self.contract, since=since, seq=seq)
        if self.contract.vote:
            labels = self.settle(store, changed.items, seq=seq)
            members = item_members(store, name, buckets=changed.buckets, seq=seq, items=labels)
            members = members.rename(columns={"item_id": "name", "label": "digest"})
        else:
            labels = label_rows([], None)
            members = record_members(store, name, buckets=changed.buckets, seq=seq)
            members = members.rename(columns={"record_id": "name", "content_hash": "digest"})
        buckets: dict[int, list[tuple[str, str]]] = {bucket: [] for bucket in changed.buckets}
        for bucket, member, digest in zip(members["bucket"], members["name"], members["digest"], strict=True):
            buckets[bucket].append((member, digest))
        return buckets, labels

    def seal(self, store: Store, *, now: dt.datetime | None = None) -> Snapshot:
        """Seal what is accepted now, looking only at what changed since the last snapshot."""
        name = self.contract.name
        with store.read() as conn:
            seq = chain.head(conn)
        last = last_snapshot(store, name)
        buckets, labels = self.look(store, since=last.seq if last else 0, seq=seq)
        parts = {part.bucket: part for part in (last.parts if last else ())}
        parts = {bucket: part for bucket, part in parts.items() if bucket not in buckets}
        parts |= {bucket: self.part(store, bucket, members) for bucket, members in buckets.items() if members}
        counts = {"examples": sum(part.rows for part in parts.values())}
        return seal(store, self.contract, seq=seq, parts=list(parts.values()), items=labels, counts=counts, now=now)

    def part(self, store: Store, bucket: int, members: list[tuple[str, str]]) -> Part:
        """Write a part into the lake."""
        frame = pd.DataFrame(sorted(members), columns=["example_id", "digest"])
        file = store.lake.add_frame(frame, f"snapshots/{self.contract.name}")
        lines = "\n".join(f"{name}\t{digest}" for name, digest in sorted(members))
        return Part(bucket, file.path, file.sha256, file.size, file.rows, hashlib.sha256(lines.encode()).hexdigest())

    def members(self, store: Store, snapshot: Snapshot) -> dict[str, str]:
        """Return what a snapshot holds, read from its files: name -> digest."""
        frames = [store.lake.read_frame(part.path, sha256=part.sha256) for part in snapshot.parts]
        whole = pd.concat(frames) if frames else pd.DataFrame({"example_id": [], "digest": []})
        assert whole["example_id"].is_unique
        return dict(zip(whole["example_id"], whole["digest"], strict=True))


def label_rows(item_ids: Iterable[str], votes: pd.DataFrame | None) -> pd.DataFrame:
    """Return the label of each item by its highest answer."""
    best = {} if votes is None else votes.groupby("item_id")["vote"].max().to_dict()
    rows = [(i, best.get(i), 0.9 if i in best else 0.0, i in best, "clear" if i in best else "none") for i in item_ids]
    frame = pd.DataFrame(rows, columns=["item_id", "label", "probability", "adopted", "why"])
    return frame.astype({"item_id": "str", "label": "str", "adopted": bool, "why": "str"})


@pytest.fixture
def sealing(contract: Contract) -> Sealing:
    """Return the sealer of the small feed."""
    return Sealing(contract)


@pytest.fixture
def make_sealing() -> Callable[[Contract], Sealing]:
    """Return a maker of sealers."""
    return Sealing
