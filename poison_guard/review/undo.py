"""Undo a decision: places, verdicts, ledger, queue and schema go back to what they were; undoing that redoes it."""

from __future__ import annotations

import datetime as dt

from poison_guard.config import Contract
from poison_guard.review.people import check_person
from poison_guard.review.verdicts import ReviewResult
from poison_guard.store import undoing
from poison_guard.store.clock import moment
from poison_guard.store.engine import Store

__all__ = ["undo"]


def undo(
    store: Store, contract: Contract, seq: int, *, by: str, reason: str, now: dt.datetime | None = None
) -> ReviewResult:
    """Take back decision `seq`; `UsageError` when it was undone already or its records were decided again since."""
    name, why = check_person(by, reason)
    done = undoing.undo(store, contract.name, seq, by=name, reason=why, at=moment(now))
    return ReviewResult(done.seq, "undo", done.record_ids, done.places)
