"""How unusually close together neighbours are: ratios of neighbour distances, their law, and where to look first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import betainc, betaincc, betaincinv

__all__ = [
    "LEAF_INNERS",
    "LEAF_OUTER",
    "MIN_SHARED_FEATURES",
    "as_if_whole",
    "leaf_ratios",
    "log_ratio_chance",
    "project_leaves",
    "ratio_at_chance",
    "ratio_exponent",
]


_LEAF = 96  # rows of one leaf
LEAF_INNERS, LEAF_OUTER = (2, 8), 48
"""Neighbours in a leaf whose distances are compared: copies of a small group, of a larger one; half a leaf."""
MIN_SHARED_FEATURES = 0.3
"""Share of the features that two rows must both have to be compared."""
_CHUNK = 2**20  # cells of leaf distances held at a time: 4 MB of float32
_NOTHING = 1e-12  # squared distance that stands for none


def project_leaves(X: np.ndarray, rng: np.random.Generator, *, leaf: int = _LEAF, share: float = 1.0) -> np.ndarray:
    """Return positions of the rows of `X` ``(n, d)`` in ``(leaves, rows)`` equal leaves of one random projection tree.

    Near rows mostly share a leaf. Only a random `share` of the features splits rows, so that trees differ where some
    cells are missing. Where the leaves do not come out even the rest is filled with -1.

    References: Dasgupta and Freund, "Random projection trees and low dimensional manifolds" (2008).
    """
    n, d = X.shape
    depth = max(0, int(np.ceil(np.log2(n / leaf)))) if n > leaf else 0
    size = -(-n // 2**depth) * 2**depth
    order = np.full((1, size), -1, dtype=np.int64)
    order[0, :n] = np.arange(n)
    used = np.argsort(rng.random(d)) < max(1, round(share * d))
    for _ in range(depth):
        along = np.append(X @ (rng.standard_normal(d) * used).astype(X.dtype), np.inf)  # position -1 sorts last
        half = order.shape[1] // 2
        split = np.argpartition(along[order], half - 1, axis=1)
        order = np.take_along_axis(order, split, axis=1).reshape(-1, half)
    return order


def leaf_ratios(
    X: np.ndarray, known: np.ndarray, owner: np.ndarray, *, trees: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the least ``log(r_k / r_48)`` over random leaves for k = 2 and 8, ``(n, 2)`` <= 0.

    `X` ``(n, d)``, in units in which rows typically differ by 1, has at least 96 rows. `r_k` is the distance to the
    k-th nearest row of another `owner` ``(n,)`` int in the leaf, over the features `known` ``(n, d)`` (1 or 0) of
    both; where there are too few the ratio is 0.
    """
    least = np.zeros((len(X), len(LEAF_INNERS)))
    whole = bool(known.all())
    for _ in range(trees):
        leaves = project_leaves(X, rng, share=1.0 if whole else 0.5)
        for rows, ratios in _in_leaves(X, None if whole else known, owner, leaves):
            least[rows] = np.minimum(least[rows], ratios)
    return least


def _in_leaves(
    X: np.ndarray, known: np.ndarray | None, owner: np.ndarray, leaves: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    step = max(1, _CHUNK // leaves.shape[1] ** 2)
    places = [k - 1 for k in (*LEAF_INNERS, LEAF_OUTER)]
    for start in range(0, len(leaves), step):
        rows = leaves[start : start + step]
        squares = _squares(X[rows]) if known is None else _masked_squares(X[rows], known[rows])
        who = np.where(rows < 0, -1, owner[rows])
        squares[(who[:, :, None] == who[:, None, :]) | (who < 0)[:, None, :]] = np.inf
        squares.partition(places, axis=2)
        found = squares[:, :, places]
        kept = (rows >= 0) & np.isfinite(found[:, :, -1])
        logs = 0.5 * np.log(np.maximum(found[kept], _NOTHING))
        yield rows[kept], logs[:, :-1] - logs[:, -1:]


def _squares(leaves: np.ndarray) -> np.ndarray:
    """Return squared distances ``(leaves, rows, rows)`` float32 inside each leaf, to about 1e-6 of its size squared."""
    points = leaves - leaves.mean(axis=1, keepdims=True)
    norms = np.einsum("lrd,lrd->lr", points, points)
    squares = norms[:, :, None] + norms[:, None, :]
    squares -= 2 * (points @ points.transpose(0, 2, 1))
    return squares


def _masked_squares(leaves: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the same over the features known of both rows, as `as_if_whole` says."""
    one_way = (leaves**2) @ known.transpose(0, 2, 1)
    squares = one_way + one_way.transpose(0, 2, 1) - 2 * (leaves @ leaves.transpose(0, 2, 1))
    shared = known @ known.transpose(0, 2, 1)
    return as_if_whole(np.maximum(squares, 0.0), shared, leaves.shape[2])


def as_if_whole(squares: np.ndarray, shared: np.ndarray, d: int) -> np.ndarray:
    """Return the squared distance over all `d` features at which as few honest rows would be as at `squares`.

    `squares` are sums over the `shared` features, in units in which two rows typically differ by 1 in each. That two
    rows are near in few features says less than that they are near in many: the chance grows with the power of their
    number. Infinite where too few are shared.
    """
    whole = d * (squares / np.maximum(shared, 1)) ** (shared / d)
    return np.where(shared < MIN_SHARED_FEATURES * d, np.inf, whole)


def ratio_exponent(ratios: np.ndarray, inner: int, outer: int, tails: tuple[float, ...]) -> float:
    """Return how fast honest neighbours thin out: the least exponent that the tails of `ratios` ``(n,)`` speak of.

    `ratios` are ``informative * log(r_inner / r_outer)``. Where density is even they follow `log_ratio_chance` with one
    exponent; of honest rows that cling together the tails are longer, and the exponent that covers them is lower. 0
    when rows share places; NaN without ratios below 0.
    """
    if len(ratios) < 1 / min(tails) or not (ratios < 0).any():
        return float("nan")
    law = np.log(betaincinv(inner, outer - inner, tails))
    return float(np.min(law / np.minimum(np.quantile(ratios, tails), -1e-9)))


def ratio_at_chance(log_chance: float, exponent: np.ndarray, inner: int, outer: int) -> np.ndarray:
    """Return the ratio ``r_inner / r_outer`` ``(n,)`` in (0, 1] that has `log_chance` at `exponent` ``(n,)``."""
    place = betaincinv(inner, outer - inner, np.exp(log_chance))
    return np.exp(np.log(place) / np.maximum(exponent, 1e-3))


def log_ratio_chance(log_ratio: np.ndarray, exponent: np.ndarray, inner: int, outer: int) -> np.ndarray:
    """Return the log of the chance that ``r_inner / r_outer`` is this small or smaller where density is locally even.

    Inside the ball of the outer neighbour the others lie independently, so the ratio to the power of the dimension
    (the exponent) is the `inner`-th smallest of ``outer - 1`` uniforms.

    References: Levina and Bickel, "Maximum likelihood estimation of intrinsic dimension" (2004), for the model.
    """
    place, others = np.exp(np.minimum(0.0, exponent * log_ratio)), outer - inner
    with np.errstate(divide="ignore"):
        low, high = np.log(betainc(inner, others, place)), np.log1p(-betaincc(inner, others, place))
    return np.where(place < betaincinv(inner, others, 0.5), low, high)  # each where it is exact
