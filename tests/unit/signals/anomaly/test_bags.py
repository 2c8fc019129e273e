from __future__ import annotations

import numpy as np
import pytest
import torch

from poison_guard.signals.anomaly.neighbours import draw_bags, index_rows, mask_own_cells


@pytest.mark.parametrize(("rows", "bags", "size"), [(100, 5, 20), (30, 8, 30), (7, 50, 3), (1, 4, 1)])
def test_a_bag_holds_no_row_twice_and_rows_are_in_equally_many_bags(rows, bags, size):
    at = draw_bags(rows, bags, size, seed=3)
    assert at.shape == (size, bags)
    assert all(len(set(bag)) == size for bag in at.T)
    counts = np.bincount(at.ravel(), minlength=rows)
    assert counts.max() <= -(-bags // (rows // size))


def test_bags_depend_on_the_seed_alone():
    np.testing.assert_array_equal(draw_bags(50, 4, 9, seed=1), draw_bags(50, 4, 9, seed=1))
    assert (draw_bags(50, 4, 9, seed=1) != draw_bags(50, 4, 9, seed=2)).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_is_masked_once_in_each_bag_that_holds_it(dtype):
    a, b, c = [1.0, 0.0], [2.0, -3.5], [1.0, 1e-30]
    cells = torch.tensor([a, b, a, c, b, a], dtype=dtype)  # bags: (a, a, b) and (b, c, a)
    queries = torch.tensor([a, b, c, [1.0, -0.0], [9.0, 9.0]], dtype=dtype)
    values = torch.zeros(5, 6)
    mask_own_cells(values, queries, cells, *index_rows(cells, 2))
    masked = [row.nonzero()[:, 0].tolist() for row in values]
    assert masked == [[0, 5], [1, 4], [3], [0, 5], []]


def test_an_equal_key_of_another_row_masks_nothing():
    cells = torch.tensor([[1.0], [2.0]])
    keys, places = index_rows(cells, 1)
    values = torch.zeros(1, 2)
    mask_own_cells(values, torch.tensor([[2.0]]), torch.tensor([[1.0], [2.5]]), keys, places)
    assert not values.any()
