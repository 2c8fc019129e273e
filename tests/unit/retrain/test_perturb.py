from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from poison_guard.retrain.perturb import Space, fgsm, pgd

SPACES = {
    "image": Space("linf", 0.0, 1.0),
    "table": Space("linf", -20.0, 20.0, (True, False, True, False, False, False), 3),
    "text": Space("l2"),
}


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _case(name: str, seed: int) -> tuple[nn.Module, Tensor, Tensor, Space]:
    generator = _generator(seed)
    x = torch.rand((16, 1, 4, 4) if name == "image" else (16, 6), generator=generator)
    if name == "table":
        x[:, 3:] = (x[:, 3:] > 0.7).float()
    module = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 8), nn.Tanh(), nn.Linear(8, 3))
    for weight in module.parameters():
        weight.data = torch.randn(weight.shape, generator=generator)
    return module, x, torch.randint(0, 3, (16,), generator=generator), SPACES[name]


def _inside(x: Tensor, moved: Tensor, space: Space, epsilon: float) -> bool:
    delta = (moved - x).flatten(1)
    far = delta.norm(dim=1) / x.flatten(1).norm(dim=1) if space.norm == "l2" else delta.abs().amax(1)
    return bool((far <= epsilon * 1.0001 + 1e-6).all() and (moved >= space.low).all() and (moved <= space.high).all())


@given(name=st.sampled_from(sorted(SPACES)), seed=st.integers(0, 10_000), epsilon=st.floats(0, 2))
@settings(max_examples=40, deadline=None)
def test_what_an_adversary_makes_stays_within_radius_range_and_mutable_cells(name, seed, epsilon):
    module, x, y, space = _case(name, seed)
    one = fgsm(module, x, y, epsilon=epsilon, space=space, generator=_generator(seed))
    many = pgd(module, x, y, epsilon=epsilon, space=space, steps=4, restarts=2, generator=_generator(seed))
    for moved in (one, many):
        assert _inside(x, moved, space, epsilon)
        if name == "table":
            assert torch.equal(moved[:, [1, 3, 4, 5]], x[:, [1, 3, 4, 5]])
            gone = x[:, 3] == 1
            assert torch.equal(moved[gone, 0], x[gone, 0])


@given(name=st.sampled_from(sorted(SPACES)), seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_worst_of_pgd_is_never_kinder_than_the_input_and_more_restarts_never_help_the_model(name, seed):
    module, x, y, space = _case(name, seed)

    def right(moved: Tensor) -> Tensor:
        return module(moved).argmax(1) == y

    worst = [
        right(pgd(module, x, y, epsilon=0.3, space=space, steps=5, restarts=r, generator=_generator(1)))
        for r in (0, 1, 3)
    ]
    assert torch.equal(worst[0], right(x))
    assert bool((worst[1] <= worst[0]).all())
    assert bool((worst[2] <= worst[1]).all())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_one_step_against_a_linear_model_is_the_worst_there_is(norm):
    layer = nn.Linear(5, 2)
    x, y = torch.randn((9, 5), generator=_generator(0)), torch.zeros(9, dtype=torch.int64)
    moved = fgsm(layer, x, y, epsilon=0.2, space=Space(norm), step=1.0)
    slope = layer.weight[1] - layer.weight[0]
    most = 0.2 * slope.abs().sum() if norm == "linf" else 0.2 * x.norm(dim=1) * slope.norm()
    gained = (moved - x) @ slope
    torch.testing.assert_close(gained, most.expand(9), rtol=1e-4, atol=1e-5)


def test_the_margin_moves_predictions_so_sure_that_the_loss_has_no_gradient():
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = torch.tensor([[1e4, 0.0], [-1e4, 0.0]])
    x, y = torch.tensor([[0.05, 0.0]]), torch.tensor([0])
    found = pgd(layer, x, y, epsilon=0.1, space=Space("linf"), steps=5, restarts=2, generator=_generator(3))
    assert layer(found).argmax() == 1


def test_attacks_leave_no_gradient_on_inputs_or_weights():
    module, x, y, space = _case("image", 0)
    fgsm(module, x, y, epsilon=0.1, space=space, generator=_generator(0))
    moved = pgd(module, x, y, epsilon=0.1, space=space, steps=2, generator=_generator(0))
    assert not moved.requires_grad
    assert all(weight.grad is None for weight in module.parameters())
