"""Attacks that change a few places as far as they like: pixels, cells and words, patches, salt and pepper."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from poison_guard.retrain.perturb import Space

__all__ = ["few_pixels_or_cells", "few_words", "patch_places", "salt_and_pepper", "trained_patches", "with_patch"]

_MOST = 4_096  # changes of one row that are tried at a turn: those that the gradient promises most of
_LOOKED_AT = (1, 4, 7)  # turns at which so many are tried; at the others those that were best then
_TRIED = 96
_VALUES = 5  # values of a table's cell that are tried
_BATCH = 1024
_PATCH_STEPS = 30
_WORDS = 40  # words of a text that are tried


def few_pixels_or_cells(
    module: nn.Module, x: Tensor, y: Tensor, *, space: Space, counts: tuple[int, ...]
) -> Iterator[tuple[int, Tensor]]:
    """Yield ``(count, x changed in so many places)``: greedily, the change that costs the true class most each time.

    A pixel, in all its channels, becomes dark or bright; a cell takes one of five values that the rows of `x` have.
    Up to 4,096 changes are tried out at some turns, the best of them at the others.
    """
    values = _values(x, space)
    mask = space.mask(x)
    rows = torch.arange(len(x), device=x.device)
    state = x.clone()
    order = torch.empty(0)
    for count in range(1, max(counts) + 1):
        if count in _LOOKED_AT:
            promised, order = _promised(module, state, y, values, mask).flatten(1).sort(dim=1, descending=True)
            order = order[:, : min(_MOST, int(torch.isfinite(promised).sum(dim=1).min()))]
        margins = torch.stack(
            [_margins(module, _changed(state, order[:, k], values), y) for k in range(order.shape[1])], dim=1
        )
        if not order.shape[1]:
            return
        least, best = margins.min(dim=1)
        worse = least < _margins(module, state, y)
        state[worse] = _changed(state, order[rows, best], values)[worse]
        order = order.gather(1, margins.argsort(dim=1)[:, :_TRIED])
        if count in counts:
            yield count, state.clone()


def _values(x: Tensor, space: Space) -> Tensor:
    """Return the values that a place may take: ``(v,)`` for images, ``(v, d)`` for tables."""
    if x.dim() == 4:
        return torch.tensor([space.low, space.high], dtype=x.dtype, device=x.device)
    return torch.quantile(x, torch.linspace(0.02, 0.98, _VALUES, device=x.device), dim=0)


def _promised(module: nn.Module, x: Tensor, y: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Return ``(b, v, places)``: by how much the margin falls, by its gradient, with each value at each place."""
    parts = []
    for rows in torch.arange(len(x), device=x.device).split(_BATCH):
        moved = x[rows].detach().requires_grad_()
        logits = module(moved)
        own = logits.gather(1, y[rows, None])[:, 0]
        rest = logits.scatter(1, y[rows, None], -torch.inf).amax(1)
        (slope,) = torch.autograd.grad((own - rest).sum(), moved)
        change = torch.stack([-(value - x[rows]) * slope for value in values], dim=1)
        if x.dim() == 4:
            change = change.sum(dim=2).flatten(2)
        elif mask is not None:
            change = torch.where(mask[rows, None] > 0, change, -torch.inf)
        parts.append(change.detach())
    return torch.cat(parts)


def _changed(x: Tensor, at: Tensor, values: Tensor) -> Tensor:
    """Return `x` with the place and value of number `at` ``(b,)`` changed."""
    out, rows = x.clone(), torch.arange(len(x), device=x.device)
    places = x[0, 0].numel() if x.dim() == 4 else x.shape[1]
    which, place = at // places, at % places
    if x.dim() == 4:
        out.flatten(2)[rows, :, place] = values[which][:, None]
    else:
        out[rows, place] = values[which, place]
    return out


def _margins(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        logits = torch.cat([module(part) for part in x.split(_BATCH)])
    own = logits.gather(1, y[:, None])[:, 0]
    return own - logits.scatter(1, y[:, None], -torch.inf).amax(1)


def few_words(
    ask: Callable[[np.ndarray], np.ndarray], texts: np.ndarray, truth: np.ndarray, counts: tuple[int, ...]
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield ``(count, texts with so many words left out)``, each time the word that the true class needs most."""
    state = texts.copy()
    for count in range(1, max(counts) + 1):
        for at, text in enumerate(state):
            words = str(text).split(" ")
            if len(words) < 2:
                continue
            trials = np.empty(min(len(words), _WORDS), dtype=object)
            trials[:] = [" ".join(words[:k] + words[k + 1 :]) for k in range(len(trials))]
            scores = ask(trials)
            lead = scores[:, truth[at]] - np.delete(scores, truth[at], axis=1).max(axis=1)
            state[at] = trials[int(lead.argmin())]
        if count in counts:
            yield count, state.copy()


def salt_and_pepper(images: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return `images` ``(n, channels, height, width)`` with this `share` of the pixels black or white."""
    random = np.random.default_rng(seed)
    n, _, height, width = images.shape
    draw = random.random((n, 1, height, width))
    out = np.where(draw < share / 2, 0.0, np.where(draw < share, 1.0, images))
    return out.astype(np.float32)


def patch_places(shape: tuple[int, ...], side: int, stride: int) -> list[tuple[int, int]]:
    """Return the upper left corners of squares of `side` pixels that cover an image of `shape`."""
    height, width = shape[-2:]
    rows, columns = ([*range(0, size - side, stride), size - side] for size in (height, width))
    return [(row, column) for row in rows for column in columns]


def with_patch(x: Tensor, place: tuple[int, int], side: int, value: float) -> Tensor:
    """Return `x` with a square of one value."""
    out, (row, column) = x.clone(), place
    out[:, :, row : row + side, column : column + side] = value
    return out


def trained_patches(
    module: nn.Module, x: Tensor, y: Tensor, places: list[tuple[int, int]], side: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Yield `x` with the square at each place made against each row: signed steps up the margin of a wrong class."""
    for row, column in places:
        mask = torch.zeros_like(x[:1])
        mask[:, :, row : row + side, column : column + side] = 1
        moved = x * (1 - mask) + mask * torch.rand(x.shape, generator=generator).to(x.device)
        for step in range(_PATCH_STEPS):
            moved.requires_grad_()
            logits = module(moved)
            own = logits.gather(1, y[:, None])[:, 0]
            lead = logits.scatter(1, y[:, None], -torch.inf).amax(1) - own
            (slope,) = torch.autograd.grad(lead.sum(), moved)
            length = 0.25 * (1 - step / _PATCH_STEPS)
            moved = (moved.detach() + length * slope.sign() * mask).clamp(0, 1)
        yield moved
