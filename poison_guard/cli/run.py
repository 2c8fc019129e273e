"""The commands `scan` and `run`: decide records without storing anything, or take them in; the summary of a result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.options import common_options, dry_run, feed_option, out_option
from poison_guard.cli.output import (
    logs_are_json,
    print_event,
    print_json,
    print_progress,
    print_result,
    print_revoked,
    print_table,
    progress,
)
from poison_guard.errors import GuardError, UsageError
from poison_guard.files import check_ending, write_frame
from poison_guard.text import p_value_text

if TYPE_CHECKING:
    from poison_guard.guard import ScanResult

__all__ = ["run_command", "scan_command"]


_TOP = 8
_PLACES = (
    ("accepted", "accepted"),
    ("quarantined", "held for review"),
    ("rejected", "rejected"),
    ("staged", "staged: could not be judged"),
    ("seen_before", "seen before"),
)
_ALSO = (
    ("unreadable", "of these unreadable"),
    ("recalled", "taken back from earlier batches"),
    ("adopted_items", "labels adopted"),
    ("deferred_items", "labels deferred"),
)


def _print_scan(result: ScanResult, *, stored: bool, observing: bool) -> None:
    """Print the tables of a batch on stdout; a feed that is `observing` holds nothing."""
    feed, counts = result.feed, result.counts
    received = counts.get("received", 0)
    places = dict(_PLACES) if result.judged else dict(_PLACES) | {"accepted": "accepted unjudged"}
    rows = [(name, counts[key], _share(counts[key], received)) for key, name in places.items() if counts.get(key)]
    would = int((result.decisions["action"] != "accept").sum()) if observing else 0
    if would:
        rows.append(("an enforcing feed would hold", would, _share(would, received)))
    rows += [(name, counts[key], "") for key, name in _ALSO if counts.get(key)]
    print_table(
        f"{feed}: {received:,} records {'taken in' if stored else 'scanned'}",
        ("", ">records", ">share"),
        rows,
        empty=f"{feed}: no new record came in.",
    )
    reasons = [(r["code"].replace("_", " "), r["records"], r["example"]) for r in result.top_reasons()]
    if reasons:
        print_table(
            "Why an enforcing feed would hold records" if observing else "Why records are held",
            ("reason", ">records", "for example"),
            reasons,
        )
    if len(result.campaigns):
        print_table(
            "Campaigns", ("campaign", ">records", ">sources", ">chance if honest", "what they did"), _campaigns(result)
        )
    for note in result.notes:
        print_result(f"note: {note}")
    for sentence in result.statement():
        print_result(f"coverage: {sentence}")


def _campaigns(result: ScanResult) -> list[tuple[Any, ...]]:
    ranked = result.campaigns.sort_values(["n_records", "campaign_id"], ascending=[False, True]).head(_TOP)
    return [
        (c.campaign_id, int(c.n_records), int(c.n_sources), p_value_text(float(c.p)), c.why)
        for c in ranked.itertuples(index=False)
    ]


def _share(n: int, total: int) -> str:
    return f"{100 * n / total:.1f} %" if total else ""


def _tell(feed: str, home: Path) -> None:
    """Log what the feed's last run was, where logs are JSON, and bring the file for Prometheus up to date."""
    from poison_guard.guard import Home

    opened = Home.open(home)
    if logs_are_json():
        run = opened.status(feed).runs[0]
        print_event("stored", feed=feed, run_id=run.run_id, counts=run.counts, cost=run.cost)
    if opened.settings.metrics is not None:
        from poison_guard.web.counters import write_counters

        try:
            write_counters(home)
        except GuardError as error:  # what is stored is stored, and is shown
            print_progress(f"the run is stored, and the file of metrics is not up to date: {error}")


FINDINGS, INCONCLUSIVE = 1, 3


@click.command("scan")
@click.argument("data", nargs=-1)
@feed_option
@out_option("Write one decision per record here (.parquet, .csv or .jsonl; - for JSON Lines on stdout).", dash=True)
@common_options
def scan_command(data: tuple[str, ...], feed: str, out: Path | None, home: Path, as_json: bool) -> int:
    """Decide the records of DATA (paths or URLs; default: the contract's [data]) and store nothing.

    Exit code 0: nothing to hold, as always in a feed that observes and was judged. 1: findings. 3: no finding, but
    records that could not be judged; or nothing could judge any of them.
    """
    if out is not None:
        check_ending(out)
        _refuse_input_as_output(out, data)
    from poison_guard.guard import Guard

    guard = Guard.open(feed, home=home)  # what is wrong with the contract is said first
    with progress(f"scanning {guard.contract.name}"):
        result = guard.scan(list(data) or None)
    if out is not None:
        write_frame(result.decisions, out)
        print_progress(f"wrote {len(result.decisions):,} decisions to {'stdout' if str(out) == '-' else out}")
    if str(out) == "-":
        pass  # stdout holds the decisions and nothing else
    elif as_json:
        print_json(result.to_dict())
    else:
        _print_scan(result, stored=False, observing=guard.contract.mode == "observe")
    return exit_code(result.counts) if result.judged else INCONCLUSIVE


def _refuse_input_as_output(out: Path, data: tuple[str, ...]) -> None:
    """Raise `UsageError` where the decisions would be written over the records that they are about."""
    if out.exists() and any("://" not in name and Path(name).exists() and out.samefile(name) for name in data):
        raise UsageError(f"--out {out} is one of the files to scan; name another")


def exit_code(counts: Mapping[str, int]) -> int:
    """Return 1 where something was found, 3 where records could only be staged, 0 where all were accepted."""
    if counts.get("quarantined", 0) or counts.get("rejected", 0):
        return FINDINGS
    return INCONCLUSIVE if counts.get("staged", 0) else 0


@click.command("run")
@click.argument("data", nargs=-1)
@feed_option
@dry_run
@common_options
def run_command(data: tuple[str, ...], feed: str, dry_run: bool, home: Path, as_json: bool) -> int:
    """Take in the records of DATA, decide them and store the decisions.

    DATA: paths or URLs; default: what is new at the contract's [data]. Held records are the guard's normal work: they
    wait in the queue, and the exit code is 0; it is 3 where nothing could judge any record of a feed that enforces, and
    those that would pass are staged. Where a campaign shows that takes accepted records back, the snapshots
    that held them are revoked and the models that used them are named.
    """
    from poison_guard.guard import Guard

    guard = Guard.open(feed, home=home)
    with progress(f"{'scanning' if dry_run else 'running'} {guard.contract.name}"):
        result = guard.scan(list(data) or None) if dry_run else guard.ingest(list(data) or None)
    code = 0 if result.judged or guard.contract.mode == "observe" else INCONCLUSIVE
    if result.run_id and not dry_run:
        _tell(guard.contract.name, home)
    if as_json:
        print_json({**result.to_dict(), "dry_run": dry_run})
        return code
    _print_scan(result, stored=not dry_run, observing=guard.contract.mode == "observe")
    print_revoked(result.revocation.to_dict(), feed=feed, dry_run=False)
    if dry_run:
        print_progress("dry run: nothing was stored")
    elif result.run_id and guard.contract.mode == "observe":
        print_progress(
            f"next: poison-guard review list --would-hold --feed {feed}   |   "
            f"poison-guard trust --sample N --feed {feed} --out FILE.csv"
        )
    elif result.run_id:
        print_progress(f"next: poison-guard review list --feed {feed}   |   poison-guard report --run {result.run_id}")
        if url := guard.settings.page(guard.contract.name, "queue", run_id=result.run_id):
            print_progress(f"look: {url}")
    return code
