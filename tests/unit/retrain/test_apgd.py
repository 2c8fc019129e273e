from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from poison_guard.retrain.apgd import apgd
from poison_guard.retrain.perturb import Space, pgd

BOX = Space("linf", 0.0, 1.0)


def network(classes: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, classes))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def rows(n: int = 200) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((n, 12), dtype=np.float32))


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("space", [BOX, Space("l2"), Space("linf", mutable=(True,) * 6 + (False,) * 6)])
def test_what_it_returns_is_within_the_radius_and_finds_as_much_as_as_many_steps_of_pgd(space: Space, classes: int):
    module, x = network(classes), rows()
    y = module(x).argmax(1)
    how = {"epsilon": 0.08, "space": space, "steps": 20}
    found, usual = apgd(module, x, y, **how, generator=seeded()), pgd(module, x, y, **how, generator=seeded())
    radius = space.radius(x, 0.08)
    moved = found - x
    assert torch.allclose(space.inside(moved, x, radius, space.mask(x)), moved, atol=1e-6)
    fooled = int((module(found).argmax(1) != y).sum())
    assert 0 < int((module(usual).argmax(1) != y).sum()) <= fooled + 2


def test_towards_a_target_it_ends_at_the_target_where_a_line_between_them_leads_there():
    module, x = nn.Linear(12, 4), rows()
    y = module(x).argmax(1)
    goal = (y + 1) % 4
    far = apgd(module, x, y, epsilon=50.0, space=Space("linf"), steps=20, generator=seeded(), target=goal)
    assert (module(far).argmax(1) == goal).all() or (module(far).argmax(1) == goal).float().mean() > 0.95


def test_radius_and_inputs_without_a_gradient_change_no_answer():
    module = nn.Linear(12, 3).requires_grad_(False)
    module.weight.zero_()
    x = rows(5)
    y = module(x).argmax(1)
    assert (module(apgd(module, x, y, epsilon=0.1, space=BOX, steps=3, generator=seeded())).argmax(1) == y).all()
