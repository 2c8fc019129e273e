from __future__ import annotations

import numpy as np
import pytest

from poison_guard.errors import UsageError
from poison_guard.signals.anomaly.bagged_knn import BaggedNeighbours

rng = np.random.default_rng(12)
X = rng.standard_normal((400, 5))
Y = np.concatenate([rng.standard_normal((40, 5)), rng.normal(4, 1, (10, 5))])


def plain(detector, queries):
    """Mean over bags of the distance to the nearest cell that does not equal the query."""
    q = detector.columns_.apply(queries, np.float64)
    cells = detector.cells_.double().numpy().reshape(-1, detector.bags, q.shape[1])
    distances = np.sqrt(((q[:, None, None] - cells[None]) ** 2).sum(axis=3))
    return np.where(distances < 1e-6, np.inf, distances).min(axis=1).mean(axis=1)


@pytest.mark.parametrize("size", [1, 2, 7, 24, 128])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scores_are_those_of_a_plain_search(size, dtype):
    detector = BaggedNeighbours(size=size, bags=9, device="cpu", dtype=dtype).fit(X)
    np.testing.assert_allclose(detector.score(Y), plain(detector, Y), rtol=1e-4)


def test_fitted_rows_are_scored_by_the_others():
    detector = BaggedNeighbours(device="cpu").fit(X)
    np.testing.assert_allclose(detector.score(X), plain(detector, X), rtol=1e-4)


def test_only_one_copy_is_left_out():
    detector = BaggedNeighbours(device="cpu", size=64, bags=4).fit(np.repeat(X[:8], 50, axis=0))
    np.testing.assert_allclose(detector.score(X[:8]), 0.0, atol=1e-2)


def test_the_only_fitted_row_is_its_own_neighbour():
    assert BaggedNeighbours(device="cpu").fit(X[:1]).score(X[:1])[0] < 1e-3


def test_two_fitted_rows_are_each_others_neighbours():
    detector = BaggedNeighbours(device="cpu", dtype="float64").fit(np.array([[0.0], [3.0]]))
    scores = detector.score(np.array([[0.0], [3.0]]))
    np.testing.assert_allclose(scores, 3.0 / detector.columns_.scale[0], rtol=1e-9)


def test_the_explanation_adds_up_to_the_score():
    detector = BaggedNeighbours(device="cpu").fit(X)
    np.testing.assert_allclose(detector.explain(Y).sum(axis=1), detector.score(Y), rtol=1e-4)


def test_bags_of_few_rows_leave_most_of_them_out():
    assert len(BaggedNeighbours(device="cpu", bags=3).fit(X).cells_) == 3 * 100


@pytest.mark.parametrize("options", [{"bags": 0}, {"size": 0}])
def test_no_bags_and_no_rows_in_them_are_errors(options):
    with pytest.raises(UsageError, match="at least 1"):
        BaggedNeighbours(**options)
