"""Views that are saved under a name, a view written to a file, and decisions made elsewhere read from one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from poison_guard.canonical_json import utc_or_now
from poison_guard.errors import DataError, GuardError, NotFoundError, UsageError
from poison_guard.files import armed, check_ending, write_frame
from poison_guard.ingest.read import read_cells, read_table
from poison_guard.results import Result, TableResult
from poison_guard.review.filters import QueueFilter
from poison_guard.review.rules import check_person
from poison_guard.steps.opening import Feed
from poison_guard.steps.queue import MOST, list_queue
from poison_guard.steps.review import OneRecord, decide_each
from poison_guard.store import saved_views

__all__ = ["Imported", "SavedViews", "Written", "delete_view", "export_queue", "import_decisions", "save_view", "views"]

_COLUMNS = (
    "record_id",
    "version",
    "kind",
    "risk",
    "day",
    "reason",
    "why",
    "source_id",
    "author_id",
    "item_id",
    "label",
)
_MOST_WRITTEN = 200_000


@dataclass(frozen=True, slots=True)
class SavedViews(TableResult):
    """The filters that people saved."""

    feed: str
    views: Mapping[str, Mapping[str, str]]
    """Name to the parameters of `QueueFilter.of`."""

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return a line a view."""
        return ("view", "filters"), [
            (name, ", ".join(f"{key} {value}" for key, value in params.items())) for name, params in self.views.items()
        ]


@dataclass(frozen=True, slots=True)
class Written(Result):
    """A view that was written to a file."""

    feed: str
    path: str
    records: int

    def __str__(self) -> str:
        """Return what was written in a sentence."""
        return f"wrote {self.records:,} entries to {self.path}; fill in `decision` (release or reject) and import it"


@dataclass(frozen=True, slots=True)
class Imported(Result):
    """What the decisions of a file did."""

    feed: str
    decided: int
    again: int
    """Decided so before, by the same file or person."""
    refused: tuple[Mapping[str, str], ...]
    """``record_id, why`` of those that were left: decided otherwise or claimed meanwhile, or unknown."""
    empty: int
    """Rows without a decision."""
    events: tuple[int, ...]

    def __str__(self) -> str:
        """Return what was done in a sentence."""
        left = f", {len(self.refused):,} left as they are" if self.refused else ""
        return f"{self.decided:,} decided, {self.again:,} decided so before, {self.empty:,} without a decision{left}"


def save_view(feed: Feed, name: str, filters: QueueFilter, *, by: str, now: dt.datetime | None = None) -> SavedViews:
    """Keep filters under a name, in the place of those it had."""
    person, called = check_person(by, name)
    if len(called) > 100:
        raise UsageError(f"the name of a view has at most 100 characters, got {len(called)}")
    row = {"name": called, "params": filters.params(), "made_by": str(person), "at": utc_or_now(now)}
    saved_views.save_view(feed.store, feed.contract.name, **row)
    return views(feed)


def delete_view(feed: Feed, name: str) -> SavedViews:
    """Forget a view; `NotFoundError` for none of that name."""
    if not saved_views.delete_view(feed.store, feed.contract.name, name):
        raise NotFoundError(f"{feed.contract.name} has no saved view {name!r}")
    return views(feed)


def views(feed: Feed) -> SavedViews:
    """Return the saved views, by name."""
    return SavedViews(feed.contract.name, saved_views.list_views(feed.store, feed.contract.name))


def export_queue(
    feed: Feed,
    out: str | Path,
    filters: QueueFilter | None = None,
    *,
    sort: str = "risk",
    now: dt.datetime | None = None,
) -> Written:
    """Write all entries that a filter finds to a CSV (safe for spreadsheets), JSON Lines or Parquet file.

    With empty columns ``decision`` and ``note``, for `import_decisions`. Private columns are in no view.
    """
    path = Path(out)
    check_ending(path)
    parts, page = list[pd.DataFrame](), 1
    while True:
        found = list_queue(feed, filters, page=page, size=MOST, sort=sort, now=now)
        parts.append(found.entries)
        if len(found.entries) < MOST or page * MOST >= _MOST_WRITTEN:
            break
        page += 1
    rows = pd.concat(parts, ignore_index=True)
    shown = rows[[*_COLUMNS, "campaign_id", "preview"]].assign(decision="", note="")
    write_frame(shown, path)
    return Written(feed.contract.name, str(path), len(shown))


def import_decisions(
    feed: Feed,
    decisions: str | Path | Sequence[Mapping[str, Any]],
    *,
    by: str,
    reason: str,
    now: dt.datetime | None = None,
) -> Imported:
    """Make the decisions of a file, or of rows (``record_id, decision``, ``version, note``); twice is once.

    A record that was decided or moved after it was written is left, and said. `note` stands for `reason` where it is.
    """
    if isinstance(decisions, str | Path):
        rows, empty = _decisions_in(_read(str(decisions)), str(decisions))
    else:
        rows, empty = _decisions_in(pd.DataFrame([*decisions], columns=[*_DECISION]), "the request")
    check_person(by, reason)
    rows = rows.sort_values(["decision", "note"], kind="stable")
    asked = [
        OneRecord(row.decision, row.record_id, row.note or reason, None if pd.isna(row.version) else int(row.version))
        for row in rows.itertuples()
    ]
    done = [one for k in range(0, len(asked), _PART) for one in decide_each(feed, asked[k : k + _PART], by=by, now=now)]
    refused = tuple(
        {"record_id": one.record_id, "why": str(result)}
        for one, result in zip(asked, done, strict=True)
        if isinstance(result, GuardError)
    )
    made = [result for result in done if not isinstance(result, GuardError)]
    events = tuple(event for event, again in made if not again)
    return Imported(feed.contract.name, len(events), len(made) - len(events), refused, empty, events)


_PART = 200
"""Decisions of a file that are written in one transaction: other reviewers wait no longer than these take."""


_DECISION = ("record_id", "decision", "version", "note")


def _read(file: str) -> pd.DataFrame:
    """Return the columns of decisions that a file has."""
    known = read_cells([file]).column_names
    return read_table(file, columns=[name for name in _DECISION if name in known])


def _decisions_in(table: pd.DataFrame, where: str) -> tuple[pd.DataFrame, int]:
    """Return ``record_id, decision, version, note`` of the rows that say one, and how many say none."""
    if lacking := {"record_id", "decision"} - set(table.columns):
        raise DataError(f"{where} has no column {min(lacking)}; `review export` writes one with record_id and decision")
    said = table["decision"].fillna("").astype("str").str.strip().str.lower()
    if wrong := sorted(set(said) - {"", "release", "reject"}):
        raise DataError(f"a decision in {where} is release, reject or empty, got {wrong[0]!r}")
    version = pd.to_numeric(table["version"], errors="coerce") if "version" in table else float("nan")
    note = table["note"].fillna("").astype("str").str.slice(0, 2000) if "note" in table else ""
    rows = pd.DataFrame({"record_id": table["record_id"].astype("str").map(armed), "decision": said})
    rows = rows.assign(version=version, note=note).drop_duplicates("record_id", keep="last")
    return rows[rows["decision"] != ""], int((rows["decision"] == "").sum())
