from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from poison_guard.config.policies import RetrainConfig
from poison_guard.errors import DataError
from poison_guard.numerics.tensors import parse_tensors, read_bounded
from poison_guard.records import Examples
from poison_guard.retrain import overfitting, train
from poison_guard.retrain import training_state as courses
from poison_guard.retrain.train import TrainingError, train_classifier
from poison_guard.retrain.trained_model import predict_probabilities

ROOT = Path(__file__).resolve().parents[3]


def sick(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """A network whose loss is no number from the third call of its training on."""

    class Sick(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.calls = nn.Linear(input_shape[0], n_classes), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += self.training
            return self.layer(x) * (float("nan") if self.calls > 4 else 1.0)

    return Sick()


def same(one, other) -> bool:
    mine, theirs = one.module.state_dict(), other.module.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def right(model, examples) -> np.ndarray:
    return predict_probabilities(model, examples).argmax(1) == model.targets(examples.frame["label"])


@pytest.mark.parametrize("kind", ["image", "table", "text"])
def test_every_kind_learns_and_the_result_depends_on_seed_and_examples_alone(small, kind):
    examples = small(kind)
    config = RetrainConfig(epochs=8)
    model = train_classifier(examples, config, device="cpu")
    assert right(model, small(kind, seed=1)).mean() > 0.95
    shuffled = examples.take(np.random.default_rng(0).permutation(len(examples)))
    torch.manual_seed(99)
    assert same(train_classifier(shuffled, config, device="cpu"), model)
    if kind != "text":  # the linear model starts at zero and draws nothing but the order
        assert not same(train_classifier(examples, dataclasses.replace(config, seed=1), device="cpu"), model)
    assert model.cost["epochs"] == 8
    assert model.cost["cpu_s"] > 0


def test_a_training_leaves_the_callers_chance_and_threads_alone(small):
    torch.manual_seed(5)
    wanted, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(5)
    train_classifier(small("table"), RetrainConfig(epochs=1), device="cpu")
    assert torch.equal(torch.rand(3), wanted)
    assert torch.get_num_threads() == threads


def test_a_rare_class_counts_as_much_as_a_common_one(small):
    model = train_classifier(small("table", n=600, share=0.03), RetrainConfig(epochs=10), device="cpu")
    tested = small("table", n=400, seed=2)
    bad = (tested.frame["label"] == "bad").to_numpy()
    assert right(model, tested)[bad].mean() > 0.9
    assert courses.class_weights(np.array([0] * 9_999 + [1]), 2)[1] == pytest.approx(20.0)


def test_the_adversary_makes_digits_withstand_more():
    pixels, labels = load_digits(return_X_y=True)
    frame = small_frame(labels)
    whole = Examples("image", frame, (pixels / 16).astype(np.float32).reshape(-1, 1, 8, 8))
    fitted, tested = whole.take(np.arange(700)), whole.take(np.arange(700, 1000))
    robust = {}
    for epsilon in (0.0, 0.1):
        model = train_classifier(fitted, RetrainConfig(epochs=8, epsilon=epsilon), device="cpu")
        assert right(model, tested).mean() > 0.9
        robust[epsilon] = withstood(model, tested, 0.1)
    assert robust[0.1] > robust[0.0] + 0.1


def small_frame(labels):
    import pandas as pd

    ids = [f"d{i:04d}" for i in range(len(labels))]
    return pd.DataFrame({"example_id": ids, "label": labels.astype(str), "slice": "", "is_new": True})


def withstood(model, examples, epsilon: float) -> float:
    from poison_guard.retrain.perturb import pgd

    x, y = model.inputs.encode(examples), torch.from_numpy(model.targets(examples.frame["label"]))
    space, generator = model.inputs.space, torch.Generator().manual_seed(0)
    worst = pgd(model.module, x, y, epsilon=epsilon, space=space, steps=10, generator=generator)
    return float((model.module(worst).argmax(1) == y).float().mean())


def test_a_collapse_puts_the_best_weights_back_and_strengthens_the_adversary(small, monkeypatch):
    real, robust = train.fgsm, iter([0.9, 0.8, 0.1, 0.85, 0.86, 0.5])
    calls = []
    monkeypatch.setattr(train, "fgsm", lambda *a, **k: calls.append(1) or real(*a, **k))
    monkeypatch.setattr(overfitting.OverfittingWatch, "robust", lambda *_: next(robust))
    monkeypatch.setattr(overfitting, "_SHARE", 100.0)  # look after each epoch
    examples = small("table", n=2000)
    model = train_classifier(examples, RetrainConfig(epochs=6, batch_size=500), device="cpu")
    assert [row["event"] for row in model.history] == ["", "", "collapsed", "", "", "restored"]
    assert [row["attack_steps"] for row in model.history] == [1, 1, 1, 3, 3, 3]
    assert len(calls) == 3 * 4
    # the end fell below the first epoch's weights, which were the best
    monkeypatch.setattr(overfitting.OverfittingWatch, "robust", lambda *_: 0.9)
    first = _one_epoch_of(examples, RetrainConfig(epochs=6, batch_size=500), monkeypatch)
    assert all(torch.equal(first[name], value) for name, value in model.module.state_dict().items())


def _one_epoch_of(examples, config, monkeypatch) -> dict[str, torch.Tensor]:
    from poison_guard.retrain import train as room

    kept = {}
    real = room.run_epoch

    def spy(training, data, settled):
        loss = real(training, data, settled)
        kept.setdefault(training.epoch, training.weights())
        return loss

    monkeypatch.setattr(room, "run_epoch", spy)
    train_classifier(examples, config, device="cpu")
    return kept[1]


def test_a_loss_that_is_no_number_says_in_which_epoch_and_keeps_nothing(small, tmp_path):
    checkpoint = tmp_path / "training.safetensors"
    config = RetrainConfig(model=f"{__name__}:sick", epochs=9, batch_size=120, epsilon=0.0)
    sys.modules.setdefault(__name__, sys.modules[sick.__module__])
    with pytest.raises(TrainingError, match=r"epoch 5 of 9.*learning_rate"):
        train_classifier(small("table"), config, checkpoint=checkpoint, device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_examples_of_one_label_or_none_cannot_be_trained_on(small):
    examples = small("table")
    with pytest.raises(DataError, match="only 'fine'"):
        train_classifier(examples.take((examples.frame["label"] == "fine").to_numpy()), RetrainConfig())
    with pytest.raises(DataError, match="2 labels"):
        train_classifier(examples.take(np.arange(0)), RetrainConfig())


def test_a_warm_start_begins_with_the_champions_weights_unless_it_does_not_fit(small):
    examples = small("table")
    champion = train_classifier(examples, RetrainConfig(epochs=10), device="cpu")
    config = RetrainConfig(epochs=1, learning_rate=1e-6)
    warm = train_classifier(examples, config, warm=champion, device="cpu")
    assert warm.history[0]["event"] == "warm"
    assert right(warm, examples).mean() == right(champion, examples).mean()
    other = dataclasses.replace(champion, classes=("bad", "good"))
    assert train_classifier(examples, config, warm=other, device="cpu").history[0]["event"] == ""


def test_validation_examples_are_watched_and_not_trained_on(small):
    examples, config = small("table"), RetrainConfig(epochs=2)
    watched = train_classifier(examples, config, validation=small("table", n=50, seed=3), device="cpu")
    assert same(watched, train_classifier(examples, config, device="cpu"))


def test_a_finished_checkpoint_gives_its_model_again_and_another_training_replaces_it(small, tmp_path):
    checkpoint, examples = tmp_path / "training.safetensors", small("table")
    config = RetrainConfig(epochs=2)
    model = train_classifier(examples, config, checkpoint=checkpoint, device="cpu")
    again = train_classifier(examples, config, checkpoint=checkpoint, device="cpu")
    assert (same(again, model), again.history, again.cost) == (True, model.history, model.cost)
    other = small("table", seed=4)
    assert same(
        train_classifier(other, config, checkpoint=checkpoint, device="cpu"),
        train_classifier(other, config, device="cpu"),
    )


def test_a_file_that_is_no_checkpoint_is_named(small, tmp_path):
    checkpoint = tmp_path / "training.safetensors"
    checkpoint.write_bytes(b"\x80\x04}.")
    with pytest.raises(DataError, match=r"training\.safetensors is a pickle"):
        train_classifier(small("table"), RetrainConfig(epochs=1), checkpoint=checkpoint)


CHILD = """
import json, sys
import numpy as np, pandas as pd
from pathlib import Path
from poison_guard.config.policies import RetrainConfig
from poison_guard.records import Examples
from poison_guard.retrain.train import train_classifier
rng = np.random.default_rng(0)
frame = pd.DataFrame({"example_id": [f"e{i:05d}" for i in range(200)], "label": ["bad", "fine"] * 100})
examples = Examples("table", frame, rng.standard_normal((200, 3)), ("a", "b", "c"))
config = RetrainConfig(epochs=int(sys.argv[2]))
"""
WAITS_FOR_ITS_END = """
from poison_guard.retrain import train
write = train.write_checkpoint
def write_and_wait(*args):
    write(*args)
    print("written", flush=True)
    sys.stdin.read()
train.write_checkpoint = write_and_wait
train_classifier(examples, config, checkpoint=Path(sys.argv[1]), device="cpu")
"""


@pytest.mark.slow
def test_a_training_killed_and_run_again_equals_one_never_killed(tmp_path):
    checkpoint, epochs = tmp_path / "training.safetensors", "12"
    command = [sys.executable, "-c", CHILD + WAITS_FOR_ITS_END, str(checkpoint), epochs]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "written\n"
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    done = parse_tensors(read_bounded(checkpoint), name="it", expected="poison-guard training 1")[0]["epoch"]
    assert 1 <= done < int(epochs)

    names: dict = {}
    exec(CHILD.replace("sys.argv[2]", json.dumps(epochs)), names)
    again = train_classifier(names["examples"], names["config"], checkpoint=checkpoint, device="cpu")
    never = train_classifier(names["examples"], names["config"], device="cpu")
    assert same(again, never)
    assert again.history == never.history
