"""Parts by cohort: what is certified holds against whatever lying cohorts write, and the saved model answers alike."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from poison_guard.config.policies import RetrainConfig
from poison_guard.errors import ConfigError, DataError
from poison_guard.records import Examples
from poison_guard.retrain.parts import _elected, certificate, certified_cohorts, part_of, train_parts
from poison_guard.retrain.trained_model import predict_probabilities, read_model, write_model

CONFIG = RetrainConfig(parts=5)


def rows(rng, n, labels=("a", "b", "c")):
    kind = rng.integers(0, len(labels), n)
    x = 2 * np.eye(3)[kind] + 0.6 * rng.normal(size=(n, 3))
    ids = [f"{rng.integers(1 << 40)}" for _ in range(n)]
    frame = pd.DataFrame({"example_id": ids, "label": np.array(labels)[kind], "slice": "", "is_new": True})
    return Examples("table", frame, x, ("x", "y", "z"))


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(0)
    trusted, crowd, new = rows(rng, 60), rows(rng, 300), rows(rng, 80)
    cohorts = np.array([f"week {i % 30}" for i in range(300)], dtype=object)
    return trusted, crowd, cohorts, new


def test_no_answer_that_is_certified_moves_whatever_a_lying_cohort_writes(made):
    trusted, crowd, cohorts, new = made
    honest = train_parts(crowd, cohorts, trusted, CONFIG)
    said, told = predict_probabilities(honest, new).argmax(axis=1), certificate(honest, new)
    assert told["certified"]["1"] > 0
    radius = certified_cohorts(_scores(honest, new)[:-1])
    for name in ("week 1", "week 2"):
        liars = (cohorts == name) | (np.arange(300) % 30 == 7)  # the cohort sends as much as two do
        frame = crowd.frame.assign(label=np.where(liars, "b", crowd.frame["label"]))
        lying = Examples("table", frame, np.where(liars[:, None], 5.0, crowd.inputs), crowd.features)
        turned = train_parts(lying, np.where(liars, name, cohorts), trusted, CONFIG)
        moved = predict_probabilities(turned, new).argmax(axis=1) != said
        assert not (moved & (radius >= 2)).any()


def _scores(model, examples):
    import torch

    from poison_guard.retrain.inputs import to_dense

    with torch.inference_mode():
        return model.module.scores(to_dense(model.inputs.encode(examples), slice(None))).numpy()


def test_the_certificate_is_never_larger_than_what_any_change_of_parts_allows():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(5, 12, 3)) + 1.5 * np.eye(3)[0]
    radius = certified_cohorts(scores)
    answers = _elect(scores)
    extremes = [np.array(order, float) for order in itertools.permutations(range(3))]
    for part, other in itertools.combinations(range(5), 2):
        for one, two in itertools.product(extremes, extremes):
            changed = scores.copy()
            changed[part], changed[other] = one, two
            moved = _elect(changed) != answers
            assert not (moved & (radius >= 2)).any()
    assert (radius >= 1).any()


def _elect(scores):
    return _elected(scores, np.eye(scores.shape[2], dtype=int)[scores.argmax(axis=2)].sum(axis=0))


def test_the_saved_model_answers_as_the_votes_do(made, tmp_path):
    trusted, crowd, cohorts, new = made
    model = train_parts(crowd, cohorts, trusted, CONFIG)
    path, digest = write_model(model, tmp_path)
    read = read_model(path, digest)
    assert np.array_equal(predict_probabilities(read, new), predict_probabilities(model, new))
    told = certificate(read, new)
    right = predict_probabilities(read, new).argmax(axis=1) == read.targets(new.frame["label"])
    assert told["right"] == right.sum()
    assert told["certified"]["1"] <= told["right"]


def test_a_label_that_only_the_crowd_has_is_learned_by_no_part(made):
    trusted, crowd, cohorts, _ = made
    strange = crowd.frame.assign(label=np.where(cohorts == "week 3", "z", crowd.frame["label"]))
    model = train_parts(Examples("table", strange, crowd.inputs, crowd.features), cohorts, trusted, CONFIG)
    assert model.classes == ("a", "b", "c")


def test_one_trusted_label_is_too_few(made):
    trusted, crowd, cohorts, _ = made
    one = trusted.take((trusted.frame["label"] == "a").to_numpy())
    with pytest.raises(DataError, match="trusted examples of two labels, got 1"):
        train_parts(crowd, cohorts, one, CONFIG)


@pytest.mark.parametrize("more", [{"members": 2}, {"adversary": "pgd"}, {"model": "mine:net"}])
def test_parts_go_with_no_recipe_of_networks(made, more):
    trusted, crowd, cohorts, _ = made
    with pytest.raises(ConfigError, match=r"parts in \[retrain\]"):
        train_parts(crowd, cohorts, trusted, RetrainConfig(parts=3, **more))


def test_a_cohort_is_in_one_part_for_ever():
    assert [part_of(name, 7) for name in ("a", "b", "")] == [part_of(name, 7) for name in ("a", "b", "")]
    assert len({part_of(f"c{i}", 7) for i in range(100)}) == 7


def test_gradients_go_through_a_model_that_was_just_trained(made):
    trusted, crowd, cohorts, _ = made
    model = train_parts(crowd, cohorts, trusted, CONFIG)
    x = torch.zeros(1, len(model.module.directions), requires_grad=True)
    model.module(x).sum().backward()
    assert x.grad is not None
