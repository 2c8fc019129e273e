"""Propose: look at a data file and write a contract and expectations that the file itself passes."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from poison_guard.config import Contract, Settings, parse_contract
from poison_guard.contracts.suite import Suite, check_suite, parse_suite
from poison_guard.errors import UsageError
from poison_guard.files import write_text
from poison_guard.ingest.collect import collect_frames
from poison_guard.ingest.read import read_raw, read_tables
from poison_guard.onboard import find_format, fit_format, named_format, propose_contract, propose_suite
from poison_guard.onboard.fit_format import FittedFormat
from poison_guard.pipeline import validate_records
from poison_guard.results import Result
from poison_guard.text import shown_url

__all__ = ["ProposalResult", "propose"]

_SAMPLE = 200_000
"""Rows looked at; a proposal needs no more."""


@dataclass(frozen=True, slots=True)
class ProposalResult(Result):
    """What `propose` returns."""

    feed: str
    dry_run: bool
    signals: tuple[str, ...]
    """Signals that the columns found allow."""
    rows_failing: int
    """Rows of the file that the proposal itself would hold."""
    contract: str
    """File of the contract."""
    suite: str
    """File of the expectations."""
    toml: str
    """Text of the contract."""
    expectations: int

    def __str__(self) -> str:
        verb = "would write" if self.dry_run else "wrote"
        return (
            f"{verb} {self.contract} and {self.suite} ({self.expectations} expectations)\n"
            f"signals that can run: {', '.join(self.signals)}; rows of the file that fail: {self.rows_failing:,}"
        )


def propose(
    data: str,
    *,
    name: str | None,
    out: Path,
    force: bool,
    dry_run: bool,
    settings: Settings,
    now: dt.datetime,
    format_name: str | None = None,
    join: str | None = None,
) -> ProposalResult:
    """Propose a contract and a suite for `data` and write them below `out`.

    A known format is found on sight, or named; `join` is the second file that it leaves something to.

    `UsageError` where one of the files is there already, unless `force`, and where no name can be made of `data`.
    """
    feed = name or _feed_name(data)
    contract_file, suite_file = out / "feeds" / f"{feed}.toml", out / "expectations" / f"{feed}.json"
    existing = next((file for file in (contract_file, suite_file) if file.exists()), None)
    if existing is not None and not force and not dry_run:
        raise UsageError(f"{existing} exists already; give another --name or --out, or --force to replace it")
    frame = read_raw([data], sample_rows=_SAMPLE)
    fitted = _fitted(frame, format_name, join, shown_url(data))
    toml = propose_contract(
        frame,
        name=feed,
        data_path=_seen_from(contract_file, data),
        shown=shown_url(data),
        fitted=fitted,
        join_path=join and _seen_from(contract_file, join),
    )
    contract = parse_contract(tomllib.loads(toml), path=contract_file)
    suite = propose_suite(frame, contract)
    rules = parse_suite(suite)
    check_suite(rules)
    rows_failing = _count_failing(contract, rules, data, settings.home, now)
    if not dry_run:
        write_text(toml, contract_file, mode=None)
        write_text(json.dumps(suite, indent=2) + "\n", suite_file, mode=None)
    return ProposalResult(
        feed=feed,
        dry_run=dry_run,
        signals=contract.signals,
        rows_failing=rows_failing,
        contract=str(contract_file),
        suite=str(suite_file),
        toml=toml,
        expectations=len(suite["expectations"]),
    )


def _fitted(frame: pd.DataFrame, name: str | None, join: str | None, shown: str) -> FittedFormat | None:
    """Return how a frame fits its known format; None if it has none. `UsageError` for a join that nothing asks for."""
    entry = find_format(frame) if name is None else named_format(name)
    if entry is None:
        if join is not None:
            raise UsageError(f"{shown} is of no known format, which --join needs; write [data.join] by hand")
        return None
    joined = () if join is None else read_tables(join)
    return fit_format(entry, frame, shown=shown, joined=joined)


def _count_failing(contract: Contract, suite: Suite, data: str, home: Path, now: dt.datetime) -> int:
    """Return how many rows of `data` are unreadable or break a rule of the contract or the suite."""
    batch = collect_frames(contract, [data], home=home, received_at=now)
    validation = validate_records(contract, suite, batch.records, batch.issues, schema=batch.schema, accepted_schema={})
    return int(validation.failures["record_id"].nunique()) + len(batch.unreadable)


def _feed_name(data: str) -> str:
    """Return a feed name made of the file's name: lower case, words joined by ``_``."""
    stem = Path(data.rstrip("/").rsplit("/", 1)[-1]).name.split(".")[0].lower()
    word = re.sub(r"[^a-z0-9]+", "_", stem).strip("_")[:48]
    if not re.match(r"[a-z]", word):
        raise UsageError(f"no feed name can be made of {shown_url(data)}; give one with --name")
    return word


def _seen_from(contract_file: Path, data: str) -> str:
    """Return the path of `data` as the contract file sees it; URLs and absolute paths stay."""
    if "://" in data or Path(data).is_absolute():
        return data
    return Path(os.path.relpath(data, contract_file.parent)).as_posix()
