"""`poison-guard seal`: seal what was accepted into a snapshot that a gate can judge and a model can train on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from poison_guard.cli.options import common, contract_file, feed_option
from poison_guard.cli.output import counted, emit, say, told, working

__all__ = ["seal_command"]


@click.command("seal")
@feed_option(required=True)
@common
def seal_command(feed: str, home: Path, as_json: bool) -> None:
    """Seal the accepted and released records of a feed, with their adopted labels, into a snapshot.

    Sealing again when nothing changed returns the same snapshot; when little changed, only that is written. A snapshot
    is no permission to train: `gate check` gives that.
    """
    from poison_guard.guard import Guard

    guard = Guard.open(contract_file(feed), home=home)
    name = guard.contract.name
    with working(f"sealing {name}"):
        sealed = guard.seal()
    if as_json:
        emit({"feed": name, "snapshot_id": sealed.snapshot_id, "new": sealed.new, "counts": dict(sealed.counts)})
        return
    what = "sealed" if sealed.new else "nothing changed since"
    told(f"{what} {sealed.snapshot_id}: {_counts(sealed.counts)}")
    if sealed.counts.get("examples"):
        say(f"next: poison-guard gate check --feed {feed}")
    else:
        say(f"nothing of {name} is accepted with a label yet: poison-guard run --feed {feed}, then review what is held")


def _counts(counts: Mapping[str, int]) -> str:
    """Return ``1,203 examples, 40 deferred``; the examples first."""
    hidden = ("examples", "parts", "items_file")  # the last is the digest of a file, as a number
    rest = [f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if name not in hidden and n]
    parts = [counted(counts["parts"], "part")] if counts.get("parts") else []
    return ", ".join([counted(counts.get("examples", 0), "example"), *parts, *rest])
