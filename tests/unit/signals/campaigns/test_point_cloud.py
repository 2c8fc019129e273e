from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poison_guard.signals.campaigns.point_cloud import PointCloud


def frame_of(n, prefix="r"):
    return pd.DataFrame({"record_id": [f"{prefix}{i}" for i in range(n)], "source_id": [f"s{i}" for i in range(n)]})


def vectors_of(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def test_distances_over_known_cells_are_those_of_the_plain_formula():
    vectors = vectors_of(300, 6)
    vectors[np.random.default_rng(1).random(vectors.shape) < 0.3] = np.nan
    points = PointCloud.of(frame_of(300), vectors, 300, None, 0).points
    one = points.take(slice(7, 8))
    both = (points.known * one.known).sum(axis=1)
    gaps = ((points.spread - one.spread) * points.known * one.known) ** 2
    each = gaps.sum(axis=1) / np.maximum(both, 1)
    wanted = np.where(both < 0.3 * 6, np.inf, np.sqrt(6 * each ** (both / 6)))
    assert points.apart(one) == pytest.approx(wanted, abs=2e-3)
    apart, where = points.nearest(one, 5)
    assert where[0, 0] == 7
    assert apart[0] == pytest.approx(np.sort(wanted)[:5], abs=1e-5)


def test_few_shared_features_are_as_near_as_as_few_honest_rows_would_be_in_all():
    vectors, rng = vectors_of(4000, 4), np.random.default_rng(1)
    vectors[:2000, rng.permutation(4)[:2]] = np.nan
    cloud = PointCloud.of(frame_of(4000), vectors, 4000, None, 0)
    half, near = cloud.points.known.sum(axis=1) == 2, cloud.points.apart(cloud.one(0)) < 0.5
    assert cloud.points.known[0].sum() == 4
    assert 0.2 < near[half].mean() / near[~half].mean() < 5  # by the mean of shared squares it is above 20


def test_a_common_value_is_not_told_and_keeps_its_place():
    vectors = vectors_of(400, 3)
    vectors[:200, 0] = 0.0
    cloud = PointCloud.of(frame_of(400), vectors, 400, None, 0)
    informative = cloud.points.informative[np.argsort(cloud.row)]
    assert (informative[:200] == 2).all()
    assert (informative[200:] == 3).all()
    assert len(np.unique(cloud.points.spread[np.argsort(cloud.row)[:200], 0])) == 1


def test_rounded_values_are_spread_over_their_cells_and_no_further():
    vectors = np.round(vectors_of(2000, 2) * 10) / 10
    points = PointCloud.of(frame_of(2000), vectors, 2000, None, 0).points
    moved = np.abs(points.spread - points.plain)[np.abs(points.plain[:, 0]) < 1]
    assert len(np.unique(points.spread[:, 0])) > 1900
    assert moved.max() < 0.12


def test_values_without_repetition_stay_where_they_are():
    points = PointCloud.of(frame_of(500), vectors_of(500, 4), 500, vectors_of(200, 4, 1), 0).points
    assert np.array_equal(points.spread, points.plain)


def test_the_cloud_is_the_same_whatever_the_order_of_rows():
    vectors, order = np.round(vectors_of(300, 4), 1), np.random.default_rng(0).permutation(300)
    one = PointCloud.of(frame_of(300), vectors, 300, None, 0)
    other = PointCloud.of(frame_of(300).iloc[order].reset_index(drop=True), vectors[order], 300, None, 0)
    assert np.array_equal(order[other.row], one.row)
    assert np.array_equal(one.points.spread, other.points.spread)


def test_a_wild_value_moves_nobody_else():
    vectors = vectors_of(300, 3)
    wild = vectors.copy()
    wild[0] = 1e30
    calm, shaken = (PointCloud.of(frame_of(300), v, 300, vectors, 0) for v in (vectors, wild))
    rest = calm.row != 0
    assert np.array_equal(calm.points.spread[rest], shaken.points.spread[rest])
    assert np.isfinite(shaken.points.spread).all()
