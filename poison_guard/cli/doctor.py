"""`poison-guard doctor`: check this installation and home, and say what to mend."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from poison_guard.cli.options import common, contract_file, feed_option
from poison_guard.cli.output import emit, table, working

__all__ = ["doctor_command"]


@click.command("doctor")
@feed_option(required=False)
@common
def doctor_command(feed: str | None, home: Path, as_json: bool) -> int:
    """Check packages, home, key, store, lake, Airflow, device and contracts. Exit code 1: something must be mended."""
    from poison_guard.cli.checks import PROBLEM, all_checks
    from poison_guard.config import open_settings

    contracts = [contract_file(feed)] if feed else sorted(Path("feeds").glob("*.toml"))
    with working("checking"):
        checks = list(all_checks(open_settings(home), contracts))
    problems = sum(check.state == PROBLEM for check in checks)
    if as_json:
        emit({"problems": problems, "checks": [dataclasses.asdict(check) for check in checks]})
    else:
        table("Doctor", ("check", "state", "what was found"), [(c.name, c.state, c.told) for c in checks])
    return 1 if problems else 0
