"""Review decisions: select and freeze records; release, reject, recall and undo them; block and unblock a source."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from poison_guard.config import Contract
from poison_guard.errors import NotFoundError, UsageError
from poison_guard.records import Place
from poison_guard.review.rules import check_person
from poison_guard.store import reviews
from poison_guard.store.bulk import bounded_key
from poison_guard.store.engine import Store, utc_or_now
from poison_guard.store.gate_counts import would_be_held_ids
from poison_guard.store.reading import find_records
from poison_guard.store.reviews import ReviewDecision, apply_decision

__all__ = [
    "ReviewResult",
    "Selection",
    "allowed_places",
    "block_source",
    "decide_selection",
    "recall",
    "reject",
    "release",
    "select",
    "unblock_source",
    "undo",
]


PLACES_BY_VERB: Mapping[str, tuple[Place, ...]] = {
    "release": (Place.QUARANTINED, Place.RECALLED),
    "reject": (Place.QUARANTINED, Place.RECALLED, Place.STAGED),
    "recall": (Place.ACCEPTED,),
}
"""Places from which a whole campaign or source is taken."""

PLACES_BY_VERB_FOR_IDS: Mapping[str, tuple[Place, ...]] = {
    "release": (Place.QUARANTINED, Place.RECALLED, Place.STAGED, Place.REJECTED, Place.ACCEPTED),
    "reject": (Place.QUARANTINED, Place.RECALLED, Place.STAGED, Place.ACCEPTED),
    "recall": (Place.ACCEPTED,),
}
"""Places from which a record named by its id is taken; an accepted one is released only where the queue asks."""


def allowed_places(verb: str, asked: Mapping[str, Any]) -> tuple[Place, ...]:
    """Return the places that a verb takes records from, when they were chosen by the keys of `asked`."""
    if "record_ids" in asked:
        return PLACES_BY_VERB_FOR_IDS[verb]
    return (*PLACES_BY_VERB[verb], Place.STAGED) if verb == "release" and "run_id" in asked else PLACES_BY_VERB[verb]


@dataclass(frozen=True, slots=True)
class Selection:
    """A frozen set of records for one verb."""

    verb: str
    record_ids: tuple[str, ...]
    asked: Mapping[str, Any]
    """How it was chosen: ``record_ids`` (their number), ``campaign_id``, ``source_id``, ``run_id`` or ``observed``."""
    places: Mapping[str, int]
    """How many of them are where."""
    sources: int
    """How many sources sent them."""


def select(
    store: Store,
    contract: Contract,
    verb: str,
    *,
    record_ids: Sequence[str] | None = None,
    campaign_id: str | None = None,
    source_id: str | None = None,
    run_id: str | None = None,
    observed: bool = False,
) -> Selection:
    """Return what a verb would decide, without deciding; `NotFoundError` when nothing fits.

    Exactly one of ids, campaign, source and run chooses. A source's records are those it sent or wrote; a run's are
    those it decided, and for them a release takes staged ones too (a batch that was held whole). For a recall
    `observed` chooses what the feed let pass while it only observed.
    """
    if observed:
        return _select_observed(store, contract, verb, any((record_ids, campaign_id, source_id, run_id)))
    given = (("record_ids", record_ids), ("campaign_id", campaign_id), ("source_id", source_id), ("run_id", run_id))
    named: dict[str, Any] = {key: value for key, value in given if value is not None}
    if len(named) != 1:
        raise UsageError(f"{verb} takes exactly one of record ids, campaign_id, source_id and run_id, got {len(named)}")
    places = None if record_ids is not None else allowed_places(verb, named)
    rows = find_records(store, contract.name, places=places, **named)
    key, value = next(iter(named.items()))
    if record_ids is not None:
        asked: dict[str, Any] = {key: len(set(record_ids))}
        missing = {bounded_key(name) for name in record_ids} - set(rows["record_id"])
        if missing:
            raise NotFoundError(f"there is no record {min(missing)!r} in {contract.name}")
    else:
        asked = {key: value}
    if rows.empty:
        raise NotFoundError(f"{contract.name} has no records to {verb} for {key} {value!r}")
    return _freeze(verb, rows, asked)


def _select_observed(store: Store, contract: Contract, verb: str, others: bool) -> Selection:
    if verb != "recall" or others:
        raise UsageError(f"`observed` chooses for a recall, and alone; {verb} takes ids, a campaign, a source or a run")
    ids = would_be_held_ids(store, contract.name).tolist()
    if not ids:
        raise NotFoundError(f"{contract.name} let nothing pass that it would have held")
    return _freeze(verb, find_records(store, contract.name, record_ids=ids), {"observed": True})


def _freeze(verb: str, rows: pd.DataFrame, asked: Mapping[str, Any]) -> Selection:
    return Selection(
        verb=verb,
        record_ids=tuple(sorted(rows["record_id"])),
        asked=asked,
        places={str(place): int(n) for place, n in rows["place"].value_counts().items()},
        sources=int(rows["source_id"].nunique()),
    )


DESTINATION = {"release": Place.ACCEPTED, "reject": Place.REJECTED, "recall": Place.RECALLED}
VERDICT = {"release": 1, "reject": -1, "recall": None}


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
    return decide_selection(store, contract, chosen, by=by, reason=reason, right=right, token=token, now=now)


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
    return decide_selection(store, contract, chosen, by=by, reason=reason, token=token, now=now)


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
    return decide_selection(store, contract, chosen, by=by, reason=reason, token=None, now=now)


def decide_selection(
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
    decision = ReviewDecision(
        feed=contract.name,
        namespace=contract.namespace,
        verb=chosen.verb,
        by=name,
        reason=why,
        at=utc_or_now(now),
        record_ids=chosen.record_ids,
        place=DESTINATION[chosen.verb],
        allowed=allowed_places(chosen.verb, chosen.asked),
        verdict=VERDICT[chosen.verb] if right or chosen.verb != "release" else None,
        selector=chosen.asked,
        token=token,
        as_one="record_ids" not in chosen.asked,
    )
    return ReviewResult(apply_decision(store, decision), chosen.verb, chosen.record_ids, chosen.places)


def undo(
    store: Store, contract: Contract, seq: int, *, by: str, reason: str, now: dt.datetime | None = None
) -> ReviewResult:
    """Take back decision `seq`; `UsageError` when it was undone already or its records were decided again since."""
    name, why = check_person(by, reason)
    done = reviews.undo(store, contract.name, seq, by=name, reason=why, at=utc_or_now(now))
    return ReviewResult(done.seq, "undo", done.record_ids, done.places)


def block_source(
    store: Store, contract: Contract, source_id: str, *, by: str, reason: str, now: dt.datetime | None = None
) -> int:
    """Block a source in the feed's namespace and return the event's number; what it sent before stays where it is."""
    return _set_block(store, contract, source_id, by, reason, now, blocked=True)


def unblock_source(
    store: Store, contract: Contract, source_id: str, *, by: str, reason: str, now: dt.datetime | None = None
) -> int:
    """Take a block back and return the event's number; `UsageError` when the source is not blocked."""
    return _set_block(store, contract, source_id, by, reason, now, blocked=False)


def _set_block(
    store: Store,
    contract: Contract,
    source_id: str,
    by: str,
    reason: str,
    now: dt.datetime | None,
    *,
    blocked: bool,
) -> int:
    name, why = check_person(by, reason)
    return reviews.set_blocked(
        store,
        feed=contract.name,
        namespace=contract.namespace,
        source_id=source_id,
        by=name,
        reason=why,
        at=utc_or_now(now),
        blocked=blocked,
    )
