"""Choose the records of one decision by ids, campaign or source, and freeze them before anything is decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from poison_guard.config import Contract
from poison_guard.errors import NotFoundError, UsageError
from poison_guard.records import Place
from poison_guard.store.engine import Store
from poison_guard.store.names import fit_name
from poison_guard.store.observed import let_pass_ids
from poison_guard.store.reading import find_records

__all__ = ["Selection", "select", "takes"]

TAKES: Mapping[str, tuple[Place, ...]] = {
    "release": (Place.QUARANTINED, Place.RECALLED),
    "reject": (Place.QUARANTINED, Place.RECALLED, Place.STAGED),
    "recall": (Place.ACCEPTED,),
}
"""Places from which a whole campaign or source is taken."""

TAKES_BY_ID: Mapping[str, tuple[Place, ...]] = {
    "release": (Place.QUARANTINED, Place.RECALLED, Place.STAGED, Place.REJECTED, Place.ACCEPTED),
    "reject": (Place.QUARANTINED, Place.RECALLED, Place.STAGED, Place.ACCEPTED),
    "recall": (Place.ACCEPTED,),
}
"""Places from which a record named by its id is taken; an accepted one is released only where the queue asks."""


def takes(verb: str, asked: Mapping[str, Any]) -> tuple[Place, ...]:
    """Return the places that a verb takes records from, when they were chosen by the keys of `asked`."""
    if "record_ids" in asked:
        return TAKES_BY_ID[verb]
    return (*TAKES[verb], Place.STAGED) if verb == "release" and "run_id" in asked else TAKES[verb]


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
        return _let_pass(store, contract, verb, any((record_ids, campaign_id, source_id, run_id)))
    given = (("record_ids", record_ids), ("campaign_id", campaign_id), ("source_id", source_id), ("run_id", run_id))
    named: dict[str, Any] = {key: value for key, value in given if value is not None}
    if len(named) != 1:
        raise UsageError(f"{verb} takes exactly one of record ids, campaign_id, source_id and run_id, got {len(named)}")
    places = None if record_ids is not None else takes(verb, named)
    rows = find_records(store, contract.name, places=places, **named)
    key, value = next(iter(named.items()))
    if record_ids is not None:
        asked: dict[str, Any] = {key: len(set(record_ids))}
        missing = {fit_name(name) for name in record_ids} - set(rows["record_id"])
        if missing:
            raise NotFoundError(f"there is no record {min(missing)!r} in {contract.name}")
    else:
        asked = {key: value}
    if rows.empty:
        raise NotFoundError(f"{contract.name} has no records to {verb} for {key} {value!r}")
    return _frozen(verb, rows, asked)


def _let_pass(store: Store, contract: Contract, verb: str, others: bool) -> Selection:
    if verb != "recall" or others:
        raise UsageError(f"`observed` chooses for a recall, and alone; {verb} takes ids, a campaign, a source or a run")
    ids = let_pass_ids(store, contract.name).tolist()
    if not ids:
        raise NotFoundError(f"{contract.name} let nothing pass that it would have held")
    return _frozen(verb, find_records(store, contract.name, record_ids=ids), {"observed": True})


def _frozen(verb: str, rows: pd.DataFrame, asked: Mapping[str, Any]) -> Selection:
    return Selection(
        verb=verb,
        record_ids=tuple(sorted(rows["record_id"])),
        asked=asked,
        places={str(place): int(n) for place, n in rows["place"].value_counts().items()},
        sources=int(rows["source_id"].nunique()),
    )
