from __future__ import annotations

import numpy as np
import pytest

from poison_guard.errors import UsageError
from poison_guard.signals.anomaly.base import Columns
from poison_guard.signals.anomaly.knn import NearestNeighbours

rng = np.random.default_rng(11)
X = rng.standard_normal((300, 5))
Y = np.concatenate([rng.standard_normal((40, 5)), rng.normal(4, 1, (10, 5))])


def plain(queries, reference, k, statistic, *, others=False):
    columns = Columns.fit(reference)
    q, r = (columns.apply(part, np.float64) for part in (queries, reference))
    distances = np.sqrt(((q[:, None] - r[None]) ** 2).sum(axis=2))
    if others:
        np.fill_diagonal(distances, np.inf)
    nearest = np.sort(distances, axis=1)[:, :k]
    return nearest.mean(axis=1) if statistic == "mean" else nearest[:, -1]


def fitted(data=X, **options):
    return NearestNeighbours(device="cpu", **options).fit(data)


@pytest.mark.parametrize("statistic", ["mean", "kth"])
def test_scores_of_new_rows_are_those_of_a_plain_search(statistic):
    scores = fitted(k=4, statistic=statistic, dtype="float64").score(Y)
    np.testing.assert_allclose(scores, plain(Y, X, 4, statistic), rtol=1e-12)


@pytest.mark.parametrize("statistic", ["mean", "kth"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fitted_rows_are_scored_by_the_others(statistic, dtype):
    scores = fitted(k=4, statistic=statistic, dtype=dtype).score(X)
    np.testing.assert_allclose(scores, plain(X, X, 4, statistic, others=True), rtol=1e-5)


def test_a_fitted_row_gets_its_score_in_whichever_batch_it_comes():
    detector = fitted()
    np.testing.assert_array_equal(detector.score(np.concatenate([Y, X[7:8]]))[-1:], detector.score(X[7:8]))


def test_only_one_copy_is_left_out():
    copies = np.concatenate([X, X[:1]])
    assert fitted(copies, k=1).score(X[:1]) == [0.0]
    assert fitted(k=1).score(X[:1])[0] > 0


def test_the_only_fitted_row_is_its_own_neighbour():
    assert fitted(X[:1]).score(X[:1]) == [0.0]


@pytest.mark.parametrize("statistic", ["mean", "kth"])
def test_the_explanation_adds_up_to_the_score(statistic):
    detector = fitted(statistic=statistic)
    np.testing.assert_allclose(detector.explain(Y).sum(axis=1), detector.score(Y), rtol=1e-5)
    assert not fitted(np.ones((9, 2))).explain(np.ones((1, 2))).any()


def test_more_neighbours_than_rows_are_all_the_others():
    np.testing.assert_allclose(fitted(X[:3], k=50).score(X[:3]), plain(X[:3], X[:3], 2, "kth", others=True), rtol=1e-5)


def test_a_larger_reference_than_allowed_is_subsampled():
    assert len(fitted(reference=100).reference_) == 100


@pytest.mark.parametrize("options", [{"k": 0}, {"statistic": "median"}])
def test_parameters_that_mean_nothing_are_errors(options):
    with pytest.raises(UsageError, match=next(iter(options))):
        NearestNeighbours(**options)


def test_rows_far_from_all_others_still_know_their_neighbours():
    far = np.concatenate([X, 1e5 + 0.2 * rng.standard_normal((30, 5))])
    np.testing.assert_allclose(fitted(far).score(far)[300:], plain(far, far, 5, "kth", others=True)[300:], rtol=0.1)
