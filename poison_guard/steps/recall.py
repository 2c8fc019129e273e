"""Revocation: the snapshots that a decision or a run revoked, the models trained on them, the rollback target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from poison_guard.results import Result
from poison_guard.store import Store
from poison_guard.store.models import champion, find_revoked_ancestor, list_models, models_of
from poison_guard.store.snapshots import snapshots_revoked_with

__all__ = ["ModelUse", "Revocation", "effects_of_revoking", "revoked_by"]


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
