"""A training under way: weights, optimiser and what was seen so far, and one epoch of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from poison_guard.config.retrain import RetrainConfig
from poison_guard.retrain.inputs import dense
from poison_guard.retrain.perturb import Space, fgsm, pgd

__all__ = ["Course", "Material", "class_weights", "run_epoch", "seeded"]

_PEAK = 0.4  # share of the steps at which the learning rate is highest
_HEAVIEST = 20.0  # times the weight of an average class that a rare one gets at most


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What a module is trained on: encoded inputs, targets ``(n,)`` int64, weights of the classes ``(k,)``."""

    encoded: Any
    y: Tensor
    weights: Tensor
    space: Space
    device: torch.device

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of `rows` on the device."""
        return dense(self.encoded, rows).to(self.device), self.y[rows].to(self.device)


@dataclass(slots=True, eq=False)
class Course:
    """A training under way, between two epochs."""

    module: nn.Module
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    """Epochs done."""
    attack_steps: int = 1
    """Gradient steps of the adversary in training: 1 is fast, more after a collapse."""
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    """Weights that withstood PGD best so far."""
    best_robust: float = -1.0
    cpu_s: float = 0.0
    wall_s: float = 0.0

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights."""
        return {name: value.detach().clone() for name, value in self.module.state_dict().items()}


def class_weights(y: np.ndarray, classes: int) -> Tensor:
    """Return weights ``(k,)`` that make the classes count alike; a rare one at most twenty times."""
    counts = np.bincount(y, minlength=classes)
    weights = len(y) / (classes * np.maximum(counts, len(y) / (classes * _HEAVIEST)))
    return torch.tensor(weights, dtype=torch.float32)


def seeded(seed: int, epoch: int) -> torch.Generator:
    """Return the source of all chance in an epoch, the same whether or not the training was interrupted before it."""
    mixed = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    torch.manual_seed(mixed)  # for modules that draw themselves, such as dropout
    return torch.Generator().manual_seed(mixed)


def run_epoch(course: Course, material: Material, config: RetrainConfig) -> float:
    """Train `course` for one epoch on every example once; return the mean loss, not finite if any step's was not.

    The learning rate rises to its peak over 40 % of all steps and falls to zero after, as in "Fast is better than
    free" (Wong, Rice and Kolter, 2020).
    """
    batch, epochs, peak, epsilon = _settled(config)
    generator = seeded(config.seed, course.epoch + 1)
    n = len(material.y)
    order = torch.randperm(n, generator=generator)
    steps = math.ceil(n / batch)
    weights, total = material.weights.to(material.device), torch.zeros((), device=material.device)
    course.module.train()
    for i in range(steps):
        done = (course.epoch * steps + i) / (epochs * steps)
        rate = peak * (done / _PEAK if done < _PEAK else (1 - done) / (1 - _PEAK))
        for group in course.optimiser.param_groups:
            group["lr"] = rate
        x, y = material.batch(order[i * batch : (i + 1) * batch])
        if epsilon > 0:
            x = _attacked(course, x, y, epsilon, material.space, generator)
        loss = functional.cross_entropy(course.module(x), y, weight=weights)
        course.optimiser.zero_grad()
        loss.backward()
        course.optimiser.step()
        total += loss.detach()
    course.epoch += 1
    return float(total) / steps


def _attacked(course: Course, x: Tensor, y: Tensor, epsilon: float, space: Space, generator: torch.Generator) -> Tensor:
    if course.attack_steps == 1:
        return fgsm(course.module, x, y, epsilon=epsilon, space=space, generator=generator)
    steps = course.attack_steps
    return pgd(course.module, x, y, epsilon=epsilon, space=space, steps=steps, generator=generator)


def _settled(config: RetrainConfig) -> tuple[int, int, float, float]:
    values = config.batch_size, config.epochs, config.learning_rate, config.epsilon
    if None in values:
        raise ValueError("settings are filled in before a training starts")
    batch, epochs, rate, epsilon = values
    return int(batch or 0), int(epochs or 0), float(rate or 0), float(epsilon or 0)
