"""Change examples at random while training, so that a model withstands what no radius covers: moves, dots, patches."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["FITTING", "augmented"]

FITTING = {"image": ("shift", "rotate", "noise", "pixels", "patch"), "table": ("noise", "pixels"), "text": ()}
"""What may be done to each kind of examples."""
_SHIFT, _TURN = 0.11, 30.0  # of the side, either way; degrees, either way
_NOISE = 0.05  # standard deviation, of the range of pixels or of a column
_PIXELS = 0.013  # of the pixels of an image, or of the cells of a row, at most, one at least
_PATCH = 0.21  # side, of the image's


def augmented(x: Tensor, how: tuple[str, ...], generator: torch.Generator) -> Tensor:
    """Return `x` ``(b, …)``, each row changed apart by the changes in `how`; drawn on the CPU so that devices agree."""
    if x.dim() == 4 and ("shift" in how or "rotate" in how):
        x = _moved(x, "shift" in how, "rotate" in how, generator)
    if "noise" in how:
        x = x + _NOISE * torch.randn(x.shape, generator=generator).to(x.device)
        x = x.clamp(0, 1) if x.dim() == 4 else x
    if "pixels" in how:
        x = _dotted(x, generator)
    return _patched(x, generator) if "patch" in how and x.dim() == 4 else x


def _moved(x: Tensor, shift: bool, turn: bool, generator: torch.Generator) -> Tensor:
    """Return images turned and shifted by whole pixels or bilinearly; what comes in is the nearest edge pixel."""
    n, (height, width) = len(x), x.shape[2:]
    draw = 2 * torch.rand((n, 3), generator=generator) - 1
    angle = draw[:, 0] * (math.radians(_TURN) if turn else 0.0)
    far = torch.tensor([max(1, round(_SHIFT * side)) if shift else 0 for side in (width, height)])
    move = (draw[:, 1:] * (far + 0.49)).round() * 2 / torch.tensor([width, height])
    cos, sin, stretch = angle.cos(), angle.sin(), height / width
    first = torch.stack([cos, -sin * stretch, move[:, 0]], dim=1)
    second = torch.stack([sin / stretch, cos, move[:, 1]], dim=1)
    matrix = torch.stack([first, second], dim=1).to(x.device)
    grid = functional.affine_grid(matrix, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False).clamp(0, 1)


def _dotted(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return `x` with up to 1.3 % of its pixels dark or bright, or its cells those of another row."""
    shape = (len(x), 1, *x.shape[2:]) if x.dim() == 4 else x.shape
    share = torch.rand((len(x), *[1] * (len(shape) - 1)), generator=generator)
    most = max(_PIXELS, 1 / math.prod(shape[1:]))
    hit = (torch.rand(shape, generator=generator) < most * share).to(x.device)
    if x.dim() == 4:
        return torch.where(hit, (torch.rand(shape, generator=generator) < 0.5).to(x), x)
    return torch.where(hit, x[torch.randperm(len(x), generator=generator)], x)


def _patched(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return images half of which have a square of one value."""
    n, (height, width) = len(x), x.shape[2:]
    side = max(1, round(_PATCH * min(height, width)))
    draw = torch.rand((n, 4), generator=generator)
    inside = (draw[:, 3] < 0.5)[:, None, None]
    for axis, size in ((0, height), (1, width)):
        first = (draw[:, axis] * (size - side + 1)).long()[:, None]
        places = torch.arange(size)
        run = (places >= first) & (places < first + side)
        inside = inside & (run[:, :, None] if axis == 0 else run[:, None, :])
    value = draw[:, 2].round()[:, None, None, None].to(x)
    return torch.where(inside[:, None].to(x.device), value, x)
