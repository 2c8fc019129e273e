"""Poison in labelled pictures, and the honest pictures that look like it."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from poison_guard.drills.attacks import pictures
from poison_guard.drills.world import Origin, World

ATTACKS = {
    "flips": lambda seed: pictures.make_flips(seed),
    "targeted": lambda seed: pictures.make_flips(seed, share=0.3, targeted=True),
    "dirty": lambda seed: pictures.make_backdoor(seed),
    "clean": lambda seed: pictures.make_backdoor(seed, share=0.3, clean=True),
    "diagonal": lambda seed: pictures.make_backdoor(seed, mark="diagonal"),
    "in-region": lambda seed: pictures.make_in_region(seed),
    "drip": lambda seed: pictures.make_drip(seed),
    "subpopulation": lambda seed: pictures.make_subpopulation(seed),
}
TWINS = (pictures.make_new_class, pictures.make_camera, pictures.make_drift, pictures.make_rare_slice)


def images(cells: pd.Series) -> np.ndarray:
    return np.array([json.loads(cell) for cell in cells]).reshape(len(cells), 8, 8)


@pytest.mark.parametrize("make", ATTACKS.values(), ids=ATTACKS)
def test_poison_is_told_apart_in_the_truth_alone_and_comes_from_accounts_of_its_own(
    make: Callable[[int], World],
) -> None:
    world = make(3)
    attack = world.truth["attack"].to_numpy(bool)
    assert 5 <= attack.sum() <= 45
    assert (world.truth.loc[attack, "origin"] == Origin.POISON).all()
    assert (world.truth["record_id"] == world.role("record_id")).all()
    honest = world.role("label").to_numpy()[~attack]
    assert (honest == world.truth["label"].to_numpy()[~attack]).all()
    assert not set(world.role("source_id")[attack]) & set(world.role("source_id")[~attack])
    assert not set(world.trusted["pixels"]) & set(world.records["pixels"]), "no picture is trusted and sent"
    aimed = world.fresh[world.fresh["attack"]]
    assert len(aimed)
    assert (aimed["attack_label"] != aimed["label"]).all()
    again = make(3)
    pd.testing.assert_frame_equal(world.records, again.records)
    assert not world.records.equals(make(4).records)


@pytest.mark.parametrize("name", ["flips", "targeted", "dirty", "diagonal", "in-region", "drip", "subpopulation"])
def test_dirty_poison_has_a_wrong_label(name: str) -> None:
    world = ATTACKS[name](0)
    attack = world.truth["attack"].to_numpy(bool)
    assert (world.role("label")[attack].to_numpy() != world.truth["label"][attack].to_numpy()).all()


def test_a_clean_mark_is_on_pictures_of_one_label_that_is_theirs() -> None:
    world = ATTACKS["clean"](0)
    attack = world.truth["attack"].to_numpy(bool)
    assert len(set(world.role("label")[attack])) == 1
    assert (world.role("label") == world.truth["label"]).all()
    assert (images(world.records["pixels"][attack])[:, 5:7, 5:7] == 255).all()
    stamped = world.fresh[world.fresh["attack"]]
    assert (images(stamped["pixels"])[:, 5:7, 5:7] == 255).all()


def test_a_drip_is_a_few_records_each_day() -> None:
    world = pictures.make_drip(0, per_day=2)
    assert (world.truth[world.truth["attack"]].groupby("day").size() == 2).all()


def test_poison_of_the_region_is_within_what_two_honest_pictures_span() -> None:
    world = pictures.make_in_region(0)
    pixels = images(world.records["pixels"][world.truth["attack"]])
    assert pixels.min() >= 0
    assert pixels.max() <= 255


@pytest.mark.parametrize("make", TWINS)
def test_a_twin_is_honest_and_says_which_records_are_its_own(make: Callable[[int], World]) -> None:
    world = make(1)
    assert not world.truth["attack"].any()
    assert (world.role("label") == world.truth["label"]).all()
    assert 5 < world.truth["lookalike"].sum() < len(world.truth)
    assert world.source_truth["honest"].all()
    if make is pictures.make_new_class:
        own = set(world.role("label")[world.truth["lookalike"]])
        assert len(own) == 1
        assert not own & set(world.trusted["digit"])
