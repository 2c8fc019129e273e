"""`poison-guard review trusted`: look again at the strangest trusted records, and say which of them are wrong."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.options import common, contract_file, dry_run, feed_option
from poison_guard.cli.output import counted, emit, table, told, working
from poison_guard.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from poison_guard.steps.opening import Feed

__all__ = ["trusted_command"]

_SHOWN = 5  # columns of a record besides its id and why it is strange


@click.command("trusted")
@click.argument("records", nargs=-1)
@feed_option(required=True)
@click.option("--wrong", is_flag=True, help="RECORDS are wrong: judge by them no more.")
@click.option("--right", is_flag=True, help="RECORDS are right: do not ask for them again.")
@click.option("--by", default="", help="Who says so; kept in the audit chain.")
@click.option("--reason", default="", help="Why; kept in the audit chain.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="Records listed.")
@dry_run
@common
def trusted_command(
    records: tuple[str, ...],
    feed: str,
    wrong: bool,
    right: bool,
    by: str,
    reason: str,
    limit: int,
    dry_run: bool,
    home: Path,
    as_json: bool,
) -> None:
    """List the trusted records to look at again, strangest first; or say that RECORDS are --wrong or --right.

    Wrong records that the guard judges by hide attacks like them. What is found wrong leaves reference, calibration and
    holdout; `review undo` brings it back.
    """
    if bool(records) != (wrong or right) or (wrong and right):
        raise UsageError("name RECORDS with either --wrong or --right; without records the strangest are listed")
    from poison_guard.steps.opening import open_feed

    with open_feed(contract_file(feed), home, only_look=not records or dry_run) as opened:
        if records:
            _judge(opened, records, wrong, by, reason, dry_run, as_json)
            return
        from poison_guard.steps.suspects import find_suspects

        with working("ranking trusted records"):
            found = find_suspects(opened, limit)
    if as_json:
        emit({"feed": opened.contract.name, "suspects": found.to_dict("records")})
    else:
        _show(opened.contract.name, found)


def _judge(
    feed: Feed, records: tuple[str, ...], wrong: bool, by: str, reason: str, dry_run: bool, as_json: bool
) -> None:
    from poison_guard.steps.suspects import judge

    records = tuple(dict.fromkeys(records))
    now = dt.datetime.now(dt.UTC)
    event = judge(feed, records, wrong=wrong, by=by, reason=reason, now=now, dry_run=dry_run)
    what = f"{counted(len(records), 'trusted record')} {'wrong' if wrong else 'right'}"
    facts: dict[str, Any] = {"feed": feed.contract.name, "wrong": wrong, "dry_run": dry_run, "event": event}
    if as_json:
        emit({**facts, "records": list(records)})
    else:
        told(f"would note {what}" if dry_run else f"noted {what} (event {event})")


def _show(feed: str, found: pd.DataFrame) -> None:
    extra = [name for name in found if str(name).startswith("feature.")][:_SHOWN]
    columns = ("record", "split", ">p", "why it is strange", *(name.removeprefix("feature.") for name in extra))
    rows = [[row[name] for name in ("record_id", "split", "p", "why", *extra)] for row in found.to_dict("records")]
    table(f"Trusted records of {feed} to look at again", columns, rows, empty=f"{feed}: every one was looked at.")
