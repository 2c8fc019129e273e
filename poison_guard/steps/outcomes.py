"""Read new files of outcomes: what turned out right or wrong later, told to the ledger once."""

from __future__ import annotations

import datetime as dt
from collections import Counter
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


@dataclass(frozen=True, slots=True)
class OutcomesRead:
    """What reading the outcomes of a feed brought: counts (`OutcomesAdded`, ``files, bad``) and what to tell of it."""

    counts: dict[str, int] = field(default_factory=dict)
    notes: tuple[Reason, ...] = ()


def read_outcomes(feed: Feed, now: dt.datetime) -> OutcomesRead:
    """Store the outcomes of files that were not read before, each file by itself; a file read before is left out.

    A file that cannot be read is told in a note and tried again next time; so is a row without an id, or with a
    ``correct`` that is neither yes nor no. Outcomes hold nothing up: without them nobody earns or loses anything.
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
                counts.update(_read(feed, ref, limits, now))
            except DataError as why:
                notes.append(Reason("outcomes_unread", {"why": str(why)}))
    told = (Reason("outcomes_read", dict(counts)),) if counts else ()
    return OutcomesRead(dict(counts), (*told, *notes[:_SHOWN]))


def _read(feed: Feed, ref: ObjectRef, limits: Limits, now: dt.datetime) -> dict[str, int]:
    """Store one file; return its counts."""
    names = {"record_id": "record_id", "correct": "correct", **feed.contract.outcome_columns}
    table = read_table(ref.uri, columns=list(names.values()), limits=limits)
    said = table.set_axis(list(names), axis=1)
    word = said["correct"].str.strip().str.lower().str.removesuffix(".0")
    whole = (word.isin(_RIGHT) | word.isin(_WRONG)) & said["record_id"].notna() & (said["record_id"] != "")
    visible = _times(said["visible_at"]) if "visible_at" in said else pd.Series(pd.NaT, index=said.index)
    rows = said.assign(correct=word.isin(_RIGHT), visible_at=visible)[whole]
    added = add_outcomes(feed.store, feed.contract, rows, objects=[ref], now=now)
    brought = {name: getattr(added, name) for name in OutcomesAdded.__slots__}
    return {"files": 1, "bad": int((~whole).sum()), **brought}


def _times(texts: pd.Series) -> pd.Series:
    """Return times; one that cannot be read is missing, and then the outcome counts as visible from its reading on."""
    return pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601")
