"""The commands `status` and `audit`: each feed's phase and backlog, whether it may train, the chain of audit events."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.options import common_options, feed_or_all_option
from poison_guard.cli.output import ago, print_json, print_result, print_table

if TYPE_CHECKING:
    from poison_guard.guard import FeedStatus, RunStatus, TrainingStatus

__all__ = ["audit_command", "status_command"]

_PLACES = ("accepted", "quarantined", "rejected", "staged")


@click.command("status")
@feed_or_all_option
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
        empty="no feed has run yet; start with `poison-guard run --feed FEED.toml`",
    )
    for f in result.feeds:
        if f.vetted_records_missing:
            draw = f"poison-guard trust --sample {f.vetted_records_missing} --feed {f.feed} --out FILE.csv"
            print_result(f"{f.feed}: {draw} draws records to vet")
        elif f.phase == "observing":
            print_result(f'{f.feed}: mode = "enforce" in its contract lets it hold records back')
    sealed = [_training_row(f.feed, f.training) for f in result.feeds if f.training]
    if sealed:
        print_table("Training", ("feed", "snapshot", ">examples", "sealed", "verdict", "admission", "champion"), sealed)
    print_table(
        "Last runs",
        (
            "run",
            "status",
            "received",
            ">records",
            ">accepted",
            ">held",
            ">rejected",
            ">staged",
            ">CPU s",
            ">peak MiB",
            "engine",
            "device",
        ),
        [_run_row(run, now) for run in result.runs],
        empty="no run yet",
    )
    for f in result.feeds:
        for sentence in f.coverage.sentences() if f.coverage else ():
            print_result(f"coverage of {f.feed}: {sentence}")


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
    cost = [f"{run.cost[key]:,.0f}" if key in run.cost else None for key in ("cpu_s", "peak_mb")]
    return (run.run_id, run.status, ago(run.received_at, now), *counts, *cost, *map(run.cost.get, ("engine", "device")))


@click.group("audit")
def audit_command() -> None:
    """Look after the chain of audit events."""


@audit_command.command("verify")
@click.option("--last", "last_runs", type=click.IntRange(1), metavar="N", help="Only what the last N runs wrote since.")
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    metavar="SEQ:HASH|FILE",
    help="A head kept elsewhere: what `audit head` printed, or a manifest. May be given more than once.",
)
@common_options
def verify_command(last_runs: int | None, anchors: tuple[str, ...], home: Path, as_json: bool) -> int:
    """Recompute the audit chain, every row that training rests on and every lake file.

    Exit code 1: something was changed, removed or added past the guard; the first such thing is named.
    """
    from poison_guard.guard import Home

    result = Home.open(home).audit(last_runs=last_runs, anchors=anchors)
    if as_json:
        print_json(result.to_dict())
    else:
        print_result(str(result))
    return 0 if result.ok else 1


@audit_command.command("head")
@common_options
def head_command(home: Path, as_json: bool) -> None:
    """Print the head of the audit chain, to keep elsewhere: `audit verify --anchor` compares the store with it."""
    from poison_guard.guard import Home

    result = Home.open(home).audit_head()
    if as_json:
        print_json(result.to_dict())
    else:
        print_result(str(result))
