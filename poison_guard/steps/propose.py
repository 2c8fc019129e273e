"""Propose: look at a data file and write a contract and expectations that the file itself passes."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from poison_guard.config import Case, Contract, Settings, parse_contract
from poison_guard.contracts.check import raw_view
from poison_guard.contracts.suite import Suite, check_suite, parse_suite
from poison_guard.decide.reasons import sentence
from poison_guard.errors import DataError, UsageError
from poison_guard.files import write_text
from poison_guard.frames import empty_frame
from poison_guard.ingest.collect import collect_frames, series_to_array
from poison_guard.ingest.encoding import find_text_keys
from poison_guard.ingest.formats import is_csv
from poison_guard.ingest.raw_table import Limits
from poison_guard.ingest.read import natural_frame, read_cells, read_tables
from poison_guard.ingest.values import canonical_labels
from poison_guard.onboard import (
    draft_contract,
    find_format,
    find_readings,
    fit_format,
    join_day_and_clock,
    named_format,
    propose_suite,
    suite_for,
)
from poison_guard.onboard.columns import header_doubt
from poison_guard.onboard.doubts import Doubt
from poison_guard.onboard.fit_format import FittedFormat
from poison_guard.pipeline import validate_records
from poison_guard.pipeline.labels import LABEL_ROLES, choose_spellings, declared_labels, fold_labels
from poison_guard.records import Batch
from poison_guard.results import Result
from poison_guard.steps.opening import find_suite
from poison_guard.text import quoted, shown_url

__all__ = ["ProposalResult", "propose", "refresh"]

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
    failing: tuple[str, ...]
    """Why, a sentence per kind of fault, with how many rows it is and the first of them."""
    doubts: tuple[str, ...]
    """Columns that are left out until ``[parse]`` says how they are read, each with its readings."""
    question: str
    """What the owner of the data has to say, where a role that matters may be one of several columns; else empty."""
    contract: str
    """File of the contract."""
    suite: str
    """File of the expectations."""
    toml: str
    """Text of the contract; empty where the one that stands was kept."""
    expectations: int
    format: str = ""
    """Known format of the file, with what it is called; empty where it has none."""
    missing: str = ""
    """What files of this format do not say, in one sentence."""

    def __str__(self) -> str:
        verb = "would write" if self.dry_run else "wrote"
        files = f"{self.contract} and {self.suite}" if self.toml else self.suite
        lines = [
            f"{verb} {files} ({self.expectations} expectations)",
            f"signals that can run: {', '.join(self.signals)}; rows of the file that fail: {self.rows_failing:,}",
        ]
        known = [f"format: {self.format}" + (f". {self.missing}" if self.missing else "")] if self.format else []
        return "\n".join(
            [
                *known,
                *lines,
                *self.failing,
                *(f"left out: {doubt}" for doubt in self.doubts),
                *filter(None, [self.question]),
            ]
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
    contract_file, suite_file = _files_of(feed, out, replace_them=force or dry_run)
    table, data_keys = _cells_of(data)
    table = join_day_and_clock(table)
    readings = find_readings(table)
    frame = natural_frame(table, readings.parse, readings.times)
    fitted = _fitted(frame, format_name, join, shown_url(data))
    path = _seen_from(contract_file, data)
    draft = draft_contract(
        frame,
        name=feed,
        data_path=path,
        shown=shown_url(data),
        fitted=fitted,
        join_path=join and _seen_from(contract_file, join),
        pattern=_of_all_days(path),
        readings=readings,
        data_keys=data_keys,
    )
    contract = parse_contract(tomllib.loads(draft.text), path=contract_file)
    suite = propose_suite(_with_one_spelling(frame, contract), contract)
    batch = collect_frames(contract, [data], home=settings.home, received_at=now)
    result = _proposal(
        contract, suite, batch, suite_file, draft.text, dry_run=dry_run, doubts=draft.doubts, question=draft.question
    )
    if fitted is not None:
        called = f"{fitted.entry.name} ({fitted.entry.title})"
        result = replace(result, format=called, missing=fitted.not_said(contract.columns))
    if not dry_run:
        write_text(draft.text, contract_file, mode=None)
        write_text(json.dumps(suite, indent=2) + "\n", suite_file, mode=None)
    return result


def _files_of(feed: str, out: Path, *, replace_them: bool) -> tuple[Path, Path]:
    """Return the files of contract and suite; `UsageError` where one is there already and is not to be replaced."""
    files = out / "feeds" / f"{feed}.toml", out / "expectations" / f"{feed}.json"
    existing = next((file for file in files if file.exists()), None)
    if existing is not None and not replace_them:
        raise UsageError(f"{existing} exists already; give another name (--name), or replace it by force (--force)")
    return files


def refresh(
    contract: Contract, data: str | None, *, dry_run: bool, settings: Settings, now: dt.datetime
) -> ProposalResult:
    """Propose the suite again, for the contract as it stands and its own files (or `data`), and replace the old one."""
    source = None if data is None else [data]
    batch = collect_frames(contract, source, home=settings.home, received_at=now)
    if not len(batch.records):
        raise DataError(f"the data of feed {contract.name} holds no readable record to propose expectations from")
    records = _spelled(batch.records.head(_SAMPLE), contract, {})
    suite = suite_for(raw_view(records, contract), contract)
    folder = Path(str(contract.path)).absolute().parent
    beside = folder.parent if folder.name == "feeds" else folder
    suite_file = find_suite(contract, settings.home) or beside / "expectations" / f"{contract.name}.json"
    result = _proposal(contract, suite, batch, suite_file, "", dry_run=dry_run)
    if not dry_run:
        write_text(json.dumps(suite, indent=2) + "\n", suite_file, mode=None)
    return result


def _cells_of(data: str) -> tuple[pa.Table, dict[str, tuple[Any, str]]]:
    """Return the cells of a file, and the keys of ``[data]`` that say how they are read, with what shows it."""
    limits, keys = _reading_of(data)
    names: list[str] = []
    try:
        table = read_cells([data], limits=limits, sample_rows=_SAMPLE)
        names = table.column_names
    except DataError:  # a first row that cannot be a header may be a record
        if not is_csv(data):
            raise
        table = pa.table({})
    if is_csv(data) and (not names or header_doubt(names, table) is not None):
        bare = read_cells([data], limits=replace(limits, header=False), sample_rows=_SAMPLE)
        first = [str(column[0].as_py() or "") for column in bare.columns]
        doubt = header_doubt(first, bare.slice(1))
        if doubt is not None:
            return bare, {**keys, "header": (False, f"the first row is a record: {doubt}")}
    if not names:
        read_cells([data], limits=limits, sample_rows=_SAMPLE)  # raises what is wrong with the header
    return table, keys


def _reading_of(data: str) -> tuple[Limits, dict[str, tuple[Any, str]]]:
    """Return how a file is to be read, and the keys of ``[data]`` that say so, with what shows it."""
    found = find_text_keys([data], Limits())
    encoding, delimiter = (found[key][0] if key in found else None for key in ("encoding", "delimiter"))
    return Limits(encoding=encoding, delimiter=delimiter), dict(found)


def _with_one_spelling(frame: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return a raw frame with its labels spelled as the contract folds them: the suite declares these."""
    changed = {}
    for role in LABEL_ROLES:
        if (column := contract.columns.get(role)) in frame and contract.parse.case is Case.FOLD:
            labels = canonical_labels(series_to_array(frame[column])[0], ordered=contract.parse.ordered)
            rows = pd.DataFrame({role: pd.Series(labels.to_pandas(), dtype="str")})
            changed[column] = _spelled(rows, contract, {})[role].set_axis(frame.index)
    return frame.assign(**changed)


def _spelled(records: pd.DataFrame, contract: Contract, declared: Mapping[str, Collection[str]]) -> pd.DataFrame:
    """Return records with their labels spelled as `declared`, else as most rows have them."""
    labels = {role: declared.get(role, ()) for role in LABEL_ROLES if role in records}
    spellings = choose_spellings(
        records, contract, labels, established=lambda: np.zeros(len(records), bool), stored=tuple, by_count=True
    )
    return fold_labels(records, spellings)


def _proposal(
    contract: Contract,
    suite: dict[str, Any],
    batch: Batch,
    suite_file: Path,
    toml: str,
    *,
    dry_run: bool,
    doubts: Sequence[Doubt] = (),
    question: str = "",
) -> ProposalResult:
    """Return what was proposed, with the rows of the file itself that it would hold."""
    rules = parse_suite(suite)
    check_suite(rules)
    declared = declared_labels(contract, rules, empty_frame("controls"), ())
    batch = replace(batch, records=_spelled(batch.records, contract, declared))
    rows, failing = _failing(contract, rules, batch)
    return ProposalResult(
        feed=contract.name,
        dry_run=dry_run,
        signals=contract.signals,
        rows_failing=rows,
        failing=failing,
        doubts=tuple(map(str, doubts)),
        question=question,
        contract=str(contract.path),
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


_KINDS, _ROWS = 8, 5
"""Kinds of fault that are named, and rows of each."""


def _failing(contract: Contract, suite: Suite, batch: Batch) -> tuple[int, tuple[str, ...]]:
    """Return how many rows are unreadable or break a rule of contract or suite, and why: a sentence per kind."""
    validation = validate_records(contract, suite, batch.records, batch.issues, schema=batch.schema, accepted_schema={})
    place = batch.records[["record_id", "row"]].drop_duplicates("record_id")
    faults = validation.failures.merge(place, on="record_id", how="left")[["row", "code", "args"]]
    faults = pd.concat([faults, batch.unreadable[["row", "code", "args"]]], ignore_index=True)
    kinds = [f"{code} {args.get('column', '')}" for code, args in zip(faults["code"], faults["args"], strict=True)]
    told = []
    for _, part in sorted(faults.groupby(kinds, sort=True), key=lambda pair: -len(pair[1]))[:_KINDS]:
        told.append(f"  {len(part):,} fail: {_first_faults(part)}")
    nobody = contract.columns.get("source_id")
    if nobody is not None and f"missing_id {nobody}" in set(kinds):
        told.append('  anonymous = "anonymous" in [parse] takes in rows without a source, as of one source together')
    whole = tuple(f"  the whole file: {sentence(reason.code, reason.args)}" for reason in validation.batch)
    n = int(validation.failures["record_id"].nunique()) + len(batch.unreadable)
    return n, (*whole, *told)


def _first_faults(faults: pd.DataFrame) -> str:
    """Return the sentence of the first of the faults of one kind, and the first rows, each value with its own."""
    first = faults.dropna(subset="row").drop_duplicates("row").sort_values("row").head(_ROWS)
    first = first if len(first) else faults.head(1)
    args = list(first["args"])
    rows: dict[str, list[str]] = {}
    for row, of in zip(first["row"], args, strict=True):
        rows.setdefault(str(of.get("value", "")), []).append("?" if pd.isna(row) else f"{int(row):,}")
    places = [f"row {', '.join(some)}" for some in rows.values()]
    others = [f"{quoted(value)} in {place}" for value, place in zip(rows, places, strict=True)][1:]
    more = ", …" if len(faults) > len(first) else ""
    said = sentence(str(first["code"].iloc[0]), args[0])
    return f"{said} ({'; '.join([places[0], *others])}{more})"


_DATES = re.compile(
    r"(?<![0-9])((19|20)[0-9]{2}[-_.]?(0[1-9]|1[0-2])([-_.]?(0[1-9]|[12][0-9]|3[01]))?|"
    r"(0[1-9]|[12][0-9]|3[01])[-_.](0[1-9]|1[0-2])[-_.](19|20)[0-9]{2})"
    r"([-_.t]?[0-2][0-9][-_.]?[0-5][0-9]([-_.]?[0-5][0-9])?z?)?(?![0-9])",
    re.IGNORECASE,
)
"""Days and times of day in the name of a file: the next file of the feed has another one."""


def _feed_name(data: str) -> str:
    """Return a feed name made of the file's name, or else its folder's: lower case, words joined by ``_``, no dates.

    >>> _feed_name("in/Thumbs 2026-11-24.csv"), _feed_name("votes/2026-11-24.csv.gz"), _feed_name("lake/*.parquet")
    ('thumbs', 'votes', 'lake')
    """
    parts = [part.lower() for part in data.rstrip("/").split("?")[0].split("/")]
    stems = [re.sub(r"(\.(csv|tsv|jsonl?|ndjson|parquet|txt|gz))+$", "", parts[-1]), *parts[-2::-1]]
    for stem in stems:
        word = re.sub(r"[^a-z0-9]+", "_", _DATES.sub("", stem)).strip("_")[:48].strip("_")
        if re.match(r"[a-z]", word):
            return word
    raise UsageError(f"no feed name can be made of {shown_url(data)}; give one with --name")


def _of_all_days(path: str) -> str | None:
    """Return the pattern of a file's path whose name holds a day, for the files of other days; None without one."""
    folder, slash, name = path.rpartition("/")
    pattern = _DATES.sub("*", name)
    return None if pattern == name or "*" in name else f"{folder}{slash}{pattern}"


def _seen_from(contract_file: Path, data: str) -> str:
    """Return the path of `data` as the contract file sees it; URLs and absolute paths stay."""
    if "://" in data or Path(data).is_absolute():
        return data
    return Path(os.path.relpath(data, contract_file.parent)).as_posix()
