from __future__ import annotations

import numpy as np
import pytest

from poison_guard.signals.sampling import hash_order, hash_subsample, hash_subsample_of_blocks, row_hash

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


def test_a_sample_of_blocks_holds_rows_of_every_block_whatever_their_order_inside():
    blocks = np.array_split(X, 4)
    chosen = hash_subsample_of_blocks(iter(blocks), 40)
    shuffled = hash_subsample_of_blocks((block[::-1] for block in blocks), 40)
    np.testing.assert_array_equal(np.sort(chosen, axis=0), np.sort(shuffled, axis=0))
    assert chosen.shape == (40, X.shape[1])
    counts = [sum((chosen == row).all(axis=1).any() for row in block) for block in blocks]
    assert min(counts) > 0


def test_a_sample_of_blocks_takes_copies_at_their_share():
    blocks = [np.concatenate([np.zeros((500, 2)), np.random.default_rng(s).random((500, 2))]) for s in range(5)]
    chosen = hash_subsample_of_blocks(iter(blocks), 400)
    assert 150 < (chosen == 0).all(axis=1).sum() < 250
