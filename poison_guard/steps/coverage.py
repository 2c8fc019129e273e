"""Coverage: measure from what size attacks on a feed are held, keep that in the home, and say it with every result."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poison_guard.config import Contract
from poison_guard.decide.coverage import (
    KINDS,
    Coverage,
    Measured,
    coverage_key,
    possible_kinds,
)
from poison_guard.errors import UsageError
from poison_guard.files import private_folder, write_text
from poison_guard.records import Place
from poison_guard.results import Result, html_table, text_table
from poison_guard.steps.opening import Feed, torch_threads
from poison_guard.steps.payloads import payload_frames
from poison_guard.store import list_runs

if TYPE_CHECKING:
    import pandas as pd

    from poison_guard.steps.collect import Source

__all__ = ["CoverageResult", "coverage", "coverage_of", "is_unjudged", "why_unjudged"]


_ROWS = 4000  # newest records that attacks are put among: bounds time
_LEAST = 20  # records without which an attack is most of the batch


@dataclass(frozen=True, slots=True)
class CoverageResult(Result):
    """What `Guard.coverage` returns."""

    coverage: Coverage
    honest_held: float
    """Share of the feed's own records that are held without any attack: what holds everything sees everything."""

    def to_dict(self) -> dict[str, Any]:
        """Return the statement and the share of own records held."""
        return {**self.coverage.to_dict(), "honest_held": self.honest_held}

    def __str__(self) -> str:
        return "\n".join([text_table(*self.table()), *self.remarks()])

    def _repr_html_(self) -> str:
        return html_table(*self.table())

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return a line per kind: what it is, from how many records and accounts it is seen, or what that needs."""
        return ("kind", "what it is", ">from records", ">by accounts", "by aged ones", "else"), [
            (name, KINDS[name].what, *self._cells(name))
            for name in KINDS
            if name in self.coverage.remedies or name in self.coverage.possible
        ]

    def _cells(self, name: str) -> tuple[object, ...]:
        if name in self.coverage.remedies:
            return (None, None, None, f"not seen; with {self.coverage.remedies[name]} it would be")
        one = self.coverage.measured.kinds.get(name) if self.coverage.measured else None
        if one is None:
            return (None, None, None, "not measured: these records have no room for such an attack")
        if not one.seen:
            return (None, None, None, f"{one.held:.0%} of the attacks of {one.most:,} records held")
        return (one.records, one.accounts or None, one.aged, "")

    def remarks(self) -> list[str]:
        """Return what the table was made with, a sentence each."""
        unjudged = [] if self.coverage.judged else [self.coverage.sentences()[0]]
        held = f"{self.honest_held:.1%} of the feed's own records are held without an attack"
        return [*unjudged, held, self.coverage.sentences()[-1]]


def coverage(feed: Feed, source: Source, now: dt.datetime, *, seed: int = 0) -> CoverageResult:
    """Put attacks of every kind among a feed's own records, find from what size they are held, and keep the result.

    The records are the newest of `source` (None: of the contract's ``[data]``, or of the store where there is none).
    The feed's policy, trusted set, controls and ledger are those of now; nothing of the feed is stored. `UsageError`
    with fewer than 20 records.
    """
    from poison_guard.steps.coverage_trial import TRIES, make_trial, measure_kind

    records, controls = _own_records(feed, source, now)
    with torch_threads(feed) as device:
        trial = make_trial(feed, records, controls, device=device)
        kinds = {name: measure_kind(trial, name, seed) for name in possible_kinds(feed.contract, trial.compared)}
    measured = Measured(
        coverage_key(feed.contract, trial.state.trusted_hash),
        now.isoformat(timespec="seconds"),
        len(records),
        TRIES,
        {name: kind for name, kind in kinds.items() if kind is not None},
    )
    private_folder(_cache(feed.settings.home, feed.contract.name).parent)
    write_text(json.dumps(measured.to_json(), indent=1), _cache(feed.settings.home, feed.contract.name))
    return CoverageResult(Coverage.of(feed.contract, trial.compared, measured), trial.honest_held)


def _own_records(feed: Feed, source: Source, now: dt.datetime) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the newest records of a feed under ids of their own, and its controls."""
    import pandas as pd

    from poison_guard.ingest.collect import read_controls
    from poison_guard.steps.collect import read_batch

    contract, records = feed.contract, pd.DataFrame()
    if source is not None or contract.data.path or contract.data.query:
        records = read_batch(feed, source, now, include_seen=True)[0].records
    if not len(records):
        parts = list(payload_frames(feed, tuple(Place)))
        records = pd.concat(parts, ignore_index=True) if parts else records
    if len(records) < _LEAST:
        raise UsageError(
            f"coverage puts attacks among a feed's own records; {len(records)} of the {_LEAST} needed are there: name "
            f"a file, as in `poison-guard coverage --feed {contract.name} DATA`"
        )
    by = [name for name in ("observed_at", "received_at", "row", "record_id") if name in records]
    newest = records.sort_values(by, kind="stable", na_position="first").tail(_ROWS).reset_index(drop=True)
    ids = pd.Series([f"own-{row:06d}" for row in range(len(newest))], dtype="str")
    return newest.assign(record_id=ids, content_hash=ids), read_controls(contract, feed.settings.home)


def _cache(home: Path, feed: str) -> Path:
    return home / "coverage" / f"{feed}.json"


def _cached(home: Path, feed: str) -> Measured | None:
    """Return what was measured last; None where nothing was, or the file is not whole."""
    try:
        return Measured.from_json(json.loads(_cache(home, feed).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def coverage_of(contract: Contract, home: Path, measurements: Mapping[str, Any]) -> Coverage | None:
    """Return the coverage statement of a batch by its `Decided.measurements`; None for a batch without records.

    What was measured is part of it where columns, policy and trusted set are still those of then.
    """
    facts = measurements.get("coverage")
    if facts is None:
        return None
    measured = _cached(home, contract.name)
    outdated = measured is not None and measured.key != coverage_key(contract, facts["trusted"])
    kept = None if outdated else measured
    return Coverage.of(contract, facts["compared"], kept, outdated=outdated, empty=facts.get("empty", ()))


def is_unjudged(measurements: Mapping[str, Any]) -> bool:
    """Return whether nothing could judge the records of a run, by its measurements."""
    facts = measurements.get("coverage")
    return facts is not None and facts.get("judged") is False


def why_unjudged(feed: Feed) -> str | None:
    """Return why the records of the feed's last run with any were not judged; None where they were."""
    for run in list_runs(feed.store, feed.contract.name):
        if run.status == "committed" and "coverage" in run.measurements:
            stated = coverage_of(feed.contract, feed.settings.home, run.measurements)
            return stated.sentences()[0] if stated is not None and not stated.judged else None
    return None
