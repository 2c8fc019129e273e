"""One epoch of adversarial training.

The adversary of each example goes on from where it was the epoch before, so that one gradient step an epoch adds up to
an attack of many: as cheap as a single step from a random start, and it does not collapse where that does.

References: Zheng et al., "Efficient adversarial training with transferable adversarial examples" (2020); Wong, Rice and
Kolter, "Fast is better than free" (2020), for the single step, the random start and the learning rate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from poison_guard.config.retrain import RetrainConfig
from poison_guard.retrain.course import Course, Material, seeded
from poison_guard.retrain.perturb import Space, fgsm, pgd, random_start

__all__ = ["run_epoch"]

_PEAK = 0.4  # share of the steps at which the learning rate is highest
_STRIDE = (1 / 3, 1.25)  # radii of one step of the adversary; few epochs take long ones
_LEVELS = 127  # a radius, in the units that changes are carried in


def run_epoch(course: Course, material: Material, config: RetrainConfig) -> float:
    """Train `course` for one epoch on every example once; return the mean loss, not finite if any step's was not.

    `config` has every default filled in. The learning rate rises to its peak over 40 % of all steps and falls to zero.
    """
    n, batch, epochs = len(material.y), config.batch_size or 1, config.epochs or 1
    generator = seeded(config.seed, course.epoch + 1)
    order = torch.randperm(n, generator=generator)
    steps = math.ceil(n / batch)
    weights, total = material.weights.to(material.device), torch.zeros((), device=material.device)
    course.module.train()
    for i in range(steps):
        _set_rate(course, (course.epoch * steps + i) / (epochs * steps), config.learning_rate or 0.0)
        rows = order[i * batch : (i + 1) * batch]
        x, y = material.batch(rows)
        if config.epsilon:
            x = _attacked(course, rows, x, y, material, config, generator)
        loss = functional.cross_entropy(course.module(x), y, weight=weights)
        course.optimiser.zero_grad()
        loss.backward()
        course.optimiser.step()
        total += loss.detach()
    course.epoch += 1
    return float(total) / steps


def _set_rate(course: Course, done: float, peak: float) -> None:
    rate = peak * (done / _PEAK if done < _PEAK else (1 - done) / (1 - _PEAK))
    for group in course.optimiser.param_groups:
        group["lr"] = rate


def _attacked(
    course: Course,
    rows: Tensor,
    x: Tensor,
    y: Tensor,
    material: Material,
    config: RetrainConfig,
    generator: torch.Generator,
) -> Tensor:
    """Return `x` as the adversary changes it, and carry the changes of `rows` to the next epoch."""
    module, space, epsilon, steps = course.module, material.space, config.epsilon or 0.0, course.attack_steps
    if steps > 1:
        return pgd(module, x, y, epsilon=epsilon, space=space, steps=steps, generator=generator)
    if space.norm == "l2":
        return fgsm(module, x, y, epsilon=epsilon, space=space, step=1.0)
    stride = min(max(4 / (config.epochs or 1), _STRIDE[0]), _STRIDE[1])
    start = _start(course, rows, x, space, epsilon, stride, generator)
    moved = fgsm(module, x, y, epsilon=epsilon, space=space, start=start, step=stride)
    if course.carried is None:
        course.carried = torch.zeros((len(material.y), *x.shape[1:]), dtype=torch.int8)
    course.carried[rows] = ((moved - x) * (_LEVELS / epsilon)).round().to(torch.int8).cpu()
    return moved


def _start(
    course: Course, rows: Tensor, x: Tensor, space: Space, epsilon: float, stride: float, generator: torch.Generator
) -> Tensor:
    """Return where the adversary's step begins: in the first epoch at random, a step far at most."""
    if course.epoch > 0 and course.carried is not None:
        return course.carried[rows].to(x.device) * (epsilon / _LEVELS)
    return random_start(x, epsilon=epsilon * min(stride, 1.0), space=space, generator=generator)
