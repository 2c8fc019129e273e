"""The commands `status` and `audit`: each feed's phase and backlog, whether it may train, the chain of audit events."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.options import common_options, contract_of, feed_name, feed_option, opened_store
from poison_guard.cli.output import ago, print_json, print_result, print_table
from poison_guard.config import Contract, Policy
from poison_guard.errors import NotFoundError

if TYPE_CHECKING:
    from poison_guard.store import Store
    from poison_guard.store.snapshots import Snapshot

__all__ = ["admission_state", "audit_command", "gate_facts", "status_command", "training_status"]


_ALL = 1_000_000


def training_status(store: Store, feed: str, *, now: dt.datetime) -> dict[str, Any] | None:
    """Return what `status` shows of the last snapshot and the champion; None where nothing was sealed yet.

    Keys: ``snapshot_id, sealed_at, examples, revoked`` (why, or None), ``outcome`` (of the last verdict, or None),
    ``admission`` (sentence), ``admitted, expires, champion`` (model id or None), ``champion_revoked``.
    """
    from poison_guard.store.admissions import last_verdict
    from poison_guard.store.models import champion, find_revoked_ancestor
    from poison_guard.store.snapshots import last_snapshot

    snapshot = last_snapshot(store, feed, revoked=True)
    if snapshot is None:
        return None
    verdict = last_verdict(store, snapshot.snapshot_id)
    model = champion(store, feed)
    return {
        "snapshot_id": snapshot.snapshot_id,
        "sealed_at": snapshot.sealed_at,
        "examples": sum(part.rows for part in snapshot.parts),
        "revoked": snapshot.revoked_why,
        "outcome": verdict["outcome"] if verdict else None,
        **admission_state(snapshot, _newest_admission(store, snapshot), verdict["seq"] if verdict else None, now=now),
        "champion": model.model_id if model else None,
        "champion_revoked": bool(model and find_revoked_ancestor(store, model.model_id)),
    }


def gate_facts(store: Store, feed: str, snapshot_id: str | None, *, now: dt.datetime) -> dict[str, Any] | None:
    """Return the last verdict on a snapshot with its approvals and admission; None where it was not judged.

    Keys are those that `print_verdict` takes but for ``manifest``, and ``judged_at, candidate, policy_hash, approvals,
    state, revoked, expires``.
    `NotFoundError` where the feed has no such snapshot.
    """
    from poison_guard.gate.admission import decide_admission
    from poison_guard.gate.outcomes import Verdict
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


def admission_state(
    snapshot: Snapshot, found: Mapping[str, Any] | None, verdict_seq: int | None, *, now: dt.datetime
) -> dict[str, Any]:
    """Return ``admitted`` (by verdict `verdict_seq`, as of `now`), ``expires``, and ``admission``: a phrase.

    A manifest that an earlier verdict gave still verifies until it lapses, which the phrase says.
    """
    if snapshot.revoked_seq is not None:
        return {"admitted": False, "expires": None, "admission": f"revoked: {snapshot.revoked_why}"}
    if found is None:
        return {"admitted": False, "expires": None, "admission": "not admitted"}
    expires, until = found["expires"], f"{found['expires']:%Y-%m-%d %H:%M} UTC"
    if expires <= now:
        return {"admitted": False, "expires": expires, "admission": f"admission lapsed {until}"}
    if found["verdict_seq"] != verdict_seq:
        return {"admitted": False, "expires": expires, "admission": f"admitted by an earlier verdict until {until}"}
    return {"admitted": True, "expires": expires, "admission": f"admitted until {until}"}


def _newest_admission(store: Store, snapshot: Snapshot) -> Mapping[str, Any] | None:
    """Return the newest admission of the snapshot."""
    from poison_guard.store.admissions import list_admissions

    found = list_admissions(store, snapshot.feed, limit=_ALL)
    return next((a for a in found if a["snapshot_id"] == snapshot.snapshot_id), None)


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


_RUNS = 8


@click.command("status")
@feed_option(required=False)
@common_options
def status_command(feed: str | None, home: Path, as_json: bool) -> None:
    """Show each feed's phase, what is where, what waits in the queue, snapshot and champion, and the last runs."""
    from poison_guard.store import list_runs
    from poison_guard.store.reading import list_feeds

    now = dt.datetime.now(dt.UTC)
    name = feed_name(feed, home) if feed else None
    with opened_store(home) as store:
        feeds = [
            _feed_status(store, each, contract_of(feed or each, home), now)
            for each in ([name] if name else list_feeds(store))
        ]
        runs = [_run(run) for run in list_runs(store, name, limit=_RUNS)]
    if as_json:
        print_json({"home": str(home), "feeds": feeds, "runs": runs})
        return
    print_table(
        "Feeds",
        ("feed", "phase", ">accepted", ">held", ">rejected", ">staged", ">recalled", ">in queue", "oldest", ">expired"),
        [_row(f, now) for f in feeds],
        empty="no feed has run yet; start with poison-guard run --feed FEED.toml",
    )
    sealed = [_training_row(f) for f in feeds if f["training"]]
    if sealed:
        print_table("Training", ("feed", "snapshot", ">examples", "sealed", "verdict", "admission", "champion"), sealed)
    print_table(
        "Last runs",
        ("run", "status", "received", ">records", ">accepted", ">held", ">rejected", ">staged"),
        [_run_row(r, now) for r in runs],
        empty="no run yet",
    )


def _feed_status(store: Store, name: str, contract: Contract | None, now: dt.datetime) -> dict[str, Any]:
    from poison_guard.pipeline.prepare import labels_needed
    from poison_guard.store.facts import feed_facts

    policy = contract.policy if contract else Policy()
    facts = feed_facts(store, name, now=now, expire_days=policy.expire_days)
    last = facts.pop("run")
    phase = (last or {}).get("measurements", {}).get("phase", "cold")
    trusted = sum(facts["trusted"].values())
    missing = 0 if phase == "enforcing" else max(0, labels_needed(policy.false_quarantine_rate) - trusted)
    vetted = {"vetted_records": trusted, "vetted_records_missing": missing}
    return {**facts, "phase": phase, **vetted, "training": training_status(store, name, now=now)}


def _run(run: Any) -> dict[str, Any]:
    keys = ("run_id", "feed", "status", "state_version", "received_at", "finished_at", "counts")
    return {key: getattr(run, key) for key in keys} | {"error": None}  # the key stays in the JSON: nothing sets it


def _row(f: dict[str, Any], now: dt.datetime) -> tuple[Any, ...]:
    missing = f["vetted_records_missing"]
    phase = f"{f['phase']}: {missing:,} vetted records missing" if missing else f["phase"]
    places = [f["places"].get(k, 0) for k in ("accepted", "quarantined", "rejected", "staged", "recalled")]
    return (f["feed"], phase, *places, f["open"], ago(f["oldest"], now), f["expired"])


def _training_row(f: dict[str, Any]) -> tuple[Any, ...]:
    t = f["training"]
    champion = f"{t['champion']} (learned from a revoked snapshot)" if t["champion_revoked"] else t["champion"]
    verdict = t["outcome"] or "not judged"
    return (f["feed"], t["snapshot_id"], t["examples"], t["sealed_at"], verdict, t["admission"], champion)


def _run_row(r: dict[str, Any], now: dt.datetime) -> tuple[Any, ...]:
    counts = [r["counts"].get(k) for k in ("received", "accepted", "quarantined", "rejected", "staged")]
    return (r["run_id"], r["status"], ago(r["received_at"], now), *counts)


@click.group("audit")
def audit_command() -> None:
    """Look after the chain of audit events."""


@audit_command.command("verify")
@common_options
def verify_command(home: Path, as_json: bool) -> int:
    """Check every audit event against the one before it. Exit code 1: an event was changed, removed or added."""
    from poison_guard.store import verify

    with opened_store(home) as store:
        result = verify(store)
    if as_json:
        print_json(dataclasses.asdict(result))
    elif result.ok:
        print_result(f"the audit chain is whole: {result.events:,} events")
    else:
        print_result(f"the audit chain is broken: {result.why}")
    return 0 if result.ok else 1
