"""Changes that the world makes without malice: a turned image, a noisy cell, a slip of the finger."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

from poison_guard.numerics.robust import column_scale
from poison_guard.records import Examples

__all__ = ["add_noise", "misspell", "move_images"]

_HUGE = 1e100  # values of this size count as infinite: they have no scale and stay as they are
_LOOKALIKES = {"a": "@", "b": "6", "e": "3", "g": "9", "i": "1", "l": "1", "o": "0", "s": "$", "t": "7", "z": "2"}


def move_images(
    images: np.ndarray, *, degrees: float = 0.0, scale: float = 1.0, down: float = 0.0, right: float = 0.0
) -> np.ndarray:
    """Return `images` ``(n, channels, height, width)`` moved, float32.

    Turned counter-clockwise about their middle, made larger by `scale`, shifted by pixels. Bilinear; what comes in from
    outside is the nearest edge pixel.
    """
    height, width = images.shape[2:]
    if not len(images) or not height * width:
        return images.astype(np.float32)
    turn, stretch = math.radians(degrees), height / width
    cos, sin = math.cos(turn) / scale, math.sin(turn) / scale
    # torch counts both axes from -1 to 1, whatever their length
    x, y = -2 * right / width, -2 * down / height
    rows = [
        [cos, -sin * stretch, cos * x - sin * stretch * y],
        [sin / stretch, cos, sin / stretch * x + cos * y],
    ]
    matrix = torch.tensor(rows, dtype=torch.float32)
    pixels = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
    grid = torch.nn.functional.affine_grid(matrix.expand(len(images), 2, 3), list(pixels.shape), align_corners=False)
    moved = torch.nn.functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    return np.asarray(moved.numpy())


def add_noise(examples: Examples, *, share: float, seed: int) -> Examples:
    """Return `examples` with noise of size `share`.

    Images: normal with `share` of the pixel range as standard deviation, clipped to [0, 1]. Tables: normal with `share`
    of each column's (robust) standard deviation among `examples`; missing, infinite and constant cells stay. Texts:
    each character, at chance `share`, in the other case, dropped or doubled.
    """
    random = np.random.default_rng(seed)
    before = examples.inputs
    match examples.kind:
        case "image":
            noise = share * random.standard_normal(before.shape, dtype=np.float32)
            after = np.clip(before + noise, 0, 1).astype(np.float32)
        case "table":
            noise = share * _scales(before) * random.standard_normal(before.shape)
            after = np.where(np.abs(before) < _HUGE, before + noise, before)
        case _:
            after = np.empty(len(before), dtype=object)
            after[:] = [_sprinkle(str(text), share, random) for text in before]
    return dataclasses.replace(examples, inputs=after)


def misspell(word: str, random: np.random.Generator) -> str:
    """Return `word` with one slip: two letters swapped, one dropped, doubled or replaced by a look-alike.

    The first letter stays except in words of one or two, as readers get by without the rest. Never longer by more than
    one character; a word of one character is doubled or replaced.
    """
    at = int(random.integers(1, len(word))) if len(word) > 2 else int(random.integers(len(word)))
    letter = word[at]
    match random.integers(4):
        case 0 if at + 1 < len(word) and word[at + 1] != letter:
            return word[:at] + word[at + 1] + letter + word[at + 2 :]
        case 1 if len(word) > 1:
            return word[:at] + word[at + 1 :]
        case 2 if letter.lower() in _LOOKALIKES:
            return word[:at] + _LOOKALIKES[letter.lower()] + word[at + 1 :]
        case _:
            return word[:at] + letter + word[at:]


def _sprinkle(text: str, share: float, random: np.random.Generator) -> str:
    """Return `text` with each character, at chance `share`, in the other case, dropped, or doubled."""
    hit = np.flatnonzero(random.random(len(text)) < share)
    letters = list(text)
    for at in hit:
        letter = letters[at]
        match random.integers(4):
            case 0:
                letters[at] = ""
            case 1:
                letters[at] = letter * 2
            case _:
                letters[at] = letter.swapcase()
    return "".join(letters)


def _scales(table: np.ndarray) -> np.ndarray:
    """Return ``(d,)`` robust standard deviations of the finite cells, 0 for columns that hold a single value."""
    scales = np.zeros(table.shape[1])
    for at, column in enumerate(table.T):
        cells = column[np.abs(column) < _HUGE]
        if len(cells) and cells.min() < cells.max():
            scales[at] = column_scale(cells[:, None])[1][0]
    return scales
