from __future__ import annotations

import numpy as np
import pytest

from poison_guard.errors import UsageError
from poison_guard.signals.anomaly.inne import NeighbourBalls

rng = np.random.default_rng(14)
X = rng.standard_normal((500, 4))
Y = np.concatenate([rng.standard_normal((60, 4)), rng.normal(6, 1, (10, 4))])


def plain(detector, queries):
    """The definition, bag by bag: the smallest ball that covers the row, and the ball around its centre's nearest."""
    q = detector.columns_.apply(queries, np.float64)
    cells = detector.cells_.double().numpy().reshape(-1, detector.bags, q.shape[1])
    total = np.zeros(len(q))
    for bag in range(detector.bags):
        balls = cells[:, bag]
        apart = ((balls[:, None] - balls[None]) ** 2).sum(axis=2)
        np.fill_diagonal(apart, np.inf)
        radius, nearest = np.sqrt(apart.min(axis=1)), apart.argmin(axis=1)
        distance = np.sqrt(((q[:, None] - balls[None]) ** 2).sum(axis=2))
        covering = np.where((distance <= radius) & (distance > 0), radius, np.inf)
        centre = covering.argmin(axis=1)
        total += np.where(np.isinf(covering.min(axis=1)), 1.0, 1.0 - radius[nearest[centre]] / radius[centre])
    return total / detector.bags


def test_scores_are_those_of_the_definition():
    detector = NeighbourBalls(bags=40, device="cpu").fit(X)
    scores = detector.score(Y)
    assert (np.abs(scores - plain(detector, Y)) < 1e-5).mean() > 0.98  # rounding may decide at the rim of a ball
    np.testing.assert_array_equal(scores[60:], 1.0)


def test_a_fitted_row_is_not_covered_by_its_own_ball():
    detector = NeighbourBalls(bags=40, device="cpu", dtype="float64").fit(X[:30])
    np.testing.assert_allclose(detector.score(X[:30]), plain(detector, X[:30]), atol=0.05)


def test_copies_are_covered_by_balls_without_a_radius():
    crowded = np.concatenate([X[:20], np.repeat(X[:1] + 3.0, 400, axis=0)])
    copy, other = NeighbourBalls(device="cpu").fit(crowded).score(np.concatenate([X[:1] + 3.0, X[:1] + 1.5]))
    assert copy < 0.2
    assert other > 0.5


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_few_rows_are_enough_to_fit(rows):
    scores = NeighbourBalls(device="cpu").fit(X[:rows]).score(Y)
    assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize("options", [{"bags": 0}, {"size": 1}])
def test_no_bags_and_balls_without_a_neighbour_are_errors(options):
    with pytest.raises(UsageError, match="at least"):
        NeighbourBalls(**options)
