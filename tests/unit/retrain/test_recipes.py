from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier

from poison_guard.config.policies import RetrainConfig
from poison_guard.errors import ConfigError, DataError
from poison_guard.numerics.tensors import pack_tensors, parse_tensors
from poison_guard.retrain import train, trees
from poison_guard.retrain.augment import augmented
from poison_guard.retrain.ensemble import Ensemble, members_of
from poison_guard.retrain.squeeze import Squeeze, grey_levels
from poison_guard.retrain.train import TrainingError, train_classifier
from poison_guard.retrain.trained_model import predict, read_model, write_model
from poison_guard.retrain.training_state import discard_checkpoint

_ALL = RetrainConfig(members=3, squeeze=("round",), escalate=0.05, augment=("noise",), epochs=3)


def right(model, examples) -> float:
    answers = predict(model, examples).probabilities.argmax(1)
    return float((answers == model.targets(examples.frame["label"])).mean())


@pytest.mark.parametrize("kind", ["table", "image"])
def test_all_parts_together_are_one_file_that_answers_the_same(small, kind, tmp_path):
    model = train_classifier(small(kind), _ALL, calibration=small(kind, seed=5, n=100), device="cpu")
    again = read_model(*write_model(model, tmp_path))
    tested = small(kind, seed=1)
    first, second = predict(model, tested), predict(again, tested)
    assert np.array_equal(first.probabilities, second.probabilities)
    assert np.array_equal(first.escalated, second.escalated)
    assert right(model, tested) > 0.9
    kinds = [type(part).__name__ for part in members_of(again.module)]
    assert kinds == ["Sequential", "Sequential", "Trees"]
    assert model.cost["cpu_s"] > 0
    assert {row["member"] for row in model.history} == {0, 1}


def test_texts_are_read_in_their_normal_form_and_one_that_it_empties_as_it_is(small):
    model = train_classifier(small("text"), RetrainConfig(squeeze=("round",), epochs=4), device="cpu")
    plain, spelt = small("text", n=2), small("text", n=2)
    spelt.inputs[:] = [text.replace("e", "е").replace("o", "0") for text in plain.inputs]
    assert np.allclose(predict(model, plain).probabilities, predict(model, spelt).probabilities)
    spelt.inputs[:] = ["!!! ???", ""]
    assert np.isfinite(predict(model, spelt).probabilities).all()


def test_trees_as_arrays_answer_as_the_grower_does():
    random = np.random.default_rng(0)
    x = random.standard_normal((300, 5)).astype(np.float32)
    for classes in (2, 3):
        y = np.digitize(x[:, 0] + x[:, 1], [0.0, 1.0][: classes - 1])
        grown = trees.grow_trees(x, y, np.ones(300), classes, seed=0)
        again = HistGradientBoostingClassifier(
            max_iter=60, max_leaf_nodes=16, max_depth=6, learning_rate=0.15, max_bins=63, early_stopping=False
        )
        wanted = again.fit(x, y).predict_proba(x)
        assert np.allclose(torch.softmax(grown(torch.from_numpy(x)), 1).numpy(), wanted, atol=1e-5)


def test_a_file_whose_trees_lead_nowhere_is_refused(small, tmp_path):
    model = train_classifier(small("table"), dataclasses.replace(_ALL, escalate=0.0), device="cpu")
    path, _ = write_model(model, tmp_path)
    description, tensors = parse_tensors(path.read_bytes(), name="m", expected="poison-guard model 1")
    name = next(name for name in tensors if name.endswith("child"))
    tensors[name] = tensors[name] + 10_000
    path.write_bytes(pack_tensors(description, tensors))
    with pytest.raises(DataError, match="a child that is not there"):
        read_model(path)


def test_one_model_learns_from_all_members_and_is_saved_alone(small, tmp_path):
    config = RetrainConfig(members=3, distil=True, epochs=3)
    model = train_classifier(small("table"), config, device="cpu")
    again = read_model(*write_model(model, tmp_path))
    assert len(members_of(again.module)) == 1
    assert right(again, small("table", seed=1)) > 0.9
    warm = train_classifier(small("table"), config, warm=again, device="cpu")
    assert [row["event"] for row in warm.history if row["epoch"] == 1] == ["warm", "", "warm"]


def test_a_vote_counts_members_and_ties_go_by_the_mean():
    class Says(torch.nn.Module):
        def __init__(self, *logits: float) -> None:
            super().__init__()
            self.logits = torch.tensor([logits])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.logits.expand(len(x), -1)

    members = [Says(9.0, 0.0), Says(0.0, 1.0), Says(0.0, 1.0)]
    x = torch.zeros(2, 1)
    assert Ensemble(members, "mean")(x).argmax(1).tolist() == [0, 0]
    assert Ensemble(members, "vote")(x).argmax(1).tolist() == [1, 1]
    assert Ensemble(members[:2], "vote")(x).argmax(1).tolist() == [0, 0]


def test_the_share_left_to_people_is_the_one_asked_for(small):
    config = RetrainConfig(members=2, escalate=0.1, epochs=3)
    examples = small("table")
    model = train_classifier(examples, config, calibration=small("table", seed=7, n=400), device="cpu")
    assert 0.05 < predict(model, small("table", seed=8, n=1000)).escalated.mean() < 0.15
    with pytest.raises(DataError, match=r"escalate = 0.1 .* needs 10 of them, got 5"):
        train_classifier(examples, config, calibration=small("table", n=5), device="cpu")


def test_a_killed_ensemble_goes_on_with_the_member_it_was_at(small, tmp_path, monkeypatch):
    config, file = RetrainConfig(members=2, epochs=2), tmp_path / "training"
    whole = train_classifier(small("table"), config, device="cpu")
    calls = []
    run = train.run_epoch

    def killed(*given):
        calls.append(given)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return run(*given)

    monkeypatch.setattr(train, "run_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        train_classifier(small("table"), config, checkpoint=file, device="cpu")
    again = train_classifier(small("table"), config, checkpoint=file, device="cpu")
    assert len(calls) == 5
    mine, theirs = again.module.state_dict(), whole.module.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    discard_checkpoint(file)
    assert not list(tmp_path.iterdir())


def test_a_member_that_comes_to_nothing_is_named(small, monkeypatch):
    run = train.run_epoch
    monkeypatch.setattr(train, "run_epoch", lambda t, d, c: float("nan") if c.seed else run(t, d, c))
    with pytest.raises(TrainingError, match=r"member 2 of 2 \(second\): the loss was no number"):
        train_classifier(small("table"), RetrainConfig(members=2, epochs=1), device="cpu")


@pytest.mark.parametrize("adversary", ["pgd", "trades"])
def test_other_adversaries_learn_too(small, adversary):
    model = train_classifier(small("table"), RetrainConfig(adversary=adversary, epochs=4), device="cpu")
    assert right(model, small("table", seed=1)) > 0.9


def test_what_does_not_go_together_is_refused(small):
    for kind, config, words in (
        ("table", RetrainConfig(augment=("shift",)), "augment in"),
        ("text", RetrainConfig(squeeze=("smooth",)), "only images have neighbours"),
        ("table", RetrainConfig(distil=True, escalate=0.1), "choose one"),
        ("table", RetrainConfig(distil=True, adversary="certified"), "leave it out"),
    ):
        with pytest.raises(ConfigError, match=words):
            train_classifier(small(kind), config, device="cpu")


def test_rounding_leaves_what_the_radius_moves_and_smoothing_what_stands_alone():
    assert [grey_levels(epsilon) for epsilon in (0.3, 0.086, 8 / 255)] == [2, 5, 13]
    x = torch.tensor([[0.1, 0.9, 0.4]], requires_grad=True)
    squeezed = Squeeze(0.5)(x)
    assert torch.allclose(squeezed, torch.tensor([[0.0, 1.0, 0.5]]))
    squeezed.sum().backward()
    assert x.grad is not None
    assert (x.grad == 1).all()
    dot = torch.zeros(1, 1, 6, 6)
    dot[0, 0, 3, 3] = 1
    assert not Squeeze(0.0, smooth=True)(dot).any()


def test_changes_in_training_keep_shape_range_and_chance():
    x = torch.rand((8, 1, 10, 10), generator=torch.Generator().manual_seed(0))
    for how in ("shift", "rotate", "noise", "pixels", "patch"):
        one, two = (augmented(x, (how,), torch.Generator().manual_seed(3)) for _ in range(2))
        assert torch.equal(one, two)
        assert one.shape == x.shape
        assert not torch.equal(one, x)
        assert 0 <= float(one.min()) <= float(one.max()) <= 1
    rows = torch.rand(50, 4)
    dotted = augmented(rows, ("pixels",), torch.Generator().manual_seed(3))
    assert all(set(dotted[:, j].tolist()) <= set(rows[:, j].tolist()) for j in range(4))
