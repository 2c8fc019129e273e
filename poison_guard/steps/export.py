"""Export: the payloads or decisions of a feed's records that are in given places, as a frame or a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from poison_guard.errors import NotFoundError, UsageError
from poison_guard.files import check_ending, write_frame
from poison_guard.records import Place
from poison_guard.results import Result
from poison_guard.store import Store, find_records, frames_in, list_feeds

__all__ = ["ExportResult", "export"]

_DECISION = ["record_id", "place", "action", "risk", "campaign_id", "source_id", "item_id", "run_id", "received_at"]


@dataclass(frozen=True, slots=True)
class ExportResult(Result):
    """What `Guard.export` returns."""

    feed: str
    places: tuple[str, ...]
    frame: pd.DataFrame
    """One row a record: its payload, or its decision."""
    file: Path | None
    """Where the frame was written; None where no file was named."""

    def to_dict(self) -> dict[str, Any]:
        """Return how many records were written where; not the records."""
        file = None if self.file is None else str(self.file)
        return {"feed": self.feed, "places": list(self.places), "records": len(self.frame), "file": file}

    def __str__(self) -> str:
        where = f"written to {self.file}" if self.file else "in `.frame`"
        return f"{self.feed}: {len(self.frame):,} records ({', '.join(self.places)}) {where}"

    def _repr_html_(self) -> str:
        return str(self.frame.head(20)._repr_html_())


def export(store: Store, feed: str, out: Path | None, *, places: Sequence[str], decisions: bool) -> ExportResult:
    """Return the records of `feed` that are in `places`, and write them to `out` where it is given."""
    if out is not None:
        check_ending(out)
    unknown = next((place for place in places if place not in list(Place)), None)
    if unknown is not None:
        raise UsageError(f"there is no place {unknown!r}; there are {', '.join(Place)}")
    feeds = list_feeds(store)
    if feed not in feeds:
        raise NotFoundError(f"the store has no feed {feed!r}; it has {', '.join(feeds) or 'none yet'}")
    wanted = [Place(place) for place in places]
    frame = find_records(store, feed, places=wanted)[_DECISION] if decisions else _payloads(store, feed, wanted)
    if out is not None:
        write_frame(frame, out)
    return ExportResult(feed, tuple(places), frame, out)


def _payloads(store: Store, feed: str, places: list[Place]) -> pd.DataFrame:
    parts = list(frames_in(store, feed, places))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"record_id": pd.Series(dtype="str")})
