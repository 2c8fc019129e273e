from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from poison_guard.config.policies import GatePolicy, RetrainConfig
from poison_guard.errors import DataError
from poison_guard.records import Examples
from poison_guard.retrain.attacks import Budget
from poison_guard.retrain.evaluation import evaluate
from poison_guard.retrain.inputs import fit_inputs
from poison_guard.retrain.models import fill_defaults
from poison_guard.retrain.promotion import decide_promotion
from poison_guard.retrain.trained_model import TrainedModel

CONFIG = RetrainConfig(epsilon=0.2)
SMALL = Budget(attacked=60, steps=5, restarts=2, queries=30, text_queries=10, draws=2)


def table(n: int = 200, seed: int = 0) -> Examples:
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, 4))
    X[::10, 3] = np.nan
    label = np.where(X[:, 0] > 0, "yes", "no")
    frame = pd.DataFrame({"example_id": [f"e{i}" for i in range(n)], "label": label, "is_new": False})
    frame["slice"] = np.where(np.arange(n) % 3 == 0, "north", "")
    return Examples("table", frame, X, ("a", "b", "c", "d"))


def images(n: int = 60) -> Examples:
    """A bright upper or lower half, and grey noise."""
    random = np.random.default_rng(0)
    X = (0.3 * random.random((n, 1, 8, 8))).astype(np.float32)
    upper = np.arange(n) % 2 == 0
    X[upper, :, :4] += 0.4
    X[~upper, :, 4:] += 0.4
    frame = pd.DataFrame({"example_id": [f"i{i}" for i in range(n)], "label": np.where(upper, "up", "down")})
    return Examples("image", frame.assign(slice="", is_new=False), X)


def texts(n: int = 40) -> Examples:
    inputs = np.empty(n, dtype=object)
    inputs[:] = [f"win free money now number {i}" if i % 2 else f"see you at lunch number {i}" for i in range(n)]
    label = ["spam" if i % 2 else "ham" for i in range(n)]
    frame = pd.DataFrame({"example_id": [f"t{i}" for i in range(n)], "label": label, "slice": "", "is_new": False})
    return Examples("text", frame, inputs)


def made(examples: Examples, module: nn.Module, classes: tuple[str, ...]) -> TrainedModel:
    inputs = fit_inputs(examples)
    return TrainedModel(examples.kind, classes, fill_defaults(CONFIG, examples), inputs, module.eval(), (), {}, 0)


class First(nn.Module):
    """Says "yes" by the sign of the first column, with a slope."""

    def __init__(self, slope: float = 3.0):
        super().__init__()
        self.slope = slope

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([-self.slope * x[:, 0], self.slope * x[:, 0]], dim=1)


class Halves(nn.Module):
    """Compares the two halves of an image; `hidden` rounds pixels first, which leaves no gradient."""

    def __init__(self, *, hidden: bool = False):
        super().__init__()
        self.hidden = hidden

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (torch.round(x * 20) / 20) if self.hidden else x
        gap = x[:, :, :4].mean(dim=(1, 2, 3)) - x[:, :, 4:].mean(dim=(1, 2, 3))
        return 10 * torch.stack([-gap, gap], dim=1)


def linear_text(examples: Examples) -> TrainedModel:
    """A ridge regression on the hashed words."""
    inputs = fit_inputs(examples)
    encoded = inputs.encode(examples).toarray()
    sign = np.where(examples.frame["label"] == "spam", 1.0, -1.0)
    weights = encoded.T @ np.linalg.solve(encoded @ encoded.T + 0.01 * np.eye(len(encoded)), sign)
    layer = nn.Linear(encoded.shape[1], 2)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.stack([-weights, weights])))
        layer.bias.zero_()
    return dataclasses.replace(made(examples, layer, ("ham", "spam")), inputs=inputs)


def judge(model: TrainedModel, examples: Examples, config: RetrainConfig = CONFIG, seed: int = 0) -> dict:
    return evaluate(model, examples, config=config, seed=seed, budget=SMALL)


def test_what_comes_back_is_json_and_adds_up():
    examples = table()
    found = judge(made(examples, First(), ("no", "yes")), examples)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["n"] == 200 == sum(part["n"] for part in found["per_class"].values())
    assert found["right"] == sum(part["right"] for part in found["per_class"].values())
    assert found["accuracy"] == found["right"] / 200
    assert found["low"] <= found["accuracy"] <= found["high"]
    assert found["per_slice"]["north"]["n"] == 67 == len(found["slices"])
    assert set(found["attacks"]) == {"fgsm", "pgd", "apgd", "apgd targeted", "blackbox", "noise"}
    for attack in found["attacks"].values():
        assert attack["n"] == 60 == attack["right"] + len(attack["wrong"])
        assert set(attack["wrong"]) <= set(found["attacked"])
        assert attack["low"] <= attack["right"] / 60 <= attack["high"]


def test_a_model_of_one_column_falls_exactly_where_the_radius_reaches():
    examples = table()
    model = made(examples, First(), ("no", "yes"))
    found = judge(model, examples)
    encoded = dict(zip(examples.frame["example_id"], model.inputs.encode(examples)[:, 0].tolist(), strict=True))
    sign = {one: 1 if label == "yes" else -1 for one, label in found["labels"].items()}
    reach = {one for one in found["attacked"] if sign[one] * encoded[one] < CONFIG.epsilon}
    assert set(found["attacks"]["pgd"]["wrong"]) == reach == set(found["attacks"]["fgsm"]["wrong"])
    assert found["robust"]["right"] == 60 - len(reach)
    assert not found["masking"]["suspected"]


def test_columns_that_cannot_change_are_not_attacked():
    examples = table()
    model = made(examples, First(), ("no", "yes"))
    found = judge(model, examples, RetrainConfig(epsilon=0.2, mutable=("b",)))
    wrong = {one for one, label in found["predictions"].items() if label != found["labels"][one]}
    for name in ("fgsm", "pgd", "blackbox"):
        assert set(found["attacks"][name]["wrong"]) == wrong & set(found["attacked"])


def test_the_order_of_the_examples_changes_nothing_and_neither_does_a_second_look():
    examples = table()
    model = made(examples, First(), ("no", "yes"))
    shuffled = examples.take(np.random.default_rng(1).permutation(len(examples)))
    assert judge(model, examples) == judge(model, shuffled) == judge(model, examples)


def test_a_model_that_hides_its_gradient_is_warned_of_and_an_open_one_is_not():
    examples = images()
    wide, more = RetrainConfig(epsilon=0.3), dataclasses.replace(SMALL, queries=150)
    openly, hidden = (
        evaluate(made(examples, Halves(hidden=h), ("down", "up")), examples, config=wide, seed=0, budget=more)
        for h in (False, True)
    )
    assert not openly["masking"]["suspected"]
    assert openly["attacks"]["pgd"]["right"] <= openly["attacks"]["blackbox"]["right"]
    assert hidden["masking"]["suspected"]
    assert "that no gradient did: gradients may be masked" in hidden["masking"]["why"]
    assert hidden["attacks"]["blackbox"]["right"] < hidden["attacks"]["pgd"]["right"]
    assert hidden["robust"]["right"] <= hidden["attacks"]["blackbox"]["right"]


def test_images_are_turned_too_and_the_attack_says_its_radius():
    examples = images()
    found = judge(made(examples, Halves(), ("down", "up")), examples)
    assert (
        found["attacks"]["rotation"] | {"right": 60, "epsilon": 15.0, "unit": "degrees"} == found["attacks"]["rotation"]
    )
    assert found["attacks"]["pgd"]["epsilon"] == 0.2
    assert found["attacks"]["noise"]["right"] == 60


def test_texts_are_misspelt_and_their_embedding_moved():
    examples = texts()
    found = evaluate(linear_text(examples), examples, config=RetrainConfig(epsilon=0.5), seed=0, budget=SMALL)
    assert found["accuracy"] == 1
    assert set(found["attacks"]) == {"fgsm", "pgd", "apgd", "apgd targeted", "blackbox", "noise"}
    assert found["attacks"]["blackbox"]["unit"] == "of the words"
    assert "blackbox" not in found["masking"]["compared"]


def test_radius_0_attacks_nothing():
    examples = table()
    found = judge(made(examples, First(), ("no", "yes")), examples, RetrainConfig(epsilon=0))
    clean = sum(found["predictions"][one] == found["labels"][one] for one in found["attacked"])
    assert {found["attacks"][name]["right"] for name in ("fgsm", "pgd", "blackbox")} == {clean}


def test_a_class_that_the_model_does_not_know_is_wrong_and_refused():
    examples = table()
    examples.frame.loc[:30, "label"] = "maybe"
    found = judge(made(examples, First(), ("no", "yes")), examples)
    assert found["per_class"]["maybe"] == {"n": 31, "right": 0}
    assert "maybe" not in found["classes"]
    assert "maybe" in decide_promotion(found, found, None, GatePolicy()).why


def test_calibration_tells_a_sure_model_from_an_honest_one():
    examples = table(2000)
    random = np.random.default_rng(3)
    honest = 1 / (1 + np.exp(-2 * examples.inputs[:, 0]))  # the chance of "yes" that a slope of 1 in logits claims
    examples.frame["label"] = np.where(random.random(2000) < honest, "yes", "no")
    scale = made(examples, First(), ("no", "yes")).inputs.scale[0]
    fair, sure = (judge(made(examples, First(slope * scale), ("no", "yes")), examples) for slope in (1.0, 50.0))
    assert fair["calibration"]["ece"] < 0.06 < sure["calibration"]["ece"]
    assert fair["calibration"]["brier"] < sure["calibration"]["brier"] <= 2


def test_of_many_examples_the_same_part_is_judged_for_every_model():
    examples = table(300)
    few = dataclasses.replace(SMALL, examples=50, attacked=20)
    one, other = (
        evaluate(made(examples, First(slope), ("no", "yes")), examples, config=CONFIG, seed=0, budget=few)
        for slope in (1.0, -1.0)
    )
    assert len(one["predictions"]) == 50 == one["n"]
    assert one["predictions"].keys() == other["predictions"].keys()
    assert one["attacked"] == other["attacked"]
    refused = decide_promotion(other, one, None, GatePolicy())
    assert not refused.promoted
    assert "accuracy against the champion" in refused.why.lower()


def test_nothing_to_judge_by_doubled_ids_and_outputs_that_are_no_numbers_are_errors():
    examples = table()
    model = made(examples, First(), ("no", "yes"))
    with pytest.raises(DataError, match="no examples"):
        judge(model, examples.take(np.zeros(0, dtype=int)))
    with pytest.raises(DataError, match="twice"):
        judge(model, examples.take(np.array([0, 0, 1])))
    with pytest.raises(DataError, match="no numbers"):
        judge(made(examples, First(float("nan")), ("no", "yes")), examples)
    with pytest.raises(DataError):
        judge(model, images())


def test_a_full_evaluation_of_images_says_what_each_attack_left_and_which_class_became_which():
    examples = images(40)
    full = dataclasses.replace(SMALL, attacked=40, full=True, queries=20)
    found = evaluate(made(examples, Halves(), ("down", "up")), examples, config=CONFIG, seed=0, budget=full)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    right = {name: set(found["attacked"]) - set(attack["wrong"]) for name, attack in found["attacks"].items()}
    assert right["pixels 10"] <= right["pixels 3"] <= right["pixels 1"]
    assert {"shift", "scale", "rotation", "patch", "trained patch", "salt and pepper"} < set(right)
    assert found["worst"]["right"] == len(set.intersection(*right.values())) <= found["robust"]["right"]
    for attack in found["attacks"].values():
        assert -1 <= attack["margin_left"] <= 1
        assert attack["confidence_lost"] <= 1
    assert found["attacks"]["pgd"]["confidence_lost"] > found["attacks"]["noise"]["confidence_lost"]
    for source, goal in (("up", "down"), ("down", "up")):
        cell = found["pairs"][source][goal]
        assert 0 <= cell["hits"] <= cell["n"]
        assert cell["n"] == sum(found["labels"][one] == source for one in found["attacked"])
    assert found["noise"]["n"] == 40
    assert found["noise"]["at_once"] <= found["noise"]["accepted"]


def test_a_full_evaluation_of_tables_and_texts_changes_cells_and_words():
    full = dataclasses.replace(SMALL, full=True, attacked=20)
    rows = evaluate(made(table(), First(), ("no", "yes")), table(), config=CONFIG, seed=0, budget=full)
    assert rows["attacks"]["cells 1"]["right"] < rows["attacks"]["noise"]["right"]  # one cell decides
    words = evaluate(linear_text(texts()), texts(), config=RetrainConfig(epsilon=0.1), seed=0, budget=full)
    assert {"words 1", "words 3"} < set(words["attacks"])
    assert words["noise"] is None
