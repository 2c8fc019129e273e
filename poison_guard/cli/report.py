"""`poison-guard report`: write one run's report as a self-contained page."""

from __future__ import annotations

from pathlib import Path

import click

from poison_guard.cli.options import common, feed_name, feed_option, out_option
from poison_guard.cli.output import emit, told
from poison_guard.cli.rooms import opened_store
from poison_guard.errors import NotFoundError, UsageError

__all__ = ["report_command"]


@click.command("report")
@feed_option(required=False)
@click.option("--run", "run_id", metavar="RUN", help="Run to report. Default: the last committed one.")
@out_option("Page to write. Default: reports/RUN.html in the home.")
@common
def report_command(feed: str | None, run_id: str | None, out: Path | None, home: Path, as_json: bool) -> None:
    """Write the report of a run: counts, reasons, risk, sources, campaigns, calibration, limits, cost."""
    from poison_guard.web.report import write_report

    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{out} must end in .html")
    run = run_id or _last_run(home, feed_name(feed) if feed else None)
    page = write_report(home, run, out)
    if as_json:
        emit({"run_id": run, "page": str(page), "bytes": page.stat().st_size})
    else:
        told(str(page))


def _last_run(home: Path, feed: str | None) -> str:
    from poison_guard.store import list_runs

    with opened_store(home) as store:
        done = [run.run_id for run in list_runs(store, feed) if run.status == "committed"]
    if not done:
        raise NotFoundError("no run was committed yet; `poison-guard run --feed FEED.toml` makes one")
    return done[0]
