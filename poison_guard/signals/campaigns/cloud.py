"""Feature vectors of a batch made comparable: canonical order, trusted scales, distances that survive rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from poison_guard.numerics.robust import column_scale
from poison_guard.numerics.sampling import mix

__all__ = ["Cloud", "View"]

_TAIL = 30.0  # scales from the median beyond which distances grow as logarithms: one wild value hides nothing
_SAMPLE = 2048  # rows by which ties are counted
_TIED = 0.1  # share of equal values from which a feature counts as discrete


@dataclass(frozen=True, slots=True)
class View:
    """One way to measure distance, and the columns whose dimension bounds how fast honest neighbours thin out."""

    points: np.ndarray  # (n, d) float32
    dense: np.ndarray  # (n, k) float32
    halves: np.ndarray  # (n,) float32, half of each point's squared norm

    @classmethod
    def of(cls, points: np.ndarray, dense: np.ndarray) -> Self:
        """Return the view of `points` ``(n, d)`` with the dimension of `dense` ``(n, k)``."""
        return cls(points, dense, 0.5 * np.einsum("nd,nd->n", points, points))

    def apart(self, at: int) -> np.ndarray:
        """Return the distance of every point to the point `at`, ``(n,)`` float32."""
        squares = self.halves - self.points @ self.points[at]
        squares += self.halves[at]
        np.maximum(squares, 0.0, out=squares)
        return np.sqrt(2.0 * squares, out=squares)


@dataclass(frozen=True, slots=True)
class Cloud:
    """The batch in a canonical order, in trusted scales."""

    row: np.ndarray  # position in the frame
    points: np.ndarray  # (n, d) float32, of the columns that hold more than one value
    views: tuple[View, ...]
    owner: np.ndarray  # source codes
    key: np.ndarray  # ascending uint64 that no sender can choose: it hangs on all record ids of the batch
    trusted: np.ndarray | None
    salt: int

    @classmethod
    def of(cls, frame: pd.DataFrame, vectors: np.ndarray, trusted: np.ndarray | None, seed: int) -> Self:
        """Return the cloud of `vectors` ``(n, d)`` whose ``record_id`` and source are in `frame`."""
        own = pd.util.hash_array(frame["record_id"].to_numpy(dtype=object))
        salt = int(mix(own.sum(dtype=np.uint64, keepdims=True) ^ np.uint64(seed))[0])
        key = mix(own ^ np.uint64(salt))
        order = np.argsort(key, kind="stable")
        varies = vectors.min(axis=0) < vectors.max(axis=0)
        vectors = vectors[:, varies]
        measure = vectors.astype(np.float64) if trusted is None else np.asarray(trusted, dtype=np.float64)[:, varies]
        centre, scale = column_scale(measure)
        points = _tame((vectors[order] - centre) / scale)
        views = _views(points, _tame((measure[:_SAMPLE] - centre) / scale), salt)
        known = None if trusted is None else _tame((measure - centre) / scale)
        return cls(order, points, views, _owners(frame)[order], key[order], known, salt)

    def rng(self, size: int) -> np.random.Generator:
        """Return a random generator that depends on the batch and `size` alone."""
        return np.random.default_rng((self.salt, size))


def _tame(scaled: np.ndarray) -> np.ndarray:
    beyond = np.maximum(np.abs(scaled) - _TAIL, 0.0)
    return (np.clip(scaled, -_TAIL, _TAIL) + np.sign(scaled) * np.log1p(beyond)).astype(np.float32)


def _views(points: np.ndarray, sample: np.ndarray, salt: int) -> tuple[View, ...]:
    """Return the ways to measure: as it is, and with discrete features spread over their cells.

    Honest sessions often agree on counts and rounded numbers. Where they do, the distance that is left falls with the
    dimension of the continuous features alone; spread over its cell a discrete feature is as even as a continuous one.
    """
    ties = np.array([1 - len(np.unique(column)) / len(sample) for column in sample.T])
    discrete = np.flatnonzero(ties > _TIED)
    if len(discrete) == 0:
        return (View.of(points, points),)
    noise, even = np.random.default_rng(salt), points.copy()
    for j in discrete:
        even[:, j] = _spread(points[:, j], noise)
    views = [View.of(even, even)]
    if len(discrete) < points.shape[1]:
        views.append(View.of(points, np.delete(points, discrete, axis=1)))
    return tuple(views)


def _owners(frame: pd.DataFrame) -> np.ndarray:
    named = [c for c in ("source_id", "speaker") if c in frame.columns and frame[c].notna().any()]
    if not named:
        return np.arange(len(frame))
    owner = pd.factorize(frame[named[0]].astype("str"))[0].astype(np.int64)
    return np.where(owner < 0, len(frame) + np.arange(len(frame)), owner)


def _spread(column: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """Move each value to a random place between the midpoints to its neighbouring values."""
    values, where = np.unique(column, return_inverse=True)
    draw = noise.random(len(column))
    if len(values) == 1:
        return column
    gaps = np.diff(values.astype(np.float64))
    low, high = np.r_[gaps[:1], gaps][where] / 2, np.r_[gaps, gaps[-1:]][where] / 2
    return column - low + draw * (low + high)
