"""Load the payloads of records: out of the lake, or again from the files they came from where no copy is kept."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Sequence

import pandas as pd

from poison_guard.errors import DataError, GuardError
from poison_guard.ingest.collect import collect_frames
from poison_guard.records import Batch, Place
from poison_guard.steps.opening import Feed
from poison_guard.store.reading import frames_in, load_payloads
from poison_guard.store.rows import previews
from poison_guard.store.waiting import fill_previews, missing_previews

__all__ = ["check_can_be_read_again", "payload_frames", "payloads_of", "show_in_queue"]

_KEY = ["row", "content_hash"]
_UNREADABLE_AGAIN = ("frame:", "query:")


def payloads_of(feed: Feed, record_ids: Sequence[str]) -> pd.DataFrame:
    """Return the payloads of records in the columns of `Batch.records`; those of unreadable rows are left out.

    `DataError` where a feed keeps no copy and the file of a record is gone or has another content there.
    """
    return _whole(feed, load_payloads(feed.store, feed.contract.name, record_ids))


def payload_frames(feed: Feed, places: Collection[Place]) -> Iterator[pd.DataFrame]:
    """Yield the payloads of all readable records in some places, one lake file at a time; errors as `payloads_of`."""
    for frame in frames_in(feed.store, feed.contract.name, places):
        yield _whole(feed, frame)


def check_can_be_read_again(feed: Feed, batch: Batch) -> None:
    """Raise `DataError` for records that a feed without a copy could never read again."""
    for ref in batch.objects:
        if ref.uri.startswith(_UNREADABLE_AGAIN):
            raise DataError(
                f"{feed.contract.name} keeps no copy of its records (copy = false in [data]), and records of a frame "
                "or query lie in no file to be read again; give files, or set copy = true"
            )


def _whole(feed: Feed, kept: pd.DataFrame) -> pd.DataFrame:
    """Return records with what was not copied, read again from their files and compared by their hashes."""
    if feed.contract.data.copy or kept.empty:
        return kept
    parts = [_read_again(feed, str(uri), rows) for uri, rows in kept.groupby("object", sort=False)]
    return pd.concat(parts, ignore_index=True)


def _read_again(feed: Feed, uri: str, kept: pd.DataFrame) -> pd.DataFrame:
    name = feed.contract.name
    try:
        batch = collect_frames(feed.contract, [uri], home=feed.settings.home, received_at=dt.datetime.now(dt.UTC))
    except GuardError as error:
        raise DataError(f"{len(kept):,} records of {name} lie in {uri}, which cannot be read again: {error}") from None
    there = batch.records.drop_duplicates(_KEY)
    fresh = [*_KEY, *(column for column in there if column not in kept)]
    found = kept.merge(there[fresh], on=_KEY, how="left", indicator="_there")
    changed = found["_there"].ne("both")
    if changed.any():
        first = found[changed].iloc[0]
        raise DataError(
            f"row {first['row']} of {uri} is not what was taken in as {first['record_id']!r}: its hash differs; "
            f"{name} keeps no copy (copy = false in [data]), so its files must stay as they are"
        )
    return found.drop(columns="_there")


def show_in_queue(feed: Feed) -> None:
    """Fill in the beginnings of payloads that the queue lacks: those of records that were taken back."""
    name = feed.contract.name
    while ids := missing_previews(feed.store, name):
        payloads = load_payloads(feed.store, name, ids)
        shown = dict(zip(payloads["record_id"], previews(feed.contract, payloads), strict=True))
        fill_previews(feed.store, name, {one: shown.get(one, "") for one in ids})
