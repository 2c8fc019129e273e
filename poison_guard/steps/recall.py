"""Recall: take accepted records back, and the effects: revoked snapshots, their models, the rollback target."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from poison_guard.results import Result
from poison_guard.steps import review
from poison_guard.steps.opening import Feed
from poison_guard.steps.outbox import renew_revocations
from poison_guard.store import Store
from poison_guard.store.models import champion, find_revoked_ancestor, list_models, models_of
from poison_guard.store.snapshots import snapshots_revoked_with

__all__ = ["ModelUse", "RecallResult", "Revocation", "effects_of_revoking", "recall", "revoked_by"]


@dataclass(frozen=True, slots=True)
class RecallResult(Result):
    """What `Guard.recall` returns: the decision, the snapshots it revoked and the models trained on them."""

    seq: int
    """Number of its event; `undo` takes it."""
    verb: str
    record_ids: tuple[str, ...]
    places: Mapping[str, int]
    """How many of the records came from where."""
    revoked: tuple[str, ...]
    """Snapshots that held one of them."""
    models: tuple[str, ...]
    """Models trained on those snapshots."""
    champion: str | None
    """The champion, where it is among `models`."""
    rollback_to: str | None
    """The newest earlier champion whose snapshot still stands: what `rollback` can go to."""


def recall(
    feed: Feed,
    *,
    campaign_id: str | None,
    source_id: str | None,
    record_ids: Sequence[str] | None,
    by: str,
    reason: str,
    now: dt.datetime,
    observed: bool = False,
) -> RecallResult:
    """Take records back; return which snapshots that revoked and which models were trained on them."""
    decision = review.recall(
        feed.store,
        feed.contract,
        campaign_id=campaign_id,
        source_id=source_id,
        record_ids=record_ids,
        by=by,
        reason=reason,
        now=now,
        observed=observed,
    )
    effects = revoked_by(feed.store, feed.contract.name, decision.seq)
    renew_revocations(feed.store, feed.settings, now)
    return RecallResult(
        **dataclasses.asdict(decision),
        revoked=effects.revoked,
        models=tuple(model.model_id for model in effects.models),
        champion=effects.champion,
        rollback_to=effects.rollback_to,
    )


@dataclass(frozen=True, slots=True)
class ModelUse:
    """A model that was trained on a revoked snapshot, or started from such a model."""

    model_id: str
    status: str
    snapshot_id: str


@dataclass(frozen=True, slots=True)
class Revocation(Result):
    """The snapshots that are revoked, and what was trained on them."""

    revoked: tuple[str, ...] = ()
    models: tuple[ModelUse, ...] = ()
    champion: str | None = None
    """The champion, where it is one of `models`."""
    rollback_to: str | None = None
    """Then: the newest earlier champion with no revoked ancestor."""


def revoked_by(store: Store, feed: str, seq: int) -> Revocation:
    """Return what the decision or run stored under event `seq` revoked."""
    return effects_of_revoking(store, feed, snapshots_revoked_with(store, feed, seq))


def effects_of_revoking(store: Store, feed: str, snapshots: Sequence[str]) -> Revocation:
    """Return what was trained on `snapshots`, which are revoked or would be."""
    if not snapshots:
        return Revocation()
    models = models_of(store, list(snapshots))
    uses = tuple(ModelUse(model.model_id, model.status, model.snapshot_id) for model in models)
    best, tainted = champion(store, feed), {model.model_id for model in models}
    if best is None or best.model_id not in tainted:
        return Revocation(tuple(snapshots), uses)
    return Revocation(tuple(snapshots), uses, best.model_id, _earlier_champion(store, feed, tainted))


def _earlier_champion(store: Store, feed: str, tainted: set[str]) -> str | None:
    retired = [model for model in list_models(store, feed) if model.status == "retired"]
    for model in sorted(retired, key=lambda model: model.seq, reverse=True):
        if model.model_id not in tainted and find_revoked_ancestor(store, model.model_id) is None:
            return model.model_id
    return None
