"""The models of the guard by name, import paths to other models, and the default settings of a training."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from poison_guard.config.policies import RetrainConfig
from poison_guard.errors import ConfigError, DataError
from poison_guard.records import Examples
from poison_guard.retrain.augment import FITTING
from poison_guard.retrain.ensemble import Ensemble
from poison_guard.retrain.part_votes import Parts
from poison_guard.retrain.squeeze import Squeeze
from poison_guard.retrain.trees import Trees

__all__ = [
    "ALGORITHMS",
    "DEFAULT_MODEL",
    "MODELS",
    "ModelSpec",
    "build_image_cnn",
    "build_member",
    "build_module",
    "build_network",
    "build_tabular_mlp",
    "build_text_linear",
    "fill_defaults",
    "is_import_path",
    "model_kind",
]


MIN_SIDE, MAX_SIDE = 4, 512
_SMALL_SIDE = 7  # pixels a side from which the map is not halved further
_IMAGE_CHANNELS = (16, 32, 64)  # channels of the first, second and later layers
_IMAGE_HIDDEN = 100


def build_image_cnn(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """Return a network from ``(b, channels, height, width)`` in [0, 1] to logits ``(b, n_classes)``.

    At least two convolutions, each halving the sides that are longer than 7 pixels.
    `DataError` unless both sides are between 4 and 512 pixels.

    References: Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018), for the shape.
    """
    channels, *sides = input_shape
    if not MIN_SIDE <= min(sides) <= max(sides) <= MAX_SIDE:
        size = " x ".join(map(str, sides))
        raise DataError(f"image-cnn takes images of 4 to 512 pixels a side, got {size}; resize them, or name a model")
    layers: list[nn.Module] = []
    while len(layers) < 4 or max(sides) > _SMALL_SIDE:
        width = _IMAGE_CHANNELS[min(len(layers) // 2, 2)]
        steps = [2 if side > _SMALL_SIDE else 1 for side in sides]
        layers += [nn.Conv2d(channels, width, [step + 2 for step in steps], stride=steps, padding=1), nn.ReLU()]
        sides = [side // step for side, step in zip(sides, steps, strict=True)]
        channels = width
    flat = channels * sides[0] * sides[1]
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(flat, _IMAGE_HIDDEN), nn.ReLU(), nn.Linear(_IMAGE_HIDDEN, n_classes)
    )


_POOLED = (16, 32)  # channels of the second architecture's convolutions
_TABLE_HIDDEN = 64


def build_image_pooled(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """Return the second architecture for images: wide convolutions, then the largest of four until 7 pixels are left.

    References: LeCun et al., "Gradient-based learning applied to document recognition" (1998), for the shape.
    """
    channels, *sides = input_shape
    layers: list[nn.Module] = []
    for width in _POOLED:
        layers += [nn.Conv2d(channels, width, 5 if channels == input_shape[0] else 3, padding="same"), nn.ReLU()]
        channels = width
        while min(sides) > _SMALL_SIDE * (2 if width == _POOLED[0] else 1):
            layers.append(nn.MaxPool2d(2))
            sides = [side // 2 for side in sides]
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(channels * sides[0] * sides[1], _IMAGE_HIDDEN),
        nn.ReLU(),
        nn.Linear(_IMAGE_HIDDEN, n_classes),
    )


def build_tabular_wide(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """Return the second architecture for tables: one wide layer."""
    (columns,) = input_shape
    return nn.Sequential(nn.Linear(columns, 4 * _TABLE_HIDDEN), nn.ReLU(), nn.Linear(4 * _TABLE_HIDDEN, n_classes))


def build_text_mlp(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """Return the second architecture for texts: a layer of pairs and more before the answer."""
    (buckets,) = input_shape
    return nn.Sequential(nn.Linear(buckets, _TABLE_HIDDEN), nn.ReLU(), nn.Linear(_TABLE_HIDDEN, n_classes))


def build_tabular_mlp(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """Return a network from ``(b, columns)``, standardised, to logits ``(b, n_classes)``."""
    (columns,) = input_shape
    return nn.Sequential(
        nn.Linear(columns, _TABLE_HIDDEN),
        nn.ReLU(),
        nn.Linear(_TABLE_HIDDEN, _TABLE_HIDDEN),
        nn.ReLU(),
        nn.Linear(_TABLE_HIDDEN, n_classes),
    )


def build_text_linear(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """Return a linear map from ``(b, buckets)``, rows of length 1, to logits ``(b, n_classes)``; it starts at zero."""
    (buckets,) = input_shape
    layer = nn.Linear(buckets, n_classes)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model of the guard: `build` takes the shape of one input and the number of classes."""

    name: str
    kind: str
    """Kind of examples it learns from: ``image``, ``table`` or ``text``."""
    build: Callable[[tuple[int, ...], int], nn.Module]


MODELS = {
    model.name: model
    for model in (
        ModelSpec("image-cnn", "image", build_image_cnn),
        ModelSpec("tabular-mlp", "table", build_tabular_mlp),
        ModelSpec("text-linear", "text", build_text_linear),
    )
}

SECOND = {"image": build_image_pooled, "table": build_tabular_wide, "text": build_text_mlp}
"""The network that joins a model of each kind of examples as a member."""
ALGORITHMS = ("model", "second", "trees")
"""What members are, in turn."""

DEFAULT_MODEL = {model.kind: model.name for model in MODELS.values()}
"""Name of the model for each kind of examples."""


def is_import_path(name: str) -> bool:
    """Whether `name` is an import path ``package.module:factory`` rather than a model of the guard."""
    return ":" in name


def model_kind(name: str) -> str | None:
    """Return the kind of examples that the model `name` learns from; None for an import path: any but text."""
    return None if is_import_path(name) else MODELS[name].kind


def build_module(name: str, input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """Return an untrained module mapping ``(b, *input_shape)`` float32 to logits ``(b, n_classes)``.

    `name` is one of `MODELS`, or an import path whose factory is called with `input_shape` and `n_classes`: this runs
    code of that package. `ConfigError` when the factory is not there or returns something else than a torch module.
    """
    if not is_import_path(name):
        if name not in MODELS:
            raise ConfigError(f"model {name!r} is unknown; use one of {', '.join(MODELS)} or `package.module:factory`")
        return MODELS[name].build(input_shape, n_classes)
    place, _, attribute = name.partition(":")
    try:
        factory = getattr(importlib.import_module(place), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"model {name!r} cannot be imported ({error}); install its package or fix [retrain]"
        ) from error
    try:
        module = factory(input_shape, n_classes)
    except Exception as error:  # code of the user's: whatever it raises is theirs to mend
        raise ConfigError(
            f"model {name!r} could not be made for inputs of shape {input_shape} and {n_classes} classes: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(module, nn.Module):
        raise ConfigError(f"model {name!r} must return a torch.nn.Module, got {type(module).__name__}")
    return module


def build_network(
    config: RetrainConfig,
    kind: str,
    input_shape: tuple[int, ...],
    n_classes: int,
    trees: Mapping[int, tuple[int, int]] | None = None,
) -> nn.Module:
    """Return the untrained module that a model of `config`, with every default filled in, is saved as.

    `trees` gives by member how many trees it has and of how many nodes; they are known once grown.
    """
    name = str(config.model)
    if config.parts > 1:
        return Parts(config.parts, math.prod(input_shape), n_classes)
    if config.distil or (config.members == 1 and not config.escalate):
        body = build_module(name, input_shape, n_classes)
    else:
        parts: list[nn.Module] = []
        for i in range(config.members):
            algorithm = ALGORITHMS[i % len(ALGORITHMS)]
            if algorithm == "trees":
                parts.append(Trees(*(trees or {})[i], n_classes))
            else:
                parts.append(build_member(name, algorithm, kind, input_shape, n_classes))
        body = Ensemble(parts, config.combine)
    squeezer = Squeeze.of(config.squeeze, config.epsilon or 0.0, input_shape) if kind != "text" else None
    return body if squeezer is None else nn.Sequential(squeezer, body)


def build_member(name: str, algorithm: str, kind: str, input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """Return an untrained network: the model `name`, or the second one of its kind."""
    if algorithm == "second":
        return SECOND[kind](input_shape, n_classes)
    return build_module(name, input_shape, n_classes)


_STEPS = 1000
"""Optimiser steps that few examples are seen for."""
_EPOCHS = (10, 40)
_BATCH = (16, 100)
_LEARNING_RATE = {"image": 5e-3, "table": 5e-3, "text": 5e-2}
_CERTIFIED_EPOCHS, _CERTIFIED_RATE = 2, 0.2  # times those of other adversaries: bounds start small and grow
_EPSILON = {"table": 0.05, "text": 0.05}


def fill_defaults(config: RetrainConfig, examples: Examples) -> RetrainConfig:
    """Return `config` with model, epochs, batch size, learning rate, radius and mutable columns decided.

    Batches are a 32nd of the examples, 16 to 100; epochs as many as make 1,000 steps, 10 to 40, or twice
    that. `DataError` for no examples or an unknown kind, `ConfigError` for a model of another kind.
    """
    n, kind = len(examples), examples.kind
    if kind not in DEFAULT_MODEL:
        raise DataError(f"examples must be {', '.join(DEFAULT_MODEL)}, got {kind!r}")
    name = config.model or DEFAULT_MODEL[kind]
    if model_kind(name) not in (None, kind) or (is_import_path(name) and kind == "text"):
        raise ConfigError(f"model {name!r} in [retrain] cannot learn from {kind} examples; use {DEFAULT_MODEL[kind]!r}")
    _check_recipe(config, kind)
    batch = config.batch_size or min(max(n // 32, _BATCH[0]), _BATCH[1])
    epochs = config.epochs or min(max(math.ceil(_STEPS * batch / max(n, 1)), _EPOCHS[0]), _EPOCHS[1])
    slower = config.adversary == "certified"
    epochs = epochs if config.epochs or not slower else _CERTIFIED_EPOCHS * epochs
    rate = config.learning_rate or _LEARNING_RATE[kind] * (_CERTIFIED_RATE if slower else 1)
    return dataclasses.replace(
        config,
        model=name,
        batch_size=batch,
        epochs=epochs,
        learning_rate=rate,
        epsilon=_epsilon(examples) if config.epsilon is None else config.epsilon,
        mutable=examples.features if config.mutable is None else config.mutable,
    )


def _check_recipe(config: RetrainConfig, kind: str) -> None:
    """Raise `ConfigError` for parts of a recipe that do not go together, or not with the kind of examples."""
    strange = [change for change in config.augment if change not in FITTING[kind]]
    if strange:
        known = ", ".join(FITTING[kind]) or "none"
        raise ConfigError(f"augment in [retrain] has {strange[0]!r}, and {kind} examples can be changed by: {known}")
    if "smooth" in config.squeeze and kind != "image":
        raise ConfigError(f"squeeze in [retrain] has 'smooth', and only images have neighbours; {kind} takes 'round'")
    if config.adversary == "certified" and kind == "text":
        raise ConfigError("adversary = 'certified' in [retrain] bounds images and tables; for texts use 'pgd'")
    if config.adversary == "certified" and config.distil:
        raise ConfigError("distil in [retrain] teaches answers, which bounds do not use; leave it out of 'certified'")
    networks = {"members": config.members > 1, "escalate": config.escalate, "distil": config.distil}
    networks |= {"augment": config.augment, "squeeze": config.squeeze, "adversary": config.adversary != "fast"}
    if config.parts > 1 and any(networks.values()):
        named = next(key for key, used in networks.items() if used)
        raise ConfigError(f"parts in [retrain] train regressions that vote, and {named} is for networks; leave one out")
    if config.parts > 1 and is_import_path(config.model or ""):
        raise ConfigError(f"parts in [retrain] train a model of their own; leave model = {config.model!r} out")
    if config.distil and config.escalate:
        raise ConfigError("distil in [retrain] leaves one model, and escalate needs those it learned from; choose one")


def _epsilon(examples: Examples) -> float:
    """Return the radius of a kind; for images of one channel more with their size, for colour images 8 / 255."""
    if examples.kind != "image":
        return _EPSILON[examples.kind]
    _, channels, *sides = examples.inputs.shape
    return 8 / 255 if channels > 1 else round(min(0.3, 0.3 * min(sides) / 28), 3)
