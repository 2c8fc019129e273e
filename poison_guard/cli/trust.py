"""`poison-guard trust`: enter vetted records into a feed's trusted set, in a person's name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poison_guard.cli.fitting import count_flaws
from poison_guard.cli.options import by_and_reason, common, contract_file, dry_run, feed_option
from poison_guard.cli.output import emit, told, working

if TYPE_CHECKING:
    from poison_guard.guard import Guard

__all__ = ["trust_command"]


@click.command("trust")
@click.argument("data")
@feed_option(required=True)
@by_and_reason
@dry_run
@common
def trust_command(data: str, feed: str, by: str, reason: str, dry_run: bool, home: Path, as_json: bool) -> int:
    """Enter the vetted records of DATA into the feed's trusted set, frozen and split by hash.

    What is judged by must be clean: one flawed record refuses the whole file. With --dry-run, exit code 1 says that the
    file would be refused.
    """
    from poison_guard.guard import Guard

    guard = Guard.open(contract_file(feed), home=home)
    name = guard.contract.name
    with working(f"checking the records of {data}"):
        if dry_run:
            return _tell_only(guard, data, as_json)
        added = guard.trust(data, by=by, reason=reason)
    if as_json:
        emit({"feed": name, "dry_run": False, "trusted": added.n, **dataclasses.asdict(added)})
        return 0
    told(f"entered {added.added:,} records into the trusted set of {name} ({added.already:,} were in it already)")
    splits = ", ".join(f"{getattr(added, split):,} {split}" for split in ("reference", "calibration", "holdout"))
    told(f"it holds {added.n:,}: {splits}")
    return 0


def _tell_only(guard: Guard, data: str, as_json: bool) -> int:
    from poison_guard.steps.opening import find_suite
    from poison_guard.validate import load_suite

    file = find_suite(guard.contract, guard.home)
    records, flawed, batch = count_flaws(guard.contract, load_suite(file) if file else None, data, guard.home)
    refused = bool(flawed or batch)
    if as_json:
        emit({"feed": guard.contract.name, "dry_run": True, "records": records, "flawed": flawed, "batch": list(batch)})
    else:
        verdict = "would be refused" if refused else "would be entered (ids are checked when they are)"
        told(f"{records:,} records read, {flawed:,} flawed: {verdict}")
    return int(refused)
