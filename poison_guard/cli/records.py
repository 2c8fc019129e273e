"""The commands `export` and `report`: write what was stored of a feed or a run."""

from __future__ import annotations

from pathlib import Path

import click

from poison_guard.cli.options import common_options, feed_option, feed_or_all_option, out_option
from poison_guard.cli.output import print_json, print_progress, print_result, progress
from poison_guard.errors import NotFoundError, UsageError
from poison_guard.files import check_ending, write_frame
from poison_guard.records import Place

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
@click.option("--decisions", is_flag=True, help="Write record_id and decision instead of the payloads.")
@click.option(
    "--trusted",
    type=click.Choice(["holdout"]),
    help="Write the trusted examples that a candidate model must predict instead, without their labels.",
)
@out_option("File to write (.parquet, .csv or .jsonl).", required=True)
@common_options
def export_command(
    feed: str, places: tuple[str, ...], decisions: bool, trusted: str | None, out: Path, home: Path, as_json: bool
) -> None:
    """Write the records of a feed that are in a place; by default the accepted ones, released ones included."""
    from poison_guard.guard import Guard

    check_ending(out)
    if trusted:
        if decisions or places != ("accepted",):
            raise UsageError("--trusted writes questions for a model; give it without --place and --decisions")
        _write_questions(feed, out, home, as_json)
        return
    guard = Guard.open(feed, home=home)
    with progress(f"reading {', '.join(places)} records of {guard.contract.name}"):
        result = guard.export(out, places=places, decisions=decisions)
    if as_json:
        print_json(result.to_dict())
    else:
        print_result(f"wrote {len(result.frame):,} {'decisions' if decisions else 'records'} to {out}")


def _write_questions(feed: str, out: Path, home: Path, as_json: bool) -> None:
    """Write what a candidate is asked: ``example_id`` and payload of the trusted examples kept for judging."""
    from poison_guard.guard import Guard

    guard = Guard.open(feed, home=home)
    name = guard.contract.name
    with progress(f"reading the trusted examples of {name}"):
        frame = guard.candidate_inputs().frame
    if frame.empty:
        raise NotFoundError(
            f"{name} has no trusted examples to ask a model about; enter some with poison-guard trust --feed {feed}"
        )
    write_frame(frame, out)
    if as_json:
        print_json({"feed": name, "trusted": "holdout", "examples": len(frame), "file": str(out)})
        return
    print_result(f"wrote {len(frame):,} examples to {out}")
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
