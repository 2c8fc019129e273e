"""Tail counts and step functions of single columns."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from poison_guard.signals.anomaly import columnwise
from poison_guard.signals.anomaly.columnwise import (
    block_rows,
    evaluate,
    most_rows,
    step_functions,
    tail_counts,
    tail_functions,
)

CPU = torch.device("cpu")
small = hnp.arrays(np.float64, st.integers(1, 60), elements=st.integers(-9, 9).map(float))


@given(small)
def test_tail_counts_of_few_values_are_exact(column):
    values, below, above = tail_counts(column, 31)
    np.testing.assert_array_equal(values, np.unique(column))
    np.testing.assert_array_equal(below, [(column <= value).sum() for value in values])
    np.testing.assert_array_equal(above, [(column >= value).sum() for value in values])


def test_tail_counts_of_many_values_are_few_exact_at_the_ends_and_near_everywhere():
    column = np.random.default_rng(0).standard_normal(50_000)
    values, below, above = tail_counts(column, 1023)
    assert len(values) <= 1023
    assert (below[:20] == np.arange(1, 21)).all()
    assert (above[-20:] == np.arange(20, 0, -1)).all()
    nearer = np.minimum(below, above)
    step = np.abs(np.diff(np.log(nearer)))
    assert step[nearer[1:] > 100].max() < 0.03
    assert values[0] == column.min()
    assert values[-1] == column.max()


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 3000), st.integers(4, 200))
def test_tail_counts_keep_to_their_limit_and_mirror_with_the_column(n, most):
    column = np.random.default_rng(n).standard_normal(n)
    values, below, _ = tail_counts(column, most)
    mirrored, _, above = tail_counts(-column, most)
    assert len(values) <= most
    pairs, twins = dict(zip(values, below, strict=True)), dict(zip(-mirrored, above, strict=True))
    assert all(abs(2 * pairs.get(v, 0) + 2 * twins.get(v, 0) - n - 1) <= 1 for v in set(pairs) ^ set(twins)) or n <= 1
    assert all(pairs[v] == twins[v] for v in set(pairs) & set(twins))


@settings(deadline=None)
@given(small, hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-12, 12, width=32)))
def test_functions_are_looked_up_as_one_cell_after_the_other_would_be(edges, cells):
    edges = np.sort(edges)
    values = np.arange(len(edges) + 1.0)
    steps = step_functions([edges, edges[:1]], [values, values[:2]], np.full((2, 2), 2.0), torch.float64, CPU)
    found = evaluate(torch.from_numpy(np.column_stack([cells, cells])), steps).numpy()
    for row, known in zip(found, (edges, edges[:1]), strict=True):
        outside = np.maximum(known[0] - cells, 0) + np.maximum(cells - known[-1], 0)
        expected = np.searchsorted(known, cells, side="right") + np.log1p(outside / 2)
        np.testing.assert_allclose(row, expected, rtol=1e-12)


@settings(deadline=None)
@given(small, hnp.arrays(np.float64, st.integers(1, 20), elements=st.integers(-19, 19).map(lambda x: x / 2)))
def test_a_value_has_the_share_it_would_have_as_one_of_the_reference(column, cells):
    for side in (0, 1):
        steps = tail_functions(column[:, None], lambda _, *tails, side=side: tails[side], torch.float64, CPU)
        found = evaluate(torch.from_numpy(cells[:, None]), steps)[0].numpy()
        for cell, value in zip(cells, found, strict=True):
            with_it = column if cell in column else np.append(column, cell)
            count = (with_it <= cell).sum() if side == 0 else (with_it >= cell).sum()
            inside = column.min() <= cell <= column.max()
            expected = -np.log(count / (len(column) + 1))
            assert value >= expected - 1e-9
            assert not inside or abs(value - expected) < 1e-9


def test_memory_is_bounded_by_cells_whatever_the_width(monkeypatch):
    for width in (1, 64, 10_000, 10**9):
        assert most_rows(width) * width <= max(2**25, width)
        assert block_rows(width, CPU) * width <= max(2**17, width)
    monkeypatch.setattr(columnwise, "_ENTRIES", 2**14)
    wide = np.random.default_rng(1).standard_normal((500, 200))
    steps = tail_functions(wide, lambda _, left, right: left, torch.float32, CPU)
    assert steps[1].numel() <= 2**14
