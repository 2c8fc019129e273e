from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, betabinom, binom

from poison_guard.signals.conformal import (
    attainable_p,
    conformal_p,
    excess_p,
    held_bounds,
    held_share,
    rows_needed,
)

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


@pytest.mark.parametrize(("rows", "rate"), [(199, 0.01), (999, 0.05), (140, 0.01)])
def test_the_held_share_over_calibration_sets_has_the_stated_mean_and_bounds(rows, rate):
    rng = np.random.default_rng(5)
    k = int(rate * (rows + 1) + 1e-9)
    shares = 1 - np.sort(rng.random((4000, rows)), axis=1)[:, -k]  # of honest records at or above the k-th largest
    mean, low, high = held_share(rows, rate)
    assert shares.mean() == pytest.approx(mean, rel=0.06)
    assert mean <= rate
    assert (shares < low).mean() == pytest.approx(0.025, abs=0.01)
    assert (shares > high).mean() == pytest.approx(0.025, abs=0.01)


def test_with_too_few_rows_nothing_can_be_held():
    assert held_share(98, 0.01) == (0.0, 0.0, 0.0)
    assert held_bounds(98, 0.01, 10_000) == (0, 0)
    assert excess_p(1, 1000, 98, 0.01) < 1e-100


@given(st.integers(99, 2000), st.integers(0, 3000), st.sampled_from([0.01, 0.05, 0.2]))
def test_bounds_and_excess_are_those_of_the_beta_binomial(rows, n, rate):
    k = int(rate * (rows + 1) + 1e-9)
    known = betabinom(n, k, rows + 1 - k)
    low, high = held_bounds(rows, rate, n)
    assert known.cdf(low - 1) <= 0.0251
    assert known.sf(high) <= 0.0251
    assert known.cdf(low) >= 0.0249 or low == 0
    for held in (low, high, n):
        assert excess_p(held, n, rows, rate) == pytest.approx(known.sf(held - 1), rel=1e-6, abs=1e-9)


@given(st.integers(1, 400))
def test_one_more_record_held_is_never_less_surprising(held):
    assert excess_p(held + 1, 401, 999, 0.01) <= excess_p(held, 401, 999, 0.01)


@pytest.mark.parametrize("share", [0.005, 0.01, 0.03])
def test_the_excess_of_a_huge_run_is_the_calibration_sets_luck_alone_and_found_in_no_time(share):
    assert excess_p(int(share * 10**7), 10**7, 999, 0.01) == pytest.approx(beta.sf(share, 10, 990), rel=0.01)
