"""A walk through the queue in a terminal: one record after the other, by single keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from poison_guard.cli.output import print_progress, print_result
from poison_guard.errors import BusyError, UsageError
from poison_guard.guard import Guard

if TYPE_CHECKING:
    from poison_guard.guard import QueueFilter, RecordFacts, ReviewResult

__all__ = ["walk"]

Show = Callable[["RecordFacts"], object]

_KEYS = "r release, x reject, j leave, u undo the last, q quit"


def walk(guard: Guard, person: str, reason: str, filters: QueueFilter | None, *, show: Show) -> None:
    """Show what waits, riskiest first, and decide each by a key; what is left is free again at the end."""
    left: list[str] = []  # claims of what was left: kept while the walk goes on to the next one
    try:
        if not _answer_checks(guard, person, show):
            _walk(guard, person, reason, filters, left, show)
    finally:
        for token in left:
            guard.unclaim(token)


def _answer_checks(guard: Guard, person: str, show: Show) -> bool:
    """Show what the reviewer is asked about blind, as any other record; return whether the walk ends."""
    for record_id in guard.checks(by=person).record_ids:
        show(guard.show(record_id))
        key = _asked_key(can_undo=False)
        if key == "q":
            return True
        if key in ("r", "x"):
            guard.check(record_id, "release" if key == "r" else "reject", by=person)
            print_result(f"{'released' if key == 'r' else 'rejected'} 1 record")
    return False


def _walk(guard: Guard, person: str, reason: str, filters: QueueFilter | None, left: list[str], show: Show) -> None:
    last: ReviewResult | None = None
    while True:
        held = guard.claim(by=person, filters=filters)
        if not held.record_ids:
            print_result(f"nothing else is left; you left {len(left):,}" if left else "nothing is left to look at")
            return
        (record_id,) = held.record_ids
        view = guard.record(record_id)
        show(view.facts)
        key = _asked_key(can_undo=last is not None)
        left.append(held.token)
        decision = {"by": person, "reason": reason, "expected": {record_id: view.version}, "record_ids": [record_id]}
        try:
            if key == "q":
                return
            if key in ("r", "x"):
                last = (guard.release if key == "r" else guard.reject)(**decision, token=held.token)
                left.remove(held.token)
                print_result(str(last))
            elif key == "u" and last is not None:
                guard.unclaim(left.pop())
                print_result(str(guard.undo(int(last.seq or 0), by=person, reason="taken back in the walk")))
                last = None
        except (BusyError, UsageError) as error:
            print_progress(str(error))


def _asked_key(*, can_undo: bool) -> str:
    """Return the key that a person gave, asked again for one that does nothing."""
    while True:
        key = click.prompt(_KEYS, default="j", err=True).strip().lower()
        if key in ("r", "x", "j", "q") or (key == "u" and can_undo):
            return key
        print_progress("there is nothing to undo in this walk" if key == "u" else f"there is no key {key!r}")
