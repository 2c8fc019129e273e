"""Squeeze inputs before a model sees them: fewer values a pixel or column, and less of what stands alone.

References: Xu, Evans and Qi, "Feature squeezing: detecting adversarial examples in deep neural networks" (2018).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Squeeze", "grey_levels"]

_ROOM = 2.5  # radii from one value to the next: within the radius most values stay where they were


class Squeeze(nn.Module):
    """Round each value of ``(b, …)`` to steps of `step` (0: not at all), after a 2 x 2 median where `smooth`.

    Its gradient is that of the smoothing, as if nothing were rounded, so that attacks see through it. No value falls
    where an input rises.
    """

    def __init__(self, step: float, *, smooth: bool = False) -> None:
        super().__init__()
        self.step, self.smooth = step, smooth

    @classmethod
    def of(cls, how: tuple[str, ...], epsilon: float, shape: tuple[int, ...]) -> Squeeze | None:
        """Return the squeezer of inputs of `shape` that `how` (``round``, ``smooth``) asks for; None for none.

        Steps are 2.5 radii: of images as many grey levels as leave room for that, of tables in standard deviations.
        """
        image = len(shape) == 3
        step = 0.0
        if "round" in how and epsilon:
            step = 1 / (grey_levels(epsilon) - 1) if image else _ROOM * epsilon
        smooth = image and "smooth" in how
        return cls(step, smooth=smooth) if step or smooth else None

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` squeezed, of the same shape."""
        if self.smooth:
            x = _median(x)
        if not self.step:
            return x
        return x + (torch.round(x / self.step) * self.step - x).detach()


def grey_levels(epsilon: float) -> int:
    """Return how many values a pixel keeps: 2 or more, 2.5 radii apart or more."""
    return max(2, int(1 / (_ROOM * epsilon)) + 1)


def _median(x: Tensor) -> Tensor:
    """Return the lower median of each pixel and those right of it and below ``(b, c, h, w)``; edges are repeated."""
    wide = functional.pad(x, (0, 1, 0, 1), mode="replicate")
    four = torch.stack([wide[..., :-1, :-1], wide[..., :-1, 1:], wide[..., 1:, :-1], wide[..., 1:, 1:]])
    return four.sort(dim=0).values[1]
