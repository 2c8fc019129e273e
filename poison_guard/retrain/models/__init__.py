"""The models that come with the guard, by name: one file each; any other model is an import path to a factory."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from poison_guard.errors import ConfigError
from poison_guard.retrain.models import image_cnn, tabular_mlp, text_linear

__all__ = ["DEFAULT_MODEL", "MODELS", "Model", "build_module", "is_import_path", "model_kind"]


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the guard: `build` takes the shape of one input and the number of classes."""

    name: str
    kind: str
    """Kind of examples it learns from: ``image``, ``table`` or ``text``."""
    build: Callable[[tuple[int, ...], int], nn.Module]


MODELS = {
    model.name: model
    for model in (
        Model("image-cnn", "image", image_cnn.build),
        Model("tabular-mlp", "table", tabular_mlp.build),
        Model("text-linear", "text", text_linear.build),
    )
}

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
    module = factory(input_shape, n_classes)
    if not isinstance(module, nn.Module):
        raise ConfigError(f"model {name!r} must return a torch.nn.Module, got {type(module).__name__}")
    return module
