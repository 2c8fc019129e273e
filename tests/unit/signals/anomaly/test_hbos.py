"""What HBOS does beyond the laws of all detectors."""

from __future__ import annotations

import numpy as np
import pytest

from poison_guard.signals.anomaly.hbos import HBOS

rng = np.random.default_rng(13)
X = np.column_stack([np.r_[rng.normal(-4, 0.3, 250), rng.normal(4, 0.3, 250)], rng.standard_normal(500)])


def fitted(data=X):
    return HBOS(device="cpu").fit(data)


def plain(column, cells):
    """Average the heights of histograms with 3, 6, 12 and 24 bins over a range half a fine bin wider than the data."""
    pad = np.ptp(column) / 48
    heights = np.zeros(len(cells))
    for bins in (3, 6, 12, 24):
        counts, edges = np.histogram(column, bins, (column.min() - pad, column.max() + pad))
        heights += (
            (counts + 1)[np.clip(np.searchsorted(edges, cells, side="right") - 1, 0, bins - 1)]
            * bins
            / ((len(column) + bins) * 4)
        )
    return -np.log(heights)


def test_scores_are_minus_logs_of_the_averaged_histograms():
    detector = fitted()
    scaled = np.arcsinh(detector.columns_.apply(X, np.float64))
    expected = sum(plain(column, column) for column in scaled.T)
    scores = detector.score(X)
    apart = (scores - scores.min()) - (expected - expected.min())
    assert (np.abs(apart) < 1e-5).mean() > 0.99  # a cell within rounding of an edge may fall into the next bin


def test_a_gap_between_two_clusters_is_strange():
    scores = fitted().score([[-4.0, 0.0], [4.0, 0.0], [0.0, 0.0]])
    assert scores[2] > scores[:2].max() + 2


@pytest.mark.parametrize("unit", [1.0, 4.0, 0.1, 3e7])
def test_the_commonest_value_scores_nothing_even_on_the_edge_of_a_bin(unit):
    whole = np.round(np.random.default_rng(0).standard_normal(3000))[:, None] * unit
    whole = np.concatenate([whole, -whole])  # the middle of its range is an edge, and its commonest value
    assert fitted(whole).score([[0.0]])[0] == 0


def test_outside_every_bin_is_at_least_as_strange_as_any_empty_bin_and_grows():
    scores = fitted().score([[0.0, 0.0], [9.0, 0.0], [90.0, 0.0], [-9.0, 0.0], [-90.0, 0.0]])
    assert scores[1:].min() >= scores[0]
    assert scores[2] > scores[1]
    assert scores[4] > scores[3]


def test_one_huge_value_in_the_reference_leaves_the_others_their_bins():
    spoilt = X.copy()
    spoilt[0, 0] = 1e6
    usual, gap = fitted(spoilt).score([[4.0, 0.0], [0.0, 0.0]])
    assert gap > usual + 0.3


def test_the_commonest_place_scores_nothing_and_a_constant_column_only_by_distance():
    constant = np.column_stack([X[:, 0], np.full(500, 7.0)])
    detector = fitted(constant)
    assert detector.score(constant).min() == pytest.approx(0.0, abs=1e-6)
    near, far = detector.score([[4.0, 8.0], [4.0, 80.0]])
    assert 0 < near < far


def test_parts_add_up_to_the_score():
    odd = X[:30] * [1, 5]
    np.testing.assert_allclose(fitted().explain(odd).sum(axis=1), fitted().score(odd), rtol=1e-5, atol=1e-6)
