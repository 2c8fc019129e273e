"""Training examples of a world: everything as it was told, the truth, what a guard kept, and fresh ones to judge by."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from poison_guard.drills.baseline import majority_labels
from poison_guard.drills.world import World
from poison_guard.records import Action, Examples, ScanResult
from poison_guard.store.trusted import split_of

__all__ = ["fresh_examples", "kept_examples", "kind_of", "told_examples", "true_examples"]


def kind_of(world: World) -> str:
    """Return what a model of `world` sees of an example: ``image``, ``text`` or ``table``."""
    if world.items is not None:
        return "image"
    return "text" if "text" in world.columns else "table"


def told_examples(world: World, *, pixel_max: float = 255.0) -> Examples:
    """Return every item with the majority's label (a control with its answer), or every record as it is labelled."""
    return _examples(world, _told(world), pixel_max)


def true_examples(world: World, *, pixel_max: float = 255.0) -> Examples:
    """Return the examples of `told_examples` with their true labels."""
    told = _told(world)
    if world.item_truth is not None:
        truth = world.item_truth.set_index("item_id")["label"]
    else:
        truth = world.truth.set_index("record_id")["label"]
    return _examples(world, truth.reindex(told.index), pixel_max)


def kept_examples(world: World, result: ScanResult, *, pixel_max: float = 255.0) -> Examples:
    """Return what `result` lets through: accepted records, or items whose label was adopted.

    `result` is of all the records of `world` in one run. Of the controls only those of the reference split are
    training examples, as in the guard's own trainings: the others are what the gate judges by.
    """
    if world.item_truth is None:
        accepted = result.decisions.loc[result.decisions["action"].astype("str") == Action.ACCEPT, "record_id"]
        told = _told(world)
        return _examples(world, told[told.index.isin(accepted)], pixel_max)
    items = result.items[result.items["adopted"].astype(bool)].set_index("item_id")
    aside = [item for item in _controls(world) if _split(item) != "reference"]
    return _examples(world, items.loc[~items.index.isin(aside), "label"].astype("str"), pixel_max)


def fresh_examples(world: World, *, pixel_max: float = 255.0) -> Examples:
    """Return `world.fresh` with its true labels; ids are ``fresh-N`` by its rows."""
    fresh = world.fresh.assign(example_id=[f"fresh-{n}" for n in range(len(world.fresh))]).set_index("example_id")
    return _assembled(world, fresh, fresh["label"], pixel_max)


def _told(world: World) -> pd.Series:
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
    kind = kind_of(world)
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
