"""The commands `export` and `report`: write what was stored of a feed or a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.options import common_options, feed_option, feed_or_all_option, out_option
from poison_guard.cli.output import print_json, print_progress, print_result, progress
from poison_guard.errors import NotFoundError, UsageError
from poison_guard.files import check_ending, write_frame
from poison_guard.records import Place

if TYPE_CHECKING:
    from poison_guard.guard import ExportResult

__all__ = ["export_command", "report_command"]


@click.command("export")
@feed_option
@click.option(
    "--place",
    "places",
    multiple=True,
    default=("accepted",),
    show_default=True,
    type=click.Choice([p.value for p in Place]),
    help="Where the records are; may be given several times.",
)
@click.option(
    "--decisions", is_flag=True, help="Write what was decided and why, a row per record, instead of the rows."
)
@click.option("--reasons", is_flag=True, help="Write the rows, and beside them what was decided and why.")
@click.option(
    "--as",
    "as_",
    type=click.Choice(["jsonl", "json", "csv", "parquet", "trl", "openai", "hf"]),
    help="Format: the rows as they came, those of a trainer (TRL, OpenAI), or a folder for Hugging Face datasets.",
)
@click.option("--snapshot", "snapshot_id", metavar="ID|last|admitted", help="Write a sealed snapshot instead.")
@click.option("--private", is_flag=True, help="Write the columns too that [privacy] of the contract calls private.")
@click.option(
    "--trusted",
    type=click.Choice(["holdout", "scan"]),
    help="Write what a candidate model must predict instead: trusted examples without labels; `scan`: also with marks.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE|-",
    help="File to write (.jsonl, .json, .csv or .parquet); - is stdout; of `--as hf` a folder.",
)
@common_options
def export_command(
    feed: str, places: tuple[str, ...], trusted: str | None, out: Path, home: Path, as_json: bool, **how: Any
) -> None:
    """Write the rows of a feed as they came, in the order they came in; by default those of accepted records.

    Rows for training are written cell for cell. A .csv without --as is for people: cells that a spreadsheet would run
    are made safe, and counted.
    """
    from poison_guard.guard import Guard

    if trusted:
        given = [f"--{name.removesuffix('_').removesuffix('_id')}" for name, value in how.items() if value]
        if given or places != ("accepted",):
            raise UsageError(
                f"--trusted writes questions for a model; give it without {given[0] if given else '--place'}"
            )
        check_ending(out)
        _write_questions(feed, out, home, as_json, scan=trusted == "scan")
        return
    if as_json and str(out) == "-":
        raise UsageError("--json and --out - both write to stdout; name a file in --out")
    guard = Guard.open(feed, home=home)
    with progress(f"reading {how['snapshot_id'] or ', '.join(places)} records of {guard.contract.name}"):
        result = guard.export(out, places=places, **how)
    if as_json:
        print_json(result.to_dict())
        return
    if result.body is not None:
        click.echo(result.body, nl=False)
    else:
        print_result(f"wrote {len(result.frame):,} {'decisions' if how['decisions'] else 'records'} to {out}")
    for note in (*result.notes, *_admitted(result)):
        print_progress(note)


def _admitted(result: ExportResult) -> list[str]:
    """Return the line that says what admits a snapshot."""
    if result.snapshot_id is None:
        return []
    if result.digest is None:
        return [f"{result.snapshot_id} is not admitted; `poison-guard gate check` judges it"]
    return [f"{result.snapshot_id} is admitted by the manifest with SHA-256 {result.digest}"]


def _write_questions(feed: str, out: Path, home: Path, as_json: bool, *, scan: bool) -> None:
    """Write what a candidate is asked: ``example_id`` and payload of the trusted examples kept for judging.

    With `scan` also those with marks.
    """
    from poison_guard.guard import Guard

    guard = Guard.open(feed, home=home)
    name = guard.contract.name
    with progress(f"reading the trusted examples of {name}"):
        frame = guard.candidate_inputs(scan=scan).frame
    if frame.empty:
        raise NotFoundError(
            f"{name} has no trusted examples to ask a model about; enter some with poison-guard trust --feed {feed}"
        )
    write_frame(frame, out)
    if as_json:
        print_json({"feed": name, "trusted": "scan" if scan else "holdout", "examples": len(frame), "file": str(out)})
        return
    (print_progress if str(out) == "-" else print_result)(f"wrote {len(frame):,} examples to {out}")
    print_progress(
        "predict them (a file of example_id, label), then: "
        f"poison-guard gate check --feed {feed} --candidate PREDICTIONS"
    )


@click.command("report")
@feed_or_all_option
@click.option("--run", "run_id", metavar="RUN", help="Run to report. Default: the last committed one.")
@out_option("Page to write. Default: reports/RUN.html in the home.")
@common_options
def report_command(feed: str | None, run_id: str | None, out: Path | None, home: Path, as_json: bool) -> None:
    """Write the report of a run: counts, reasons, risk, sources, campaigns, calibration, limits, cost."""
    from poison_guard.guard import Home
    from poison_guard.web.report import write_report

    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{out} must end in .html")
    opened = Home.open(home)
    result = opened.report(run_id, feed=feed)
    page = write_report(result, home=opened.home, path=out)
    if as_json:
        print_json({"run_id": result.run_id, "page": str(page), "bytes": page.stat().st_size})
    else:
        print_result(str(page))
