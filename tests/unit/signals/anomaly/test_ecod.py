"""What ECOD does beyond the laws of all detectors."""

from __future__ import annotations

import numpy as np
import pytest

from poison_guard.signals.anomaly.ecod import ECOD

rng = np.random.default_rng(11)
X = np.column_stack([rng.standard_normal(400), rng.exponential(size=400), rng.integers(0, 3, 400)])


def fitted(data=X, **options):
    return ECOD(device="cpu", **options).fit(data)


def plain(reference, rows):
    """Count each row into the reference, unless its value is there, and take the smaller share of every column."""
    total = np.zeros(len(rows))
    for column, cells in zip(reference.T, rows.T, strict=True):
        for at, cell in enumerate(cells):
            known = column if cell in column else np.append(column, cell)
            total[at] -= np.log(min((known <= cell).mean(), (known >= cell).mean()) * len(known) / (len(column) + 1))
    return total


def test_scores_within_the_fitted_range_are_the_smaller_tail_shares():
    within = np.clip(X[:50] + 0.01, X.min(axis=0), X.max(axis=0))
    for rows in (X, within):
        np.testing.assert_allclose(fitted().score(rows), plain(X, rows), rtol=1e-5)


def test_farther_beyond_the_fitted_range_is_stranger_without_end():
    far = np.outer([1.01, 2, 10, 100, 1e4], X.max(axis=0))
    for rows in (far, -far):
        assert (np.diff(fitted().score(rows)) > 0.1).all()


def test_the_score_does_not_leap_at_the_end_of_the_fitted_range():
    ends = np.stack([X.max(axis=0), X.max(axis=0) + 1e-3])[:, :2]
    known, outside = fitted(X[:, :2]).score(ends)
    assert known < outside < known + 0.01


def test_a_common_value_at_the_end_of_a_column_is_not_strange():
    flags = np.r_[np.zeros(300), np.ones(100)][:, None]
    zero, one, new = fitted(flags).score([[0.0], [1.0], [2.0]])
    assert zero == pytest.approx(-np.log(300 / 401), rel=1e-5)
    assert one == pytest.approx(-np.log(100 / 401), rel=1e-5)
    assert new > -np.log(1 / 401)


def test_parts_add_up_to_the_score():
    odd = X[:30] * [1, 1, 20]
    np.testing.assert_allclose(fitted().explain(odd).sum(axis=1), fitted().score(odd), rtol=1e-5)


def test_what_was_fitted_scores_the_same_in_the_mirror():
    np.testing.assert_allclose(fitted(-X).score(-X), fitted().score(X), rtol=1e-5)


def test_a_bounded_reference_gives_nearly_the_scores_of_all_rows():
    many = np.random.default_rng(5).standard_normal((30_000, 3))
    few, all_rows = fitted(many, reference=4000).score(many[:2000]), fitted(many, reference=30_000).score(many[:2000])
    assert np.corrcoef(few, all_rows)[0, 1] > 0.995


def test_wide_data_are_scored():
    wide = np.random.default_rng(6).standard_normal((60, 3000))
    detector = fitted(wide)
    scores = detector.score(np.concatenate([wide[:3], wide[:3] + 9]))
    assert scores[3:].min() > scores[:3].max()


def test_many_rows_on_two_threads_score_as_one_by_one():
    many = np.random.default_rng(7).standard_normal((70_000, 3))
    together = fitted(threads=2).score(many)
    np.testing.assert_array_equal(together[-50:], fitted(threads=1).score(many[-50:]))
