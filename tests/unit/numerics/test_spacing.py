from __future__ import annotations

import numpy as np
import pytest

from poison_guard.numerics.spacing import (
    INNER,
    OUTER,
    dimension,
    leaf_spacing,
    log_ratio_chance,
    project_leaves,
    radius_at,
    tail_dimension,
)


def cube(n, d, seed=0):
    return np.random.default_rng(seed).random((n, d)).astype(np.float32)


@pytest.mark.parametrize("n", [5, 96, 97, 1000])
def test_leaves_hold_every_row_once(n):
    leaves = project_leaves(cube(n, 3), np.random.default_rng(0))
    assert sorted(leaves[leaves >= 0]) == list(range(n))


@pytest.mark.parametrize("d", [2, 5])
def test_the_dimension_of_even_data_is_found_and_not_overstated_at_the_edges_of_leaves(d):
    spacing = leaf_spacing(cube(4000, d), np.arange(4000), trees=4, rng=np.random.default_rng(0))
    for found in (dimension(spacing.mean), tail_dimension(spacing.first)):
        assert 0.6 * d < found < 1.1 * d


def test_agreement_on_rounded_values_lowers_the_tail_dimension():
    X = cube(4000, 5)
    X[:, 2:] = np.round(X[:, 2:] * 3)
    spacing = leaf_spacing(X, np.arange(4000), trees=4, rng=np.random.default_rng(0))
    assert tail_dimension(spacing.first) < 3.5


def test_the_chance_of_a_ratio_is_that_of_simulated_even_data():
    rng = np.random.default_rng(1)
    d = 3
    radii = np.sort(rng.random((100_000, OUTER - 1)) ** (1 / d), axis=1)
    ratio = radii[:, INNER - 1]
    bar = np.quantile(ratio, 0.01)
    chance = np.exp(log_ratio_chance(np.log(np.array([bar])), np.array([float(d)])))
    assert chance[0] == pytest.approx(0.01, rel=0.1)
    assert radius_at(np.log(0.01), np.array([float(d)]))[0] == pytest.approx(bar, rel=0.05)


def test_rows_of_the_same_owner_are_no_neighbours():
    X = cube(200, 4)
    twins = np.concatenate([X, X + 1e-6])
    alone = leaf_spacing(twins, np.tile(np.arange(200), 2), trees=2, rng=np.random.default_rng(0))
    apart = leaf_spacing(twins, np.arange(400), trees=2, rng=np.random.default_rng(0))
    assert alone.first.min() > -3
    assert apart.first.max() < -3


def test_without_enough_rows_there_is_no_spacing_and_no_dimension():
    spacing = leaf_spacing(cube(10, 2), np.arange(10), trees=3, rng=np.random.default_rng(0))
    assert not spacing.least.any()
    assert np.isnan(dimension(spacing.mean))
    assert np.isnan(tail_dimension(spacing.first))
