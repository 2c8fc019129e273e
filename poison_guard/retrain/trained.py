"""What a training makes: a frozen value with everything needed to predict, to judge it, and to train on from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from poison_guard.config.retrain import RetrainConfig
from poison_guard.retrain.inputs import Inputs

__all__ = ["TrainedModel"]


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """A trained classifier."""

    kind: str
    """``image``, ``table`` or ``text``."""
    classes: tuple[str, ...]
    """Labels in the order of the outputs, sorted."""
    config: RetrainConfig
    """Settings it was trained with, every default filled in."""
    inputs: Inputs
    """Fitted transform from examples to what `module` takes."""
    module: nn.Module
    """In evaluation mode, on the CPU: ``(b, *inputs.shape)`` float32 to logits ``(b, k)``."""
    history: tuple[Mapping[str, Any], ...]
    """One dict an epoch: ``epoch, loss, robust`` (share of the watched examples that withstand PGD; None where it was
    not looked at), ``attack_steps`` (1: fast), ``event`` (``warm``, ``collapsed``,
    ``restored`` or empty)."""
    cost: Mapping[str, float]
    """``cpu_s`` and ``wall_s`` of the training, over all its runs, ``epochs`` and ``examples``."""
    seed: int

    def targets(self, labels: Any) -> np.ndarray:
        """Return the output of each label ``(n,)`` int64; -1 for labels that the model was not trained on."""
        place = {label: i for i, label in enumerate(self.classes)}
        return np.array([place.get(label, -1) for label in labels], dtype=np.int64)
