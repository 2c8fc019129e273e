"""`poison-guard init`: propose a contract and a suite of expectations for a data file, and check that they fit it."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path

import click

from poison_guard.cli.files import write_text
from poison_guard.cli.fitting import count_flaws
from poison_guard.cli.options import common, dry_run
from poison_guard.cli.output import emit, say, told, working
from poison_guard.errors import UsageError

__all__ = ["init_command"]

_SAMPLE = 200_000
"""Rows looked at; a proposal needs no more."""


@click.command("init")
@click.argument("data")
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
@dry_run
@common
def init_command(data: str, name: str | None, out: Path, force: bool, dry_run: bool, home: Path, as_json: bool) -> None:
    """Look at DATA (csv, jsonl or parquet) and propose a contract and expectations that the file itself passes."""
    from poison_guard.config import parse_contract
    from poison_guard.ingest import read_raw
    from poison_guard.validate import parse_suite, propose_contract, propose_suite

    feed = name or _feed_name(data)
    files = (out / "feeds" / f"{feed}.toml", out / "expectations" / f"{feed}.json")
    if not force and not dry_run:
        _refuse_existing(files)
    with working(f"looking at {data}"):
        frame = read_raw([data], sample_rows=_SAMPLE)
        text = propose_contract(frame, name=feed, data_path=_from_contract(data, files[0]))
        contract = parse_contract(tomllib.loads(text), path=files[0])
        suite = propose_suite(frame, contract)
    with working("checking the proposal against the file"):
        _, flaws, _ = count_flaws(contract, parse_suite(suite), data, home)
    if not dry_run:
        write_text(text, files[0])
        write_text(json.dumps(suite, indent=2) + "\n", files[1])
    expectations = len(suite["expectations"])
    if as_json:
        listed = {"contract": str(files[0]), "suite": str(files[1]), "toml": text, "expectations": expectations}
        emit({"feed": feed, "dry_run": dry_run, "signals": list(contract.signals), "rows_failing": flaws, **listed})
        return
    if dry_run:
        click.echo(text)
    told(f"{'would write' if dry_run else 'wrote'} {files[0]} and {files[1]} ({expectations} expectations)")
    told(f"signals that can run: {', '.join(contract.signals)}; rows of the file that fail: {flaws:,}")
    say(f"next: read [columns] in {files[0]}, then poison-guard scan --feed {files[0]}")


def _feed_name(data: str) -> str:
    """Return a feed name made of the file's name: lower case, words joined by ``_``."""
    stem = Path(data.rstrip("/").rsplit("/", 1)[-1]).name.split(".")[0].lower()
    word = re.sub(r"[^a-z0-9]+", "_", stem).strip("_")[:48]
    if not re.match(r"[a-z]", word):
        raise UsageError(f"no feed name can be made of {data}; give one with --name")
    return word


def _refuse_existing(files: tuple[Path, ...]) -> None:
    there = next((file for file in files if file.exists()), None)
    if there is not None:
        raise UsageError(f"{there} exists already; give another --name or --out, or --force to replace it")


def _from_contract(data: str, contract: Path) -> str:
    """Return the path of `data` as the contract file sees it; URLs and absolute paths stay."""
    if "://" in data or Path(data).is_absolute():
        return data
    return Path(os.path.relpath(data, contract.parent)).as_posix()
