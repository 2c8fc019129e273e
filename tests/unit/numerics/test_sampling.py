from __future__ import annotations

import numpy as np
import pytest

from poison_guard.numerics.sampling import hash_order, hash_subsample, row_hash

X = np.round(np.random.default_rng(0).standard_normal((500, 3)), 1)


def test_equal_rows_have_equal_hashes_and_others_do_not():
    keys = row_hash(X)
    _, rows = np.unique(X, axis=0, return_inverse=True)
    assert len(np.unique(keys)) == rows.max() + 1
    assert (row_hash(np.array([[0.0]])) == row_hash(np.array([[-0.0]]))).all()


def test_the_chosen_set_does_not_depend_on_the_order_of_rows():
    shuffled = X[np.random.default_rng(1).permutation(len(X))]
    for size in (1, 100, 900):
        np.testing.assert_array_equal(X[hash_subsample(X, size)], shuffled[hash_subsample(shuffled, size)])


def test_the_seed_changes_the_choice_and_every_row_is_in_the_order_once():
    assert set(hash_subsample(X, 50, seed=1)) != set(hash_subsample(X, 50, seed=2))
    assert sorted(hash_order(X)) == list(range(len(X)))


def test_copies_of_one_row_are_chosen_in_proportion():
    copies = np.repeat([[0.0], [1.0]], [9000, 1000], axis=0)
    share = copies[hash_subsample(copies, 2000)].mean()
    assert share == pytest.approx(0.1, abs=0.03)


def test_no_rows_have_no_order():
    assert len(hash_order(np.empty((0, 3)))) == 0
