from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from poison_guard.signals.anomaly.neighbours import nearest, nearest_others, square_blocks


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


@pytest.mark.parametrize("k", [1, 3])
def test_of_the_others_one_equal_row_is_left_out(k):
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((200, 4)).astype(np.float32))
    others, positions = nearest_others(x, x, k)
    assert torch.equal(others, nearest(x, x, k + 1)[0][:, 1:])
    assert (positions != torch.arange(200)[:, None]).all()
    twice = torch.cat([x, x[:1]])
    assert nearest_others(x[:1], twice, k)[0][0, 0] == 0
    strange = x + 1.0
    assert torch.equal(nearest_others(strange, x, k)[0], nearest(strange, x, k)[0])


def test_the_only_row_is_not_left_out():
    assert nearest_others(torch.ones(1, 2), torch.ones(1, 2), 1)[0].tolist() == [[0.0]]


def test_rows_far_from_the_mean_find_themselves_among_many():
    rng = np.random.default_rng(2)
    cluster = torch.from_numpy((3e5 + rng.standard_normal((2000, 6))).astype(np.float32))
    reference = torch.cat([torch.from_numpy(rng.standard_normal((2000, 6)).astype(np.float32)), cluster])
    distances, _ = nearest(cluster, reference, 3)
    assert (distances[:, 0] == 0).all()
    expected, _ = cKDTree(reference.numpy()).query(cluster.numpy(), k=3)
    np.testing.assert_allclose(distances.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_ties_and_copies_give_the_right_distances():
    grid = torch.from_numpy(np.random.default_rng(3).integers(0, 3, (3000, 5)).astype(np.float32))
    expected, _ = cKDTree(grid.numpy()).query(grid.numpy()[:300], k=40)
    np.testing.assert_allclose(nearest(grid[:300], grid, 40)[0].numpy(), expected, rtol=1e-6)


def test_float64_rows_get_float64_distances():
    x = torch.from_numpy(np.random.default_rng(4).standard_normal((500, 3)))
    expected, _ = cKDTree(x.numpy()).query(x.numpy(), k=4)
    np.testing.assert_allclose(nearest(x, x, 4)[0].numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(("n", "m", "d"), [(1, 5, 3), (700, 40, 2), (513, 9000, 1), (0, 4, 2)])
def test_blocks_of_squares_cover_every_query_once(n, m, d):
    rng = np.random.default_rng(5)
    queries, reference = (torch.from_numpy(rng.standard_normal((rows, d))) for rows in (n, m))
    seen = 0
    for rows, squares, norms in square_blocks(queries, reference):
        exact = (queries[rows].unsqueeze(1) - reference).square().sum(dim=2)
        torch.testing.assert_close(squares + norms[:, None], exact, atol=1e-9, rtol=1e-9)
        assert rows.start == seen
        seen = rows.stop
    assert seen == n
