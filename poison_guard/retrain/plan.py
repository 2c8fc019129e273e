"""Settings of a training with every default filled in, by the kind and size of the examples only."""

from __future__ import annotations

import dataclasses
import math

from poison_guard.config.retrain import RetrainConfig
from poison_guard.errors import ConfigError, DataError
from poison_guard.records import Examples
from poison_guard.retrain.models import DEFAULT_MODEL, is_import_path, model_kind

__all__ = ["fill_in"]

_STEPS = 1000
"""Optimiser steps that few examples are seen for."""
_EPOCHS = (10, 40)
_BATCH = (16, 100)
_LEARNING_RATE = {"image": 5e-3, "table": 5e-3, "text": 5e-2}
_EPSILON = {"table": 0.05, "text": 0.05}


def fill_in(config: RetrainConfig, examples: Examples) -> RetrainConfig:
    """Return `config` with model, epochs, batch size, learning rate, radius and mutable columns decided.

    Batches are a 32nd of the examples, 16 to 100; epochs as many as make 1,000 steps, 10 to 40. `DataError` for no
    examples or an unknown kind, `ConfigError` for a model of another kind.
    """
    n, kind = len(examples), examples.kind
    if kind not in DEFAULT_MODEL:
        raise DataError(f"examples must be {', '.join(DEFAULT_MODEL)}, got {kind!r}")
    name = config.model or DEFAULT_MODEL[kind]
    if model_kind(name) not in (None, kind) or (is_import_path(name) and kind == "text"):
        raise ConfigError(f"model {name!r} in [retrain] cannot learn from {kind} examples; use {DEFAULT_MODEL[kind]!r}")
    batch = config.batch_size or min(max(n // 32, _BATCH[0]), _BATCH[1])
    epochs = config.epochs or min(max(math.ceil(_STEPS * batch / max(n, 1)), _EPOCHS[0]), _EPOCHS[1])
    return dataclasses.replace(
        config,
        model=name,
        batch_size=batch,
        epochs=epochs,
        learning_rate=config.learning_rate or _LEARNING_RATE[kind],
        epsilon=_epsilon(examples) if config.epsilon is None else config.epsilon,
        mutable=examples.features if config.mutable is None else config.mutable,
    )


def _epsilon(examples: Examples) -> float:
    """Return the radius of a kind; for images of one channel more with their size, for colour images 8 / 255."""
    if examples.kind != "image":
        return _EPSILON[examples.kind]
    _, channels, *sides = examples.inputs.shape
    return 8 / 255 if channels > 1 else round(min(0.3, 0.3 * min(sides) / 28), 3)
