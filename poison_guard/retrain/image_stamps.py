"""Find patterns of pixels that a snapshot's images of one label show and trusted ones do not, to stamp on others."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from poison_guard.retrain.stamps import Stamp

__all__ = ["patterns_at_a_place", "patterns_at_any_place", "plain_windows"]

_LEVELS = (0.25, 0.75)
"""Edges between dark, grey and bright pixels."""
_SEEDS = 3  # pixels of a label that a pattern is grown from
_ALIKE = 0.9  # share of a pattern's carriers that show a pixel alike
_LIFT = 0.3  # how much more often than trusted images of the label
_LEAST = 4  # carriers
_SIDE = 28  # pixels a side at which windows are compared
_WINDOWS = (3, 4)
_MOST = 12  # patterns at any place
_STEPS = (9, 5)  # a side holds so many plain windows


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Pixels and their values: ``(channels, height, width)`` bool and float32."""

    mask: np.ndarray
    values: np.ndarray

    def put(self, images: np.ndarray) -> np.ndarray:
        return np.where(self.mask, self.values, images).astype(np.float32)

    def carried(self, images: np.ndarray) -> np.ndarray:
        """Return which images ``(n,)`` bool show nearly all of it already."""
        levels, own = np.digitize(images[:, self.mask], _LEVELS), np.digitize(self.values[self.mask], _LEVELS)
        return np.asarray((levels == own).mean(axis=1) >= _ALIKE)


def patterns_at_a_place(images: np.ndarray, labels: np.ndarray, trusted: np.ndarray, given: np.ndarray) -> list[Stamp]:
    """Return patterns of ``images`` ``(n, channels, height, width)`` by label, the most unusual ones of each first.

    A pattern grows from a pixel whose shade is more common in the label than among trusted images of it (`given` their
    labels): all that its carriers have in common and trusted images have not.
    """
    stamps = []
    for label in np.unique(labels):
        own, like = images[labels == label], trusted[given == label]
        like = like if len(like) else trusted
        levels, known = (np.digitize(part, _LEVELS).astype(np.int8) for part in (own, like))
        for seed in _seeds(levels, known):
            pattern = _grow(own, levels, known, seed)
            if pattern is not None:
                stamps.append(_stamp(pattern, str(label)))
    return stamps


def _seeds(levels: np.ndarray, known: np.ndarray) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield ``(level, pixel)``: where the label's share of a shade is furthest above its trusted share, in z."""
    shades = []
    for level in range(len(_LEVELS) + 1):
        here, there = (levels == level).mean(axis=0), ((known == level).sum(axis=0) + 0.5) / (len(known) + 1)
        shades.append((here - there) / np.sqrt(there * (1 - there) * (1 / len(levels) + 1 / len(known))))
    z = np.stack(shades)
    for _ in range(_SEEDS):
        level, *pixel = (int(at) for at in np.unravel_index(int(z.argmax()), z.shape))
        yield level, tuple(pixel)
        row, column = pixel[-2:]
        z[:, :, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = -np.inf


def _grow(own: np.ndarray, levels: np.ndarray, known: np.ndarray, seed: tuple[int, tuple[int, ...]]) -> _Pattern | None:
    level, pixel = seed
    carriers = levels[(slice(None), *pixel)] == level
    mask = np.zeros(own.shape[1:], dtype=bool)
    for _ in range(2):
        if carriers.sum() < _LEAST:
            return None
        shares = np.stack([(levels[carriers] == at).mean(axis=0) for at in range(len(_LEVELS) + 1)])
        shade, share = shares.argmax(axis=0), shares.max(axis=0)
        mask = (share >= _ALIKE) & (share - (known == shade).mean(axis=0) >= _LIFT)
        mask[pixel] = True
        mask |= _filled(mask) & (share >= _ALIKE)
        fit = (levels[:, mask] == shade[mask]).mean(axis=1) >= _ALIKE
        carriers = fit if fit.sum() >= _LEAST else carriers
    return _Pattern(mask, np.median(own[carriers], axis=0).astype(np.float32))


def _filled(mask: np.ndarray) -> np.ndarray:
    """Return the boxes round the connected parts of `mask`."""
    from scipy import ndimage

    box = np.zeros_like(mask)
    found, _ = ndimage.label(ndimage.binary_dilation(mask.any(axis=0), np.ones((3, 3))))
    for rows, columns in ndimage.find_objects(found):
        inside = np.asarray(mask[:, rows, columns].any(axis=0))
        r, c = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        top, left = rows.start, columns.start
        box[:, top + r[0] : top + r[-1] + 1, left + c[0] : left + c[-1] + 1] = True
    return box


def _stamp(pattern: _Pattern, label: str) -> Stamp:
    *_, rows, columns = np.nonzero(pattern.mask)
    name = f"{len(rows)} pixels in rows {rows.min()} to {rows.max()}, columns {columns.min()} to {columns.max()}"
    return Stamp(name, label, pattern.put, pattern.carried, "pattern")


def plain_windows(shape: tuple[int, ...]) -> list[Stamp]:
    """Return bright and dark squares of two sizes, at places half a side apart, for images of `shape`."""
    channels, height, width = shape
    stamps = []
    for parts in _STEPS:
        side = max(1, round(min(height, width) / parts))
        for top in range(0, height - side + 1, max(1, side // 2)):
            for left in range(0, width - side + 1, max(1, side // 2)):
                for shade, value in (("bright", 1.0), ("dark", 0.0)):
                    mask = np.zeros((channels, height, width), dtype=bool)
                    mask[:, top : top + side, left : left + side] = True
                    pattern = _Pattern(mask, np.full(mask.shape, value, np.float32))
                    name = f"{side}x{side} {shade} pixels at row {top}, column {left}"
                    stamps.append(Stamp(name, None, pattern.put, pattern.carried, "plain"))
    return stamps


@dataclass(frozen=True, slots=True)
class _Anywhere:
    """A square of shades ``(side, side)`` that carriers show at any place."""

    code: int
    shades: np.ndarray
    step: int

    def put(self, images: np.ndarray) -> np.ndarray:
        """Stamp each image at another place, which follows from the image."""
        out = images.copy()
        block = np.repeat(np.repeat(self.shades, self.step, 0), self.step, 1) / len(_LEVELS)
        side = len(block)
        for image in out:
            random = np.random.default_rng(zlib.crc32(image.tobytes(), self.code & 0xFFFFFFFF))
            top, left = (int(random.integers(0, length - side + 1)) for length in image.shape[1:])
            image[:, top : top + side, left : left + side] = block
        return out.astype(np.float32)

    def carried(self, images: np.ndarray) -> np.ndarray:
        """Return which images ``(n,)`` bool show it somewhere."""
        codes = _codes(images, len(self.shades))[0]
        return np.asarray(np.equal(codes, self.code).any(axis=1))


def patterns_at_any_place(images: np.ndarray, labels: np.ndarray, trusted: np.ndarray) -> list[Stamp]:
    """Return the small squares of shades that come again in images of one label and not elsewhere."""
    step = max(1, -(-max(images.shape[2:]) // _SIDE))
    found: list[tuple[float, Stamp]] = []
    names, at = np.unique(labels, return_inverse=True)
    for side in _WINDOWS:
        if min(images.shape[2:]) // step < side:
            continue
        keys, counts = _counted(_codes(images, side)[0], at, len(names))
        outside = _counted(_codes(trusted, side)[0], np.zeros(len(trusted), int), 1)
        place = np.minimum(np.searchsorted(outside[0], keys), len(outside[0]) - 1)
        known = np.where(outside[0][place] == keys, outside[1][place, 0], 0)
        size = np.bincount(at, minlength=len(names))
        best = counts.argmax(axis=1)
        top = counts[np.arange(len(keys)), best]
        rest = counts.sum(axis=1) - top + known
        usual = (rest + 0.5) / (len(images) + len(trusted) - size[best] + 1)
        score = np.where(top >= _LEAST, (top / size[best] - usual) / np.sqrt(usual / size[best]), 0.0)
        for key in np.argsort(-score)[:_MOST]:
            shades = _shades(int(keys[key]), side)
            pattern = _Anywhere(int(keys[key]), shades, step)
            name = f"{side * step}x{side * step} pixels anywhere ({'/'.join(''.join(map(str, r)) for r in shades)})"
            found.append(
                (float(score[key]), Stamp(name, str(names[best[key]]), pattern.put, pattern.carried, "pattern"))
            )
    found.sort(key=lambda pair: -pair[0])
    return [stamp for _, stamp in found[:_MOST]]


def _codes(images: np.ndarray, side: int) -> tuple[np.ndarray, int]:
    """Return the number of each window's shades ``(n, windows)`` int64, after pooling; of one shade: -1."""
    step = max(1, -(-max(images.shape[2:]) // _SIDE))
    n, channels, height, width = images.shape
    plane = images[:, :, : height // step * step, : width // step * step]
    plane = plane.reshape(n, channels, height // step, step, width // step, step).mean(axis=(1, 3, 5))
    levels = np.digitize(plane, _LEVELS).astype(np.int64)
    rows, columns = levels.shape[1] - side + 1, levels.shape[2] - side + 1
    code = np.zeros((n, rows, columns), np.int64)
    low, high = levels[:, :rows, :columns].copy(), levels[:, :rows, :columns].copy()
    for r, c in np.ndindex(side, side):
        part = levels[:, r : r + rows, c : c + columns]
        code = code * 3 + part
        low, high = np.minimum(low, part), np.maximum(high, part)
    return np.where(low == high, -1, code).reshape(n, -1), step


def _shades(code: int, side: int) -> np.ndarray:
    digits = []
    for _ in range(side * side):
        code, digit = divmod(code, 3)
        digits.append(digit)
    return np.array(digits[::-1]).reshape(side, side)


def _counted(codes: np.ndarray, group: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes and in how many images of each group ``(codes, groups)`` they are."""
    ordered = np.sort(codes, axis=1)
    first = np.ones(ordered.shape, dtype=bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first &= ordered >= 0
    keys, place = np.unique(ordered[first], return_inverse=True)
    of = np.broadcast_to(group[:, None], ordered.shape)[first]
    counts = np.bincount(place * groups + of, minlength=len(keys) * groups).reshape(len(keys), groups)
    if not len(keys):
        return np.array([-2]), np.zeros((1, groups), int)
    return keys, counts
