from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from poison_guard.numerics.neighbours import nearest


@pytest.mark.parametrize(("n", "m", "d", "k"), [(50, 7, 3, 7), (300, 1000, 5, 5), (40, 3000, 16, 20), (9, 1, 2, 1)])
def test_neighbours_equal_those_of_a_tree(n, m, d, k):
    rng = np.random.default_rng(n)
    queries, reference = (rng.standard_normal((rows, d)).astype(np.float32) for rows in (n, m))
    distances, positions = nearest(torch.from_numpy(queries), torch.from_numpy(reference), k)
    expected, where = cKDTree(reference).query(queries, k=np.arange(1, k + 1))
    np.testing.assert_allclose(distances.numpy(), expected, rtol=1e-5)
    assert (positions.numpy() == where).mean() > 0.999


def test_far_from_the_origin_close_rows_are_still_told_apart():
    reference = torch.tensor([[1e5, 1e5], [1e5 + 0.5, 1e5], [1e5, 1e5 + 2.0], [-1e5, 0.0]])
    distances, positions = nearest(reference, reference, 3)
    assert positions[0].tolist() == [0, 1, 2]
    assert distances[0].tolist() == [0.0, 0.5, 2.0]


def test_an_answer_does_not_depend_on_the_other_queries():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((700, 12)).astype(np.float32))
    together, _ = nearest(x, x, 5)
    alone = torch.cat([nearest(row[None], x, 5)[0] for row in x[:50]])
    assert torch.equal(together[:50], alone)


@pytest.mark.parametrize("k", [0, 4])
def test_more_neighbours_than_rows_is_an_error(k):
    with pytest.raises(ValueError, match="k must be"):
        nearest(torch.zeros(2, 2), torch.zeros(3, 2), k)
