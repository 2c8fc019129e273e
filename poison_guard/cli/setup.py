"""The commands `init`, `demo` and `doctor`: propose a contract, write the demo's feeds, check the installation."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from poison_guard.cli.options import common_options, dry_run, feed_or_all_option
from poison_guard.cli.output import print_json, print_progress, print_result, print_table, progress
from poison_guard.errors import MissingExtraError, UsageError
from poison_guard.text import shown_url

__all__ = ["demo_command", "doctor_command", "formats_command", "init_command"]


@click.command("init")
@click.argument("data", required=False)
@click.option("--name", help="Name of the feed. Default: from the file's name.")
@click.option(
    "--out",
    default=".",
    show_default=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where feeds/NAME.toml and expectations/NAME.json are written.",
)
@click.option("--force", is_flag=True, help="Replace files that are there already.")
@click.option("--format", "format_name", metavar="FORMAT", help="A known format; without it, found on sight.")
@click.option("--join", metavar="DATA", help="A second file with more about each row, such as traces of scores.")
@click.option(
    "--refresh",
    metavar="FEED.toml",
    help="Write the expectations again for this contract as it stands, after its columns were edited by hand.",
)
@dry_run
@common_options
def init_command(
    data: str | None,
    refresh: str | None,
    dry_run: bool,
    home: Path,
    as_json: bool,
    **proposal: Any,
) -> int:
    """Look at DATA (csv, jsonl or parquet) and propose a contract and expectations that the file itself passes.

    Rows that do not pass are counted, with the reason and the first of them. Exit code 3: a column has several
    readings (03/11/2026, 3.312); it is left out, and they are in the contract as comments; or several columns could
    say who sent the records. With --refresh, DATA is left out or names other files than the contract's [data].
    """
    from poison_guard.guard import Guard, propose

    if data is None and refresh is None:
        raise UsageError("name the data file to look at, or --refresh FEED.toml")
    with progress(f"looking at {shown_url(data or refresh)}"):
        if refresh is not None:
            result = Guard.open(refresh, home=home).refresh_suite(data, dry_run=dry_run)
        else:
            result = propose(str(data), dry_run=dry_run, home=home, **proposal)
    code = 3 if result.doubts or result.question else 0
    if as_json:
        print_json(result.to_dict())
        return code
    if dry_run and result.toml:
        click.echo(result.toml)
    for line in str(result).splitlines():
        print_result(line)
    if result.doubts:
        print_progress(f"next: choose a reading in [parse] of {result.contract}, put the columns back into [columns]")
        return code
    print_progress(f"next: read [columns] in {result.contract}, then poison-guard scan --feed {result.contract}")
    return code


@click.command("formats")
@common_options
def formats_command(home: Path, as_json: bool) -> None:
    """List the known formats: what `init` finds on sight, and `--format` names."""
    from poison_guard.guard import formats

    result = formats()
    if as_json:
        print_json(result.to_dict())
    else:
        print_table("Known formats", *result.table())


_BY, _REASON = "demo", "vetted by construction: the demo knows the truth of its own records"


@click.command("demo")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1), help="Seed of everything drawn."
)
@dry_run
@common_options
def demo_command(seed: int, dry_run: bool, home: Path, as_json: bool) -> None:
    """Write the feeds captcha, chat and telemetry into the home, with attacks inside, and enter their trusted sets.

    Running it again changes nothing.
    """
    from poison_guard.drills.demo import demo_contracts, trusted_path, write_demo
    from poison_guard.drills.worlds import WORLDS
    from poison_guard.guard import Guard

    rows = []
    contracts: dict[str, Path] = {}
    if not dry_run:
        with progress(f"drawing three feeds from seed {seed}"):
            write_demo(home, seed)
        contracts = demo_contracts(home)
        if find_spec("great_expectations") is None:
            missing = MissingExtraError.of("Great Expectations", "gx")
            print_progress(f"the suites of expectations are left out: {missing}")
        for name, contract in contracts.items():
            with progress(f"checking the trusted set of {name}"):
                added = Guard.open(contract, home=home).trust(str(trusted_path(home, name)), by=_BY, reason=_REASON)
            rows.append({"feed": name, "trusted": added.n, "added": added.added, "inbox": str(home / "inbox" / name)})
    if as_json:
        print_json({"seed": seed, "home": str(home), "dry_run": dry_run, "feeds": rows or list(WORLDS)})
    elif dry_run:
        print_progress(f"dry run: would write {', '.join(WORLDS)} into {home}")
    else:
        print_table(
            "Demo", ("feed", ">trusted records", "batches in"), [(r["feed"], r["trusted"], r["inbox"]) for r in rows]
        )
        file = contracts["captcha"]
        in_home = file.is_relative_to(home)
        near = "captcha" if in_home else file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
        print_progress(f"next: poison-guard run --feed {near} --home {home}")


@click.command("doctor")
@feed_or_all_option
@click.option("--sweep", is_flag=True, help="Remove files that killed commands left a day ago or longer.")
@common_options
def doctor_command(feed: str | None, sweep: bool, home: Path, as_json: bool) -> int:
    """Check packages, home, key, store, lake, extras, device and contracts. Exit code 1: something must be fixed."""
    from poison_guard.guard import Home

    with progress("checking"):
        result = Home.open(home).doctor([feed] if feed else (), sweep=sweep)
    if as_json:
        print_json(result.to_dict())
    else:
        print_table("Doctor", *result.table())
    return 1 if result.problems else 0
