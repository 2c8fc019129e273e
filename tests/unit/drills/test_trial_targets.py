from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from poison_guard.drills.attacks.answers import make_spam
from poison_guard.drills.trial import target_figures, target_items
from poison_guard.drills.world import World


@pytest.fixture
def world() -> World:
    """Four items: a control, two targeted ones (one of them pushed), one that nobody aims at; six answers."""
    ids = [f"r{k}" for k in range(6)]
    origin = ["poison", "poison", "honest", "honest", "honest", "honest"]
    return World(
        name="tiny",
        seed=0,
        columns={"record_id": "id", "source_id": "who", "item_id": "item", "answer": "answer"},
        features=(),
        records=pd.DataFrame(
            {
                "id": ids,
                "who": ["x", "y", "a", "a", "b", "b"],
                "item": ["i", "i", "i", "j", "j", "k"],
                "answer": ["bad word here", "bad word here", "a good answer", "yes sir", "yes sir", "no"],
            }
        ),
        truth=pd.DataFrame(
            {
                "record_id": ids,
                "origin": origin,
                "attack": [o == "poison" for o in origin],
                "honest": [o == "honest" for o in origin],
            }
        ),
        source_truth=pd.DataFrame({"source_id": ["a", "b", "x", "y"], "honest": [True, True, False, False]}),
        trusted=pd.DataFrame(),
        item_truth=pd.DataFrame(
            {
                "item_id": ["i", "j", "k", "c"],
                "label": ["a good answer", "yes sir", "no", "c"],
                "control": [False, False, False, True],
            }
        ),
        params={"targets": ["i", "j", "c"]},
    )


def decided(world: World, held: set[str]) -> pd.DataFrame:
    ids = world.truth["record_id"]
    return pd.DataFrame({"record_id": ids, "action": ["quarantine" if i in held else "accept" for i in ids]})


def labels(**by_item: str) -> pd.Series:
    return pd.Series(by_item, dtype="str")


def test_targets_that_are_controls_or_not_adopted_are_told_apart(world):
    figures = target_figures(world, labels(i="bad word here", k="no"), decided(world, set()))
    assert figures["target_items"] == 2
    assert (figures["target_wrong"], figures["target_right"], figures["target_deferred"]) == (0.5, 0, 0.5)


def test_honest_records_are_parted_by_what_they_are_about(world):
    figures = target_figures(world, None, decided(world, {"r2", "r5", "r0"}))
    assert figures["honest_on_targets"] == 3
    assert figures["honest_held_on_targets"] == pytest.approx(1 / 3)
    assert figures["honest_held_elsewhere"] == 1
    assert figures["target_wrong"] is None


def test_free_text_is_wrong_only_where_it_is_nearer_to_the_push_than_to_the_truth(world):
    text = dataclasses.replace(world, params={**world.params, "free_text": True})
    near = target_figures(text, labels(i="A good, answer!", j="yes"), decided(world, set()))
    assert (near["target_right"], near["target_wrong"]) == (1, 0)
    pushed = target_figures(text, labels(i="bad word", j="something else entirely"), decided(world, set()))
    assert pushed["target_wrong"] == 1


def test_without_named_targets_they_are_what_the_attack_speaks_of(world):
    assert target_items(dataclasses.replace(world, params={})) == {"i"}


def test_the_shares_of_a_drawn_world_add_up_to_one():
    drawn = make_spam(0, items=60, honest=20)
    some = drawn.item_truth["item_id"].iloc[:30]
    figures = target_figures(drawn, pd.Series("0", index=some, dtype="str"), decided(drawn, set()))
    assert sum(figures[f"target_{k}"] for k in ("right", "wrong", "deferred")) == pytest.approx(1)
