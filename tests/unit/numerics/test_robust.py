from __future__ import annotations

import numpy as np
import pytest

from poison_guard.numerics.robust import column_scale, quantile_skew, trimmed_covariance, winsorised_scale


def test_the_scale_of_normal_columns_is_their_standard_deviation_despite_outliers():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5000, 2)) * [1.0, 30.0] + [5.0, -2.0]
    X[:500] = 1e6
    centre, scale = column_scale(X)
    np.testing.assert_allclose(centre, [5.0, -2.0], atol=6)
    np.testing.assert_allclose(scale, [1.0, 30.0], rtol=0.35)


def test_constant_columns_get_scale_one_and_mostly_constant_ones_their_deviation():
    X = np.zeros((1000, 2))
    X[:3, 1] = 4.0
    _, scale = column_scale(X)
    assert scale[0] == 1.0
    assert scale[1] == pytest.approx(X[:, 1].std())


def test_skew_is_positive_for_log_normal_columns_and_zero_for_symmetric_ones():
    rng = np.random.default_rng(1)
    z = rng.standard_normal(20_000)
    skew = quantile_skew(np.column_stack([z, np.exp(z), np.zeros_like(z)]))
    assert abs(skew[0]) < 0.05
    assert skew[1] > 0.3
    assert skew[2] == 0


def test_a_quarter_of_outliers_does_not_move_the_trimmed_covariance():
    rng = np.random.default_rng(2)
    X = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], size=4000)
    X[:800] = rng.normal(8, 0.1, size=(800, 2)) * [1, -1]
    mean, covariance = trimmed_covariance(X)
    assert np.abs(mean).max() < 0.1
    assert covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]) > 0.85


@pytest.mark.parametrize("shape", [(1, 3), (3, 40), (50, 1)])
def test_the_covariance_can_be_inverted_with_few_rows_and_duplicate_columns(shape):
    X = np.repeat(np.random.default_rng(3).standard_normal((shape[0], 1)), shape[1], axis=1)
    _, covariance = trimmed_covariance(X)
    assert np.isfinite(np.linalg.inv(covariance)).all()


def test_a_winsorised_scale_is_the_deviation_of_a_normal_and_bounded_by_its_outer_percent():
    rng = np.random.default_rng(0)
    X = rng.normal(3.0, 2.0, (20_000, 2))
    X[:100, 1] = 1e9
    centre, scale = winsorised_scale(X)
    np.testing.assert_allclose(centre, 3.0, atol=0.1)
    np.testing.assert_allclose(scale, 2.0, rtol=0.1)


def test_a_winsorised_scale_is_positive_for_rare_values_and_constants():
    X = np.zeros((1000, 2))
    X[:5, 0] = 4.0
    _, scale = winsorised_scale(X)
    assert scale[0] == pytest.approx(X[:, 0].std())
    assert scale[1] == 1.0
