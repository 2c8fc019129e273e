"""`poison-guard run`: take new records in, decide them, store the result. Run twice equals run once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from poison_guard.cli.options import common, contract_file, dry_run, feed_option
from poison_guard.cli.output import emit, say, working
from poison_guard.cli.revoked import NOTHING_REVOKED, revoked_facts, standing_snapshots, tell_revoked
from poison_guard.cli.rooms import opened_store
from poison_guard.cli.summary import result_document, show_result
from poison_guard.errors import NotFoundError

__all__ = ["run_command"]


@click.command("run")
@click.argument("data", nargs=-1)
@feed_option(required=True)
@dry_run
@common
def run_command(data: tuple[str, ...], feed: str, dry_run: bool, home: Path, as_json: bool) -> None:
    """Take in the records of DATA, decide them and store the decisions.

    DATA: paths or URLs; default: what is new at the contract's [data]. Held records are the guard's normal work: they
    wait in the queue, and the exit code is 0. Where a campaign shows that takes accepted records back, the snapshots
    that held them are revoked and the models that used them are named.
    """
    from poison_guard.guard import Guard

    guard = Guard.open(contract_file(feed), home=home)
    before = _standing(home, guard.contract.name)
    with working(f"{'scanning' if dry_run else 'running'} {guard.contract.name}"):
        result = guard.scan(list(data) or None) if dry_run else guard.ingest(list(data) or None)
    lost = _revoked(home, guard.contract.name, before) if result.counts.get("recalled") else NOTHING_REVOKED
    if as_json:
        emit({**result_document(guard.contract.name, result), "dry_run": dry_run, **lost})
        return
    show_result(guard.contract.name, result, stored=not dry_run)
    tell_revoked(lost, feed=feed, dry_run=False)
    if dry_run:
        say("dry run: nothing was stored")
    elif result.run_id:
        say(f"next: poison-guard review list --feed {feed}   |   poison-guard report --run {result.run_id}")


def _standing(home: Path, feed: str) -> list[str]:
    try:
        with opened_store(home) as store:
            return standing_snapshots(store, feed)
    except NotFoundError:
        return []  # the first run of a home


def _revoked(home: Path, feed: str, before: list[str]) -> Mapping[str, Any]:
    """Return what hangs on the snapshots of `before` that the run revoked."""
    with opened_store(home) as store:
        after = set(standing_snapshots(store, feed))
        return revoked_facts(store, feed, [name for name in before if name not in after])
