"""`poison-guard status`: feeds, phases, what is where, what waits, how far training is admitted, the last runs."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.options import common, contract_of, feed_name, feed_option
from poison_guard.cli.output import ago, emit, table
from poison_guard.cli.rooms import opened_store
from poison_guard.config import Policy

if TYPE_CHECKING:
    from poison_guard.store import Store

__all__ = ["status_command"]

_RUNS = 8


@click.command("status")
@feed_option(required=False)
@common
def status_command(feed: str | None, home: Path, as_json: bool) -> None:
    """Show each feed's phase, what is where, what waits in the queue, snapshot and champion, and the last runs."""
    from poison_guard.store import list_runs
    from poison_guard.store.reading import list_feeds

    now = dt.datetime.now(dt.UTC)
    name = feed_name(feed) if feed else None
    with opened_store(home) as store:
        feeds = [_feed(store, n, feed, now) for n in ([name] if name else list_feeds(store))]
        runs = [_run(run) for run in list_runs(store, name, limit=_RUNS)]
    if as_json:
        emit({"home": str(home), "feeds": feeds, "runs": runs})
        return
    table(
        "Feeds",
        ("feed", "phase", ">accepted", ">held", ">rejected", ">staged", ">recalled", ">in queue", "oldest", ">expired"),
        [_row(f, now) for f in feeds],
        empty="no feed has run yet; start with poison-guard run --feed FEED.toml",
    )
    sealed = [_training_row(f) for f in feeds if f["training"]]
    if sealed:
        table("Training", ("feed", "snapshot", ">examples", "sealed", "verdict", "admission", "champion"), sealed)
    table(
        "Last runs",
        ("run", "status", "received", ">records", ">accepted", ">held", ">rejected", ">staged"),
        [_run_row(r, now) for r in runs],
        empty="no run yet",
    )


def _feed(store: Store, name: str, given: str | None, now: dt.datetime) -> dict[str, Any]:
    from poison_guard.cli.standing import standing
    from poison_guard.pipeline.prepare import labels_needed
    from poison_guard.store.facts import feed_facts

    contract = contract_of(given or name)
    policy = contract.policy if contract else Policy()
    facts = feed_facts(store, name, now=now, expire_days=policy.expire_days)
    last = facts.pop("run")
    phase = (last or {}).get("measurements", {}).get("phase", "cold")
    trusted = sum(facts["trusted"].values())
    missing = 0 if phase == "enforcing" else max(0, labels_needed(policy.false_quarantine_rate) - trusted)
    vetted = {"vetted_records": trusted, "vetted_records_missing": missing}
    return {**facts, "phase": phase, **vetted, "training": standing(store, name, now=now)}


def _run(run: Any) -> dict[str, Any]:
    keys = ("run_id", "feed", "status", "state_version", "received_at", "finished_at", "counts", "error")
    return {key: getattr(run, key) for key in keys}


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
    return (r["run_id"], r["error"] or r["status"], ago(r["received_at"], now), *counts)
