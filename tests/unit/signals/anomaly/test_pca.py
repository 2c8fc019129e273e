"""What PCA does beyond the laws of all detectors."""

from __future__ import annotations

import numpy as np
import pytest

from poison_guard.errors import UsageError
from poison_guard.signals.anomaly.pca import PCA

rng = np.random.default_rng(14)
X = rng.standard_normal((800, 5)) @ rng.standard_normal((5, 5))


def fitted(data=X, **options):
    return PCA(device="cpu", **options).fit(data)


def test_with_every_row_and_component_it_is_the_mahalanobis_distance():
    off = X - X.mean(axis=0)
    distance = (off @ np.linalg.inv(off.T @ off / len(X)) * off).sum(axis=1)
    scores = fitted(keep=1.0).score(X)
    free = np.abs(scores / distance - 1) < 1e-3
    assert free.mean() > 0.99


def test_parts_add_up_to_the_score_whether_some_directions_are_left_out_or_not():
    wide = rng.standard_normal((300, 40)) @ rng.standard_normal((40, 40))
    for detector in (fitted(wide), fitted(wide, components=7)):
        np.testing.assert_allclose(detector.explain(wide).sum(axis=1), detector.score(wide), rtol=1e-5)


def test_what_leaves_the_trusted_plane_is_strange_though_each_value_is_ordinary():
    t = rng.standard_normal(500)
    plane = np.column_stack([t, t + 0.05 * rng.standard_normal(500), rng.standard_normal(500)])
    on, off = fitted(plane).score([[1.5, 1.5, 0.0], [1.5, -1.5, 0.0]])
    assert off > 50 * on


def test_a_constant_column_that_moves_is_strange_and_named():
    constant = np.column_stack([X, np.full(len(X), 3.0)])
    detector = fitted(constant)
    moved = constant[:20] + 4.0 * np.eye(6)[5]
    assert np.isfinite(detector.score(constant)).all()
    assert detector.score(moved).min() > np.quantile(detector.score(constant), 0.99)
    assert (detector.explain(moved).argmax(axis=1) == 5).all()


def test_a_few_strange_rows_among_the_fitted_do_not_hide_their_kind():
    odd = np.full((20, 5), 30.0) + rng.standard_normal((20, 5))
    spoilt = fitted(np.concatenate([X, odd])).score(np.concatenate([X, odd]))
    assert spoilt[len(X) :].min() > np.quantile(spoilt[: len(X)], 0.99)


def test_ten_thousand_columns_need_only_as_many_rows_as_there_are_components():
    wide = np.random.default_rng(15).standard_normal((60, 10_000))
    detector = fitted(wide)
    assert detector.axes_.shape[1] < 60
    scores = detector.score(np.concatenate([wide[:3], wide[:3] + 9]))
    assert scores[3:].min() > scores[:3].max()


@pytest.mark.parametrize("options", [{"keep": 0.0}, {"keep": 1.5}, {"components": 0}])
def test_parameters_out_of_range_are_errors_that_name_them(options):
    with pytest.raises(UsageError, match=next(iter(options))):
        fitted(**options)
