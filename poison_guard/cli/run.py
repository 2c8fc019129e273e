"""`poison-guard run`: take new records in, decide them, store the result. Run twice equals run once."""

from __future__ import annotations

from pathlib import Path

import click

from poison_guard.cli.options import common, contract_file, dry_run, feed_option
from poison_guard.cli.output import emit, say, working
from poison_guard.cli.summary import result_document, show_result

__all__ = ["run_command"]


@click.command("run")
@click.argument("data", nargs=-1)
@feed_option(required=True)
@dry_run
@common
def run_command(data: tuple[str, ...], feed: str, dry_run: bool, home: Path, as_json: bool) -> None:
    """Take in the records of DATA, decide them and store the decisions.

    DATA: paths or URLs; default: what is new at the contract's [data]. Held records are the guard's normal work: they
    wait in the queue, and the exit code is 0.
    """
    from poison_guard.guard import Guard

    guard = Guard.open(contract_file(feed), home=home)
    with working(f"{'scanning' if dry_run else 'running'} {guard.contract.name}"):
        result = guard.scan(list(data) or None) if dry_run else guard.ingest(list(data) or None)
    if as_json:
        emit({**result_document(guard.contract.name, result), "dry_run": dry_run})
        return
    show_result(guard.contract.name, result, stored=not dry_run)
    if dry_run:
        say("dry run: nothing was stored")
    elif result.run_id:
        say(f"next: poison-guard review list --feed {feed}   |   poison-guard report --run {result.run_id}")
