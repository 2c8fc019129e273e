"""The small convolutional network for images of any size from 4 x 4: halve until 7 pixels are left, then decide."""

from __future__ import annotations

from torch import nn

from poison_guard.errors import DataError

__all__ = ["build"]

MIN_SIDE, MAX_SIDE = 4, 512
_SMALL = 7  # pixels a side from which the map is not halved further
_WIDTHS = (16, 32, 64)  # channels of the first, second and later layers
_HIDDEN = 100


def build(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
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
    while len(layers) < 4 or max(sides) > _SMALL:
        width = _WIDTHS[min(len(layers) // 2, 2)]
        steps = [2 if side > _SMALL else 1 for side in sides]
        layers += [nn.Conv2d(channels, width, [step + 2 for step in steps], stride=steps, padding=1), nn.ReLU()]
        sides = [side // step for side, step in zip(sides, steps, strict=True)]
        channels = width
    flat = channels * sides[0] * sides[1]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, n_classes))
