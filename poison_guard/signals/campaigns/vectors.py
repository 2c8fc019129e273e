"""Near-duplicate feature vectors: sessions replayed with jitter under many names, told from an honest crowd."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from poison_guard.errors import DataError
from poison_guard.numerics.graphs import components
from poison_guard.numerics.neighbours import nearest
from poison_guard.numerics.sampling import mix
from poison_guard.numerics.spacing import (
    INNER,
    OUTER,
    dimension,
    dimensions,
    leaf_spacing,
    log_ratio_chance,
    radius_at,
    tail_dimension,
)
from poison_guard.records import Campaign
from poison_guard.signals.campaigns.cloud import Cloud, View
from poison_guard.signals.campaigns.finding import finding

__all__ = ["near_duplicate_vectors"]

_SMALLEST = 5  # records, and sources, of a group
_LISTED = 40  # neighbours looked at, so that OUTER other sources are among them
_INNERS = (INNER, 6, 8, 11)  # neighbours whose distance is tested; groups come in all sizes
_MEASURED = 512  # rows whose exact neighbours give the dimension
_TREES = 6  # of the whole batch; half as many of the thinned ones, whose groups are larger
_CANDIDATES = 4096  # rows of one level that are verified exactly
_SUSPECT = -7.0  # log chance in random leaves from which a row is verified
_TIGHT = 0.18  # trusted scales: copies with 5 % jitter spread .12 in a typical feature, half as varied a crowd .23
_WIDER, _GROWTH = 1.5, 2.0  # in a crowd a ball this much wider holds more than this many times the rows
_FAR_OUT = 3.0  # median distances from the middle of a ball: rounding sends single copies this far, few honest rows are
_PRUDENCE = 0.9  # share of the estimated dimension that is relied on; it differs from place to place


def near_duplicate_vectors(
    frame: pd.DataFrame, vectors: np.ndarray, *, trusted: np.ndarray | None = None, alpha: float = 0.001, seed: int = 0
) -> list[Campaign]:
    """Return groups of at least 5 near-identical rows of `vectors` ``(n, d)`` from at least 5 sources.

    A row is at the core of a group when its 4th (6th, 8th, 11th) nearest row of another source is so much nearer than
    the 16th that evenly spread honest rows of the same local dimension would show it with chance `alpha` in the whole
    batch. The test is repeated on thinned batches, where large groups look small. A group must also be tight in the
    scales of the `trusted` vectors ``(m, d)`` (of the batch, when None), which a crowd of people is not, and be more
    frequent than among the trusted. `frame` has ``record_id``, ``source_id`` (missing: a source of its own) and,
    optionally, times.

    Groups do not depend on the order of rows. Copies stay hidden where honest rows are as close: with few features, or
    when all of them are coarsely rounded. `DataError` when `vectors` do not fit `frame`.
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(frame) or not np.isfinite(vectors).all():
        raise DataError(f"vectors must be finite and of shape ({len(frame)}, features), got {vectors.shape}")
    if trusted is not None and np.shape(trusted)[1:] != vectors.shape[1:]:
        raise DataError(f"trusted vectors have shape {np.shape(trusted)}, those of the batch {vectors.shape}")
    if len(frame) <= OUTER or not (vectors != vectors[0]).any():
        return []
    if trusted is not None and len(trusted) < 2 * OUTER:
        trusted = None
    cloud = Cloud.of(frame, vectors, trusted, seed)
    with torch.inference_mode():
        cores = [core for view in cloud.views for rows in _levels(cloud) for core in _cores(cloud, view, rows, alpha)]
    found = [_campaign(frame, cloud, rows, logp) for rows, logp in _groups(cloud, cores)]
    return sorted((c for c in found if c is not None), key=lambda c: (c.p, c.campaign_id))


@dataclass(frozen=True, slots=True)
class _Core:
    view: View
    at: int  # position in the cloud
    radius: float
    logp: float


def _levels(cloud: Cloud) -> Iterator[np.ndarray]:
    """Yield the positions of the whole cloud, of a random half, a quarter, ..."""
    n = len(cloud.points)
    order = np.argsort(mix(cloud.key), kind="stable")
    while n > 2 * OUTER:
        yield np.sort(order[:n])
        n //= 2


def _cores(cloud: Cloud, view: View, rows: np.ndarray, alpha: float) -> Iterator[_Core]:
    """Yield the rows of one level whose nearest rows are significantly close."""
    points, owner = view.points[rows], cloud.owner[rows]
    trees = _TREES if len(rows) == len(cloud.points) else _TREES // 2
    spacing = leaf_spacing(points, owner, trees=trees, rng=cloud.rng(len(rows)))
    around, usual = spacing.mean, _dimension(points, owner)
    if view.dense is not view.points:
        around = leaf_spacing(view.dense[rows], owner, trees=_TREES // 2, rng=cloud.rng(len(rows))).mean
        usual = float(np.fmin(usual, np.fmax(_dimension(view.dense[rows], owner), tail_dimension(spacing.first))))
    if np.isnan(usual):
        return
    inside = dimension(spacing.mean)  # lower than the true one, as the leaves' edges are
    suspect = np.flatnonzero(log_ratio_chance(spacing.least, np.full(len(rows), inside)) <= _SUSPECT)
    suspect = np.sort(suspect[np.argsort(spacing.least[suspect], kind="stable")[:_CANDIDATES]])
    queries = torch.from_numpy(points)
    apart, near = (found.numpy() for found in nearest(queries[suspect], queries, min(_LISTED + 1, len(rows))))
    distances = _other_owners(apart, owner[near], owner[suspect])
    thinner = _thinner(around, near, suspect)
    tests = len(cloud.views) * 2 * len(cloud.points) * len(_INNERS)
    best, radius = _best_chance(distances, _PRUDENCE * usual * np.minimum(1.0, thinner), np.log(alpha / tests))
    for i in np.flatnonzero(radius):
        yield _Core(view, int(rows[suspect[i]]), float(radius[i]), float(best[i] + np.log(tests)))


def _thinner(around: np.ndarray, near: np.ndarray, suspect: np.ndarray) -> np.ndarray:
    """Return how much lower the dimension around each candidate is than the batch's, ``(candidates,)``.

    Other suspects are left out of its surroundings: a group of copies would otherwise vouch for itself.
    """
    usual = dimension(around)
    calm = around.copy()
    calm[suspect] = np.nan
    beside = calm[near]
    beside[np.isnan(beside).all(axis=1)] = -np.inf  # nothing but suspects: as thin as can be, no evidence from here
    return dimensions(np.nanmedian(beside, axis=1)) / usual


def _dimension(points: np.ndarray, owner: np.ndarray) -> float:
    """Return the dimension that the exact neighbours of a random few rows speak of."""
    some = slice(0, _MEASURED)  # rows are in random order
    every = torch.from_numpy(points)
    apart, near = (found.numpy() for found in nearest(every[some], every, min(_LISTED + 1, len(points))))
    distances = np.maximum(_other_owners(apart, owner[near], owner[some]), 1e-30)
    whole = np.isfinite(distances[:, OUTER - 1])
    return dimension(np.log(distances[whole, INNER - 1] / distances[whole, OUTER - 1]))


def _best_chance(distances: np.ndarray, local: np.ndarray, bar: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the least log chance over `_INNERS` and the widest significant radius of each candidate, 0 for none."""
    known = np.isfinite(distances[:, OUTER - 1])
    outer = np.where(known, distances[:, OUTER - 1], 1.0)
    best, radius = np.zeros(len(distances)), np.zeros(len(distances))
    for inner in _INNERS:
        near = np.where(known, distances[:, inner - 1], 1.0)
        ratio = np.log(np.maximum(near, 1e-30) / np.maximum(outer, 1e-30))
        chance = np.where(known, log_ratio_chance(ratio, local, inner), 0.0)
        radius = np.where(chance <= bar, near, radius)
        best = np.minimum(best, chance)
    reach = np.where(known, outer, 0.0) * radius_at(bar, local)
    return best, np.where(radius > 0, np.maximum(radius, reach), 0.0)


def _other_owners(distances: np.ndarray, owners: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return distances ``(n, OUTER)`` to the nearest row of each other owner, ascending; infinite past the last."""
    fresh = owners != own[:, None]
    for j in range(1, owners.shape[1]):
        fresh[:, j] &= (owners[:, :j] != owners[:, j : j + 1]).all(axis=1)
    ordered = np.sort(np.where(fresh, distances.astype(np.float64), np.inf), axis=1)
    short = OUTER - ordered.shape[1]
    return np.pad(ordered, ((0, 0), (0, max(0, short))), constant_values=np.inf)[:, :OUTER]


def _groups(cloud: Cloud, cores: list[_Core]) -> list[tuple[np.ndarray, float]]:
    """Return the members (positions in the cloud) and log p of each group of overlapping cores."""
    balls: list[np.ndarray] = []
    chances: list[float] = []
    settled = np.zeros(len(cloud.points))  # radius up to which a row's surroundings were taken in
    for core in sorted(cores, key=lambda c: (c.logp, c.at, c.radius)):
        if settled[core.at] >= core.radius:
            continue
        apart = core.view.apart(core.at)
        ball = np.flatnonzero(apart <= core.radius)
        settled[ball] = np.maximum(settled[ball], core.radius - apart[ball])
        alone = (apart <= _WIDER * core.radius).sum() <= _GROWTH * len(ball)
        if alone and _typical_spread(cloud, ball) <= _TIGHT and not _natural(cloud, core, len(ball)):
            balls.append(_trimmed(core.view, ball))
            chances.append(core.logp)
    if not balls:
        return []
    of = np.repeat(np.arange(len(balls)), [len(b) for b in balls])
    members = np.concatenate(balls)
    group = components(of, members)
    groups = [members[group == k] for k in range(int(group.max()) + 1)]
    return [(np.unique(g), min(chances[b] for b in np.unique(of[group == k]))) for k, g in enumerate(groups)]


def _trimmed(view: View, ball: np.ndarray) -> np.ndarray:
    """Return the rows of a ball without those that only happen to be near: far out from where most of it is."""
    points = view.points[ball]
    out = np.sqrt(((points - np.median(points, axis=0)) ** 2).sum(axis=1))
    return ball[out <= _FAR_OUT * np.median(out)]


def _natural(cloud: Cloud, core: _Core, size: int) -> bool:
    """Tell whether the trusted vectors crowd at the same place about as often: a default value, not a replay.

    One trusted row there may be the one that was replayed; two or more are a habit.
    """
    if cloud.trusted is None:
        return False
    apart = np.sqrt(((cloud.trusted - cloud.points[core.at]) ** 2).sum(axis=1))
    known = int((apart <= core.radius).sum())
    return known >= 2 and size <= (known + 3 * np.sqrt(known) + 3) * len(cloud.points) / len(cloud.trusted)


def _typical_spread(cloud: Cloud, members: np.ndarray) -> float:
    """Return the median over the features of the members' spread, in trusted scales.

    References: Croux and Rousseeuw, "Time-efficient algorithms for two highly robust estimators of scale" (1992), for
    the correction ``n / (n - 0.8)`` of the median absolute deviation of few values.
    """
    points = cloud.points[members].astype(np.float64)
    spread = 1.4826 * len(points) / (len(points) - 0.8) * np.median(np.abs(points - np.median(points, axis=0)), axis=0)
    return float(np.median(spread))


def _campaign(frame: pd.DataFrame, cloud: Cloud, members: np.ndarray, logp: float) -> Campaign | None:
    sources = len(np.unique(cloud.owner[members]))
    if len(members) < _SMALLEST or sources < _SMALLEST:
        return None
    who = "speaker" if "source_id" not in frame.columns or frame["source_id"].isna().all() else "source_id"
    return finding(
        frame if who in frame.columns else frame.assign(**{who: pd.NA}),
        cloud.row[members],
        kind="near_duplicate_vectors",
        p=float(np.exp(max(logp, -700.0))),
        strength=1.0 - min(1.0, _typical_spread(cloud, members)),
        who=who,
        args={"n_records": len(members), "n_sources": sources},
    )
