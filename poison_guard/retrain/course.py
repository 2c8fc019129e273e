"""A training under way: weights, optimiser, the adversary's changes and what was seen so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from poison_guard.retrain.inputs import dense
from poison_guard.retrain.perturb import Space

__all__ = ["Course", "Material", "class_weights", "seeded"]

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
    carried: Tensor | None = None
    """Change of each example ``(n, …)`` int8, 127 being the radius; None without an adversary, or for ``l2``."""
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
