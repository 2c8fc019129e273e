"""The commands `recall` and `erase`, what `recall` shares with `review`: options that choose records, a decision."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from poison_guard.cli.options import common_options, dry_run, feed_option, ids_in_file, person_options
from poison_guard.cli.output import counted, print_json, print_progress, print_result, print_revoked
from poison_guard.guard import Guard

if TYPE_CHECKING:
    from poison_guard.guard import ReviewResult

__all__ = ["erase_command", "print_decision", "recall_command", "selection_options"]

_F = TypeVar("_F", bound=Callable[..., Any])


def selection_options(command: _F) -> _F:
    """Add RECORDS, ``--ids``, ``--campaign``, ``--source`` and ``--run``, which choose records."""
    command = _with_ids(command)
    command = click.option(
        "--ids", "ids_file", metavar="FILE|-", help="Records by a file or stdin: an id per line, or a column record_id."
    )(command)
    command = click.option("--run", "run_id", metavar="RUN", help="All that this run took in instead.")(command)
    command = click.option("--source", "source_id", metavar="SOURCE", help="All of this source instead.")(command)
    command = click.option("--campaign", "campaign_id", metavar="CAMPAIGN", help="All of this campaign instead.")(
        command
    )
    return click.argument("record_ids", metavar="[RECORDS]...", nargs=-1)(command)


def _with_ids(command: _F) -> _F:
    """Hand the ids of the command line and of ``--ids`` on as one, None where there are none."""

    @functools.wraps(command)
    def call(*, record_ids: tuple[str, ...], ids_file: str | None, **options: Any) -> Any:
        listed = ids_in_file(ids_file) if ids_file is not None else ()
        return command(record_ids=(*record_ids, *listed) or None, **options)

    return call  # type: ignore[return-value]  # called with the options that click gives


def print_decision(result: ReviewResult, *, feed: str, as_json: bool) -> None:
    """Print what a decision did or would do: what was chosen and how to undo it on stderr, the rest on stdout."""
    if as_json:
        print_json(result.to_dict())
        return
    places = ", ".join(f"{count:,} {place}" for place, count in result.places.items())
    if places:
        n = counted(len(result.record_ids), "record")
        print_progress(f"{n} of {counted(result.sources, 'source')}: {places}")
    print_result(str(result))
    print_revoked(result.revocation.to_dict(), feed=feed, dry_run=result.seq is None)
    if result.seq is not None and result.undoes is None:
        print_progress(f"take it back with: poison-guard review undo {result.seq} --feed {feed} --by NAME --reason WHY")


@click.command("recall")
@selection_options
@feed_option
@click.option("--observed", is_flag=True, help="All that was accepted in observe mode, though it would have been held.")
@person_options
@dry_run
@common_options
def recall_command(feed: str, home: Path, as_json: bool, **decision: Any) -> None:
    """Take accepted records back: RECORDS by id, a whole campaign, all of a source or of a run. They wait for review.

    Snapshots that held them are revoked for good, and so are their admissions; the models that trained on these are
    named, with the rollback to run when one of them is the champion.
    """
    print_decision(Guard.open(feed, home=home).recall(**decision), feed=feed, as_json=as_json)


@click.command("erase")
@click.argument("source_id", metavar="SOURCE")
@feed_option
@person_options
@dry_run
@common_options
def erase_command(source_id: str, feed: str, by: str, reason: str, dry_run: bool, home: Path, as_json: bool) -> None:
    """Destroy what SOURCE sent or wrote: payloads and names go from store and lake; this cannot be undone.

    Tombstones stay, so that counts and `audit verify` hold. Snapshots that held its records are revoked for good; the
    models that trained on these are named. Files in the inbox, backups and model files are yours to remove.
    """
    result = Guard.open(feed, home=home).erase(source_id, by=by, reason=reason, dry_run=dry_run)
    if as_json:
        print_json(result.to_dict())
        return
    print_result(str(result))
    print_revoked(result.revocation.to_dict(), feed=feed, dry_run=dry_run)
