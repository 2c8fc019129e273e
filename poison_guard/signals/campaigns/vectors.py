"""Near-duplicate feature vectors: sessions replayed with jitter under many names, told from an honest crowd."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from poison_guard.errors import DataError
from poison_guard.records import Campaign
from poison_guard.signals.campaigns.findings import components, make_campaign
from poison_guard.signals.campaigns.neighbour_ratio import (
    LEAF_INNERS,
    LEAF_OUTER,
    leaf_ratios,
    log_ratio_chance,
    ratio_at_chance,
    ratio_exponent,
)
from poison_guard.signals.campaigns.point_cloud import PointCloud, Points

__all__ = ["near_duplicate_vectors"]

_SMALLEST = 5  # records, and sources, of a group
_PAIRS = ((4, 16), (6, 16), (8, 16), (11, 16), (4, 64), (8, 64), (16, 64), (32, 64))
"""Neighbours whose distances are compared: groups come in all sizes."""
_TRUSTED_PAIRS = ((1, 16), (2, 16))
_OUTER = 64
_LISTED = 96  # neighbours looked at, so that _OUTER other sources are among them
_FEWEST = 17  # rows that can show anything
_THINNING = 4  # of each level against the one before: a group too large to be seen there is small here
_PER_SOURCE = 16  # rows of one source that count as neighbours
_TREES = 6  # random ones, in whose leaves near rows meet
_SUSPECT = -5.0  # log chance in those leaves from which a row is verified
_CANDIDATES = 4096  # rows of one level that are verified
_MEASURED = 512  # rows whose neighbours give the honest law
_TRUSTED_TAILS, _BATCH_TAILS, _ALONE_TAILS = (0.5, 0.1, 0.02), (0.5,), (0.5, 0.25, 0.1)
"""Shares of rows whose neighbours give the law: copies may be in the tails of a batch."""
_REACH = 1.5  # times the significant radius up to which rows are taken for members
_OF_ONE_PIECE, _FAR = 0.75, 3.0  # share of features in which a member is within so many spreads of the group's middle
_TIGHT = 0.25  # trusted scales: copies with 5 % jitter spread .12 at most, people more
_KNOWN = 0.5  # share of the members of a group that have a feature by which its spread is measured
_HABIT = 2.0  # times as often as among the trusted that a place may be taken


def near_duplicate_vectors(
    frame: pd.DataFrame,
    vectors: np.ndarray,
    *,
    trusted: np.ndarray | None = None,
    earlier: tuple[pd.DataFrame, np.ndarray] | None = None,
    alpha: float = 0.001,
    seed: int = 0,
) -> list[Campaign]:
    """Return groups of at least 5 near-identical rows of `vectors` ``(n, d)`` from at least 5 sources.

    A row is at the core of a group when its k nearest rows of other sources are so much nearer than the K-th that
    evenly spread honest rows would show it with chance `alpha` in the whole batch. How fast honest neighbours thin out
    is measured among the `trusted` vectors ``(m, d)`` and in the batch, and the slower of the two counts: where honest
    rows cling together, so must copies more. Large groups are found in thinned batches, where they look small. A group
    must also be tight in trusted scales (the batch's, when None), which a crowd of people is not, and more frequent
    than the same place is among the trusted.

    NaN is a missing cell: rows are compared over what both have. `frame` has ``record_id``, ``source_id`` (missing: a
    source of its own) and, optionally, times; `earlier` is the frame and vectors of records of earlier batches, which
    are evidence, too: a group with a record of this batch names them in `Campaign.earlier_ids`.

    Groups do not depend on the order of rows. Copies stay hidden where honest rows are as close: with few features or
    much jitter, and for handfuls of copies in the densest part of the crowd. `DataError` when shapes do not fit.
    """
    n_own, own = len(frame), _checked(vectors, len(frame), None)
    if trusted is not None:
        trusted = _checked(trusted, len(trusted), own) if len(trusted) >= 2 * _FEWEST else None
    if earlier is not None:
        frame, own = _joined(frame, own, *earlier)
    if n_own == 0 or len(frame) < _FEWEST or not (np.fmin.reduce(own) < np.fmax.reduce(own)).any():
        return []
    cloud = PointCloud.of(frame, own, n_own, trusted, seed)
    with torch.inference_mode():
        known = _trusted_rates(cloud.trusted)
        cores = [core for rows in _levels(cloud) for core in _cores(cloud, rows, known, alpha)]
        groups = _groups(cloud, cores)
    campaigns = [_campaign(frame, cloud, rows, logp, n_own) for rows, logp in groups]
    return sorted((c for c in campaigns if c is not None), key=lambda c: (c.p, c.campaign_id))


def _checked(vectors: np.ndarray, n: int, like: np.ndarray | None) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != n or np.isinf(vectors).any():
        raise DataError(f"vectors must be finite or NaN (missing), of shape ({n}, features), got {vectors.shape}")
    if like is not None and vectors.shape[1] != like.shape[1]:
        raise DataError(f"trusted or earlier vectors have shape {vectors.shape}, those of the batch {like.shape}")
    return vectors


def _joined(
    frame: pd.DataFrame, own: np.ndarray, earlier: pd.DataFrame, vectors: np.ndarray
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the batch and, after it, the earlier records that have a vector."""
    before = _checked(vectors, len(earlier), own)
    some = ~np.isnan(before).all(axis=1)
    names = [c for c in frame.columns if c in earlier.columns]
    return pd.concat([frame[names], earlier.loc[some, names]], ignore_index=True), np.vstack([own, before[some]])


@dataclass(frozen=True, slots=True)
class _Core:
    at: int  # position in the cloud
    radius: float
    logp: float


def _levels(cloud: PointCloud) -> Iterator[np.ndarray]:
    """Yield the positions of the cloud, at most some a source; of a random quarter of them, a sixteenth, ..."""
    rows = np.flatnonzero(pd.Series(cloud.owner).groupby(cloud.owner).cumcount() < _PER_SOURCE)
    yield rows
    while len(rows) >= _THINNING * _FEWEST:
        rows = rows[: len(rows) // _THINNING]
        yield rows


def _cores(cloud: PointCloud, rows: np.ndarray, known: list[float], alpha: float) -> Iterator[_Core]:
    """Yield the rows of one level whose nearest rows are significantly close."""
    points, owner = cloud.points.take(rows), cloud.owner[rows]
    tails = _ALONE_TAILS if cloud.trusted is None else _BATCH_TAILS
    rates = np.nan_to_num(np.fmin(_rates(points, owner, tails), known))
    suspect = _suspects(cloud, rows)
    distances, told = _neighbours(points, owner, suspect), points.informative[suspect]
    tests = 2 * len(cloud.owner) * len(_PAIRS)
    bar = float(np.log(alpha / tests))
    best, radius = np.zeros(len(suspect)), np.zeros(len(suspect))
    for (inner, outer), exponent in zip(_PAIRS, rates, strict=True):
        ratio, local = _log_ratio(distances, inner, outer), exponent * told
        chance = log_ratio_chance(np.nan_to_num(ratio), local, inner, outer)
        near, far = distances[:, inner - 1], np.nan_to_num(distances[:, outer - 1], posinf=0.0)
        reach = np.clip(far * ratio_at_chance(bar, local, inner, outer), near, _REACH * near)
        radius = np.where((chance <= bar) & (chance < best), reach, radius)
        best = np.minimum(best, chance)
    for i in np.flatnonzero(radius):
        yield _Core(int(rows[suspect[i]]), float(radius[i]), float(best[i] + np.log(tests)))


def _suspects(cloud: PointCloud, rows: np.ndarray) -> np.ndarray:
    """Return which of `rows` to verify: those nearer to others in random leaves than is usual, the batch's own first.

    Every leaf cuts neighbours off, so the usual is what most rows see there; small and larger groups share the places.
    """
    if len(rows) <= _CANDIDATES // 2:
        return np.arange(len(rows))
    points = cloud.points.take(rows)
    ratios = leaf_ratios(points.spread, points.known, cloud.owner[rows], trees=_TREES, rng=cloud.rng(len(rows)))
    ratios *= points.informative[:, None]
    chosen = []
    for ratio, inner in zip(ratios.T, LEAF_INNERS, strict=True):
        exponent = np.full(len(rows), np.nan_to_num(ratio_exponent(ratio, inner, LEAF_OUTER, (0.5,))))
        chance = log_ratio_chance(ratio, exponent, inner, LEAF_OUTER)
        suspect = np.flatnonzero(chance <= _SUSPECT)
        order = np.lexsort((chance[suspect], ~cloud.own[rows[suspect]]))
        chosen.append(suspect[order[: _CANDIDATES // len(LEAF_INNERS)]])
    return np.unique(np.concatenate(chosen))


def _trusted_rates(trusted: Points | None) -> list[float]:
    """Return the exponents that the trusted speak of, NaN without them.

    Where trusted rows come in pairs, the more rows of a batch come in groups: their nearest neighbours bound all.
    """
    if trusted is None:
        return [float("nan")] * len(_PAIRS)
    found = _rates(trusted, np.arange(len(trusted.informative)), _TRUSTED_TAILS, (*_TRUSTED_PAIRS, *_PAIRS))
    lowest = np.fmin.reduce(found[: len(_TRUSTED_PAIRS)])
    return [float(np.fmin(lowest, rate)) for rate in found[len(_TRUSTED_PAIRS) :]]


def _rates(
    points: Points, owner: np.ndarray, tails: tuple[float, ...], pairs: tuple[tuple[int, int], ...] = _PAIRS
) -> list[float]:
    """Return the exponent per informative cell in the honest law of each pair of neighbours, NaN without one."""
    sample = np.arange(min(_MEASURED, len(owner)))  # rows are in random order
    distances = _neighbours(points, owner, sample)
    ratios = [_log_ratio(distances, *pair) * points.informative[sample] for pair in pairs]
    return [ratio_exponent(ratio[~np.isnan(ratio)], *pair, tails) for ratio, pair in zip(ratios, pairs, strict=True)]


def _log_ratio(distances: np.ndarray, inner: int, outer: int) -> np.ndarray:
    """Return ``log(r_inner / r_outer)``; NaN where there are too few."""
    far = distances[:, outer - 1]
    there = np.isfinite(far)
    near, far = (np.log(np.maximum(np.where(there, r, 1.0), 1e-6)) for r in (distances[:, inner - 1], far))
    return np.where(there, near - far, np.nan)


def _neighbours(points: Points, owner: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the distances ``(rows, 64)`` of `rows` to the nearest row of each other source, inf past the last."""
    apart, where = points.nearest(points.take(rows), _LISTED)
    owners, own = owner[where], owner[rows]
    order = np.argsort(owners, axis=1, kind="stable")
    ordered = np.take_along_axis(owners, order, 1)
    fresh = np.ones(owners.shape, bool)
    np.put_along_axis(fresh, order[:, 1:], ordered[:, 1:] != ordered[:, :-1], 1)
    others = np.sort(np.where(fresh & (owners != own[:, None]), apart, np.inf), axis=1)[:, :_OUTER]
    return np.pad(others, ((0, 0), (0, _OUTER - others.shape[1])), constant_values=np.inf)


def _groups(cloud: PointCloud, cores: list[_Core]) -> list[tuple[np.ndarray, float]]:
    """Return the members (positions in the cloud) and log p of each group of overlapping cores."""
    balls: list[np.ndarray] = []
    chances: list[float] = []
    settled = np.zeros(len(cloud.owner))  # radius up to which a row's surroundings were taken in
    for core in sorted(cores, key=lambda c: (c.logp, c.at, c.radius)):
        if settled[core.at] >= core.radius:
            continue
        apart = cloud.points.apart(cloud.one(core.at))
        near = np.flatnonzero(apart <= core.radius)
        settled[near] = np.maximum(settled[near], core.radius - apart[near])
        ball = _of_one_piece(cloud.points, near)
        if len(ball) and _relative_spread(cloud, ball) <= _TIGHT and not _natural(cloud, core, ball):
            balls.append(ball)
            chances.append(core.logp)
    if not balls:
        return []
    of = np.repeat(np.arange(len(balls)), [len(b) for b in balls])
    members = np.concatenate(balls)
    group = components(of, members)
    groups = [members[group == k] for k in range(int(group.max()) + 1)]
    return [(np.unique(g), min(chances[b] for b in np.unique(of[group == k]))) for k, g in enumerate(groups)]


def _deviations(points: Points, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far members ``(n, d)`` are from their middle, NaN where unknown, and how far typically ``(d,)``.

    References: Croux and Rousseeuw, "Time-efficient algorithms for two highly robust estimators of scale" (1992), for
    the correction ``n / (n - 0.8)`` of the median absolute deviation of few values.
    """
    known = points.known[members] > 0
    columns = known.any(axis=0)
    values = np.where(known, points.plain[members], np.nan)[:, columns].astype(np.float64)
    off = np.abs(values - np.nanmedian(values, axis=0))
    return off, 1.4826 * len(off) / (len(off) - 0.8) * np.nanmedian(off, axis=0)


def _of_one_piece(points: Points, near: np.ndarray) -> np.ndarray:
    """Return the rows that are like the others in most features, without those that only happen to be near."""
    off, spread = _deviations(points, near)
    like = (off <= _FAR * spread + 1e-3).sum(axis=1)
    return near[like >= _OF_ONE_PIECE * (~np.isnan(off)).sum(axis=1)]


def _relative_spread(cloud: PointCloud, members: np.ndarray) -> float:
    """Return how widely the members are spread beside the trusted: in a typical feature or in all, whichever is less.

    Features in which people hardly differ say nothing in the first, those with wild values nothing in the second. Only
    those that most members have count.
    """
    off, spread = _deviations(cloud.points, members)
    most = (~np.isnan(off)).mean(axis=0) >= _KNOWN
    if not most.any():
        return np.inf
    mine, usual = spread[most], cloud.scale[(cloud.points.known[members] > 0).any(axis=0)][most]
    return float(min(np.median(mine / usual), np.sqrt((mine**2).sum() / (usual**2).sum())))


def _natural(cloud: PointCloud, core: _Core, ball: np.ndarray) -> bool:
    """Tell whether the trusted vectors crowd at the same place about as often: a default value, not a replay.

    One trusted row there may be the one that was replayed; two or more are a habit.
    """
    if cloud.trusted is None:
        return False
    here = cloud.one(core.at).as_they_are()
    mine = cloud.points.take(ball).as_they_are().apart(here)
    half = float(np.median(mine)) + 1e-3
    known, size = int((cloud.trusted.as_they_are().apart(here) <= half).sum()), int((mine <= half).sum())
    usual = (known + 3 * np.sqrt(known) + 3) / len(cloud.trusted.informative)
    return known >= 2 and size <= _HABIT * usual * len(cloud.owner)


def _campaign(frame: pd.DataFrame, cloud: PointCloud, members: np.ndarray, logp: float, n_own: int) -> Campaign | None:
    sources = len(np.unique(cloud.owner[members]))
    if len(members) < _SMALLEST or sources < _SMALLEST or not cloud.own[members].any():
        return None
    who = "speaker" if "source_id" not in frame.columns or frame["source_id"].isna().all() else "source_id"
    return make_campaign(
        frame if who in frame.columns else frame.assign(**{who: pd.NA}),
        cloud.row[members],
        kind="near_duplicate_vectors",
        p=float(np.exp(max(logp, -700.0))),
        strength=1.0 - min(1.0, _relative_spread(cloud, members)),
        who=who,
        args={"n_records": len(members), "n_sources": sources},
        n_own=n_own,
    )
