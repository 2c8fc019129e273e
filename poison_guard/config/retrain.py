"""How a feed's model is trained: the ``[retrain]`` table, parsed into frozen values."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poison_guard.config.numbers import Range, number_in
from poison_guard.config.toml import check_keys, expect
from poison_guard.errors import ConfigError

__all__ = ["MODELS", "RetrainConfig", "parse_retrain"]

MODELS = ("image-cnn", "tabular-mlp", "text-linear")
"""Models that come with the guard; anything else is an import path ``package.module:name``."""

_IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class RetrainConfig:
    """Settings of a training; None takes what the model and the data call for."""

    model: str | None = None
    """One of `MODELS`, or an import path; None: by what the feed carries (image, text, else features)."""
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    epsilon: float | None = None
    """Radius the model is trained and tested to withstand: L-infinity in [0, 1] pixel values for images and in standard
    deviations for tables, L2 relative to the embedding's norm for text. 0 trains without an adversary."""
    pixel_max: float = 255.0
    """Value of a full pixel in the data."""
    mutable: tuple[str, ...] | None = None
    """Feature columns an adversary can change; None: all."""
    seed: int = 0


_RANGES: dict[str, tuple[Range, bool]] = {
    # name: (range, whole number)
    "epochs": ((1, 10_000, True), True),
    "batch_size": ((1, 65_536, True), True),
    "learning_rate": ((0, 10, False), False),
    "epsilon": ((0, 10, True), False),
    "pixel_max": ((0, 1e9, False), False),
    "seed": ((0, 2**31 - 1, True), True),
}


def parse_retrain(table: Mapping[str, Any], *, features: tuple[str, ...], file: str) -> RetrainConfig:
    """Return the settings of a ``[retrain]`` table; `ConfigError` names key and file."""
    check_keys(table, {field.name for field in dataclasses.fields(RetrainConfig)}, where="[retrain]", file=file)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key in _RANGES:
            allowed, whole = _RANGES[key]
            values[key] = number_in(key, value, allowed, whole=whole, file=file)
    if "model" in table:
        values["model"] = _model(expect(table, "model", str, where="[retrain]", file=file), file)
    if "mutable" in table:
        values["mutable"] = _mutable(expect(table, "mutable", list, where="[retrain]", file=file), features, file)
    return RetrainConfig(**values)


def _model(name: str, file: str) -> str:
    if name not in MODELS and not _IMPORT_PATH.fullmatch(name):
        raise ConfigError(
            f"model in [retrain] of {file} must be one of {', '.join(MODELS)} or an import path such as "
            f"`package.module:name`, got {name!r}"
        )
    return name


def _mutable(names: list[Any], features: tuple[str, ...], file: str) -> tuple[str, ...]:
    known = dict.fromkeys(features)
    if not all(isinstance(name, str) for name in names):
        raise ConfigError(f"mutable in [retrain] of {file} must list feature columns, got {names!r}")
    check_keys(dict.fromkeys(names), known, where="mutable in [retrain]", file=file)
    return tuple(dict.fromkeys(names))
