"""What people do without a guard: majority vote, an isolation forest fitted in the batch, exact duplicates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.drills.world import World
from poison_guard.records import Action

__all__ = ["Baseline", "majority_labels", "run_baseline"]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the baseline would hold and learn."""

    decisions: pd.DataFrame
    """``record_id, action``."""
    items: pd.DataFrame
    """``item_id, label, adopted``: the majority's label of every item but the controls; empty where there are none."""


def run_baseline(world: World, *, seed: int = 0) -> Baseline:
    """Hold what disagrees with its item's majority, what the forest calls an outlier, and what was seen word for word.

    The forest is scikit-learn's `IsolationForest` with its own threshold (``contamination="auto"``).
    """
    held = np.zeros(len(world.records), dtype=bool)
    items = pd.DataFrame({"item_id": [], "label": [], "adopted": []})
    if world.item_truth is not None:
        items, disagrees = _majority(world)
        held |= disagrees
    if world.features:
        held |= _outliers(world, seed)
    held |= _exact_duplicates(world)
    action = np.where(held, str(Action.QUARANTINE), str(Action.ACCEPT))
    return Baseline(pd.DataFrame({"record_id": world.role("record_id"), "action": action}), items)


def _vote(world: World) -> pd.Series:
    return world.role("answer" if "answer" in world.columns else "label")


def majority_labels(world: World) -> pd.Series:
    """Return the label of every item with a vote, indexed by item id: its control's answer, else what most say.

    Ties go to the first in order.
    """
    votes = pd.DataFrame({"item_id": world.role("item_id"), "vote": _vote(world)})
    counts = votes.value_counts().rename("n").reset_index()
    counts = counts.sort_values(["item_id", "n", "vote"], ascending=[True, False, True])
    label = counts.drop_duplicates("item_id").set_index("item_id")["vote"]
    if world.controls is not None:
        known = world.controls.set_index("item_id")["answer"]
        label.update(known)
    return label


def _majority(world: World) -> tuple[pd.DataFrame, np.ndarray]:
    """Labels of the unknown items by majority, and which records disagree with their item's."""
    label = majority_labels(world)
    disagrees = _vote(world).to_numpy() != label.reindex(world.role("item_id")).to_numpy()
    items = label.rename("label").reset_index().assign(adopted=True)
    if world.controls is not None:
        items = items[~items["item_id"].isin(world.controls["item_id"])]
    return items.reset_index(drop=True), disagrees


def _outliers(world: World, seed: int) -> np.ndarray:
    from sklearn.ensemble import IsolationForest

    vectors = world.records[list(world.features)]
    vectors = vectors.fillna(vectors.median()).to_numpy()
    return IsolationForest(random_state=seed).fit_predict(vectors) < 0


def _exact_duplicates(world: World) -> np.ndarray:
    """Records whose text is that of another item, or whose features are those of another record."""
    held = np.zeros(len(world.records), dtype=bool)
    if "text" in world.columns:
        pairs = pd.DataFrame({"text": world.role("text"), "item_id": world.role("item_id")})
        held |= (pairs.groupby("text")["item_id"].transform("nunique") > 1).to_numpy()
    if world.features:
        held |= world.records.duplicated(list(world.features), keep=False).to_numpy()
    return held
