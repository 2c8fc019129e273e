from __future__ import annotations

import numpy as np
import pytest
import torch

from poison_guard.errors import UsageError
from poison_guard.signals.anomaly.iforest import ExtendedIsolationForest, IsolationForest

BOTH = pytest.mark.parametrize("kind", [IsolationForest, ExtendedIsolationForest])
X = np.random.default_rng(0).standard_normal((400, 3))
Y = np.random.default_rng(1).normal(0, 2, (50, 3))


def walked_one_by_one(forest: IsolationForest, row: np.ndarray) -> list[tuple[int, float, float]]:
    """Return column, length before and length after of each cut, tree after tree, for a row in scales."""
    cuts, lengths = [c.numpy() for c in forest.cuts_], [part.numpy().astype(float) for part in forest.lengths_]
    steps = []
    for tree in range(forest.trees):
        node = tree
        for level, cut in enumerate(cuts):
            column = int(forest.picks_[level, tree])
            child = 2 * node + int(row[column] > cut[node])
            steps.append((column, lengths[level][node], lengths[level + 1][child]))
            node = child
    return steps


def test_scores_are_those_of_trees_walked_one_by_one():
    forest = IsolationForest(device="cpu", trees=7, sample=32).fit(X)
    levels = len(forest.cuts_)
    expected = []
    for row in forest.columns_.apply(Y):
        bottoms = [after for _, _, after in walked_one_by_one(forest, row)[levels - 1 :: levels]]
        expected.append(2 ** (-np.mean(bottoms) / float(forest.lengths_[0][0])))
    np.testing.assert_allclose(forest.score(Y), expected, rtol=1e-6)


def test_parts_are_the_steps_that_each_column_saved():
    forest = IsolationForest(device="cpu", trees=7, sample=32).fit(X)
    expected = np.zeros((len(Y), 3))
    for at, row in enumerate(forest.columns_.apply(Y)):
        for column, before, after in walked_one_by_one(forest, row):
            expected[at, column] += (before - after) / 7
    np.testing.assert_allclose(forest.explain(Y), expected.clip(min=0), atol=1e-9)


def test_the_expected_length_is_the_mean_search_in_a_binary_tree():
    forest = IsolationForest(device="cpu", trees=3, sample=256).fit(X)
    np.testing.assert_allclose(forest.lengths_[0].numpy(), 10.244771, rtol=1e-6)  # c(256), Liu 2008


@BOTH
def test_scoring_sends_fitted_rows_to_both_sides_of_every_cut_as_growing_did(kind):
    forest = kind(device="cpu", trees=5, sample=400).fit(X)
    cells = torch.from_numpy(forest.columns_.apply(X)).T.contiguous()
    _, *nodes = forest._walk(cells)
    for node, cut in zip(nodes, forest.cuts_, strict=True):
        reached = np.bincount(node.numpy().ravel(), minlength=2 * len(cut)).reshape(-1, 2) > 0
        assert reached[np.isfinite(cut.numpy())].all()
        assert not reached[np.isinf(cut.numpy()), 1].any()


@BOTH
def test_a_column_that_never_varied_is_never_cut(kind):
    forest = kind(device="cpu", trees=20).fit(np.column_stack([X, np.ones(len(X))]))
    assert 3 not in forest.picks_.numpy()
    assert forest.explain(np.column_stack([Y, np.full(len(Y), 50.0)]))[:, 3].max() == 0


def test_oblique_cuts_see_what_straight_ones_cannot():
    rng = np.random.default_rng(2)
    centres = np.array([[0, 8], [8, 0], [0, -8], [-8, 0]])
    ring = np.concatenate([rng.normal(c, 0.7, (200, 2)) for c in centres])
    ghosts, usual = rng.normal(0, 0.7, (100, 2)), np.concatenate([rng.normal(c, 0.7, (25, 2)) for c in centres])

    def separated(forest):
        return (forest.score(ghosts)[:, None] > forest.score(usual)[None]).mean()

    straight = np.mean([separated(IsolationForest(device="cpu", seed=s).fit(ring)) for s in range(3)])
    oblique = np.mean([separated(ExtendedIsolationForest(device="cpu", seed=s).fit(ring)) for s in range(3)])
    assert oblique > straight


@BOTH
def test_wide_data_is_walked_in_small_blocks(kind):
    wide = np.random.default_rng(3).standard_normal((300, 5000))
    forest = kind(device="cpu", trees=10).fit(wide)
    assert np.isfinite(forest.score(wide)).all()
    assert forest.explain(wide[:2]).shape == (2, 5000)


@BOTH
def test_sizes_below_one_are_usage_errors(kind):
    with pytest.raises(UsageError, match="at least 1"):
        kind(trees=0)
    with pytest.raises(UsageError, match="slopes"):
        ExtendedIsolationForest(slopes=0)
