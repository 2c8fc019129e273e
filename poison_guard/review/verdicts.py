"""Release, reject and recall: one decision over a frozen set, all of it or none of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from poison_guard.config import Contract
from poison_guard.records import Place
from poison_guard.review.people import check_person
from poison_guard.review.selection import Selection, select, takes
from poison_guard.store.clock import moment
from poison_guard.store.decisions import Decision, decide
from poison_guard.store.engine import Store

__all__ = ["ReviewResult", "carry_out", "recall", "reject", "release"]

_TO = {"release": Place.ACCEPTED, "reject": Place.REJECTED, "recall": Place.RECALLED}
_VERDICT = {"release": 1, "reject": -1, "recall": None}


@dataclass(frozen=True, slots=True)
class ReviewResult:
    """What a decision did."""

    seq: int
    """Number of its event; `undo` takes it."""
    verb: str
    record_ids: tuple[str, ...]
    places: Mapping[str, int]
    """How many of the records came from where."""


def release(
    store: Store,
    contract: Contract,
    *,
    by: str,
    reason: str,
    record_ids: Sequence[str] | None = None,
    campaign_id: str | None = None,
    source_id: str | None = None,
    run_id: str | None = None,
    right: bool = True,
    token: str | None = None,
    now: dt.datetime | None = None,
) -> ReviewResult:
    """Accept held records: they were right, and speak for their sources; with `right` false nobody says that of them.

    Released as one (a campaign, a source, a run), a source is credited with one right answer however many it sent:
    they were looked at once. By ids also staged, rejected and audited ones. Records held because their payload schema
    had changed make that schema the accepted one. `BusyError` when another reviewer decided or claimed one of them;
    then nothing changes.
    """
    asked = {"record_ids": record_ids, "campaign_id": campaign_id, "source_id": source_id, "run_id": run_id}
    chosen = select(store, contract, "release", **asked)
    return carry_out(store, contract, chosen, by=by, reason=reason, right=right, token=token, now=now)


def reject(
    store: Store,
    contract: Contract,
    *,
    by: str,
    reason: str,
    record_ids: Sequence[str] | None = None,
    campaign_id: str | None = None,
    source_id: str | None = None,
    run_id: str | None = None,
    token: str | None = None,
    now: dt.datetime | None = None,
) -> ReviewResult:
    """Reject held records: they were wrong, and speak against their sources. By ids also staged and accepted ones."""
    asked = {"record_ids": record_ids, "campaign_id": campaign_id, "source_id": source_id, "run_id": run_id}
    chosen = select(store, contract, "reject", **asked)
    return carry_out(store, contract, chosen, by=by, reason=reason, token=token, now=now)


def recall(
    store: Store,
    contract: Contract,
    *,
    by: str,
    reason: str,
    record_ids: Sequence[str] | None = None,
    campaign_id: str | None = None,
    source_id: str | None = None,
    run_id: str | None = None,
    observed: bool = False,
    now: dt.datetime | None = None,
) -> ReviewResult:
    """Take accepted records back into the review queue; nothing is said about their sources until they are decided.

    `observed`: all that the feed let pass while it only observed, though the guard would have held it.
    """
    asked = {"record_ids": record_ids, "campaign_id": campaign_id, "source_id": source_id, "run_id": run_id}
    chosen = select(store, contract, "recall", **asked, observed=observed)
    return carry_out(store, contract, chosen, by=by, reason=reason, token=None, now=now)


def carry_out(
    store: Store,
    contract: Contract,
    chosen: Selection,
    *,
    by: str,
    reason: str,
    right: bool = True,
    token: str | None = None,
    now: dt.datetime | None = None,
) -> ReviewResult:
    """Decide a selection that was shown before: exactly those records, or none and `BusyError`.

    `right` is for releases: whether they are said to be right, or let in without a word about their content.
    """
    name, why = check_person(by, reason)
    decision = Decision(
        feed=contract.name,
        namespace=contract.namespace,
        verb=chosen.verb,
        by=name,
        reason=why,
        at=moment(now),
        record_ids=chosen.record_ids,
        place=_TO[chosen.verb],
        allowed=takes(chosen.verb, chosen.asked),
        verdict=_VERDICT[chosen.verb] if right or chosen.verb != "release" else None,
        selector=chosen.asked,
        token=token,
        as_one="record_ids" not in chosen.asked,
    )
    return ReviewResult(decide(store, decision), chosen.verb, chosen.record_ids, chosen.places)
