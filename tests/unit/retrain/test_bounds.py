from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from poison_guard.config.policies import RetrainConfig
from poison_guard.errors import ConfigError
from poison_guard.retrain.bounds import box, can_be_bounded, proven_right, worst_logits
from poison_guard.retrain.models import SECOND, build_image_cnn, build_tabular_mlp
from poison_guard.retrain.perturb import Space, pgd
from poison_guard.retrain.squeeze import Squeeze
from poison_guard.retrain.train import train_classifier

_IMAGE, _TABLE = Space("linf", 0.0, 1.0), Space("linf", -20.0, 20.0, (True, False, True, False, False, False), 3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("build", "shape", "space"),
    [
        (build_image_cnn, (1, 8, 8), _IMAGE),
        (SECOND["image"], (1, 8, 8), _IMAGE),
        (build_tabular_mlp, (6,), _TABLE),
    ],
)
def test_no_input_within_the_radius_reaches_past_the_bounds(build, shape, space, seed):
    random = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    module = nn.Sequential(Squeeze(0.25, smooth=len(shape) == 3), build(shape, 4))
    x, y = torch.rand((5, *shape), generator=random), torch.arange(5) % 4
    low, high = box(x, 0.1, space)
    with torch.no_grad():
        most = worst_logits(module, low, high, y)
        for _ in range(20):
            logits = module(low + (high - low) * torch.rand(x.shape, generator=random).round())
            assert (logits - logits.gather(1, y[:, None]) <= most + 1e-5).all()


def test_columns_that_cannot_change_have_no_width():
    low, high = box(torch.zeros(1, 6), 0.5, _TABLE)
    assert (high - low)[0].tolist() == [1.0, 0.0, 1.0, 0.0, 0.0, 0.0]


def test_a_certified_training_proves_what_no_attack_breaks(small):
    examples, tested = small("table"), small("table", seed=1)
    config = RetrainConfig(adversary="certified", epochs=20, epsilon=0.6)
    model = train_classifier(examples, config, device="cpu")
    x = model.inputs.encode(tested)
    y = torch.from_numpy(model.targets(tested.frame["label"]))
    proven = proven_right(model.module, x, y, epsilon=0.6, space=model.inputs.space).numpy()
    plain = train_classifier(examples, RetrainConfig(epochs=20, epsilon=0.0), device="cpu")
    assert proven.mean() > 0.4
    assert proven.mean() > proven_right(plain.module, x, y, epsilon=0.6, space=model.inputs.space).numpy().mean()
    how = {"epsilon": 0.6, "space": model.inputs.space, "steps": 10, "generator": torch.Generator()}
    still = (model.module(pgd(model.module, x, y, **how)).argmax(1) == y).numpy()
    assert not (proven & ~still).any()


def test_a_class_the_model_does_not_know_is_never_proven():
    module = build_tabular_mlp((6,), 2)
    assert not proven_right(module, torch.zeros(1, 6), torch.tensor([-1]), epsilon=0.0, space=_TABLE).any()


def test_what_has_no_bounds_is_refused_by_name(small):
    assert not can_be_bounded(nn.Sequential(nn.Linear(6, 2), nn.Tanh()))
    with pytest.raises(ConfigError, match="bent is something else"):
        train_classifier(
            small("table"), RetrainConfig(model="tests.unit.retrain.test_bounds:bent", adversary="certified")
        )
    with pytest.raises(ConfigError, match="bounds images and tables"):
        train_classifier(small("text"), RetrainConfig(adversary="certified"))


def bent(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(int(np.prod(input_shape)), 8), nn.Tanh(), nn.Linear(8, n_classes))
