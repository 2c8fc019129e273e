"""Take a batch in: new objects of a feed, or a frame, or records that were staged because nothing could judge them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import os
from collections.abc import Sequence

import pandas as pd

from poison_guard.errors import ConfigError
from poison_guard.ingest import batch_from_frame, collect_frames, empty_batch
from poison_guard.records import Batch, State
from poison_guard.steps.opening import Feed, load_controls
from poison_guard.store import audit, last_watermark, load_staged, load_state, seen_objects
from poison_guard.store.trusted import load_trusted

__all__ = ["Source", "as_paths", "current_state", "read_batch", "with_staged"]

Source = pd.DataFrame | str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None
"""A frame, a path or URL, several of them, or None: what the contract's ``[data]`` names."""


def read_batch(feed: Feed, source: Source, now: dt.datetime, *, seen_too: bool = False) -> Batch:
    """Return what is new: objects whose digest was taken in before are left out, unless `seen_too`. No side effects."""
    contract = feed.contract
    if source is None and contract.data.query:
        return _read_query(feed, now)
    seen = frozenset() if seen_too else seen_objects(feed.store, contract.name)
    return collect_frames(contract, as_paths(source), home=feed.settings.home, received_at=now, seen=seen)


def as_paths(source: Source) -> pd.DataFrame | list[str] | None:
    """Return a frame or None as it is, paths as a list of text."""
    if source is None or isinstance(source, pd.DataFrame):
        return source
    return [os.fspath(source)] if isinstance(source, str | os.PathLike) else [os.fspath(path) for path in source]


def _read_query(feed: Feed, now: dt.datetime) -> Batch:
    contract = feed.contract
    url = os.environ.get(contract.data.url_env)
    if not url:
        raise ConfigError(f"the query of feed {contract.name} needs a database URL in ${contract.data.url_env}")
    from poison_guard.store.warehouse import read_query

    after = last_watermark(feed.store, contract.name)
    data = contract.data
    frame = read_query(url, data.query, watermark=data.watermark, after=after, limit=data.max_rows)
    if not len(frame):
        return empty_batch(contract, received_at=now)
    highest = str(frame[data.watermark].max())
    return batch_from_frame(
        contract, frame, object_uri=f"query:{contract.name}:{after or ''}", received_at=now, watermark=highest
    )


def with_staged(feed: Feed, batch: Batch) -> Batch:
    """Return the batch with the records that an earlier run staged, so that they are decided with what is known now.

    A batch of staged records alone is named by them, the trusted set and the policy: it is decided once per change.
    """
    staged = load_staged(feed.store, feed.contract.name)
    staged = staged[~staged["record_id"].isin(batch.records["record_id"])]
    if not len(staged):
        return batch
    records = pd.concat([batch.records, staged], ignore_index=True) if len(batch.records) else staged
    batch_id = batch.batch_id
    if not batch.objects:
        trusted = load_trusted(feed.store, feed.contract.name).hash
        names = [*sorted(staged["record_id"]), trusted, feed.contract.policy.hash]
        batch_id = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return dataclasses.replace(batch, batch_id=batch_id, records=records)


def current_state(feed: Feed, batch: Batch, version: int | None = None) -> State:
    """Return the state as of `version` (None: now) for the ids and items of the batch."""
    records = batch.records
    items = records["item_id"].dropna().unique().tolist() if "item_id" in records else []
    sources = [records[role].dropna().unique().tolist() for role in ("source_id", "author_id") if role in records]
    if version is None:
        with feed.store.read() as conn:
            version = audit.head(conn)
    return load_state(
        feed.store,
        feed.contract,
        record_ids=records["record_id"].tolist(),
        item_ids=items,
        source_ids=[name for names in sources for name in names],
        version=version,
        controls=load_controls(feed.contract, feed.settings),
    )
