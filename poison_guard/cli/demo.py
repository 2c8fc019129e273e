"""`poison-guard demo`: write three feeds with attacks inside, and enter their trusted sets."""

from __future__ import annotations

from pathlib import Path

import click

from poison_guard.cli.options import common, dry_run
from poison_guard.cli.output import emit, say, table, working

__all__ = ["demo_command"]

_BY, _REASON = "demo", "vetted by construction: the demo knows the truth of its own records"


@click.command("demo")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1), help="Seed of everything drawn."
)
@dry_run
@common
def demo_command(seed: int, dry_run: bool, home: Path, as_json: bool) -> None:
    """Write the feeds captcha, chat and telemetry into the home, with attacks inside, and enter their trusted sets.

    Running it again changes nothing.
    """
    from poison_guard.drills.demo import shipped, trusted_path, write_demo
    from poison_guard.drills.worlds import WORLDS
    from poison_guard.guard import Guard

    contracts = {name: shipped("feeds", f"{name}.toml") for name in WORLDS}
    rows = []
    if not dry_run:
        with working(f"drawing three feeds from seed {seed}"):
            write_demo(home, seed)
        for name, contract in contracts.items():
            with working(f"checking the trusted set of {name}"):
                added = Guard.open(contract, home=home).trust(str(trusted_path(home, name)), by=_BY, reason=_REASON)
            rows.append({"feed": name, "trusted": added.n, "added": added.added, "inbox": str(home / "inbox" / name)})
    if as_json:
        emit({"seed": seed, "home": str(home), "dry_run": dry_run, "feeds": rows or list(WORLDS)})
    elif dry_run:
        say(f"dry run: would write {', '.join(WORLDS)} into {home}")
    else:
        table("Demo", ("feed", ">trusted records", "batches in"), [(r["feed"], r["trusted"], r["inbox"]) for r in rows])
        say(f"next: poison-guard run --feed {_near(contracts['captcha'])} --home {home}")


def _near(path: Path) -> Path:
    """Return `path` as it is typed from here, where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
