"""What COPOD does beyond the laws of all detectors."""

from __future__ import annotations

import numpy as np

from poison_guard.signals.anomaly.copod import COPOD

rng = np.random.default_rng(12)
X = np.column_stack([rng.exponential(size=500), -rng.exponential(size=500), rng.standard_normal(500)])


def fitted(data=X):
    return COPOD(device="cpu").fit(data)


def test_scores_of_the_fitted_rows_are_the_skewed_tail_or_the_mean_of_both():
    left = -np.log((X[:, None] >= X[None]).sum(axis=1) / 501)
    right = -np.log((X[:, None] <= X[None]).sum(axis=1) / 501)
    skewed = np.where(((X - X.mean(axis=0)) ** 3).sum(axis=0) > 0, right, left)
    np.testing.assert_allclose(fitted().score(X), np.maximum(skewed, (left + right) / 2).sum(axis=1), rtol=1e-5)


def test_the_long_side_of_a_skewed_column_is_the_stranger_one():
    short, long = np.quantile(X[:, 0], (0.01, 0.99))
    middle = np.median(X, axis=0)
    low, high = fitted().score([[short, *middle[1:]], [long, *middle[1:]]])
    assert high > low + 1


def test_a_symmetric_column_takes_both_sides_alike():
    even = np.arange(-49.0, 50.0)[:, None]
    scores = fitted(even).score(even)
    np.testing.assert_allclose(scores, scores[::-1], rtol=1e-5)


def test_farther_beyond_the_fitted_range_is_stranger_without_end():
    far = np.outer([1.01, 2, 10, 100], np.abs(X).max(axis=0))
    assert (np.diff(fitted().score(far)) > 0.1).all()
    assert (np.diff(fitted().score(-far)) > 0.1).all()


def test_parts_add_up_to_the_score():
    odd = X[:30] * [1, 5, 1]
    np.testing.assert_allclose(fitted().explain(odd).sum(axis=1), fitted().score(odd), rtol=1e-5)
