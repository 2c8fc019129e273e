from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pandas as pd
import pytest

from poison_guard.config.policies import RetrainConfig
from poison_guard.drills.training_effect import ROWS, collected_examples, compare
from poison_guard.drills.world import World
from poison_guard.errors import DataError
from poison_guard.retrain.attacks import Budget

CONFIG = RetrainConfig(epochs=20, epsilon=0.1)
BUDGET = Budget(attacked=20, steps=3, restarts=1, queries=5)


@functools.cache
def small() -> World:
    """People and bots in two clouds; the attacker's sessions lie close together among the bots, labelled human."""
    rng = np.random.default_rng(0)

    def sessions(n: int, label: str, told: str, centre: tuple[float, float], spread: float) -> pd.DataFrame:
        points = pd.DataFrame(rng.normal(centre, spread, (n, 2)), columns=["fast", "straight"])
        return points.assign(label=label, told=told, attack=label != told)

    records = pd.concat(
        [
            sessions(150, "human", "human", (-2, -2), 0.7),
            sessions(100, "bot", "bot", (2, 2), 0.7),
            sessions(80, "bot", "human", (2, 0), 0.1),
        ],
        ignore_index=True,
    ).assign(session=[f"s{n}" for n in range(330)])
    fresh = pd.concat(
        [
            sessions(60, "human", "human", (-2, -2), 0.7),
            sessions(60, "bot", "bot", (2, 2), 0.7),
            sessions(40, "bot", "human", (2, 0), 0.1),
        ],
        ignore_index=True,
    )
    fresh = fresh.assign(attack_label=np.where(fresh["attack"], fresh["told"], ""))
    return World(
        name="small",
        seed=0,
        columns={"record_id": "session", "source_id": "device", "label": "told"},
        features=("fast", "straight"),
        records=records[["session", "fast", "straight", "told"]],
        truth=records[["attack", "label"]].assign(record_id=records["session"]),
        source_truth=pd.DataFrame(),
        trusted=pd.DataFrame(),
        fresh=fresh,
    )


@functools.cache
def compared() -> pd.DataFrame:
    kept = ~small().truth["attack"].to_numpy()
    return compare(small(), collected_examples(small()).take(kept), config=CONFIG, budget=BUDGET).set_index("row")


def test_there_is_one_row_for_each_training_and_shares_are_shares():
    found = compared()
    assert tuple(found.index) == ROWS
    shares = found[["accuracy", "worst_class", "attack_success", "robust_accuracy"]].to_numpy(float)
    assert ((shares >= 0) & (shares <= 1)).all()
    assert (found["worst_class"] <= found["accuracy"]).all()


def test_rows_count_the_examples_they_were_trained_on():
    n, attack = len(small().records), int(small().truth["attack"].sum())
    assert compared()["n"].tolist() == [n, n - attack, n]


def test_an_attack_that_is_learned_shows_and_one_that_is_held_does_not():
    success = compared()["attack_success"]
    assert success["everything"] > 0.5
    assert success["admitted"] <= 0.05
    assert success["truth"] <= 0.05


def test_a_world_without_fresh_examples_is_refused():
    drawn = dataclasses.replace(small(), fresh=pd.DataFrame())
    with pytest.raises(DataError, match="no fresh examples"):
        compare(drawn, collected_examples(drawn), config=CONFIG)


def test_controls_kept_for_testing_train_no_row():
    controls = pd.DataFrame({"item_id": [f"s{n}" for n in range(0, 330, 3)], "answer": "bot"})
    drawn = dataclasses.replace(small(), controls=controls)
    aside = np.arange(330) % 6 == 0
    config = dataclasses.replace(CONFIG, epochs=1)
    found = compare(drawn, collected_examples(drawn).take(~aside), config=config, budget=BUDGET)
    assert set(found["n"]) == {330 - aside.sum()}
