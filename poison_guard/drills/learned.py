"""What a model learns: trained on everything, on what was admitted and on the truth, judged on fresh examples.

Measurement only: no model made here is stored, so none can be promoted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from poison_guard.config.retrain import RetrainConfig
from poison_guard.drills.examples import fresh_examples, told_examples, true_examples
from poison_guard.drills.world import World
from poison_guard.errors import DataError
from poison_guard.records import Examples

if TYPE_CHECKING:
    from poison_guard.retrain.evaluate import Budget

__all__ = ["ROWS", "compare"]

ROWS = ("everything", "admitted", "truth")
"""Rows of `compare`: no guard (the majority's label of every item, or every record as labelled), what `admitted` holds,
and the examples of the first with their true labels, the best that any guard could come to."""


def compare(
    world: World, admitted: Examples, *, config: RetrainConfig, budget: Budget | None = None, threads: int = 1
) -> pd.DataFrame:
    """Return ``row, accuracy, worst_class, attack_success, robust_accuracy, n``, one row each of `ROWS`.

    The three models have the same settings and seed and differ in their examples, `n` of them. ``accuracy`` and
    ``worst_class`` (that of the class with the least) are of all fresh examples, ``attack_success`` is the share of
    those the attacker wants misread that get the label he wants, ``robust_accuracy`` the share of at most
    ``budget.attacked`` that are right under the best of a one-step, an iterated and a query-only adversary. All in
    [0, 1]. Controls that `admitted` lacks are kept for testing, so no row trains on them. `DataError` where the world
    has no fresh examples.
    """
    if not len(world.fresh):
        raise DataError(f"the world `{world.name}` has no fresh examples to judge a model by; draw it anew")
    told = told_examples(world, pixel_max=config.pixel_max)
    truth = true_examples(world, pixel_max=config.pixel_max)
    free = _trainable(world, told, admitted)
    parts = dict(zip(ROWS, (told.take(free), admitted, truth.take(free)), strict=True))
    rows = [{"row": name, **_judge(world, part, config, budget, threads)} for name, part in parts.items()]
    return pd.DataFrame(rows)


def _trainable(world: World, told: Examples, admitted: Examples) -> np.ndarray:
    """Mask of the examples of `told` that are not kept for testing."""
    if world.controls is None:
        return np.ones(len(told), dtype=bool)
    aside = set(world.controls["item_id"]) - set(admitted.frame["example_id"])
    return ~told.frame["example_id"].isin(aside).to_numpy()


def _judge(
    world: World, examples: Examples, config: RetrainConfig, budget: Budget | None, threads: int
) -> dict[str, Any]:
    """Train on `examples` and return the figures on the fresh ones."""
    from poison_guard.retrain.evaluate import evaluate
    from poison_guard.retrain.train import train

    model = train(examples, config, device="cpu", threads=threads)
    fresh = fresh_examples(world, pixel_max=config.pixel_max)
    found = evaluate(model, fresh, config=config, seed=config.seed, budget=budget)
    said = fresh.frame["example_id"].map(found["predictions"]).to_numpy()
    target = world.fresh["attack"].to_numpy(bool)
    return {
        "accuracy": found["accuracy"],
        "worst_class": min(one["right"] / one["n"] for one in found["per_class"].values()),
        "attack_success": float((said[target] == world.fresh.loc[target, "attack_label"].to_numpy()).mean()),
        "robust_accuracy": found["robust"]["right"] / found["robust"]["n"],
        "n": len(examples),
    }
