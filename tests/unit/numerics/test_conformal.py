from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from poison_guard.numerics.conformal import attainable_p, conformal_p, rows_needed

scores = st.lists(st.integers(0, 5), max_size=30).map(lambda v: np.array(v, dtype=float))


@given(scores, scores)
def test_p_values_are_in_0_1_and_fall_as_scores_rise(calibration, new):
    p = conformal_p(calibration, np.sort(new))
    assert ((p > 0) & (p <= 1)).all()
    assert (np.diff(p) <= 0).all()
    assert (p >= attainable_p(len(calibration))).all()


@given(scores, st.floats(-1, 6))
def test_p_is_the_add_one_share_of_calibration_scores_at_or_above(calibration, score):
    expected = (1 + (calibration >= score).sum()) / (len(calibration) + 1)
    assert conformal_p(calibration, np.array([score]))[0] == pytest.approx(expected)


def test_without_calibration_rows_nothing_is_suspicious():
    assert conformal_p(np.array([]), np.array([1e9])).tolist() == [1.0]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("q", [0.01, 0.05])
def test_the_held_share_of_honest_records_stays_within_the_binomial_interval(q, ties):
    rng = np.random.default_rng(3)
    worlds, rows = 4000, 199
    draw = rng.standard_normal((worlds, rows + 1))
    if ties:
        draw = np.round(draw)
    held = sum(conformal_p(w[1:], w[:1])[0] <= q for w in draw)
    low, high = binom.interval(0.999, worlds, q)
    assert held <= high
    assert ties or held >= low


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.001, 0.3])
def test_the_rows_needed_are_the_fewest_that_reach_the_rate(rate):
    n = rows_needed(rate)
    assert attainable_p(n) <= rate + 1e-12
    assert n == 1 or attainable_p(n - 1) > rate
