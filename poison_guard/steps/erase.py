"""Erase: destroy what a source sent, in store and lake; revoke the snapshots that held it, name their models."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from poison_guard.errors import UsageError
from poison_guard.results import Result
from poison_guard.review.rules import check_person
from poison_guard.steps.opening import Feed, again_if_stale
from poison_guard.steps.outbox import drain
from poison_guard.steps.recall import Revocation, effects_of_revoking
from poison_guard.store.erasure import Erased, erase_source, plan_erasure

__all__ = ["EraseResult", "erase"]


@dataclass(frozen=True, slots=True)
class EraseResult(Result):
    """What `Guard.erase` did, or would do."""

    feed: str
    event: int | None
    """Number of the event; None: a dry run, or nothing is held of the source (any more)."""
    dry_run: bool
    records: int
    """Records of which only tombstones are left."""
    trusted: int
    """Trusted records that left the set."""
    files: int
    """Lake files written anew without the erased rows, or removed."""
    revocation: Revocation
    """The snapshots that held the records, and the models that learned from them."""

    def __str__(self) -> str:
        if not (self.records or self.trusted or self.event or self.files):
            return f"{self.feed}: nothing is held of this source"
        verb = "would erase" if self.dry_run else "erased"
        what = f"{self.records:,} records and {self.trusted:,} trusted ones"
        return f"{self.feed}: {verb} {what} from {self.files:,} lake files"


def erase(
    feed: Feed, source_id: str, *, by: str, reason: str, dry_run: bool = False, now: dt.datetime | None = None
) -> EraseResult:
    """Erase what a source sent or wrote; the same again changes nothing, and finishes what a killed one left."""
    name, why = check_person(by, reason)
    if not source_id:
        raise UsageError("name the source to erase")
    at = now or dt.datetime.now(dt.UTC)
    if dry_run:
        done = plan_erasure(feed.store, feed.contract, source_id)
    else:
        who = {"by": name, "reason": why, "at": at}
        done = again_if_stale(lambda: erase_source(feed.store, feed.contract, source_id, **who))
        drain(feed.store, feed.settings, at)
    return _result(feed, done, dry_run=dry_run)


def _result(feed: Feed, done: Erased, *, dry_run: bool) -> EraseResult:
    uses = effects_of_revoking(feed.store, feed.contract.name, done.snapshots)
    return EraseResult(feed.contract.name, done.event, dry_run, done.records, done.trusted, done.files, revocation=uses)
