"""Evaluate: attack a stored model as hard as may be by hand; a promotion does it faster."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from poison_guard.errors import ClosedError
from poison_guard.results import Result, html_table, text_table
from poison_guard.steps.examples import for_training, load_examples, load_trusted_examples
from poison_guard.steps.opening import Feed
from poison_guard.steps.predict import find_model
from poison_guard.steps.promote import load_trained
from poison_guard.steps.retrain import metric_rows, summary
from poison_guard.store.snapshots import load_snapshot

__all__ = ["EvaluationResult", "evaluate_by_hand"]

_ATTACKS = ("attack", ">size", "of", ">right", ">n", ">confidence lost", ">margin left")
_PAIRS = ("true label", "moved to", ">given it", ">n")
_SHOWN = 10  # pairs of labels


@dataclasses.dataclass(frozen=True, slots=True)
class EvaluationResult(Result):
    """What `Guard.evaluate` returns: a model under each attack, on trusted examples that no training saw."""

    feed: str
    model_id: str
    fast: bool
    metrics: Mapping[str, Any]
    """What `retrain.evaluation.evaluate` returns, with the single predictions."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON holds them, metrics without what they say of single examples."""
        return {**Result.to_dict(self), "metrics": summary(self.metrics)}

    def __str__(self) -> str:
        """Return the figures, the attacks, and the pairs of labels that were confused most, as tables."""
        figures = [row for row in metric_rows(self.metrics) if not row[0].startswith("under ")]
        worst, noise = self.metrics["worst"], self.metrics["noise"]
        figures.append(("under the worst of all attacks", worst["right"] / worst["n"], worst["n"]))
        if told := self.metrics.get("membership"):
            figures.append(("chance that a trained-on example looks surer than a new one", told["auc"], told["n"]))
            figures.append(("trained-on examples told, at 1 % false", told["found"], told["n"]))
        if noise:
            figures.append(("noise accepted once optimised", noise["accepted"] / noise["n"], noise["n"]))
        parts = [text_table(("measured", ">value", ">n"), figures), text_table(_ATTACKS, self.attacks())]
        if self.pairs():
            parts.append(text_table(_PAIRS, self.pairs()))
        return "\n".join([*parts, self.metrics["masking"]["why"]])

    def _repr_html_(self) -> str:
        return html_table(_ATTACKS, self.attacks())

    def attacks(self) -> list[tuple[object, ...]]:
        """Return a line an attack."""
        return [
            (name, c["epsilon"], c["unit"], c["right"] / max(1, c["n"]), c["n"], c["confidence_lost"], c["margin_left"])
            for name, c in self.metrics["attacks"].items()
        ]

    def pairs(self) -> list[tuple[object, ...]]:
        """Return the labels that were most often moved to another within the radius, the easiest first."""
        cells: list[tuple[object, ...]] = [
            (source, goal, cell["hits"] / cell["n"], cell["n"])
            for source, goals in self.metrics["pairs"].items()
            for goal, cell in goals.items()
            if cell["hits"]
        ]
        return sorted(cells, key=lambda cell: (-float(str(cell[2])), str(cell[0]), str(cell[1])))[:_SHOWN]


def evaluate_by_hand(feed: Feed, model_id: str | None, *, fast: bool = False) -> EvaluationResult:
    """Return what a model (None: the champion) does on held-out trusted examples, clean and under each attack.

    `fast` takes the budget of a promotion. Nothing is stored.
    """
    from poison_guard.retrain.attacks import FAST, FULL
    from poison_guard.retrain.evaluation import evaluate
    from poison_guard.retrain.membership import membership

    name = feed.contract.name
    model = find_model(feed, model_id)
    trusted = load_trusted_examples(feed)
    held = trusted.held_out()
    if not len(held):
        raise ClosedError(f"{name} has no held-out trusted examples; enter some with `poison-guard trust`")
    config = feed.contract.retrain
    budget = FAST if fast else FULL
    trained, device = load_trained(feed, model), feed.settings.device
    metrics = evaluate(trained, held, config=config, seed=config.seed, budget=budget, device=device)
    learned = for_training(load_examples(feed, load_snapshot(feed.store, model.snapshot_id)), trusted)
    metrics |= {"membership": membership(trained, learned, held)}
    return EvaluationResult(name, model.model_id, fast, metrics)
