"""Bounds of a network's outputs over all inputs within a radius: what they exclude, no attack can do.

References: Gowal et al., "On the effectiveness of interval bound propagation for training verifiably robust models"
(2018), for the intervals and the last layer taken together with the margin; Zhang et al., "Towards stable and efficient
training of verifiably robust neural networks" (2020, CROWN-IBP), whose tighter bounds are not computed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from poison_guard.errors import ConfigError
from poison_guard.retrain.perturb import Space
from poison_guard.retrain.squeeze import Squeeze

__all__ = ["box", "can_be_bounded", "draw_tight_weights", "proven_right", "require_bounds", "worst_logits"]

_BOUNDED = (nn.Linear, nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Flatten, Squeeze)
_BATCH = 256


def can_be_bounded(module: nn.Module) -> bool:
    """Whether `module` is a chain of layers whose bounds are known, and ends with a linear one."""
    layers = list(_layers(module))
    return bool(layers) and isinstance(layers[-1], nn.Linear) and all(isinstance(one, _BOUNDED) for one in layers)


def require_bounds(module: nn.Module, name: str) -> None:
    """Raise `ConfigError` unless `worst_logits` takes `module`, the model `name`."""
    if not can_be_bounded(module):
        raise ConfigError(
            f"adversary = 'certified' in [retrain] bounds chains of linear layers, convolutions and ReLUs, and {name} "
            "is something else; use image-cnn or tabular-mlp, or adversary = 'pgd'"
        )


def draw_tight_weights(module: nn.Module) -> None:
    """Draw the weights anew so that intervals grow little from layer to layer; biases are 0.

    References: Shi et al., "Fast certified robust training with short warmup" (2021), section 3.2.
    """
    for layer in _layers(module):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2 * math.pi) / layer.weight[0].numel())
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, nn.Sequential):
        for child in module:
            yield from _layers(child)
    else:
        yield module


def box(x: Tensor, epsilon: float, space: Space) -> tuple[Tensor, Tensor]:
    """Return the lowest and highest inputs ``(b, …)`` within `epsilon` of `x` in `space`, which is ``linf``."""
    radius, mask = space.radius(x, epsilon), space.mask(x)
    far = radius.expand_as(x)
    return x + space.inside(-far, x, radius, mask), x + space.inside(far, x, radius, mask)


def worst_logits(module: nn.Module, low: Tensor, high: Tensor, y: Tensor) -> Tensor:
    """Return ``(b, k)``: by how much each class may lead `y` ``(b,)`` at most between `low` and `high`; 0 for `y`.

    Sound, not tight: no input in the box reaches more. Differentiable. The last layer is bounded with the margin.
    """
    *layers, last = _layers(module)
    for layer in layers:
        low, high = _through(layer, low, high)
    middle, radius = (low + high) / 2, (high - low) / 2
    # rows of weights less those of the true class: (b, k, d)
    weight = last.weight[None] - last.weight[y][:, None]
    lead = torch.einsum("bkd,bd->bk", weight, middle) + torch.einsum("bkd,bd->bk", weight.abs(), radius)
    return lead if last.bias is None else lead + last.bias[None] - last.bias[y][:, None]


def _through(layer: nn.Module, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bounds behind `layer`; `ConfigError` for one that has none."""
    match layer:
        case nn.ReLU() | nn.MaxPool2d() | nn.Flatten() | Squeeze():  # none falls where its input rises
            return layer(low), layer(high)
        case nn.Linear():
            middle, radius = layer((low + high) / 2), functional.linear((high - low) / 2, layer.weight.abs())
        case nn.Conv2d(padding_mode="zeros"):
            middle = layer((low + high) / 2)
            how = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "groups": layer.groups}
            radius = functional.conv2d((high - low) / 2, layer.weight.abs(), **how)
        case _:
            raise ConfigError(f"a layer {type(layer).__name__} has no bounds here; use image-cnn or tabular-mlp")
    return middle - radius, middle + radius


def proven_right(module: nn.Module, x: Tensor, y: Tensor, *, epsilon: float, space: Space) -> Tensor:
    """Return ``(n,)`` bool: whether no input within `epsilon` of `x` can be taken for another class than `y`."""
    parts = []
    with torch.inference_mode():
        for rows in torch.arange(len(x), device=x.device).split(_BATCH):
            some = y[rows].clamp_min(0)
            lead = worst_logits(module, *box(x[rows], epsilon, space), some)
            lead = lead.scatter(1, some[:, None], -torch.inf)
            parts.append((lead.amax(1) < 0) & (y[rows] >= 0))
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.bool)
