from __future__ import annotations

import numpy as np
import pytest
import torch

from poison_guard.config.policies import RetrainConfig
from poison_guard.errors import DataError
from poison_guard.retrain.detection import evades, fit_detector, input_scores
from poison_guard.retrain.evaluation import Budget, evaluate
from poison_guard.retrain.train import train_classifier


@pytest.mark.parametrize(("kind", "names"), [("table", {"squeezed", "members"}), ("text", {"squeezed"})])
def test_scores_are_distances_and_clean_inputs_are_flagged_at_the_rate(small, kind, names):
    config = RetrainConfig(members=2 if kind == "table" else 1, epochs=3)
    model = train_classifier(small(kind), config, device="cpu")
    detector = fit_detector(input_scores(model, small(kind, n=400, seed=3)), 0.05)
    scores = input_scores(model, small(kind, n=600, seed=4))
    assert set(scores) == names
    assert all(((score >= 0) & (score <= 2)).all() for score in scores.values())
    flagged = np.logical_or.reduce(list(detector.flags(scores).values()))
    assert flagged.mean() < 0.09


def test_limits_let_no_more_clean_rows_pass_them_than_the_rate():
    random = np.random.default_rng(0)
    scores = {"a": random.random(199), "b": random.random(199)}
    detector = fit_detector(scores, 0.05)
    over = np.logical_or.reduce(list(detector.flags(scores).values()))
    assert 0 < over.sum() < 10
    with pytest.raises(DataError, match="takes 20 trusted calibration rows, and there are 10"):
        fit_detector({"a": np.zeros(10)}, 0.05)
    with pytest.raises(DataError, match="nothing to compare"):
        fit_detector({}, 0.05)


def test_who_knows_the_detector_evades_more_with_a_larger_radius_and_none_without(small):
    model = train_classifier(small("table"), RetrainConfig(epochs=3), device="cpu")
    tested = small("table", seed=1)
    detector = fit_detector(input_scores(model, small("table", n=200, seed=3)), 0.05)
    x, y = model.inputs.encode(tested), torch.from_numpy(model.targets(tested.frame["label"]))
    shares = [
        evades(model, detector, x, y, epsilon=epsilon, steps=10, generator=torch.Generator()).mean()
        for epsilon in (1e-6, 0.3, 2.0)
    ]
    assert shares[0] < 0.05
    assert shares[0] <= shares[1] < shares[2]


def test_an_evaluation_tells_rejection_beside_half_the_radius_and_three_shares(small):
    config = RetrainConfig(members=2, escalate=0.05, epochs=3)
    model = train_classifier(small("table"), config, calibration=small("table", n=100, seed=5), device="cpu")
    budget = Budget(attacked=40, steps=5, targets=1, queries=10, full=True)
    metrics = evaluate(model, small("table", n=200, seed=1), config=config, seed=0, budget=budget)
    shares = [metrics[name]["right"] for name in ("right_answered", "wrong_answered", "escalated")]
    assert sum(shares) == 40
    assert 0 < metrics["rejecting"]["right"] <= 40
    assert metrics["half_radius"]["right"] >= metrics["attacks"]["pgd"]["right"]
    assert "certified" not in metrics
