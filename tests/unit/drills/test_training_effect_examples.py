from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

from poison_guard.drills.training_effect import (
    collected_examples,
    fresh_examples,
    input_kind,
    kept_examples,
    true_examples,
)
from poison_guard.drills.world import World
from poison_guard.drills.worlds import WORLDS, make_world
from poison_guard.steps.results import ScanResult


@functools.cache
def world(name: str) -> World:
    return make_world(name, 0)


@pytest.fixture(params=WORLDS)
def any_world(request: pytest.FixtureRequest) -> World:
    return world(request.param)


def scanned(drawn: World, held: set[str], labels: pd.DataFrame | None = None) -> ScanResult:
    """A result that holds the records in `held` and gives items their `labels`."""
    ids = drawn.role("record_id")
    action = np.where(ids.isin(held), "quarantine", "accept")
    empty = pd.DataFrame()
    items = pd.DataFrame({"item_id": [], "label": [], "adopted": []}) if labels is None else labels
    decisions = pd.DataFrame({"record_id": ids, "action": action})
    return ScanResult(decisions, items, empty, empty, empty, (), {})


def test_inputs_are_what_a_model_of_the_kind_takes(any_world):
    told = collected_examples(any_world, pixel_max=16.0)
    assert (
        told.kind == input_kind(any_world) == {"captcha": "image", "chat": "text", "telemetry": "table"}[any_world.name]
    )
    assert told.frame["example_id"].is_unique
    assert len(told.inputs) == len(told)
    if told.kind == "image":
        assert told.inputs.shape[1:] == (1, 8, 8)
        assert told.inputs.min() == 0
        assert told.inputs.max() == 1
    if told.kind == "table":
        assert told.features == any_world.features
        assert set(told.frame["slice"]) == {"desktop", "touch"}


def test_told_and_true_are_the_same_examples_and_differ_where_the_attacker_won(any_world):
    told, true = collected_examples(any_world), true_examples(any_world)
    assert told.frame["example_id"].equals(true.frame["example_id"])
    other = (told.frame["label"] != true.frame["label"]).to_numpy()
    assert 0.04 < other.mean() < 0.2
    lies = set(any_world.fresh["attack_label"]) - {""}
    assert told.frame["label"][other].isin(lies).mean() > 0.6


def test_controls_are_told_with_their_known_answers():
    drawn = world("captcha")
    told = collected_examples(drawn).frame.set_index("example_id")["label"]
    known = drawn.controls.set_index("item_id")["answer"]
    seen = known.index.intersection(told.index)
    assert len(seen) > 0.95 * len(known)
    assert (told[seen] == known[seen]).all()


def test_what_a_guard_held_is_no_example_of_a_feed_without_items():
    drawn = world("telemetry")
    poison = set(drawn.truth.loc[drawn.truth["attack"], "record_id"])
    kept = kept_examples(drawn, scanned(drawn, poison))
    assert set(kept.frame["example_id"]) == set(drawn.role("record_id")) - poison
    labels = drawn.records.set_index("session_id")["challenge"].reindex(kept.frame["example_id"])
    assert (labels.to_numpy() == kept.frame["label"].to_numpy()).all()


def test_only_adopted_items_are_kept_and_controls_only_of_the_reference_split():
    drawn = world("captcha")
    items = drawn.item_truth.assign(adopted=np.arange(len(drawn.item_truth)) % 3 > 0)
    kept = set(kept_examples(drawn, scanned(drawn, set(), items)).frame["example_id"])
    adopted = items[items["adopted"]].set_index("item_id")["control"]
    assert kept <= set(adopted.index)
    assert set(adopted.index[~adopted]) <= kept
    share = len(kept & set(adopted.index[adopted])) / adopted.sum()
    assert 0.35 < share < 0.65


def test_fresh_examples_have_the_truth_in_the_order_of_the_world(any_world):
    fresh = fresh_examples(any_world, pixel_max=16.0)
    assert fresh.frame["label"].tolist() == any_world.fresh["label"].tolist()
    assert fresh.frame["example_id"].is_unique
    assert not set(fresh.frame["example_id"]) & set(collected_examples(any_world).frame["example_id"])
