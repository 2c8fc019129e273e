"""`poison-guard trust`: enter vetted records into a feed's trusted set, in a person's name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from poison_guard.cli.options import by_and_reason, common, contract_file, dry_run, feed_option
from poison_guard.cli.output import emit, told, working

__all__ = ["trust_command"]


@click.command("trust")
@click.argument("data")
@feed_option(required=True)
@by_and_reason
@dry_run
@common
def trust_command(data: str, feed: str, by: str, reason: str, dry_run: bool, home: Path, as_json: bool) -> None:
    """Enter the vetted records of DATA into the feed's trusted set, frozen and split by hash.

    What is judged by must be clean: one flawed record refuses the whole file.
    """
    from poison_guard.guard import Guard

    guard = Guard.open(contract_file(feed), home=home)
    with working(f"checking the records of {data}"):
        added = guard.trust(data, by=by, reason=reason, dry_run=dry_run)
    facts = dataclasses.asdict(added)
    if as_json:
        emit({"feed": guard.contract.name, "dry_run": dry_run, **facts})
        return
    verb = "would enter" if dry_run else "entered"
    told(f"{verb} {added.added:,} records into the trusted set of {guard.contract.name}")
