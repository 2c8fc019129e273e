"""Take a batch in: new objects of a feed, or a frame, or records that were staged because nothing could judge them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from poison_guard import __version__
from poison_guard.errors import ConfigError, UsageError
from poison_guard.ingest import batch_from_frame, collect_frames, empty_batch
from poison_guard.records import Batch, ObjectRef, Place, State
from poison_guard.steps.opening import Feed, load_controls
from poison_guard.store import audit, last_watermark, load_run, load_staged, load_state, seen_objects
from poison_guard.store.reading import find_records
from poison_guard.store.state import load_schema
from poison_guard.store.trusted import load_trusted
from poison_guard.validate import schema_drift, schema_hash

__all__ = ["Source", "as_paths", "current_state", "read_batch", "readable_objects", "take_in"]

Source = pd.DataFrame | str | Path | Sequence[str | Path] | None
"""A frame, a path or URL, several of them, or None: what the contract's ``[data]`` names."""


def read_batch(feed: Feed, source: Source, now: dt.datetime, *, seen_too: bool = False) -> Batch:
    """Return what is new: objects whose digest was taken in before are left out, unless `seen_too`. No side effects."""
    contract = feed.contract
    if source is None and contract.data.query and contract.data.watermark:
        return _read_query(feed, contract.data.query, contract.data.watermark, now)
    seen = frozenset() if seen_too else seen_objects(feed.store, contract.name)
    return collect_frames(contract, as_paths(source), home=feed.settings.home, received_at=now, seen=seen)


def as_paths(source: Source) -> pd.DataFrame | list[str] | None:
    """Return a frame or None as it is, paths as a list of text."""
    if source is None or isinstance(source, pd.DataFrame):
        return source
    several = [source] if isinstance(source, (str, Path)) else source
    if not isinstance(several, Sequence) or not all(isinstance(path, (str, Path)) for path in several):
        raise UsageError(f"records come as a DataFrame, a path, or a list of paths, got {type(source).__name__}")
    return [os.fspath(path) for path in several]


def _read_query(feed: Feed, query: str, watermark: str, now: dt.datetime) -> Batch:
    contract = feed.contract
    url = os.environ.get(contract.data.url_env)
    if not url:
        raise ConfigError(f"the query of feed {contract.name} needs a database URL in ${contract.data.url_env}")
    from poison_guard.store.warehouse import read_query, watermark_of

    after = last_watermark(feed.store, contract.name)
    frame = read_query(url, query, watermark=watermark, after=after, limit=contract.data.max_rows)
    if not len(frame):
        return empty_batch(contract, received_at=now)
    highest = watermark_of(frame, watermark)
    return batch_from_frame(
        contract, frame, object_uri=f"query:{contract.name}:{after or ''}", received_at=now, watermark=highest
    )


def take_in(feed: Feed, source: Source, now: dt.datetime) -> Batch:
    """Return the batch to decide and store: what is new, and the records staged before that can be judged now.

    Its id names its objects and how the contract reads them. Staged records count as one more object, named by what
    they would be judged by (trusted set, policy, version, accepted schema; the day, once there is a trusted set), so
    that each is decided again when that has changed and not before.
    """
    batch = read_batch(feed, source, now)
    staged = _judgeable(feed, load_staged(feed.store, feed.contract.name))
    key = _judged_by(feed, now)
    if len(staged) and key not in seen_objects(feed.store, feed.contract.name):
        staged = staged[~staged["record_id"].isin(batch.records["record_id"])]
        records = pd.concat([batch.records, staged], ignore_index=True) if len(batch.records) else staged
        ref = ObjectRef(f"staged:{key[:16]}", key, 0, len(staged))
        batch = dataclasses.replace(batch, records=records, objects=(*batch.objects, ref))
    digests = sorted(ref.digest for ref in batch.objects)
    contract = feed.contract
    reads = [contract.name, sorted(contract.columns.items()), contract.features, contract.data]
    batch_id = hashlib.sha256(repr([reads, digests]).encode()).hexdigest()
    return dataclasses.replace(batch, batch_id=batch_id)


def _held_whole(codes: set[str], *, drifted: bool) -> bool:
    return "batch_contract" in codes or ("schema_drift" in codes and drifted)


def _judgeable(feed: Feed, staged: pd.DataFrame) -> pd.DataFrame:
    """Return the staged records without those of batches held whole, for their schema or suite.

    Diluted in the next batch they would pass: they wait until a reviewer has accepted the schema or released the run.
    """
    if staged.empty:
        return staged
    rows = find_records(feed.store, feed.contract.name, places=(Place.STAGED,))
    accepted = _accepted_schema(feed)
    runs = [load_run(feed.store, run_id) for run_id in rows["run_id"].unique()]
    held = {
        run.run_id
        for run in runs
        if _held_whole({note["code"] for note in run.notes}, drifted=schema_drift(accepted, run.schema) is not None)
    }
    return staged[~staged["record_id"].isin(rows.loc[rows["run_id"].isin(held), "record_id"])]


def _accepted_schema(feed: Feed) -> dict[str, str]:
    with feed.store.read() as conn:
        return load_schema(conn, feed.contract.name)


def _judged_by(feed: Feed, now: dt.datetime) -> str:
    """Return a digest of all that staged records would be judged by."""
    trusted = load_trusted(feed.store, feed.contract.name).hash
    day = now.date().isoformat() if trusted else ""
    schema = schema_hash(_accepted_schema(feed))
    parts = ("staged", feed.contract.name, trusted, feed.contract.policy.hash, __version__, day, schema)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def readable_objects(batch: Batch) -> tuple[ObjectRef, ...]:
    """Return the objects to remember as taken in: one that could not be read at all is tried again next time."""
    whole = batch.unreadable.loc[batch.unreadable["row"].astype(int) == 0, "object"]
    lost = set(whole)
    return tuple(ref for ref in batch.objects if ref.uri not in lost)


def current_state(feed: Feed, batch: Batch, version: int | None = None, *, remember: bool = True) -> State:
    """Return the state as of `version` (None: now) for the ids and items of the batch.

    Without `remember` the memory of earlier records, which only deciding needs, is left empty.
    """
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
        received_at=batch.received_at if remember and "campaign" in feed.contract.signals else None,
    )
