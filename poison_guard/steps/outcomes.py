"""Read new files of outcomes: what turned out right or wrong later, told to the ledger once."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from poison_guard.config.settings import find_path
from poison_guard.errors import DataError
from poison_guard.ingest import Limits, read_table
from poison_guard.ingest.objects import resolve
from poison_guard.records import ObjectRef, Reason
from poison_guard.steps.opening import Feed
from poison_guard.store import seen_objects
from poison_guard.store.outcomes import OutcomesAdded, add_outcomes, outcome_digest

__all__ = ["OutcomesRead", "read_outcomes"]

_RIGHT = frozenset(("1", "true", "t", "yes", "y", "right", "correct"))
_WRONG = frozenset(("0", "false", "f", "no", "n", "wrong", "incorrect"))
_SHOWN = 5
_CELL = 40
"""Characters shown of a cell that cannot be read."""


@dataclass(frozen=True, slots=True)
class OutcomesRead:
    """What reading the outcomes of a feed brought: counts (`OutcomesAdded`, ``files, bad``) and what to tell of it."""

    counts: dict[str, int] = field(default_factory=dict)
    notes: tuple[Reason, ...] = ()


def read_outcomes(feed: Feed, now: dt.datetime) -> OutcomesRead:
    """Store the outcomes of files that were not read before, each file by itself; a file read before is left out.

    A file that cannot be read is told in a note and tried again next time. A row without an id, or with a ``correct``
    that is neither yes nor no, is told and left out; its file counts as read until it changes. Outcomes hold nothing
    up: without them nobody earns or loses anything.
    """
    if feed.contract.outcomes is None:
        return OutcomesRead()
    limits = Limits.of(feed.contract)
    path = find_path(feed.contract.outcomes, contract_file=feed.contract.path, home=feed.settings.home)
    try:
        files = resolve([path], limits, given=False)
    except DataError as why:
        return OutcomesRead(notes=(Reason("outcomes_unread", {"why": str(why)}),))
    counts: Counter[str] = Counter()
    notes: list[Reason] = []
    seen = seen_objects(feed.store, feed.contract.name)
    for ref in files:
        if outcome_digest(ref.digest) not in seen:
            try:
                brought, flaws = _read(feed, ref, limits, now)
            except DataError as why:
                notes.append(Reason("outcomes_unread", {"why": str(why)}))
            else:
                counts.update(brought)
                notes += [Reason("outcomes_unread", {"why": flaw}) for flaw in flaws]
    told = (Reason("outcomes_read", dict(counts)),) if counts else ()
    return OutcomesRead(dict(counts), (*told, *notes[:_SHOWN]))


def _read(feed: Feed, ref: ObjectRef, limits: Limits, now: dt.datetime) -> tuple[dict[str, int], list[str]]:
    """Store one file; return its counts and what is wrong with some of its rows."""
    names = {"record_id": "record_id", "correct": "correct", **feed.contract.outcome_columns}
    said = _table(ref.uri, names, limits)
    word = said["correct"].str.strip().str.lower().str.removesuffix(".0")
    named = said["record_id"].notna() & (said["record_id"] != "")
    answered = word.isin(_RIGHT) | word.isin(_WRONG)
    whole = named & answered
    visible = _times(said["visible_at"]) if "visible_at" in said else pd.Series(pd.NaT, index=said.index)
    timeless = visible.isna() & said["visible_at"].notna() if "visible_at" in said else ~named & named
    rows = said.assign(correct=word.isin(_RIGHT), visible_at=visible)[whole]
    added = add_outcomes(feed.store, feed.contract, rows, objects=[ref], now=now)
    brought = {name: getattr(added, name) for name in OutcomesAdded.__slots__}
    told = (
        (~named, "record_id", "has no {}", "left out"),
        (named & ~answered, "correct", "has {} = {}, which is neither yes nor no", "left out"),
        (whole & timeless, "visible_at", "has {} = {}, which is no ISO 8601 time", "taken as visible from now on"),
    )
    called = {"visible_at": "visible_at", **names}
    flaws = [_flaw(ref.uri, said[name], wrong, called[name], why, end) for wrong, name, why, end in told if wrong.any()]
    return {"files": 1, "bad": int((~whole).sum()), **brought}, flaws


def _table(uri: str, names: Mapping[str, str], limits: Limits) -> pd.DataFrame:
    """Return the columns of a file under their roles; ``visible_at`` also where it is there without being mapped."""
    if "visible_at" not in names:
        with contextlib.suppress(DataError):
            more = {**names, "visible_at": "visible_at"}
            return read_table(uri, columns=list(more.values()), limits=limits).set_axis(list(more), axis=1)
    return read_table(uri, columns=list(names.values()), limits=limits).set_axis(list(names), axis=1)


def _flaw(uri: str, cells: pd.Series, wrong: pd.Series, column: str, why: str, end: str) -> str:
    """Return a sentence on the first of the rows that are `wrong`, and how many there are."""
    first = int(wrong.to_numpy().argmax())
    cell = repr("" if pd.isna(cells.iloc[first]) else str(cells.iloc[first])[:_CELL])
    n = int(wrong.sum())
    return f"row {first + 1} of {uri} {why.format(column, cell)}; {n:,} such {'row is' if n == 1 else 'rows are'} {end}"


def _times(texts: pd.Series) -> pd.Series:
    """Return times; one that cannot be read is missing, and then the outcome counts as visible from its reading on."""
    return pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601")
