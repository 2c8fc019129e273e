"""The linear model for texts: one weight a hashed n-gram and class, learned from few examples."""

from __future__ import annotations

from torch import nn

__all__ = ["build"]


def build(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """Return a linear map from ``(b, buckets)``, rows of length 1, to logits ``(b, n_classes)``; it starts at zero."""
    (buckets,) = input_shape
    layer = nn.Linear(buckets, n_classes)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
