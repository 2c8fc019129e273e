"""Read what is stored: counts by place, records by what they share, and payloads out of the lake."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.config import Contract
from poison_guard.records import Place
from poison_guard.store import bulk, ground_truth, tables
from poison_guard.store.bulk import bounded_key
from poison_guard.store.engine import Store
from poison_guard.store.ground_truth import load_verified
from poison_guard.store.lake import file_rows

__all__ = [
    "accepted_frames",
    "count_place",
    "count_places",
    "find_chosen",
    "find_contents",
    "find_records",
    "find_source",
    "frames_in",
    "list_feeds",
    "load_items",
    "load_payloads",
    "load_rows",
    "load_sources",
    "load_spellings",
    "load_verified_answers",
    "records_to_vet",
]


_NO_PAYLOADS = pd.DataFrame({"record_id": [], "content_hash": []}, dtype="str")


def list_feeds(store: Store) -> tuple[str, ...]:
    """Return the names of all feeds the store knows, sorted."""
    with store.read() as conn:
        return tuple(conn.execute(sa.select(tables.feeds.c.name).order_by(tables.feeds.c.name)).scalars())


def count_places(store: Store, feed: str) -> dict[str, int]:
    """Return how many records of a feed are in each place; their sum is all that was ever taken in (law 1)."""
    c = tables.records.c
    query = sa.select(c.place, sa.func.count()).where(c.feed == feed).group_by(c.place)
    with store.read() as conn:
        counts = {place: count for place, count in conn.execute(query)}  # noqa: C416  rows are no pairs to dict()
    return {place.value: int(counts.get(place.value, 0)) for place in Place}


def count_place(store: Store, feed: str, place: Place) -> int:
    """Return how many records of a feed are in one place, without counting those in others."""
    c = tables.records.c
    with store.read() as conn:
        return int(conn.execute(sa.select(sa.func.count()).where(c.feed == feed, c.place == place.value)).scalar_one())


def find_records(
    store: Store,
    feed: str,
    *,
    record_ids: Sequence[str] | None = None,
    item_ids: Sequence[str] | None = None,
    campaign_id: str | None = None,
    source_id: str | None = None,
    item_id: str | None = None,
    run_id: str | None = None,
    places: Collection[Place] | None = None,
    limit: int | None = None,
) -> pd.DataFrame:
    """Return the rows of the records table that fit every given condition, riskiest first; no payloads.

    `source_id` finds what a source sent or wrote.
    """
    with store.read() as conn:
        query = _records_query(feed, campaign_id, source_id, item_id, run_id, places)
        query = query.order_by(tables.records.c.risk.desc(), tables.records.c.record_id)
        for column, names in ((tables.records.c.record_id, record_ids), (tables.records.c.item_id, item_ids)):
            if names is not None:
                query = query.where(bulk.is_one_of(conn, column, [bounded_key(name) for name in names]))
        return bulk.fetch_frame(conn, query if limit is None else query.limit(limit))


def find_chosen(
    store: Store, feed: str, *, record_ids: Sequence[str] = (), places: Collection[Place] = (), **filters: str | None
) -> list[tuple[str, str, str | None]]:
    """Return ``record_id, place, source_id`` of records by id, or of those that fit, as `find_records` finds them."""
    with store.read() as conn:
        if record_ids:
            those, some = bulk.among(conn, [*dict.fromkeys(bounded_key(name) for name in record_ids)])
            query = f"SELECT record_id, place, source_id FROM records WHERE feed = ? AND record_id {those}"
            return [tuple(row) for row in bulk.raw(conn, query, (feed, some))]
        which = [filters.get(name) for name in ("campaign_id", "source_id", "item_id", "run_id")]
        chosen = _records_query(feed, which[0], which[1], which[2], which[3], places or None).subquery().c
        rows = conn.execute(sa.select(chosen.record_id, chosen.place, chosen.source_id))
        return [(row.record_id, row.place, row.source_id) for row in rows]


def records_to_vet(store: Store, feed: str, *, limit: int) -> tuple[pd.DataFrame, int]:
    """Return staged and accepted records that no person judged and that are not trusted, and how many there are.

    At most `limit`, the newest.
    """
    r, t = tables.records.c, tables.trusted.c
    query = (
        sa.select(tables.records)
        .where(r.feed == feed, r.readable.is_(True), r.verdict == 0)
        .where(r.place.in_((Place.STAGED.value, Place.ACCEPTED.value)))
        .where(~sa.exists().where(t.feed == feed, t.record_id == r.record_id))
    )
    with store.read() as conn:
        total = conn.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
        return bulk.fetch_frame(conn, query.order_by(r.seq.desc(), r.record_id).limit(limit)), int(total)


def load_payloads(store: Store, feed: str, record_ids: Sequence[str]) -> pd.DataFrame:
    """Return the payloads of records, in the columns of `Batch.records`; those of unreadable rows are left out."""
    rows = find_records(store, feed, record_ids=record_ids)
    parts = list(_payloads(store, rows[rows["readable"]]))
    return pd.concat(parts or [_NO_PAYLOADS], ignore_index=True)


def frames_in(store: Store, feed: str, places: Collection[Place]) -> Iterator[pd.DataFrame]:
    """Yield the payloads of all readable records in some places, one lake file at a time."""
    c = tables.records.c
    query = sa.select(c.record_id, c.file_id).where(
        c.feed == feed, c.readable.is_(True), c.place.in_([place.value for place in places])
    )
    with store.read() as conn:
        rows = bulk.fetch_frame(conn, query)
    if len(rows):
        yield from _payloads(store, rows)


def accepted_frames(store: Store, feed: str) -> Iterator[pd.DataFrame]:
    """Yield the payloads of all accepted records, released ones included and recalled ones not."""
    return frames_in(store, feed, (Place.ACCEPTED,))


def load_spellings(store: Store, feed: str, *, version: int | None = None) -> frozenset[str]:
    """Return the answers of a feed's records up to `version`, each as it is spelled."""
    c = tables.records.c
    query = sa.select(c.answer).where(c.feed == feed, c.readable.is_(True), c.answer.is_not(None)).distinct()
    with store.read() as conn:
        return frozenset(conn.execute(query if version is None else query.where(c.seq <= version)).scalars())


def load_sources(store: Store, contract: Contract, *, version: int | None = None) -> pd.DataFrame:
    """Return the ledger of a feed's sources, summed up to `version`: the columns of `State.ledger`."""
    with store.read() as conn:
        return ground_truth.ledger_sums(conn, contract.namespace, version=version)


def find_contents(store: Store, feed: str, hashes: Sequence[str]) -> pd.DataFrame:
    """Return ``record_id, content_hash`` of the records of a feed that have one of some contents."""
    c = tables.records.c
    with store.read() as conn:
        return bulk.select_many(
            conn, sa.select(c.record_id, c.content_hash).where(c.feed == feed), c.content_hash, hashes
        )


def find_source(store: Store, feed: str, source_id: str) -> dict[str, Any] | None:
    """Return the ledger of one source as the feed's runs see it, without a contract; None when they never saw it."""
    c = tables.ledger.c
    namespace = sa.select(c.namespace).where(c.feed == feed).order_by(c.seq.desc()).limit(1)
    with store.read() as conn:
        name = conn.execute(namespace).scalar()
        if name is None:
            return None
        rows = ground_truth.ledger_sums(conn, name, source_ids=[bounded_key(source_id)])
    return rows.iloc[0].to_dict() if len(rows) else None


def load_verified_answers(store: Store, contract: Contract, *, version: int | None = None) -> pd.DataFrame:
    """Return the newest verified answers of each of a feed's sources: the columns of `State.verified`."""
    with store.read() as conn:
        return load_verified(conn, contract.namespace, version=version)


def find_items(store: Store, feed: str, *, why: str) -> pd.DataFrame:
    """Return ``item_id, label`` of the items whose latest label has this `why`, ordered by item."""
    c, later = tables.items.c, sa.alias(tables.items)
    newer = sa.exists().where(later.c.feed == feed, later.c.item_id == c.item_id, later.c.seq > c.seq)
    query = sa.select(c.item_id, c.label).where(c.feed == feed, c.why == why, ~newer).order_by(c.item_id)
    with store.read() as conn:
        return bulk.fetch_frame(conn, query)


def load_items(store: Store, feed: str) -> pd.DataFrame:
    """Return the latest label of each item: ``item_id, label, probability, adopted, why``."""
    c = tables.items.c
    last = sa.select(c.item_id, sa.func.max(c.seq).label("seq")).where(c.feed == feed).group_by(c.item_id).subquery()
    query = (
        sa.select(c.item_id, c.label, c.probability, c.adopted, c.why)
        .where(c.feed == feed, c.item_id == last.c.item_id, c.seq == last.c.seq)
        .order_by(c.item_id)
    )
    with store.read() as conn:
        return bulk.fetch_frame(conn, query)


def _records_query(
    feed: str,
    campaign_id: str | None,
    source_id: str | None,
    item_id: str | None,
    run_id: str | None,
    places: Collection[Place] | None,
) -> bulk.Query:
    c = tables.records.c
    query = sa.select(tables.records).where(c.feed == feed)
    for column, value in ((c.campaign_id, campaign_id), (c.item_id, item_id), (c.run_id, run_id)):
        if value is not None:
            query = query.where(column == bounded_key(value))
    if source_id is not None:
        query = query.where(sa.or_(c.source_id == bounded_key(source_id), c.author_id == bounded_key(source_id)))
    if places is not None:
        query = query.where(c.place.in_([place.value for place in places]))
    return query


def load_rows(store: Store, rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield ``record_id, object, row`` of stored records (``record_id, file_id``), one lake file at a time."""
    with store.read() as conn:
        files = file_rows(conn, rows["file_id"].unique().tolist())
    for file_id, path, digest in zip(files["file_id"], files["path"], files["sha256"], strict=True):
        frame = store.lake.read_frame(path, columns=["record_id", "object", "row"], sha256=digest)
        yield frame[frame["record_id"].isin(set(rows.loc[rows["file_id"] == file_id, "record_id"]))]


_FEW = 1_000
"""Records of a file that are looked for in its groups; more are found by reading it whole."""


def _payloads(store: Store, rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    with store.read() as conn:
        files = file_rows(conn, rows["file_id"].unique().tolist())
    for file_id, path, digest in zip(files["file_id"], files["path"], files["sha256"], strict=True):
        wanted = rows.loc[rows["file_id"] == file_id, "record_id"]
        few = wanted.tolist() if len(wanted) < _FEW else None
        frame = store.lake.read_frame(path, record_ids=few, sha256=digest)
        yield frame[frame["record_id"].isin(set(wanted))].reset_index(drop=True)
