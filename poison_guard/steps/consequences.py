"""What taking records back takes with it: snapshots that held them, their models, the champion to go back to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from poison_guard.store import Store
from poison_guard.store.models import Model, champion, find_revoked_ancestor, list_models, models_of

__all__ = ["Consequences", "consequences"]


@dataclass(frozen=True, slots=True)
class Consequences:
    """What hangs on snapshots that are, or would be, revoked."""

    revoked: tuple[str, ...]
    models: tuple[Model, ...]
    """Models trained on one of them, or started from such a model."""
    champion: str | None
    """The champion, where it is one of `models`."""
    rollback_to: str | None
    """Then: the newest earlier champion that owes nothing to a revoked snapshot."""


def consequences(store: Store, feed: str, snapshots: Sequence[str]) -> Consequences:
    """Return what hangs on `snapshots`."""
    used = tuple(models_of(store, list(snapshots))) if snapshots else ()
    best = champion(store, feed)
    reigning = best.model_id if best is not None and best.model_id in {model.model_id for model in used} else None
    tainted = {model.model_id for model in used}
    return Consequences(tuple(snapshots), used, reigning, _earlier(store, feed, tainted) if reigning else None)


def _earlier(store: Store, feed: str, tainted: set[str]) -> str | None:
    retired = [model for model in list_models(store, feed) if model.status == "retired"]
    for model in sorted(retired, key=lambda model: model.seq, reverse=True):
        if model.model_id not in tainted and find_revoked_ancestor(store, model.model_id) is None:
            return model.model_id
    return None
