"""Feature vectors made comparable: canonical order, ties taken apart, and how much of each row is evidence at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
import torch

from poison_guard.numerics.robust import column_scale
from poison_guard.signals.campaigns.neighbour_ratio import MIN_SHARED_FEATURES, as_if_whole
from poison_guard.signals.sampling import mix_bits

__all__ = ["PointCloud", "Points"]


_TAIL = 30.0  # from the median, beyond which distances grow as logarithms: one wild value hides nothing
_COMMON = 0.2  # share of rows from which a value of a feature is common: to agree on it is no evidence
_TIED = 0.1  # share of repeated values from which the others of a feature count as rounded
_CELLS = 2**21  # distances held at a time: 8 MB of float32


@dataclass(frozen=True, slots=True)
class Points:
    """Rows around the trusted medians, in units of how far two people typically are apart in a feature.

    Missing cells are 0, also in `known`.
    """

    spread: np.ndarray  # (n, d) float32; repeated values anywhere in their cells, so that distances are even
    plain: np.ndarray  # (n, d) float32; values as they are
    known: np.ndarray  # (n, d) float32, 1 or 0
    informative: np.ndarray  # (n,) float32, features in which the value is not a common one, as if none were missing

    def take(self, rows: np.ndarray | slice) -> Self:
        """Return the points of `rows`."""
        return type(self)(self.spread[rows], self.plain[rows], self.known[rows], self.informative[rows])

    def as_they_are(self) -> Self:
        """Return the points with repeated values in their places."""
        return type(self)(self.plain, self.plain, self.known, self.informative)

    def nearest(self, queries: Points, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return distances ``(q, k)`` float64, ascending, and positions ``(q, k)`` of the `k` nearest rows.

        Distances are over the features known of both rows, as `as_if_whole` says; infinite where too few are.
        """
        step, k = max(1, _CELLS // len(self.informative)), min(k, len(self.informative))
        apart, where = np.empty((len(queries.informative), k)), np.empty((len(queries.informative), k), np.int64)
        for start in range(0, len(apart), step):
            rows = slice(start, start + step)
            part = queries.take(rows)
            where[rows] = torch.topk(self._squares(part), k, largest=False, sorted=False).indices.numpy()
            apart[rows] = self._exact(part, where[rows])
        order = np.argsort(apart, axis=1, kind="stable")
        return np.take_along_axis(apart, order, 1), np.take_along_axis(where, order, 1)

    def apart(self, one: Points) -> np.ndarray:
        """Return the distance of every row to the row `one`, ``(n,)`` float32."""
        return np.sqrt(self._squares(one)[0].numpy())

    def _squares(self, queries: Points) -> torch.Tensor:
        at, other = torch.from_numpy(self.spread), torch.from_numpy(queries.spread)
        if self.known.all() and queries.known.all():
            squares = torch.addmm(at.square().sum(1), other, at.T, alpha=-2.0)
            return squares.add_(other.square().sum(1)[:, None]).clamp_(min=0.0)
        known, also = torch.from_numpy(self.known), torch.from_numpy(queries.known)
        squares = torch.addmm(other.square() @ known.T, other, at.T, alpha=-2.0).addmm_(also, at.square().T)
        shared, d = also @ known.T, known.shape[1]
        squares.clamp_(min=0.0).div_(shared.clamp(min=1.0)).pow_(shared / d).mul_(d)  # as `as_if_whole`
        return squares.masked_fill_(shared < MIN_SHARED_FEATURES * d, torch.inf)

    def _exact(self, queries: Points, where: np.ndarray) -> np.ndarray:
        shared = self.known[where] * queries.known[:, None]
        gaps = (self.spread[where] - queries.spread[:, None]) * shared
        squares = np.einsum("qkd,qkd->qk", gaps, gaps, dtype=np.float64)
        return np.sqrt(as_if_whole(squares, shared.sum(axis=2, dtype=np.float64), gaps.shape[2]))


@dataclass(frozen=True, slots=True)
class PointCloud:
    """The batch, and what is remembered of earlier ones, in an order that no sender can choose."""

    row: np.ndarray  # position in the frame
    points: Points  # of the features that hold more than one value
    owner: np.ndarray  # source codes
    own: np.ndarray  # bool: of this batch
    trusted: Points | None
    scale: np.ndarray  # (d,) of each feature, by the trusted values
    salt: int

    @classmethod
    def of(cls, frame: pd.DataFrame, vectors: np.ndarray, n_own: int, trusted: np.ndarray | None, seed: int) -> Self:
        """Return the cloud of `vectors` ``(n, d)``, NaN where missing, whose ids and sources are in `frame`.

        The first `n_own` rows are the batch.
        """
        keys = pd.util.hash_array(frame["record_id"].to_numpy(dtype=object))
        salt = int(mix_bits(keys.sum(dtype=np.uint64, keepdims=True) ^ np.uint64(seed))[0])
        order = np.argsort(mix_bits(keys ^ np.uint64(salt)), kind="stable")
        varies = np.fmin.reduce(vectors, axis=0) < np.fmax.reduce(vectors, axis=0)
        vectors = vectors[order][:, varies]
        measure = vectors if trusted is None else trusted[:, varies]
        features = [_Feature.of(column, vetted=trusted is not None) for column in measure.T]
        noise = np.random.default_rng(salt)
        scale = np.array([feature.scale for feature in features])
        unit = float(np.sqrt(2 * np.mean(scale**2)))
        points = _points(features, vectors, unit, noise)
        known = None if trusted is None else _points(features, trusted[:, varies], unit, noise)
        return cls(order, points, _owners(frame)[order], order < n_own, known, scale / unit, salt)

    def one(self, at: int) -> Points:
        """Return the row `at` alone."""
        return self.points.take(slice(at, at + 1))

    def rng(self, size: int) -> np.random.Generator:
        """Return a random generator that depends on the batch and `size` alone."""
        return np.random.default_rng((self.salt, size))


@dataclass(frozen=True, slots=True)
class _Feature:
    """Scale and habits of one feature, by the trusted values, or by those of the batch."""

    values: np.ndarray  # ascending, at least one
    centre: float
    scale: float
    common: np.ndarray  # values on which many agree
    rounded: bool  # rows agree on other values, too

    @classmethod
    def of(cls, column: np.ndarray, *, vetted: bool) -> Self:
        """Return the feature; without `vetted` values nothing says how rows cling to rounded ones: all are spread."""
        values = np.sort(column[~np.isnan(column)]).astype(np.float64)
        values = values if len(values) else np.zeros(1)
        (centre,), (scale,) = column_scale(values[:, None])
        distinct, counts = np.unique(values, return_counts=True)
        common = counts >= max(3.0, _COMMON * len(column))
        rest = counts[~common]
        rounded = len(rest) < (1 - _TIED) * rest.sum()
        return cls(values, centre, scale, distinct[common & (vetted or not rounded)], rounded)

    def centred(self, column: np.ndarray, unit: float) -> np.ndarray:
        z = (column - self.centre) / unit
        beyond = np.maximum(np.abs(z) - _TAIL, 0.0)
        return np.nan_to_num(np.clip(z, -_TAIL, _TAIL) + np.sign(z) * np.log1p(beyond)).astype(np.float32)

    def spread(self, column: np.ndarray, noise: np.random.Generator) -> np.ndarray:
        """Move each value to a random place in its cell, half as far as the nearest so many other values are.

        In a rounded feature a cell reaches at least half of the way to the neighbouring values of `column`.
        """
        first, last = np.searchsorted(self.values, column, "left"), np.searchsorted(self.values, column, "right")
        half, top = (last - first) // 2, len(self.values) - 1
        low = np.where(half > 0, column - self.values[np.clip(first - half, 0, top)], 0.0) / 2
        high = np.where(half > 0, self.values[np.clip(last - 1 + half, 0, top)] - column, 0.0) / 2
        distinct, where = np.unique(column, return_inverse=True)
        if self.rounded and len(distinct) > 1:
            gaps = np.diff(distinct) / 2
            low, high = np.maximum(low, np.r_[gaps[:1], gaps][where]), np.maximum(high, np.r_[gaps, gaps[-1:]][where])
        return column - low + noise.random(len(column)) * (low + high)


def _points(features: list[_Feature], vectors: np.ndarray, unit: float, noise: np.random.Generator) -> Points:
    known, plain, spread = ~np.isnan(vectors), np.zeros_like(vectors), np.zeros_like(vectors)
    informative = np.zeros(len(vectors), np.float32)
    for j, feature in enumerate(features):
        column = vectors[:, j].astype(np.float64)
        plain[:, j] = feature.centred(column, unit)
        loose = known[:, j] & ~np.isin(column, feature.common)
        column[loose] = feature.spread(column[loose], noise)
        spread[:, j] = feature.centred(column, unit)
        informative += loose
    informative *= len(features) / np.maximum(known.sum(axis=1), 1)
    return Points(spread, plain, known.astype(np.float32), informative)


def _owners(frame: pd.DataFrame) -> np.ndarray:
    named = [c for c in ("source_id", "speaker") if c in frame.columns and frame[c].notna().any()]
    if not named:
        return np.arange(len(frame))
    owner = pd.factorize(frame[named[0]].astype("str"))[0].astype(np.int64)
    return np.where(owner < 0, len(frame) + np.arange(len(frame)), owner)
