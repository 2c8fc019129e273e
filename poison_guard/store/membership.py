"""What a snapshot as of a sequence number holds: votes, items, records, and what changed since another one.

Read in SQL: no payloads, no table held whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.config import Contract
from poison_guard.records import ID_CONFLICT, Place
from poison_guard.store import bulk, tables
from poison_guard.store.bulk import bounded_key, bounded_keys
from poison_guard.store.engine import Store
from poison_guard.store.lake import file_rows
from poison_guard.store.rows import item_rows

__all__ = [
    "SnapshotChanges",
    "accepted_votes",
    "chunks",
    "find_changes",
    "first_votes",
    "held_votes",
    "item_buckets",
    "item_members",
    "items_with_votes",
    "moved_items",
    "query_by_status",
    "record_members",
]


ACCEPTED = (Place.ACCEPTED.value,)
_HELD = (Place.QUARANTINED.value, Place.REJECTED.value, Place.RECALLED.value)
_NUMBERS_PER_QUERY = 500


def query_by_status(feed: str, seq: int, places: Sequence[str], columns: Sequence[str]) -> bulk.Query:
    """Return the query of the readable records that were in one of `places` as of `seq`: some of their columns.

    What a move changes (content, file, verdict) is as of `seq` too: the first later move holds what was there.
    """
    r, m = tables.records.c, tables.moves.c
    first = (
        sa.select(m.record_id, sa.func.min(m.seq).label("seq"))
        .where(m.feed == feed, m.seq > seq)
        .group_by(m.record_id)
        .subquery()
    )
    moved = (
        sa.select(m.record_id, m.from_place, m.from_hash, m.from_file, m.from_verdict)
        .where(m.feed == feed, m.record_id == first.c.record_id, m.seq == first.c.seq)
        .subquery()
    )
    was = {"content_hash": moved.c.from_hash, "file_id": moved.c.from_file, "verdict": moved.c.from_verdict}
    shown: list[sa.ColumnElement[Any]] = [
        sa.func.coalesce(was[name], r[name]).label(name) if name in was else r[name] for name in columns
    ]
    return (
        sa.select(*shown)
        .join_from(tables.records, moved, r.record_id == moved.c.record_id, isouter=True)
        .where(r.feed == feed, r.seq <= seq, r.readable.is_(True))
        .where(sa.func.coalesce(moved.c.from_place, r.place).in_(places))
    )


def accepted_votes(store: Store, feed: str, item_ids: Iterable[str], *, seq: int) -> pd.DataFrame:
    """Return the accepted votes about some items as of `seq`, ordered by record.

    Columns ``record_id, item_id, source_id, vote, observed_at, source_since, file_id, seq, received_at, verdict``;
    `seq` is when the record was first stored. Where a revision replaced a vote after `seq`, item and answer are
    today's.
    """
    return _votes(store, feed, item_ids, ACCEPTED, seq)


def held_votes(store: Store, feed: str, item_ids: Iterable[str], *, seq: int) -> pd.DataFrame:
    """Return the votes about some items that were quarantined, rejected or recalled as of `seq`.

    The columns of `accepted_votes`, and ``campaign_id``.

    Those held because their id was given before are left out: whoever guesses ids must not touch labels.
    """
    reasons = tables.records.c.reasons
    others = sa.or_(reasons.is_(None), reasons.not_like(f'%"{ID_CONFLICT}"%'))
    return _votes(store, feed, item_ids, _HELD, seq, others, more=("campaign_id",))


def first_votes(store: Store, feed: str, *, seq: int, limit: int = 1000) -> pd.DataFrame:
    """Return ``item_id, source_id, vote`` of the first accepted votes of a feed as of `seq`, ordered by record."""
    c = tables.records.c
    shown = ("record_id", "item_id", "source_id", "answer")
    query = query_by_status(feed, seq, ACCEPTED, shown).where(c.answer.is_not(None)).order_by(c.record_id).limit(limit)
    with store.read() as conn:
        return bulk.fetch_frame(conn, query).rename(columns={"answer": "vote"})[["item_id", "source_id", "vote"]]


def items_with_votes(conn: sa.Connection, feed: str, item_ids: Iterable[str], *, seq: int) -> set[str]:
    """Return which of the items have an accepted vote as of `seq`."""
    c = tables.records.c
    query = query_by_status(feed, seq, ACCEPTED, ("item_id",)).where(c.answer.is_not(None)).distinct()
    return set(bulk.select_many(conn, query, c.item_id, item_ids)["item_id"])


def chunks(numbers: Iterable[int]) -> Iterator[list[int]]:
    """Yield the numbers in lists short enough to be bound one by one; at least one list."""
    left = iter(dict.fromkeys(int(number) for number in numbers))
    yield list(islice(left, _NUMBERS_PER_QUERY))
    while some := list(islice(left, _NUMBERS_PER_QUERY)):
        yield some


_VOTE_COLUMNS = (
    *("record_id", "item_id", "source_id", "answer", "observed_at", "source_since"),
    *("file_id", "seq", "received_at", "verdict"),
)


def _votes(
    store: Store,
    feed: str,
    item_ids: Iterable[str],
    places: Sequence[str],
    seq: int,
    *only: sa.ColumnElement[bool],
    more: Sequence[str] = (),
) -> pd.DataFrame:
    c = tables.records.c
    query = query_by_status(feed, seq, places, (*_VOTE_COLUMNS, *more)).where(c.answer.is_not(None), *only)
    with store.read() as conn:
        votes = bulk.select_many(conn, query, c.item_id, [bounded_key(name) for name in item_ids])
    return votes.rename(columns={"answer": "vote"}).sort_values("record_id", ignore_index=True)


_MEMBER_COLUMNS = ["item_id", "label", "probability", "bucket"]


def item_members(
    store: Store, feed: str, *, buckets: Iterable[int], seq: int, items: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return the items of some buckets that were adopted as of `seq`: ``item_id, label, probability, bucket``.

    `items` are labels about to be sealed (columns of the items table), which take the place of stored ones; an item
    that has none stored is in bucket 0. Without an accepted vote as of `seq` no item is a member, whatever its label
    says. Ordered by bucket and item.
    """
    wanted = {int(bucket) for bucket in buckets}
    with store.read() as conn:
        labels = pd.concat([_newest_labels(conn, feed, some, seq) for some in chunks(wanted - {0})], ignore_index=True)
        if items is not None and len(items):
            labels = pd.concat([labels, _new_labels(conn, feed, items, wanted, seq)], ignore_index=True)
            labels = labels.drop_duplicates("item_id", keep="last")
        labels = labels[labels["adopted"] & labels["label"].notna()]
        voted = items_with_votes(conn, feed, labels["item_id"], seq=seq)
    members = labels.loc[labels["item_id"].isin(voted), _MEMBER_COLUMNS]
    return members.sort_values(["bucket", "item_id"], ignore_index=True)


def item_buckets(conn: sa.Connection, feed: str, moved: Iterable[str], *, since: int, seq: int) -> set[int]:
    """Return the buckets of the items that got a label after `since`, and of `moved` ones; always 0 as well."""
    c = tables.items.c
    labelled = sa.select(c.item_id).where(c.feed == feed, c.seq > since, c.seq <= seq).distinct()
    bucket = sa.func.min(c.seq).label("bucket")
    each = sa.select(bucket).where(c.feed == feed, c.item_id.in_(labelled)).group_by(c.item_id).subquery()
    known = sa.select(c.item_id, bucket).where(c.feed == feed, c.seq <= seq).group_by(c.item_id)
    of_moved = bulk.select_many(conn, known, c.item_id, moved)["bucket"]
    return {0, *conn.execute(sa.select(each.c.bucket).distinct()).scalars(), *of_moved.unique().tolist()}


def moved_items(store: Store, conn: sa.Connection, contract: Contract, *, since: int, seq: int) -> set[str]:
    """Return the items whose label as of `seq` does not know of a move of their records after `since`.

    A label knows what its run pinned, not what came before its commit: moves are looked for from the oldest pin on.
    """
    feed, runs = contract.name, tables.runs.c
    query = sa.select(runs.commit_seq, runs.state_version).where(runs.feed == feed, runs.commit_seq <= seq)
    pins = {int(commit): int(pin) for commit, pin in conn.execute(query)}
    start = min([since, *(pin for commit, pin in pins.items() if commit > since)])
    moved = _last_moves(conn, feed, start, seq)
    if contract.data.revisions:
        moved = pd.concat([moved, _left_by_revision(store, conn, feed, start, seq)], ignore_index=True)
    if moved.empty:
        return set()
    last = moved.groupby("item_id")["seq"].max()
    c = tables.items.c
    newest = sa.select(c.item_id, sa.func.max(c.seq).label("seq")).where(c.feed == feed, c.seq <= seq)
    rows = bulk.select_many(conn, newest.group_by(c.item_id), c.item_id, last.index.tolist()).set_index("item_id")
    knows = rows["seq"].map(lambda number: pins.get(number, number)).reindex(last.index).fillna(0)
    return set(last.index[(last > knows).to_numpy()])


def _newest_labels(conn: sa.Connection, feed: str, buckets: list[int], seq: int) -> pd.DataFrame:
    """Return the newest label as of `seq` of each item whose first one was written at one of `buckets`."""
    first, earlier, row, later = (sa.alias(tables.items, name) for name in ("first", "earlier", "newest", "later"))
    same = sa.and_(earlier.c.feed == feed, earlier.c.item_id == first.c.item_id, earlier.c.seq < first.c.seq)
    top = sa.select(sa.func.max(later.c.seq)).where(
        later.c.feed == feed, later.c.item_id == first.c.item_id, later.c.seq <= seq
    )
    query = (
        sa.select(row.c.item_id, row.c.label, row.c.probability, row.c.adopted, first.c.seq.label("bucket"))
        .join_from(first, row, sa.and_(row.c.feed == feed, row.c.item_id == first.c.item_id))
        .where(first.c.feed == feed, first.c.seq.in_(buckets), first.c.seq <= seq)
        .where(~sa.exists().where(same), row.c.seq == top.scalar_subquery())
    )
    return bulk.fetch_frame(conn, query)


def _new_labels(conn: sa.Connection, feed: str, items: pd.DataFrame, buckets: set[int], seq: int) -> pd.DataFrame:
    """Return the labels about to be sealed whose item belongs to one of `buckets`."""
    c = tables.items.c
    rows = item_rows(items)
    query = sa.select(c.item_id, sa.func.min(c.seq).label("bucket")).where(c.feed == feed, c.seq <= seq)
    known = bulk.select_many(conn, query.group_by(c.item_id), c.item_id, rows["item_id"]).set_index("item_id")["bucket"]
    bucket = rows["item_id"].map(known).fillna(0).astype("int64")
    rows = rows.assign(bucket=bucket)[["item_id", "label", "probability", "adopted", "bucket"]]
    return rows[rows["bucket"].isin(buckets)]


def _last_moves(conn: sa.Connection, feed: str, after: int, seq: int) -> pd.DataFrame:
    """Return ``item_id, seq``: the last move of a record of each item after `after`."""
    r, m = tables.records.c, tables.moves.c
    query = (
        sa.select(r.item_id, sa.func.max(m.seq).label("seq"))
        .join_from(tables.moves, tables.records, sa.and_(m.feed == r.feed, m.record_id == r.record_id))
        .where(m.feed == feed, m.seq > after, m.seq <= seq, r.item_id.is_not(None))
        .group_by(r.item_id)
    )
    return bulk.fetch_frame(conn, query)


def _left_by_revision(store: Store, conn: sa.Connection, feed: str, after: int, seq: int) -> pd.DataFrame:
    """Return ``item_id, seq`` of items that a record was about before it was revised; only the lake still knows."""
    r, m = tables.records.c, tables.moves.c
    query = (
        sa.select(m.record_id, m.from_file, m.seq)
        .join_from(tables.moves, tables.records, sa.and_(m.feed == r.feed, m.record_id == r.record_id))
        .where(m.feed == feed, m.seq > after, m.seq <= seq, m.from_hash != r.content_hash)
    )
    revised = bulk.fetch_frame(conn, query)
    files = file_rows(conn, revised["from_file"].unique().tolist())
    parts = [pd.DataFrame({"item_id": pd.Series(dtype="str"), "seq": pd.Series(dtype="int64")})]
    for file in files[files["lane"] != "unreadable"].itertuples():
        payload = store.lake.read_frame(file.path, columns=["record_id", "item_id"], sha256=file.sha256)
        mine = revised.loc[revised["from_file"] == file.file_id, ["record_id", "seq"]]
        parts.append(mine.merge(payload, on="record_id")[["item_id", "seq"]].dropna())
    items = pd.concat(parts, ignore_index=True)
    return items.assign(item_id=bounded_keys(items["item_id"]))


@dataclass(frozen=True, slots=True)
class SnapshotChanges:
    """What may differ between two states of a feed."""

    buckets: tuple[int, ...]
    """Commits whose examples must be looked at again, ascending; 0 stands for items without a label so far."""
    items: tuple[str, ...]
    """Items whose records people moved since their label was settled, sorted: it must be settled again."""


def find_changes(store: Store, contract: Contract, *, since: int, seq: int) -> SnapshotChanges:
    """Return what may differ between the snapshot of state `since` (0: nothing) and the state `seq`.

    Costs what changed in between; only buckets and ids of moved items are held in memory. A bucket is the number of
    a commit's event: a record belongs to the commit that first stored it, an item to the one that first labelled it.
    """
    with store.read() as conn:
        if contract.vote is None:
            return SnapshotChanges(tuple(sorted(_record_buckets(conn, contract.name, since, seq))), ())
        items = sorted(moved_items(store, conn, contract, since=since, seq=seq))
        buckets = item_buckets(conn, contract.name, items, since=since, seq=seq)
    return SnapshotChanges(tuple(sorted(buckets)), tuple(items))


def record_members(store: Store, feed: str, *, buckets: Iterable[int], seq: int) -> pd.DataFrame:
    """Return the records of some buckets that were accepted as of `seq`: ``record_id, content_hash, bucket, file_id``.

    Ordered by bucket and record.
    """
    query = query_by_status(feed, seq, ACCEPTED, ("record_id", "content_hash", "seq", "file_id"))
    with store.read() as conn:
        parts = [bulk.fetch_frame(conn, query.where(tables.records.c.seq.in_(some))) for some in chunks(buckets)]
    members = pd.concat(parts, ignore_index=True).rename(columns={"seq": "bucket"})
    return members[["record_id", "content_hash", "bucket", "file_id"]].sort_values(
        ["bucket", "record_id"], ignore_index=True
    )


def _record_buckets(conn: sa.Connection, feed: str, since: int, seq: int) -> set[int]:
    """Return the commits after `since`, and those of records that were moved after it."""
    runs, r, m = tables.runs.c, tables.records.c, tables.moves.c
    new = sa.select(runs.commit_seq).where(runs.feed == feed, runs.commit_seq > since, runs.commit_seq <= seq)
    moved = (
        sa.select(r.seq)
        .join_from(tables.moves, tables.records, sa.and_(m.feed == r.feed, m.record_id == r.record_id))
        .where(m.feed == feed, m.seq > since, m.seq <= seq)
        .distinct()
    )
    return {*conn.execute(new).scalars(), *conn.execute(moved).scalars()}
