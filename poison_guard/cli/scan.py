"""`poison-guard scan`: decide records by what the home knows, store nothing, say what was found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from poison_guard.cli.files import check_ending, write_frame
from poison_guard.cli.options import common, contract_file, feed_option, out_option
from poison_guard.cli.output import emit, say, working
from poison_guard.cli.summary import result_document, show_result
from poison_guard.errors import UsageError

__all__ = ["scan_command"]

FINDINGS, INCONCLUSIVE = 1, 3


@click.command("scan")
@click.argument("data", nargs=-1)
@feed_option(required=True)
@out_option("Write one decision a record here (.parquet, .csv or .jsonl).")
@common
def scan_command(data: tuple[str, ...], feed: str, out: Path | None, home: Path, as_json: bool) -> int:
    """Decide the records of DATA (paths or URLs; default: the contract's [data]) and store nothing.

    Exit code 0: nothing to hold. 1: findings. 3: no finding, but records that could not be judged.
    """
    from poison_guard.guard import Guard

    if out is not None:
        check_ending(out)
        _spare_inputs(out, data)
    guard = Guard.open(contract_file(feed), home=home)
    with working(f"scanning {guard.contract.name}"):
        result = guard.scan(list(data) or None)
    if out is not None:
        write_frame(result.decisions, out)
        say(f"wrote {len(result.decisions):,} decisions to {out}")
    if as_json:
        emit(result_document(guard.contract.name, result))
    else:
        show_result(guard.contract.name, result, stored=False)
    return exit_code(result.counts)


def _spare_inputs(out: Path, data: tuple[str, ...]) -> None:
    """Raise `UsageError` where the decisions would be written over the records that they are about."""
    if out.exists() and any("://" not in name and Path(name).exists() and out.samefile(name) for name in data):
        raise UsageError(f"--out {out} is one of the files to scan; name another")


def exit_code(counts: Mapping[str, int]) -> int:
    """Return 1 where something was found, 3 where records could only be staged, 0 where all were accepted."""
    if counts.get("quarantined", 0) or counts.get("rejected", 0):
        return FINDINGS
    return INCONCLUSIVE if counts.get("staged", 0) else 0
