"""Rank rated items by what people of different viewpoints agree on, so that one side's raters cannot lift an item.

A plain mean is won by whoever brings most raters. Here every rating is explained by how kind its rater is, how liked
the item is by all, and how well the item fits the rater's viewpoint; an item is scored by the middle part alone, read
off where both sides of the viewpoint weigh about the same. Raters weigh little without a record on other items, and
raters who rate alike share one weight: a thousand copies of an opinion are one opinion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from poison_guard.errors import DataError, UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["Bridged", "bridge", "independent_weight"]

_RIDGE = (1.0, 0.3)  # ratings' worth of pull of an intercept, and of a factor, to nought
_HISTORY = 5.0  # ratings of other items at which a rater weighs half
_SLACK = 1.0  # weight by which one side of the viewpoint may exceed the other on an item: one independent rater
_ROUNDS, _TOLERANCE = 200, 1e-6
_LEAST_FREE = 0.1  # of a rating's residual that its own item is taken to have left, at least
_CAP_ROUNDS = 50
_MOST_OF_ALL = 0.05  # of the weight of all ratings that one source has in what is usual: it moves that by no more
_LOW_Z = 1.645  # one-sided 95 %
_COMPANIONS = 2048  # sources that each source is compared with: bounds time
_BLOCK = 1 << 23  # cells of the sources' similarity held at a time


@dataclass(frozen=True, slots=True)
class Bridged:
    """What ratings say of items and of the people who gave them.

    `items`: ``item_id, score, low, rated, raters``. `score` is the rating, in [0, 1], that a rater of no viewpoint and
    usual kindness is expected to give; `low` is its lower bound (95 %); `rated` the plain mean; `raters` how many
    people rated it. `sources`: ``source_id, factor, intercept, weight``: viewpoint (positive on the larger side),
    kindness, and how many independent raters the source counts for, in [0, 1).
    """

    items: pd.DataFrame
    sources: pd.DataFrame


@dataclass(frozen=True, slots=True)
class _Ratings:
    """Distinct (item, source) pairs in the order of their ids; all ``(n,)``."""

    item: np.ndarray
    source: np.ndarray
    value: np.ndarray


def bridge(ratings: pd.DataFrame, *, seed: int = 0) -> Bridged:
    """Return scores of the items of `ratings`: ``item_id, source_id, rating`` in [0, 1]; other columns are left alone.

    Fits ``r = mu + i_u + i_n + f_u f_n`` by alternating ridge regressions. Rows without one of the three are left out,
    several ratings of one item by one source count as one, their mean. A source weighs ``n / (n + 5)``, n its ratings
    of other items, over one plus its likeness to all other sources (squared cosines of their ratings above or below
    one half). In the score, the sources on one side of the viewpoint weigh together at most one more than those on
    the other. In the usual rating and the noise a source counts for a twentieth at most. The order of rows does not
    matter; `seed` starts the factors and samples whom each source is compared with beyond 2,048 sources.

    Raises `UsageError` for a missing column and `DataError` for a rating outside [0, 1].

    References: Wojcik et al. (2022), "Birdwatch: Crowd Wisdom and Bridging Algorithms can Inform Understanding and
    Reduce the Spread of Misinformation"; Henikoff & Henikoff (1994), "Position-based Sequence Weights" (redundant
    witnesses share a weight); Hoerl & Kennard (1970), "Ridge Regression".
    """
    table = _table(ratings)
    item, items = pd.factorize(table["item_id"], sort=True)
    source, sources = pd.factorize(table["source_id"], sort=True)
    given = _Ratings(item, source, table["rating"].to_numpy(float, copy=True))
    if not len(items):
        return _bridged(items, sources, np.zeros((4, 0)), np.zeros((3, 0)))
    weight = independent_weight(item, source, given.value, seed)
    mu, kind, factor = _fit(given, weight[source], seed)
    score, spread = _score(given, weight[source], given.value - mu - kind[source], factor)
    counts = np.bincount(item)
    low = mu + score - _LOW_Z * spread
    per_item = np.stack(
        [np.clip(mu + score, 0, 1), np.clip(low, 0, 1), np.bincount(item, given.value) / counts, counts]
    )
    turned = factor if np.average(np.sign(factor), weights=weight + 1e-9) >= 0 else -factor
    return _bridged(items, sources, per_item, np.stack([turned, kind, weight]))


def independent_weight(item: np.ndarray, source: np.ndarray, value: np.ndarray, seed: int) -> np.ndarray:
    """Return ``(sources,)`` in [0, 1): for how many independent raters each source counts.

    ``n / (n + 5)``, n its ratings of other items, over one plus its likeness to all others. `item` and `source` are
    codes ``(n,)`` of distinct pairs, every code used, `value` in [0, 1].
    """
    others = np.bincount(source) - 1
    given = _Ratings(item, source, value)
    return others / (others + _HISTORY) / (1 + _likeness(given, int(item.max()) + 1, len(others), seed))


def _table(ratings: pd.DataFrame) -> pd.DataFrame:
    columns = ["item_id", "source_id", "rating"]
    missing = [c for c in columns if c not in ratings.columns]
    if missing:
        raise UsageError(f"ratings lack the column {missing[0]}; give item_id, source_id and rating")
    table = ratings[columns].dropna()
    rating = pd.to_numeric(table["rating"], errors="coerce")
    outside = ~rating.between(0, 1)
    if outside.any():
        worst = table.loc[outside, "rating"].iloc[0]
        raise DataError(f"rating {worst!r} is no number in [0, 1]; scale ratings to that range first")
    table = table.assign(rating=rating.astype(float))
    return table.groupby(["item_id", "source_id"], sort=True, as_index=False)["rating"].mean()


def _bridged(items: pd.Index, sources: pd.Index, per_item: np.ndarray, per_source: np.ndarray) -> Bridged:
    score, low, rated, raters = per_item
    factor, kind, weight = per_source
    counted = raters.astype(np.int64)
    return Bridged(
        pd.DataFrame({"item_id": items, "score": score, "low": low, "rated": rated, "raters": counted}),
        pd.DataFrame({"source_id": sources, "factor": factor, "intercept": kind, "weight": weight}),
    )


def _likeness(ratings: _Ratings, items: int, sources: int, seed: int) -> np.ndarray:
    """Return ``(sources,)`` sums, over other sources, of the squared cosine with each, where it is positive."""
    counts = np.bincount(ratings.source, minlength=sources)
    cell = (2 * ratings.value - 1) / np.sqrt(counts[ratings.source])
    votes = csr_matrix((cell, (ratings.source, ratings.item)), shape=(sources, items))
    some = np.arange(sources)
    if sources > _COMPANIONS:
        some = np.sort(np.random.default_rng(seed).choice(sources, _COMPANIONS, replace=False))
    against = votes[some].T.tocsr()
    total = np.empty(sources)
    step = max(1, _BLOCK // len(some))
    for start in range(0, sources, step):
        block = (votes[start : start + step] @ against).toarray()
        total[start : start + step] = (np.maximum(block, 0) ** 2).sum(1)
    own = np.asarray(votes.multiply(votes).sum(1)).ravel() ** 2
    total[some] -= own[some]
    return np.maximum(total, 0) * (sources / len(some))


def _fit(ratings: _Ratings, weight: np.ndarray, seed: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Return mu, and the sources' kindness and factor."""
    import torch

    item, source = torch.from_numpy(ratings.item), torch.from_numpy(ratings.source)
    y, w, one = (
        torch.from_numpy(ratings.value),
        torch.from_numpy(weight + 1e-3),
        torch.ones(len(ratings.value), dtype=torch.float64),
    )
    items, sources = int(ratings.item.max()) + 1, int(ratings.source.max()) + 1
    mu = float(_capped_mean(y, w, source))
    start = torch.Generator().manual_seed(seed)
    factor = 0.3 * torch.randn(sources, generator=start, dtype=torch.float64)
    kind = torch.zeros(sources, dtype=torch.float64)
    with torch.inference_mode():
        for _ in range(_ROUNDS):
            liked, lean, _ = _ridge(item, items, factor[source], y - mu - kind[source], w)
            kind, turned, _ = _ridge(source, sources, lean[item], y - mu - liked[item], one)
            moved = float((turned - factor).abs().max())
            factor = turned
            if moved < _TOLERANCE:
                break
    return mu, kind.numpy(), factor.numpy()


def _score(
    ratings: _Ratings, weight: np.ndarray, left: np.ndarray, factor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each item's liking above mu and its standard error, from what kindness has `left` of the ratings."""
    import torch

    items = int(ratings.item.max()) + 1
    side = (factor[ratings.source] > 0).astype(np.int64)
    total = np.bincount(2 * ratings.item + side, weight, minlength=2 * items).reshape(items, 2)
    most = total.min(1) + _SLACK
    capped = weight * np.minimum(1, most[ratings.item] / np.maximum(total[ratings.item, side], 1e-12))
    at, x, y, w = (torch.from_numpy(a) for a in (ratings.item, factor[ratings.source], left, capped))
    liked, lean, inverse = _ridge(at, items, x, y, w)
    wrong = y - liked[at] - lean[at] * x
    free = (1 - w * inverse[at]).clamp_min(_LEAST_FREE)
    noise = _capped_mean(wrong**2 / free, w, torch.from_numpy(ratings.source))
    return liked.numpy(), torch.sqrt(noise * inverse).numpy()


def _capped_mean(values: torch.Tensor, weight: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Return the weighted mean of values ``(n,)``, a source counting for a twentieth of the weight at most."""
    import torch

    total = torch.bincount(source, weight)
    part, most = max(_MOST_OF_ALL, 1 / len(total)), total.max()
    for _ in range(_CAP_ROUNDS):
        most = part * total.clamp_max(most).sum()
    share = weight * (most / total.clamp_min(1e-12)).clamp_max(1)[source]
    return (share * values).sum() / share.sum().clamp_min(1e-12)


def _ridge(
    of: torch.Tensor, size: int, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return, for each code of `of`, intercept and slope of y on x, and the intercept's variance per unit of noise."""
    import torch

    s, sx, sxx, sy, sxy = (
        torch.zeros(size, dtype=torch.float64).index_add_(0, of, v) for v in (w, w * x, w * x * x, w * y, w * x * y)
    )
    s, sxx = s + _RIDGE[0], sxx + _RIDGE[1]
    determinant = s * sxx - sx * sx
    return (sxx * sy - sx * sxy) / determinant, (s * sxy - sx * sy) / determinant, sxx / determinant
