"""The small network for tables: two hidden layers over standardised columns and their missing flags."""

from __future__ import annotations

from torch import nn

__all__ = ["build"]

_HIDDEN = 64


def build(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """Return a network from ``(b, columns)``, standardised, to logits ``(b, n_classes)``."""
    (columns,) = input_shape
    return nn.Sequential(
        nn.Linear(columns, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, n_classes)
    )
