"""Dashboard: who decided how much, how evenly groups are held, which items wait for a label; and private columns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from poison_guard.canonical_json import utc_or_now
from poison_guard.errors import NotFoundError
from poison_guard.ingest.original import masked
from poison_guard.numerics.intervals import proportion_bounds
from poison_guard.results import Result, TableResult
from poison_guard.review.rules import check_person
from poison_guard.steps.drift import RunAlarm, run_alarms
from poison_guard.steps.opening import Feed
from poison_guard.steps.payloads import payloads_of
from poison_guard.store import dashboard as counts
from poison_guard.store import list_runs
from poison_guard.store.bulk import bounded_key
from poison_guard.text import to_jsonable

__all__ = ["Dashboard", "Items", "Revealed", "dashboard", "items", "reveal"]

_TAIL = 0.025
_RUNS, _SHOWN = 10_000, 12
"""Runs that are read, since each alarm depends on those before, and runs that are shown."""


@dataclass(frozen=True, slots=True)
class Dashboard(Result):
    """What `Guard.dashboard` returns."""

    feed: str
    reviewers: pd.DataFrame
    """``by, decisions, records, undone``, the busiest first."""
    drift: tuple[RunAlarm, ...]
    """The last runs that were judged by a calibration, the newest first: what they held beside what chance explains."""
    groups: pd.DataFrame
    """``group, records, held, looked_at, honest, share, low, high``: the held share with its 95 % interval."""


@dataclass(frozen=True, slots=True)
class Items(TableResult):
    """What `Guard.items` returns: a page of a feed's items, the deferred ones first."""

    feed: str
    items: pd.DataFrame
    """``item_id, label, probability, adopted, why``."""
    total: int
    deferred: int

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return a line an item."""
        return ("item", "label", ">probability", "adopted", "why"), list(self.items.itertuples(index=False, name=None))


@dataclass(frozen=True, slots=True)
class Revealed(Result):
    """What `Guard.reveal` returns: the private columns of one record."""

    record_id: str
    event: int
    """In the audit chain, which keeps who looked and why."""
    values: Mapping[str, Any]


def dashboard(feed: Feed) -> Dashboard:
    """Return who decided how much, and the share of records held in each group of the contract."""
    name = feed.contract.name
    groups = counts.groups_held(feed.store, name)
    bounds = [
        proportion_bounds(int(held), int(n), low_tail=_TAIL, high_tail=_TAIL)
        for held, n in zip(groups["held"], groups["records"], strict=True)
    ]
    shares = groups.assign(
        share=groups["held"] / groups["records"], low=[low for low, _ in bounds], high=[high for _, high in bounds]
    )
    alarms = run_alarms(list_runs(feed.store, name, limit=_RUNS)[::-1])
    return Dashboard(name, counts.reviewers(feed.store, name), alarms[: -_SHOWN - 1 : -1], shares)


def items(feed: Feed, *, limit: int = 50, offset: int = 0) -> Items:
    """Return `limit` items after the first `offset`, the deferred ones first."""
    page, total, deferred = counts.items_page(feed.store, feed.contract.name, limit=limit, offset=offset)
    return Items(feed.contract.name, page, total, deferred)


def reveal(feed: Feed, record_id: str, *, by: str, reason: str, now: dt.datetime | None = None) -> Revealed:
    """Return the private columns of a record, and note in the audit chain who asked and why.

    `NotFoundError` for no such record, or one without private columns. The event is written before anything is shown.
    """
    who, why = check_person(by, reason)
    name = bounded_key(record_id)
    row = payloads_of(feed, [name])
    hidden = masked(row["shape"]) if len(row) and "shape" in row else frozenset()
    columns = [column for column in row.columns if column in hidden]
    if not columns:
        raise NotFoundError(f"{record_id!r} is no record of {feed.contract.name} with private columns")
    event = counts.note_reveal(feed.store, feed.contract.name, name, by=who, reason=why, at=utc_or_now(now))
    return Revealed(name, event, to_jsonable(row.iloc[0][columns].to_dict()))
