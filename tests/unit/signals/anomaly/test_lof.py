from __future__ import annotations

import numpy as np
import pytest

from poison_guard.errors import UsageError
from poison_guard.signals.anomaly.lof import LocalOutlierFactor

rng = np.random.default_rng(13)
X = np.concatenate([rng.standard_normal((200, 3)), rng.normal(8, 0.1, (200, 3))])
Y = np.concatenate([X[:5] + 0.05, [[8.0, 8.0, 9.0], [20.0, 0.0, 0.0]]])


def plain(detector, queries, k, *, others=False):
    """Breunig's definitions, word for word; `others` when the queries are the fitted rows."""
    r = detector.reference_.double().numpy()
    q = r if others else detector.columns_.apply(queries, np.float64)
    within = np.sqrt(((r[:, None] - r[None]) ** 2).sum(axis=2))
    np.fill_diagonal(within, np.inf)
    reach = np.sort(within, axis=1)[:, k - 1]

    def density(distances):
        near = np.argsort(distances, axis=1)[:, :k]
        return near, 1.0 / np.maximum(np.take_along_axis(distances, near, 1), reach[near]).mean(axis=1)

    _, known = density(within)
    near, own = density(within if others else np.sqrt(((q[:, None] - r[None]) ** 2).sum(axis=2)))
    return known[near].mean(axis=1) / own


def test_factors_of_new_rows_are_those_of_the_definition():
    detector = LocalOutlierFactor(k=12, device="cpu", dtype="float64").fit(X)
    np.testing.assert_allclose(detector.score(Y), plain(detector, Y, 12), rtol=1e-9)


def test_factors_of_fitted_rows_are_those_of_the_definition():
    detector = LocalOutlierFactor(k=12, device="cpu").fit(X)
    kept = detector.reference_.numpy() * detector.columns_.scale + detector.columns_.centre
    order = np.argmin(np.abs(kept[:, None] - X[None]).sum(axis=2), axis=1)
    np.testing.assert_allclose(detector.score(X)[order], plain(detector, X, 12, others=True), rtol=1e-4)


def test_a_row_beside_the_dense_cluster_is_stranger_than_one_as_far_in_the_thin_one():
    detector = LocalOutlierFactor(device="cpu").fit(X)
    dense, thin = detector.score(np.array([[8.0, 8.0, 9.0], [0.0, 0.0, 1.0]]))
    assert dense > 2.5
    assert 0.8 < thin < 1.3


def test_copies_have_a_finite_density_and_are_not_strange_themselves():
    crowded = np.concatenate([X, np.repeat(X[:1], 300, axis=0)])
    detector = LocalOutlierFactor(device="cpu").fit(crowded)
    scores = detector.score(crowded)
    assert np.isfinite(scores).all()
    assert scores[0] == pytest.approx(1.0)
    assert scores.max() < 1e5


def test_equal_rows_alone_have_factor_one():
    assert LocalOutlierFactor(device="cpu").fit(np.ones((20, 2))).score(np.ones((1, 2))) == [1.0]


def test_no_neighbours_are_an_error():
    with pytest.raises(UsageError, match="k must be"):
        LocalOutlierFactor(k=0)
