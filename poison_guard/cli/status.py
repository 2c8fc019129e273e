"""The commands `status` and `audit`: each feed's phase and backlog, whether it may train, the chain of audit events."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.options import common_options, feed_option
from poison_guard.cli.output import ago, print_json, print_result, print_table
from poison_guard.errors import NotFoundError

if TYPE_CHECKING:
    from poison_guard.guard import FeedStatus, RunStatus, TrainingStatus
    from poison_guard.store import Store
    from poison_guard.store.snapshots import Snapshot

__all__ = ["audit_command", "gate_facts", "status_command"]

_PLACES = ("accepted", "quarantined", "rejected", "staged")


@click.command("status")
@feed_option(required=False)
@common_options
def status_command(feed: str | None, home: Path, as_json: bool) -> None:
    """Show each feed's phase, its records by place, the queue, snapshot and champion, and the last runs."""
    from poison_guard.guard import Home

    now = dt.datetime.now(dt.UTC)
    result = Home.open(home).status(feed)
    if as_json:
        print_json(result.to_dict())
        return
    print_table(
        "Feeds",
        ("feed", "phase", ">accepted", ">held", ">rejected", ">staged", ">recalled", ">in queue", "oldest", ">expired"),
        [_feed_row(f, now) for f in result.feeds],
        empty="no feed has run yet; start with poison-guard run --feed FEED.toml",
    )
    sealed = [_training_row(f.feed, f.training) for f in result.feeds if f.training]
    if sealed:
        print_table("Training", ("feed", "snapshot", ">examples", "sealed", "verdict", "admission", "champion"), sealed)
    print_table(
        "Last runs",
        ("run", "status", "received", ">records", ">accepted", ">held", ">rejected", ">staged"),
        [_run_row(run, now) for run in result.runs],
        empty="no run yet",
    )


def _feed_row(f: FeedStatus, now: dt.datetime) -> tuple[Any, ...]:
    missing = f.vetted_records_missing
    phase = f"{f.phase}: {missing:,} vetted records missing" if missing else f.phase
    places = [f.places.get(place, 0) for place in (*_PLACES, "recalled")]
    return (f.feed, phase, *places, f.open, ago(f.oldest, now), f.expired)


def _training_row(feed: str, t: TrainingStatus) -> tuple[Any, ...]:
    champion = f"{t.champion} (learned from a revoked snapshot)" if t.champion_revoked else t.champion
    return (feed, t.snapshot_id, t.examples, t.sealed_at, t.outcome or "not judged", t.admission, champion)


def _run_row(run: RunStatus, now: dt.datetime) -> tuple[Any, ...]:
    counts = [run.counts.get(key) for key in ("received", *_PLACES)]
    return (run.run_id, run.status, ago(run.received_at, now), *counts)


@click.group("audit")
def audit_command() -> None:
    """Look after the chain of audit events."""


@audit_command.command("verify")
@common_options
def verify_command(home: Path, as_json: bool) -> int:
    """Check every audit event against the one before it. Exit code 1: an event was changed, removed or added."""
    from poison_guard.guard import Home

    result = Home.open(home).audit()
    if as_json:
        print_json(result.to_dict())
    else:
        print_result(str(result))
    return 0 if result.ok else 1


def gate_facts(store: Store, feed: str, snapshot_id: str | None, *, now: dt.datetime) -> dict[str, Any] | None:
    """Return the last verdict on a snapshot with its approvals and admission; None where it was not judged.

    Keys are those that `print_verdict` takes but for ``manifest``, and ``judged_at, candidate, policy_hash, approvals,
    state, revoked, expires``.
    `NotFoundError` where the feed has no such snapshot.
    """
    from poison_guard.gate.admission import decide_admission
    from poison_guard.gate.outcomes import Verdict
    from poison_guard.steps.status import admission_state
    from poison_guard.store.admissions import last_verdict, list_approvals

    snapshot = _find_snapshot(store, feed, snapshot_id)
    verdict = last_verdict(store, snapshot.snapshot_id)
    if verdict is None:
        return None
    state = admission_state(snapshot, _newest_admission(store, snapshot), verdict["seq"], now=now)
    whole, given = Verdict.from_json(verdict["verdict"]), list_approvals(store, verdict["seq"])
    allowed = decide_admission(verdict["outcome"], given, now=now)
    closed = () if state["admitted"] or allowed.admitted or snapshot.revoked_why else (allowed.why,)
    return {
        "snapshot_id": snapshot.snapshot_id,
        "outcome": verdict["outcome"],
        "admitted": state["admitted"],
        "why": [*whole.why, *closed],
        "checks": [check.to_json() for check in whole.checks],
        "judged_at": verdict["at"],
        "candidate": verdict["candidate"],
        "policy_hash": verdict["policy_hash"],
        "approvals": given,
        "state": state["admission"],
        "revoked": snapshot.revoked_why,
        "expires": state["expires"],
    }


def _newest_admission(store: Store, snapshot: Snapshot) -> Mapping[str, Any] | None:
    """Return the newest admission of the snapshot."""
    from poison_guard.store.admissions import list_admissions

    return next(iter(list_admissions(store, snapshot.feed, 1, snapshot_id=snapshot.snapshot_id)), None)


def _find_snapshot(store: Store, feed: str, snapshot_id: str | None) -> Snapshot:
    from poison_guard.store.snapshots import last_snapshot, load_snapshot

    if snapshot_id is None:
        last = last_snapshot(store, feed, revoked=True)
        if last is None:
            raise NotFoundError(f"{feed} has no snapshot yet; poison-guard seal --feed {feed} makes one")
        return last
    snapshot = load_snapshot(store, snapshot_id)
    if snapshot.feed != feed:
        raise NotFoundError(f"snapshot {snapshot_id} is of feed {snapshot.feed}, not of {feed}; name it with --feed")
    return snapshot
