"""Status: each feed's phase, the places of its records, the queue, snapshot, admission and champion; the last runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poison_guard.config import Contract, Mode, Policy, Settings
from poison_guard.decide.coverage import Coverage
from poison_guard.errors import NotFoundError
from poison_guard.results import Result, TableResult
from poison_guard.signals.conformal import labels_needed
from poison_guard.steps.coverage import coverage_of, is_unjudged
from poison_guard.steps.opening import refuse_no_store
from poison_guard.store import Run, Store, champion, feed_facts, last_snapshot, list_feeds, list_runs, open_store
from poison_guard.store.admissions import last_verdict, list_admissions
from poison_guard.store.models import find_revoked_ancestor
from poison_guard.store.runs import run_totals
from poison_guard.store.snapshots import Snapshot
from poison_guard.text import nearest

__all__ = [
    "FeedStatus",
    "FeedsResult",
    "RunStatus",
    "StatusResult",
    "TrainingStatus",
    "admission_state",
    "list_known_feeds",
    "open_home",
    "require_feed",
    "status",
]

_RUNS = 8


@dataclass(frozen=True, slots=True)
class FeedsResult(Result):
    """The feeds of a home."""

    home: str
    feeds: tuple[str, ...]
    """Names of the feeds that the store knows, sorted."""


@dataclass(frozen=True, slots=True)
class TrainingStatus:
    """The last snapshot of a feed, its verdict and admission, and the champion."""

    snapshot_id: str
    sealed_at: dt.datetime
    examples: int
    revoked: str | None
    """Why the snapshot was revoked; None where it stands."""
    outcome: str | None
    """Of the last verdict; None where the snapshot was not judged."""
    admitted: bool
    expires: dt.datetime | None
    admission: str
    """A phrase: ``admitted until …``, ``not admitted``, ``revoked: …``."""
    champion: str | None
    champion_revoked: bool
    """Whether the champion, or a model it started from, was trained on a revoked snapshot."""


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """What a feed holds and where it stands."""

    feed: str
    places: Mapping[str, int]
    open: int
    """Records that wait in the queue."""
    oldest: dt.datetime | None
    """When the oldest of them came."""
    expired: int
    """Records that nobody looked at in time: excluded, counted, recoverable."""
    trusted: Mapping[str, int]
    version: int
    """State version."""
    phase: str
    """``cold``, ``calibrating``, ``enforcing``, or ``observing`` where it could enforce and its contract holds nothing
    back; ``unjudged`` where nothing could judge the last run's records."""
    vetted_records: int
    vetted_records_missing: int
    """How many more vetted records let the feed enforce; 0 where it does."""
    training: TrainingStatus | None
    """None before the first snapshot."""
    coverage: Coverage | None = None
    """What the guard could see of attacks on the last run; None where it had no record, or there is no contract."""
    totals: Mapping[str, float] = field(default_factory=dict)
    """Over all committed runs: ``runs``, sums of what they counted, ``cpu_s`` and ``wall_s``."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One of the last runs."""

    run_id: str
    feed: str
    status: str
    state_version: int
    received_at: dt.datetime
    finished_at: dt.datetime | None
    counts: Mapping[str, int]
    cost: Mapping[str, Any] = field(default_factory=dict)
    """``cpu_s`` of all its processes, ``peak_mb`` of the largest, ``wall_s``, ``engine``, ``device``, and by stage."""


@dataclass(frozen=True, slots=True)
class StatusResult(TableResult):
    """What `Home.status` returns."""

    home: str
    feeds: tuple[FeedStatus, ...]
    runs: tuple[RunStatus, ...]
    """Newest first."""

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return a line per feed: its phase, its records by place, and how many wait in the queue."""
        rows: list[tuple[object, ...]] = [
            (f.feed, f.phase, *(f.places.get(place, 0) for place in _PLACES), f.open) for f in self.feeds
        ]
        return ("feed", "phase", *(f">{place}" for place in _PLACES), ">in queue"), rows


_PLACES = ("accepted", "quarantined", "rejected", "staged", "recalled")


@contextmanager
def open_home(settings: Settings) -> Iterator[Store]:
    """Open the store of a home; `NotFoundError` where there is none yet, so that a typo makes no empty store."""
    refuse_no_store(settings)
    with open_store(settings) as store:
        yield store


def list_known_feeds(store: Store, home: Path) -> FeedsResult:
    """Return the feeds that the store knows."""
    return FeedsResult(str(home), list_feeds(store))


def require_feed(store: Store, feed: str, home: Path) -> None:
    """Raise `NotFoundError` with the nearest name unless the store knows the feed."""
    known = list_feeds(store)
    if feed in known:
        return
    near = nearest(feed, known)
    hint = f"did you mean `{near}`?" if near else f"known: {', '.join(known) or 'none yet'}"
    raise NotFoundError(f"{home} holds no feed {feed!r}; {hint}")


def status(
    store: Store, home: Path, feed: str | None, find: Callable[[str], Contract | None], now: dt.datetime
) -> StatusResult:
    """Return the status of `feed`, or of every feed of the store; `find` returns the contract of a name, if any."""
    names = (feed,) if feed else list_feeds(store)
    return StatusResult(
        home=str(home),
        feeds=tuple(_feed_status(store, home, name, find(name), now) for name in names),
        runs=tuple(_run_status(run) for run in list_runs(store, feed, limit=_RUNS)),
    )


def _feed_status(store: Store, home: Path, name: str, contract: Contract | None, now: dt.datetime) -> FeedStatus:
    policy = contract.policy if contract else Policy()
    facts = feed_facts(store, name, now=now, expire_days=policy.expire_days)
    measured = (facts.pop("run") or {}).get("measurements", {})
    phase = "unjudged" if is_unjudged(measured) else measured.get("phase", "cold")
    trusted = sum(facts["trusted"].values())
    missing = 0 if phase == "enforcing" else max(0, labels_needed(policy.false_quarantine_rate) - trusted)
    if phase == "enforcing" and contract is not None and contract.mode is Mode.OBSERVE:
        phase = "observing"  # it could enforce, and holds nothing back
    return FeedStatus(
        **facts,
        phase=phase,
        vetted_records=trusted,
        vetted_records_missing=missing,
        training=_training_status(store, name, now),
        coverage=None if contract is None else coverage_of(contract, home, measured),
        totals=run_totals(store, name),
    )


def _training_status(store: Store, feed: str, now: dt.datetime) -> TrainingStatus | None:
    snapshot = last_snapshot(store, feed, revoked=True)
    if snapshot is None:
        return None
    verdict = last_verdict(store, snapshot.snapshot_id)
    model = champion(store, feed)
    admission = next(iter(list_admissions(store, feed, snapshot_id=snapshot.snapshot_id, limit=1)), None)
    return TrainingStatus(
        snapshot_id=snapshot.snapshot_id,
        sealed_at=snapshot.sealed_at,
        examples=sum(part.rows for part in snapshot.parts),
        revoked=snapshot.revoked_why,
        outcome=verdict["outcome"] if verdict else None,
        **admission_state(snapshot, admission, verdict["seq"] if verdict else None, now=now),
        champion=model.model_id if model else None,
        champion_revoked=bool(model and find_revoked_ancestor(store, model.model_id)),
    )


def admission_state(
    snapshot: Snapshot, admission: Mapping[str, Any] | None, verdict_seq: int | None, *, now: dt.datetime
) -> dict[str, Any]:
    """Return ``admitted`` (by verdict `verdict_seq`, as of `now`), ``expires``, and ``admission``: a phrase.

    A manifest that an earlier verdict gave still verifies until it lapses, which the phrase says.
    """
    if snapshot.revoked_seq is not None:
        return {"admitted": False, "expires": None, "admission": f"revoked: {snapshot.revoked_why}"}
    if admission is None:
        return {"admitted": False, "expires": None, "admission": "not admitted"}
    expires, until = admission["expires"], f"{admission['expires']:%Y-%m-%d %H:%M} UTC"
    if expires <= now:
        return {"admitted": False, "expires": expires, "admission": f"admission lapsed {until}"}
    if admission["verdict_seq"] != verdict_seq:
        return {"admitted": False, "expires": expires, "admission": f"admitted by an earlier verdict until {until}"}
    return {"admitted": True, "expires": expires, "admission": f"admitted until {until}"}


def _run_status(run: Run) -> RunStatus:
    return RunStatus(
        run.run_id,
        run.feed,
        run.status,
        run.state_version,
        run.received_at,
        run.finished_at,
        dict(run.counts),
        dict(run.cost),
    )
