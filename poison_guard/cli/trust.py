"""The commands `trust` and `review trusted`: enter vetted records into the trusted set, and judge its suspects."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.options import common_options, contract_file, dry_run, feed_option, person_options
from poison_guard.cli.output import counted, print_json, print_result, print_table, progress
from poison_guard.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from poison_guard.config import Contract
    from poison_guard.contracts.suite import Suite
    from poison_guard.guard import Guard
    from poison_guard.steps.opening import Feed

__all__ = ["count_misfits", "trust_command", "trusted_command"]


def count_misfits(contract: Contract, suite: Suite | None, data: str, home: Path) -> tuple[int, int, tuple[str, ...]]:
    """Return ``(records, flawed rows, reasons that would hold the whole batch)``; unreadable rows count as flawed."""
    from poison_guard.decide.reasons import sentence
    from poison_guard.ingest import collect_frames
    from poison_guard.pipeline import validate_records

    batch = collect_frames(contract, [data], home=home, received_at=dt.datetime.now(dt.UTC))
    found = validate_records(contract, suite, batch.records, batch.issues, schema=batch.schema, accepted_schema={})
    flawed = int(found.failures["record_id"].nunique()) + len(batch.unreadable)
    return len(batch.records), flawed, tuple(sentence(r.code, r.args) for r in found.batch)


@click.command("trust")
@click.argument("data")
@feed_option(required=True)
@person_options
@dry_run
@common_options
def trust_command(data: str, feed: str, by: str, reason: str, dry_run: bool, home: Path, as_json: bool) -> int:
    """Enter the vetted records of DATA into the feed's trusted set, frozen and split by hash.

    What is judged by must be clean: one flawed record refuses the whole file. With --dry-run, exit code 1 says that the
    file would be refused.
    """
    from poison_guard.guard import Guard

    guard = Guard.open(contract_file(feed, home), home=home)
    name = guard.contract.name
    with progress(f"checking the records of {data}"):
        if dry_run:
            return _check_only(guard, data, as_json)
        added = guard.trust(data, by=by, reason=reason)
    if as_json:
        print_json({"feed": name, "dry_run": False, "trusted": added.n, **dataclasses.asdict(added)})
        return 0
    print_result(
        f"entered {added.added:,} records into the trusted set of {name} ({added.already:,} were in it already)"
    )
    splits = ", ".join(f"{getattr(added, split):,} {split}" for split in ("reference", "calibration", "holdout"))
    print_result(f"it holds {added.n:,}: {splits}")
    return 0


def _check_only(guard: Guard, data: str, as_json: bool) -> int:
    from poison_guard.contracts.suite import load_suite
    from poison_guard.steps.opening import find_suite

    file = find_suite(guard.contract, guard.home)
    records, flawed, batch = count_misfits(guard.contract, load_suite(file) if file else None, data, guard.home)
    refused = bool(flawed or batch)
    if as_json:
        print_json(
            {"feed": guard.contract.name, "dry_run": True, "records": records, "flawed": flawed, "batch": list(batch)}
        )
    else:
        verdict = "would be refused" if refused else "would be entered (ids are checked when they are)"
        print_result(f"{records:,} records read, {flawed:,} flawed: {verdict}")
    return int(refused)


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
@common_options
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

    with open_feed(contract_file(feed, home), home, create_store=bool(records) and not dry_run) as opened:
        if records:
            _judge_record(opened, records, wrong, by, reason, dry_run, as_json)
            return
        from poison_guard.steps.trust import find_suspects

        with progress("ranking trusted records"):
            found = find_suspects(opened, limit)
    if as_json:
        print_json({"feed": opened.contract.name, "suspects": found.to_dict("records")})
    else:
        _print_suspects(opened.contract.name, found)


def _judge_record(
    feed: Feed, records: tuple[str, ...], wrong: bool, by: str, reason: str, dry_run: bool, as_json: bool
) -> None:
    from poison_guard.steps.trust import judge

    records = tuple(dict.fromkeys(records))
    now = dt.datetime.now(dt.UTC)
    event = judge(feed, records, wrong=wrong, by=by, reason=reason, now=now, dry_run=dry_run)
    what = f"{counted(len(records), 'trusted record')} {'wrong' if wrong else 'right'}"
    facts: dict[str, Any] = {"feed": feed.contract.name, "wrong": wrong, "dry_run": dry_run, "event": event}
    if as_json:
        print_json({**facts, "records": list(records)})
    else:
        print_result(f"would note {what}" if dry_run else f"noted {what} (event {event})")


def _print_suspects(feed: str, found: pd.DataFrame) -> None:
    extra = [name for name in found if str(name).startswith("feature.")][:_SHOWN]
    columns = ("record", "split", ">p", "why it is strange", *(name.removeprefix("feature.") for name in extra))
    rows = [[row[name] for name in ("record_id", "split", "p", "why", *extra)] for row in found.to_dict("records")]
    print_table(f"Trusted records of {feed} to look at again", columns, rows, empty=f"{feed}: every one was looked at.")
