"""Load the payloads of records: out of the lake, or again from the files they came from where no copy is kept."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import pandas as pd

from poison_guard.records import Place
from poison_guard.steps.opening import Feed
from poison_guard.store.reading import frames_in, load_payloads

__all__ = ["payload_frames", "payloads_of"]


def payloads_of(feed: Feed, record_ids: Sequence[str]) -> pd.DataFrame:
    """Return the payloads of records in the columns of `Batch.records`; those of unreadable rows are left out."""
    return load_payloads(feed.store, feed.contract.name, record_ids)


def payload_frames(feed: Feed, places: Collection[Place]) -> Iterator[pd.DataFrame]:
    """Yield the payloads of all readable records in some places, one lake file at a time."""
    yield from frames_in(feed.store, feed.contract.name, places)
