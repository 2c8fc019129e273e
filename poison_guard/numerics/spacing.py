"""How unusually close together neighbours are: ratios of neighbour distances, the local dimension, and their chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

__all__ = [
    "INNER",
    "OUTER",
    "Spacing",
    "dimension",
    "dimensions",
    "leaf_spacing",
    "log_ratio_chance",
    "project_leaves",
    "radius_at",
    "tail_dimension",
]

OUTER = 16
"""The neighbour whose distance says how dense the surroundings are."""
INNER = 4
"""The neighbour whose distance is compared with it: a point and four others are five copies."""
_LEAF = 96  # rows of one leaf: room for OUTER neighbours several times over
_CHUNK = 2**20  # cells of leaf distances held at a time: 4 MB of float32
_NOTHING = 1e-12  # squared distance that stands for none


def project_leaves(X: np.ndarray, rng: np.random.Generator, leaf: int = _LEAF) -> np.ndarray:
    """Return positions of the rows of `X` ``(n, d)`` in ``(leaves, rows)`` equal leaves of one random projection tree.

    Near rows mostly share a leaf. Where the leaves do not come out even the rest is filled with -1.

    References: Dasgupta and Freund, "Random projection trees and low dimensional manifolds" (2008).
    """
    n, d = X.shape
    depth = max(0, int(np.ceil(np.log2(n / leaf)))) if n > leaf else 0
    size = -(-n // 2**depth) * 2**depth
    order = np.full((1, size), -1, dtype=np.int64)
    order[0, :n] = np.arange(n)
    for _ in range(depth):
        along = np.append(X @ rng.standard_normal(d).astype(X.dtype), np.inf)  # position -1 sorts last
        half = order.shape[1] // 2
        split = np.argpartition(along[order], half - 1, axis=1)
        order = np.take_along_axis(order, split, axis=1).reshape(-1, half)
    return order


@dataclass(frozen=True, slots=True)
class Spacing:
    """Log ratios of neighbour distances inside random leaves, each ``(n,)`` <= 0; 0 where leaves have too few rows."""

    mean: np.ndarray
    """``log(r_INNER / r_OUTER)``, mean over the trees."""
    least: np.ndarray
    """The same, least over the trees."""
    first: np.ndarray
    """``log(r_1 / r_OUTER)`` in the last tree."""


def leaf_spacing(X: np.ndarray, owner: np.ndarray, *, trees: int, rng: np.random.Generator) -> Spacing:
    """Return the spacing of the rows of `X` ``(n, d)``.

    `r_k` is the distance to the k-th nearest row of another `owner` ``(n,)`` int.
    """
    trees = trees if len(X) > _LEAF else 1
    total, least, first = np.zeros(len(X)), np.zeros(len(X)), np.zeros(len(X))
    for _ in range(trees):
        for rows, inner, nearest in _leaf_ratios(X, owner, project_leaves(X, rng)):
            total[rows] += inner
            least[rows] = np.minimum(least[rows], inner)
            first[rows] = nearest
    return Spacing(total / trees, least, first)


def _leaf_ratios(X: np.ndarray, owner: np.ndarray, leaves: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    size = leaves.shape[1]
    if size <= OUTER:
        return
    step = max(1, _CHUNK // size**2)
    for start in range(0, len(leaves), step):
        rows = leaves[start : start + step]
        squares = _squares(X[rows])
        who = np.where(rows < 0, -1, owner[rows])
        squares[(who[:, :, None] == who[:, None, :]) | (who < 0)[:, None, :]] = np.inf
        squares.sort(axis=2)
        logs = 0.5 * np.log(np.maximum(squares[:, :, [0, INNER - 1, OUTER - 1]], _NOTHING).astype(np.float64))
        kept = (rows >= 0) & np.isfinite(logs[:, :, 2])
        first, inner, outer = logs[kept].T
        yield rows[kept], inner - outer, first - outer


def _squares(leaves: np.ndarray) -> np.ndarray:
    """Return squared distances ``(leaves, rows, rows)`` float32 inside each leaf, to about 1e-6 of its size squared."""
    points = leaves - leaves.mean(axis=1, keepdims=True)
    norms = np.einsum("lrd,lrd->lr", points, points)
    squares = norms[:, :, None] + norms[:, None, :]
    squares -= 2 * (points @ points.transpose(0, 2, 1))
    return squares


def dimension(ratios: np.ndarray) -> float:
    """Return the dimension that the median of the ``log(r_INNER / r_OUTER)`` below 0 speaks of; NaN when none is."""
    seen = ratios[ratios < 0]
    return float(dimensions(np.array([np.median(seen)]))[0]) if len(seen) else float("nan")


def dimensions(medians: np.ndarray) -> np.ndarray:
    """Return the local dimensions ``(n,)``, >= 0.5, for medians ``(n,)`` of the log ratio in each surroundings."""
    usual = -np.log(beta.median(INNER, OUTER - INNER))
    return np.maximum(0.5, usual / np.maximum(-medians, 1e-9))


def tail_dimension(first: np.ndarray, share: float = 0.05) -> float:
    """Return the dimension that the nearest `share` of ``log(r_1 / r_OUTER)`` ``(n,)`` speaks of; NaN without ratios.

    It is lower than `dimension` where rows agree on rounded values: it says how fast neighbours thin out close by.
    """
    seen = first[first < 0]
    if len(seen) == 0:
        return float("nan")
    return max(0.5, float(np.log(beta.ppf(share, 1, OUTER - 1)) / min(float(np.quantile(seen, share)), -1e-9)))


def radius_at(log_chance: float, dim: np.ndarray) -> np.ndarray:
    """Return the ratio ``r_INNER / r_OUTER`` ``(n,)`` in (0, 1] that has `log_chance` at dimensions `dim` ``(n,)``."""
    return beta.ppf(np.exp(log_chance), INNER, OUTER - INNER) ** (1.0 / dim)


def log_ratio_chance(log_ratio: np.ndarray, dim: np.ndarray, inner: int = INNER) -> np.ndarray:
    """Return the log of the chance that ``r_inner / r_OUTER`` is this small or smaller where density is locally even.

    Inside the ball of the outer neighbour the others lie independently, so the ratio to the power of the dimension is
    the `inner`-th smallest of ``OUTER - 1`` uniforms.

    References: Levina and Bickel, "Maximum likelihood estimation of intrinsic dimension" (2004), for the model.
    """
    return beta.logcdf(np.exp(np.minimum(0.0, dim * log_ratio)), inner, OUTER - inner)
