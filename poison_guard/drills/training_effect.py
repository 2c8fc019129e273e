"""What the guard changes for a model: training on everything, on what was admitted, on the truth; the gate by hand.

Measurement only: no model made here is stored, so none can be promoted.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.config.policies import RetrainConfig
from poison_guard.drills.demo import demo_world, shipped, trusted_path, write_world
from poison_guard.drills.scoreboard import majority_labels
from poison_guard.drills.world import World
from poison_guard.drills.worlds import WORLDS, make_world
from poison_guard.errors import DataError
from poison_guard.guard import Guard
from poison_guard.records import Action, Examples
from poison_guard.steps.results import ScanResult
from poison_guard.store.trusted import split_of

if TYPE_CHECKING:
    from poison_guard.retrain.attacks import Budget

__all__ = [
    "GATED_WORLD",
    "ROWS",
    "collected_examples",
    "compare",
    "compare_admitted",
    "fresh_examples",
    "gate_by_hand",
    "input_kind",
    "kept_examples",
    "true_examples",
    "without_attack",
]


def input_kind(world: World) -> str:
    """Return what a model of `world` sees of an example: ``image``, ``text`` or ``table``."""
    if world.items is not None:
        return "image"
    return "text" if "text" in world.columns else "table"


def collected_examples(world: World, *, pixel_max: float = 255.0) -> Examples:
    """Return every item with the majority's label (a control with its answer), or every record as it is labelled."""
    return _examples(world, _collected_labels(world), pixel_max)


def true_examples(world: World, *, pixel_max: float = 255.0) -> Examples:
    """Return the examples of `collected_examples` with their true labels."""
    labels = _collected_labels(world)
    if world.item_truth is not None:
        truth = world.item_truth.set_index("item_id")["label"]
    else:
        truth = world.truth.set_index("record_id")["label"]
    return _examples(world, truth.reindex(labels.index), pixel_max)


def kept_examples(world: World, result: ScanResult, *, pixel_max: float = 255.0) -> Examples:
    """Return what `result` lets through: accepted records, or items whose label was adopted.

    `result` is of all the records of `world` in one run. Of the controls only those of the reference split are
    training examples, as in the guard's own trainings: the others are what the gate judges by.
    """
    if world.item_truth is None:
        accepted = result.decisions.loc[result.decisions["action"].astype("str") == Action.ACCEPT, "record_id"]
        labels = _collected_labels(world)
        return _examples(world, labels[labels.index.isin(accepted)], pixel_max)
    items = result.items[result.items["adopted"].astype(bool)].set_index("item_id")
    aside = [item for item in _controls(world) if _split(item) != "reference"]
    return _examples(world, items.loc[~items.index.isin(aside), "label"].astype("str"), pixel_max)


def fresh_examples(world: World, *, pixel_max: float = 255.0) -> Examples:
    """Return `world.fresh` with its true labels; ids are ``fresh-N`` by its rows."""
    fresh = world.fresh.assign(example_id=[f"fresh-{n}" for n in range(len(world.fresh))]).set_index("example_id")
    return _assembled(world, fresh, fresh["label"], pixel_max)


def _collected_labels(world: World) -> pd.Series:
    """Label by example id, as the feed tells it."""
    if world.item_truth is None:
        return pd.Series(world.role("label").to_numpy(), index=world.role("record_id").to_numpy()).astype("str")
    return majority_labels(world).astype("str")


def _split(item: str) -> str:
    """The split of a trusted item, by its id as in `steps.examples`."""
    return split_of(hashlib.sha256(f"item:{item}".encode()).hexdigest())


def _controls(world: World) -> list[str]:
    return [] if world.controls is None else world.controls["item_id"].tolist()


def _examples(world: World, labels: pd.Series, pixel_max: float) -> Examples:
    """Examples of the feed whose ids index `labels`."""
    if world.items is not None:
        seen = world.items.set_index("item_id")
    else:
        role = "record_id" if world.item_truth is None else "item_id"
        seen = world.records.drop_duplicates(world.columns[role]).set_index(world.columns[role])
    return _assembled(world, seen.loc[labels.index], labels, pixel_max)


def _assembled(world: World, seen: pd.DataFrame, labels: pd.Series, pixel_max: float) -> Examples:
    group = world.columns.get("group")
    frame = pd.DataFrame(
        {
            "example_id": labels.index.astype("str"),
            "label": labels.to_numpy(),
            "slice": seen[group].astype("str").to_numpy() if group else "",
            "is_new": True,
        }
    )
    kind = input_kind(world)
    return Examples(kind, frame, _inputs(world, seen, kind, pixel_max), world.features if kind == "table" else ())


def _inputs(world: World, seen: pd.DataFrame, kind: str, pixel_max: float) -> np.ndarray:
    """What `Examples.inputs` holds, of the rows of `seen`; flat images are square and grey."""
    if kind == "table":
        return seen[list(world.features)].to_numpy(np.float64)
    if kind == "text":
        return seen[world.columns["text"]].to_numpy(object)
    flat = np.stack(seen["pixels"].to_list()).astype(np.float32) / np.float32(pixel_max)
    side = round(flat.shape[1] ** 0.5)
    return flat.reshape(-1, 1, side, side)


ROWS = ("everything", "admitted", "truth")
"""Rows of `compare`: no guard (the majority's label of every item, or every record as labelled), what `admitted` holds,
and the examples of the first with their true labels, the best that any guard could come to."""


def compare(world: World, admitted: Examples, *, config: RetrainConfig, budget: Budget | None = None) -> pd.DataFrame:
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
    collected = collected_examples(world, pixel_max=config.pixel_max)
    truth = true_examples(world, pixel_max=config.pixel_max)
    free = _trainable(world, collected, admitted)
    parts = dict(zip(ROWS, (collected.take(free), admitted, truth.take(free)), strict=True))
    rows = [{"row": name, **_judge(world, part, config, budget)} for name, part in parts.items()]
    return pd.DataFrame(rows)


_ATTACKED = 100
"""Examples attacked to compare what was admitted: it shows the difference of three models and promotes none."""


def compare_admitted(contract: Contract, home: Path) -> pd.DataFrame | None:
    """Return `compare` of what was last admitted of a demo's feed; None for other feeds, and where nothing was."""
    from poison_guard.retrain.attacks import Budget
    from poison_guard.steps.examples import for_training, load_examples, load_trusted_examples
    from poison_guard.steps.opening import open_feed
    from poison_guard.store.admissions import list_admissions
    from poison_guard.store.snapshots import load_snapshot

    if contract.name not in WORLDS:
        return None
    with open_feed(contract, home, create_store=False) as feed:
        admissions = list_admissions(feed.store, contract.name, limit=1)
        if not admissions:
            return None
        snapshot = load_snapshot(feed.store, admissions[0]["snapshot_id"])
        admitted = for_training(load_examples(feed, snapshot), load_trusted_examples(feed))
    world, budget = demo_world(home, contract.name), Budget(attacked=_ATTACKED)
    return compare(world, admitted, config=contract.retrain, budget=budget)


def _trainable(world: World, collected: Examples, admitted: Examples) -> np.ndarray:
    """Mask of the examples of `collected` that are not kept for testing."""
    if world.controls is None:
        return np.ones(len(collected), dtype=bool)
    aside = set(world.controls["item_id"]) - set(admitted.frame["example_id"])
    return ~collected.frame["example_id"].isin(aside).to_numpy()


def _judge(world: World, examples: Examples, config: RetrainConfig, budget: Budget | None) -> dict[str, Any]:
    """Train on `examples` and return the figures on the fresh ones."""
    from poison_guard.retrain.evaluation import evaluate
    from poison_guard.retrain.train import train_classifier

    model = train_classifier(examples, config, device="cpu", threads=1)
    fresh = fresh_examples(world, pixel_max=config.pixel_max)
    metrics = evaluate(model, fresh, config=config, seed=config.seed, budget=budget)
    predictions = fresh.frame["example_id"].map(metrics["predictions"]).to_numpy()
    target = world.fresh["attack"].to_numpy(bool)
    return {
        "accuracy": metrics["accuracy"],
        "worst_class": min(one["right"] / one["n"] for one in metrics["per_class"].values()),
        "attack_success": float((predictions[target] == world.fresh.loc[target, "attack_label"].to_numpy()).mean()),
        "robust_accuracy": metrics["robust"]["right"] / metrics["robust"]["n"],
        "n": len(examples),
    }


GATED_WORLD = "telemetry"
"""World that the two cases are drawn from."""


def gate_by_hand(home: str | Path, seed: int) -> list[dict[str, Any]]:
    """Return ``case, outcome, admitted, why, checks, examples`` of both cases, each in a home of its own below `home`.

    In the second one every campaign that the guard held is released, as a hurried reviewer would: the gate is the last
    thing between it and the model.
    """
    world = make_world(GATED_WORLD, seed)
    clean = _ingested(without_attack(world), Path(home) / "clean")
    fooled = _ingested(world, Path(home) / "released")
    _release_campaigns(fooled)
    cases = (("a week without an attack", clean), ("the attacked week, its campaigns released by a reviewer", fooled))
    return [{"case": case, **_gated(guard)} for case, guard in cases]


def without_attack(world: World) -> World:
    """Return the world with its honest records only."""
    honest = world.truth["honest"].to_numpy(bool)
    return dataclasses.replace(
        world,
        records=world.records[honest].reset_index(drop=True),
        truth=world.truth[honest].reset_index(drop=True),
    )


def _ingested(world: World, home: Path) -> Guard:
    write_world(world, home)
    guard = Guard.open(shipped("feeds", f"{world.name}.toml"), home=home)
    guard.trust(str(trusted_path(home, world.name)), by="demo", reason="the demo's vetted records")
    guard.ingest()
    return guard


def _release_campaigns(guard: Guard) -> None:
    campaigns = guard.campaigns().campaigns
    for campaign_id in campaigns.loc[campaigns["held"] > 0, "campaign_id"]:
        guard.release(by="hurried-reviewer", reason="they all look human", campaign_id=campaign_id)


def _gated(guard: Guard) -> dict[str, Any]:
    sealed = guard.seal()
    result = guard.gate()
    checks = result.checks.to_dict("records")
    verdict = {"outcome": result.outcome, "admitted": result.admitted, "why": result.why}
    return {**verdict, "checks": checks, "examples": sealed.counts["examples"]}
