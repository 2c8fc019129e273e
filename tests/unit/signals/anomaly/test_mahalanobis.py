from __future__ import annotations

import numpy as np
import pytest

from poison_guard.errors import UsageError
from poison_guard.signals.anomaly.mahalanobis import Mahalanobis, trimmed_covariance

rng = np.random.default_rng(0)
X = rng.multivariate_normal([0, 0, 0], [[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]], size=2000)


def test_distances_are_those_of_the_textbook_when_every_row_is_kept():
    detector = Mahalanobis(keep=1.0, device="cpu").fit(X)
    off = X[:50] - X.mean(axis=0)
    expected = np.sqrt(np.einsum("ij,jk,ik->i", off, np.linalg.inv(np.cov(X.T)), off))
    np.testing.assert_allclose(detector.score(X[:50]), expected, rtol=0.02)  # the ridge is a thousandth


def test_a_tenth_of_rows_strange_together_stays_out_of_what_is_usual():
    strange = rng.normal(6, 0.1, (200, 3)) * [1, -1, 1]
    mixed = Mahalanobis(device="cpu").fit(np.concatenate([X[:1800], strange]))
    assert mixed.score(strange).min() > mixed.score(X[:1800]).max()


def test_parts_are_the_falls_of_the_squared_distance_when_a_column_is_what_the_others_predict():
    detector = Mahalanobis(device="cpu").fit(X)
    row = X[:1] + np.array([0.0, 3.0, 0.0])
    mean, precision = detector.mean_.numpy(), detector.precision_.numpy()
    off = detector.columns_.apply(row, np.float64)[0] - mean
    for column in range(3):
        others = [c for c in range(3) if c != column]
        covariance = np.linalg.inv(precision)
        moved = off.copy()
        moved[column] = covariance[column, others] @ np.linalg.solve(covariance[np.ix_(others, others)], off[others])
        fall = off @ precision @ off - moved @ precision @ moved
        assert detector.explain(row)[0, column] == pytest.approx(fall, rel=1e-4)


def test_wide_data_is_judged_column_by_column_in_little_memory():
    wide = rng.standard_normal((60, 3000))
    detector = Mahalanobis(device="cpu").fit(wide)
    assert detector.whiten_.shape == (3000,)
    odd = wide[:1].copy()
    odd[0, 7] = 40.0
    assert detector.score(odd)[0] > detector.score(wide).max()
    assert detector.explain(odd).argmax() == 7


def test_a_wild_column_does_not_blind_the_others():
    wild = np.column_stack(
        [X, np.where(np.arange(len(X)) % 5 == 0, 1e6, X[:, 0]), np.where(np.arange(len(X)) % 5 == 0, 1e6, 0)]
    )
    detector = Mahalanobis(device="cpu").fit(wild)
    odd = wild[1:2] + np.array([0.0, 6.0, 0.0, 0.0, 0.0])
    assert detector.score(odd)[0] > np.quantile(detector.score(wild), 0.99)


@pytest.mark.parametrize("keep", [0.0, 1.2])
def test_a_share_to_keep_outside_zero_to_one_is_a_usage_error(keep):
    with pytest.raises(UsageError, match="keep"):
        Mahalanobis(keep=keep)


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
