"""`poison-guard review bulk|jobs|export|import`: decide many records as one, or in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from poison_guard.cli.filters import filter_options
from poison_guard.cli.options import common_options, dry_run, feed_option, person_options
from poison_guard.cli.output import counted, print_json, print_progress, print_result, print_table
from poison_guard.cli.signed_in import acting
from poison_guard.errors import UsageError
from poison_guard.guard import Guard

if TYPE_CHECKING:
    from poison_guard.guard import FrozenSet, Job, QueueFilter

__all__ = ["bulk_command", "export_command", "import_command", "jobs_command"]


@click.command("bulk")
@click.argument("verb", type=click.Choice(["release", "reject"]))
@feed_option
@filter_options
@click.option("--confirm", default="", metavar="N", help="The number of records, to confirm more than 100.")
@person_options
@dry_run
@common_options
def bulk_command(
    verb: str,
    feed: str,
    filters: QueueFilter | None,
    confirm: str,
    by: str,
    reason: str,
    dry_run: bool,
    home: Path,
    as_json: bool,
) -> int:
    """Release or reject all that the filters find, as one decision that one command undoes.

    The set is frozen first: what comes later, and what a colleague decides meanwhile, is left as it is. Exit code 1:
    the number was not confirmed, and nothing was decided.
    """
    if filters is None:
        raise UsageError("give a filter, such as --code CODE: a bulk decision is not about the whole queue")
    guard = Guard.open(feed, home=home)
    frozen = guard.bulk_preview(filters)
    if dry_run or (frozen.confirm and confirm.replace(",", "") != frozen.confirm):
        print_json(frozen.to_dict()) if as_json else _print_frozen(frozen, verb)
        return 0 if dry_run else 1
    job = guard.bulk(frozen.job_id, verb, by=by, reason=reason, confirm=confirm)
    job = guard.run_job(job.job_id, report=lambda j: print_progress(f"{j.done:,} of {j.total:,}"))
    _print_job(job, feed, as_json=as_json)
    return 0


def _print_frozen(frozen: FrozenSet, verb: str) -> None:
    rows = [(r["record_id"], r["source_id"], r["campaign_id"], r["risk"], r["why"])
            for r in frozen.sample.to_dict("records")]  # fmt: skip
    print_table(f"A random sample of {frozen.total:,} records", ("record", "source", "campaign", ">risk", "why"), rows)
    hint = f"; --confirm {frozen.confirm} does" if frozen.confirm else ""
    print_result(f"would {verb} {counted(frozen.total, 'record')}{hint}")


@click.command("jobs")
@click.argument("job_id", metavar="[JOB]", required=False)
@feed_option
@click.option("--resume", is_flag=True, help="Go on with JOB, which was killed.")
@click.option("--cancel", is_flag=True, help="Stop JOB after the part it is at.")
@click.option("--undo", is_flag=True, help="Take JOB back as a whole.")
@click.option("--by", help="Who acts. Default: who is signed in.")
@click.option("--reason", default="", help="Why JOB is undone.")
@common_options
def jobs_command(
    job_id: str | None,
    feed: str,
    resume: bool,
    cancel: bool,
    undo: bool,
    by: str | None,
    reason: str,
    home: Path,
    as_json: bool,
) -> None:
    """List the bulk decisions, or show, resume, cancel or undo JOB."""
    guard = Guard.open(feed, home=home)
    if job_id is None:
        jobs = guard.jobs()
        print_json(jobs.to_dict()) if as_json else print_table(f"Jobs of {jobs.feed}", *jobs.table(), empty="No job.")
        return
    if resume + cancel + undo > 1:
        raise UsageError("give one of --resume, --cancel and --undo")
    if cancel or undo:
        person = acting(home, by, feed=guard.contract.name)
        job = (
            guard.undo_job(job_id, by=person, reason=reason, report=_print_parts)
            if undo
            else guard.cancel(job_id, by=person)
        )
    else:
        job = guard.run_job(job_id) if resume else guard.job(job_id)
    _print_job(job, feed, as_json=as_json)


def _print_parts(done: int, of: int) -> None:
    print_progress(f"{done:,} of {of:,} parts")


def _print_job(job: Job, feed: str, *, as_json: bool) -> None:
    print_json(job.to_dict()) if as_json else print_result(str(job))
    if job.state == "done" and not as_json:
        print_progress(f"take it back with: poison-guard review jobs {job.job_id} --undo --feed {feed} --reason WHY")


@click.command("export")
@feed_option
@filter_options
@click.option("--out", required=True, metavar="FILE", help="File to write: .csv, .jsonl or .parquet.")
@common_options
def export_command(feed: str, filters: QueueFilter | None, out: str, home: Path, as_json: bool) -> None:
    """Write what the filters find to a file with an empty column decision, to decide elsewhere."""
    written = Guard.open(feed, home=home).export_queue(out, filters)
    print_json(written.to_dict()) if as_json else print_result(str(written))


@click.command("import")
@click.argument("file")
@feed_option
@person_options
@common_options
def import_command(file: str, feed: str, by: str, reason: str, home: Path, as_json: bool) -> int:
    """Make the decisions of FILE (record_id, decision); exit code 1: some were left, and each says why."""
    done = Guard.open(feed, home=home).import_decisions(file, by=by, reason=reason)
    if as_json:
        print_json(done.to_dict())
    else:
        print_result(str(done))
        left = [(row["record_id"], row["why"]) for row in done.refused[:20]]
        if left:
            print_table("Left as they are", ("record", "why"), left)
    return 1 if done.refused else 0
