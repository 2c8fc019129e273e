from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from poison_guard.signals.campaigns.neighbour_ratio import (
    LEAF_INNERS,
    LEAF_OUTER,
    leaf_ratios,
    log_ratio_chance,
    project_leaves,
    ratio_at_chance,
    ratio_exponent,
)


def cube(n, d, seed=0):
    return np.random.default_rng(seed).random((n, d)).astype(np.float32)


def ratios_in(X, owner=None, known=None):
    owner = np.arange(len(X)) if owner is None else owner
    known = np.ones_like(X) if known is None else known
    return leaf_ratios(X * known, known, owner, trees=4, rng=np.random.default_rng(0))


def even(n, d, inner, outer, seed=1):
    """Log ratios of simulated even data: the others lie independently in the ball of the outer neighbour."""
    radii = np.sort(np.random.default_rng(seed).random((n, outer - 1)) ** (1 / d), axis=1)
    return np.log(radii[:, inner - 1])


@pytest.mark.parametrize("n", [5, 96, 97, 1000])
def test_leaves_hold_every_row_once(n):
    leaves = project_leaves(cube(n, 3), np.random.default_rng(0))
    assert sorted(leaves[leaves >= 0]) == list(range(n))


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_near_rows_mostly_share_a_leaf(share):
    X = cube(2000, 6)
    X[1000:] = X[:1000] + 1e-4
    leaves = project_leaves(X, np.random.default_rng(0), share=share)
    leaf = np.empty(2000, int)
    for k, rows in enumerate(leaves):
        leaf[rows[rows >= 0]] = k
    assert (leaf[:1000] == leaf[1000:]).mean() > 0.95


def test_the_chance_of_a_ratio_is_that_of_simulated_even_data():
    d, inner, outer = 3.0, 4, 16
    bar = np.quantile(even(100_000, d, inner, outer), 0.01)
    chance = np.exp(log_ratio_chance(np.array([bar]), np.array([d]), inner, outer))
    assert chance[0] == pytest.approx(0.01, rel=0.1)
    assert ratio_at_chance(np.log(0.01), np.array([d]), inner, outer)[0] == pytest.approx(np.exp(bar), rel=0.05)


@pytest.mark.parametrize("d", [1, 4, 12])
def test_the_rate_of_even_data_is_its_dimension(d):
    assert ratio_exponent(even(4000, d, 4, 16), 4, 16, (0.5, 0.25)) == pytest.approx(d, rel=0.1)


def test_rows_that_cling_together_lower_the_rate_and_rows_that_share_places_leave_none():
    ratios = even(4000, 6, 4, 16)
    clinging = np.where(np.arange(4000) < 200, 3 * ratios, ratios)
    assert ratio_exponent(clinging, 4, 16, (0.5, 0.02)) < 0.7 * ratio_exponent(ratios, 4, 16, (0.5, 0.02))
    assert ratio_exponent(np.where(np.arange(4000) < 200, -1e6, ratios), 4, 16, (0.5, 0.02)) < 1e-4


def test_too_few_ratios_or_none_below_zero_give_no_rate():
    assert np.isnan(ratio_exponent(even(40, 3, 4, 16), 4, 16, (0.5, 0.02)))
    assert np.isnan(ratio_exponent(np.zeros(400), 4, 16, (0.5, 0.02)))


def test_copies_stand_out_in_leaves_and_rows_of_their_own_source_do_not():
    X = cube(2000, 6)
    X[:10] = X[0] + 1e-4 * np.arange(10)[:, None]
    owner = np.arange(2000)
    chance = log_ratio_chance(ratios_in(X)[:, 0], np.full(2000, 6.0), LEAF_INNERS[0], LEAF_OUTER)
    assert chance[:10].max() < np.quantile(chance[10:], 0.01)
    owner[:10] = 0
    assert ratios_in(X, owner)[:10].min() > -3


def test_copies_stand_out_over_the_features_that_both_have():
    X, rng = cube(2000, 8), np.random.default_rng(3)
    X[:20] = X[0] + 1e-3 * rng.random((20, 8)).astype(np.float32)
    known = (rng.random(X.shape) > 0.2).astype(np.float32)
    ratios = ratios_in(X, known=known)
    assert np.median(ratios[:20, 0]) < np.quantile(ratios[20:, 0], 0.01)


def test_the_chance_of_a_ratio_is_exact_where_it_is_tiny_and_where_it_is_near_one():
    logs = -np.r_[np.linspace(0, 2, 200), np.geomspace(2, 60, 50)]
    for inner, outer in ((2, 48), (8, 48), (32, 64)):
        expected = beta.logcdf(np.exp(3 * logs), inner, outer - inner)
        assert log_ratio_chance(logs, np.full(len(logs), 3.0), inner, outer).tolist() == expected.tolist()
        nearest = beta.ppf(np.exp(-20.0), inner, outer - inner)
        assert ratio_at_chance(-20.0, np.ones(1), inner, outer) == pytest.approx(nearest, rel=1e-12)
