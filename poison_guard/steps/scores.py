"""Scores: what items are worth by accepted ratings, so that neither a brigade nor one side of a quarrel lifts any."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.errors import UsageError
from poison_guard.files import write_atomic
from poison_guard.results import TableResult
from poison_guard.steps.opening import Feed
from poison_guard.steps.row_files import ENDINGS, Rows, file_body
from poison_guard.store import audit
from poison_guard.store.membership import first_votes
from poison_guard.text import to_jsonable

__all__ = ["ScoresResult", "scores"]

_MOST = 5_000_000
_SHOWN = 50  # items of a table on a screen


@dataclass(frozen=True, slots=True)
class ScoresResult(TableResult):
    """What `Guard.scores` returns; the surest items first."""

    feed: str
    low: float
    """End of the scale."""
    high: float
    ratings: int
    """Accepted ratings that were read."""
    items: pd.DataFrame
    """``item_id, score, low, rated, raters``, on the feed's own scale: what all sides agree on, its lower bound (95 %),
    the plain mean, and how many people rated it."""
    out: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the scale and the items."""
        head = {"feed": self.feed, "low": self.low, "high": self.high, "ratings": self.ratings, "out": self.out}
        return {**head, "items": to_jsonable(self.items.to_dict("records"))}

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return one row an item, the first fifty."""
        shown = self.items.head(_SHOWN).round({"score": 3, "low": 3, "rated": 3})
        return ("item", ">score", ">at least", ">plain mean", ">raters"), list(shown.itertuples(index=False, name=None))

    @property
    def message(self) -> str:
        """What was scored, in a sentence."""
        where = f"; written to {self.out}" if self.out else ""
        if len(self.items) > _SHOWN and not self.out:
            where = f"; the first {_SHOWN} are shown, --out writes all"
        return (
            f"{len(self.items):,} items by {self.ratings:,} accepted ratings from {self.low:g} to {self.high:g}; "
            f"decide by `at least`: few raters leave a wide margin{where}"
        )


def scores(feed: Feed, out: str | Path | None = None) -> ScoresResult:
    """Return the score of every item by the feed's accepted ratings, and write it to `out` (.csv, .json or .jsonl).

    Held, rejected and recalled ratings do not count. The scale is the first common one that holds the ratings. Of more
    than five million ratings the first by record id are read. `UsageError` for a feed without ratings that are numbers,
    and for another ending.
    """
    from poison_guard.signals.sources.bridging import bridge
    from poison_guard.signals.sources.raters import scale_of

    name, path = feed.contract.name, None if out is None else Path(out)
    form = None if path is None else ENDINGS.get(path.suffix.lower())
    if path is not None and form not in ("jsonl", "json", "csv"):
        raise UsageError(f"{path.name} must end with .jsonl, .json or .csv")
    if feed.contract.vote is None:
        raise UsageError(f"{name} has no ratings of items: map item_id, source_id and rating in [columns]")
    with feed.store.read() as conn:
        seq = audit.head(conn)
    votes = first_votes(feed.store, name, seq=seq, limit=_MOST)
    scale = scale_of(votes["vote"])
    if scale is None:
        raise UsageError(
            f"{name} has no accepted ratings that are numbers: run the feed first, or map `rating` in [columns]"
        )
    place = (scale.place(pd.to_numeric(votes["vote"], errors="coerce").to_numpy(float)) + 1) / 2
    items = bridge(votes.assign(rating=place), seed=feed.contract.policy.seed).items
    wide = scale.high - scale.low
    items = items.assign(**{column: scale.low + wide * items[column] for column in ("score", "low", "rated")})
    items = items.sort_values(["low", "item_id"], ascending=[False, True], ignore_index=True)
    if path is not None and form is not None:
        write_atomic(path, file_body(Rows(to_jsonable(items.to_dict("records"))), form, safe=True)[0])
    counted = int(np.isfinite(place).sum())
    return ScoresResult(name, scale.low, scale.high, counted, items, None if path is None else str(path))
