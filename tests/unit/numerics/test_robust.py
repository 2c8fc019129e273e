from __future__ import annotations

import numpy as np
import pytest

from poison_guard.numerics.robust import column_scale, quantile_skew


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
