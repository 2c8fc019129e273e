"""The commands `trust` and `review trusted`: enter vetted records into the trusted set, and judge its suspects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from poison_guard.cli.options import common_options, dry_run, feed_option, out_option
from poison_guard.cli.output import print_json, print_progress, print_result, print_table, progress
from poison_guard.errors import UsageError
from poison_guard.guard import Guard
from poison_guard.text import shown_url

if TYPE_CHECKING:
    from poison_guard.guard import Listed

__all__ = ["print_sample", "trust_command", "trusted_command"]


@click.command("trust")
@click.argument("data", required=False)
@feed_option
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Draw N of the feed's own records to vet instead.")
@out_option("With --sample: write the records drawn (.csv, .jsonl or .parquet); leave the right ones in it.")
@click.option("--by", default="", help="Who vetted them; kept in the audit chain.")
@click.option("--reason", default="", help="Why; kept in the audit chain.")
@dry_run
@common_options
def trust_command(
    data: str | None,
    feed: str,
    sample: int | None,
    out: Path | None,
    by: str,
    reason: str,
    dry_run: bool,
    home: Path,
    as_json: bool,
) -> int:
    """Enter the vetted records of DATA into the feed's trusted set, frozen and split by hash.

    What is judged by must be clean: one flawed record refuses the whole file. With --dry-run, exit code 1 says that the
    file would be refused. DATA is new to the feed; what the feed has seen is drawn with --sample and entered by
    `poison-guard review release --trust`, as your decision about each record.
    """
    guard = Guard.open(feed, home=home)
    if (data is None) == (sample is None) or (out is not None and sample is None):
        raise UsageError("name either DATA to enter, or --sample N to draw records to vet (to a file with --out)")
    if sample is not None:
        print_sample(guard.bootstrap(sample, out), feed=feed, out=out, as_json=as_json)
        return 0
    data = str(data)
    with progress(f"checking the records of {shown_url(data)}"):
        result = guard.trust(data, by=by, reason=reason, dry_run=dry_run)
    if as_json:
        print_json(result.to_dict())
    else:
        for line in (*str(result).splitlines(), *result.batch):
            print_result(line)
    return int(result.refused)


def print_sample(drawn: Listed, *, feed: str, out: Path | None, as_json: bool) -> None:
    """Print the records that were drawn to be vetted, and on stderr how to enter the right ones."""
    if as_json:
        print_json(drawn.to_dict())
    elif out is not None:
        print_result(f"wrote {len(drawn.entries):,} of {drawn.total:,} records to {out}")
    else:
        print_table(f"To vet: {drawn.feed}", *drawn.table(), empty=f"{drawn.feed}: nothing to list.")
    if drawn.entries.empty:
        return
    named = f"--ids {out}" if out else "RECORDS"
    todo = "look at each, take out what is wrong, then" if out else "look at each (poison-guard review show), then"
    print_progress(
        f"{todo}: poison-guard review release --trust {named} --feed {feed} --by NAME --reason WHY; "
        "wrong ones: poison-guard review reject"
    )


@click.command("trusted")
@click.argument("records", nargs=-1)
@feed_option
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
    guard = Guard.open(feed, home=home)
    if records:
        verdict = guard.judge_trusted(records, wrong=wrong, by=by, reason=reason, dry_run=dry_run)
        print_json(verdict.to_dict()) if as_json else print_result(str(verdict))
        return
    with progress("ranking trusted records"):
        suspects = guard.suspects(limit)
    if as_json:
        print_json(suspects.to_dict())
        return
    empty = f"{suspects.feed}: every one was looked at."
    print_table(f"Trusted records of {suspects.feed} to look at again", *suspects.table(), empty=empty)
