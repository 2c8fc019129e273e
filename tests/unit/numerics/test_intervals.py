from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from poison_guard.numerics.intervals import (
    chance_of_more,
    paired_drop,
    pairs_to_decide,
    pairs_to_exclude,
    proportion_bounds,
    rows_to_exclude,
    sooner_elsewhere,
)


@given(n=st.integers(1, 400), data=st.data())
def test_exact_bounds_leave_the_asked_tails(n, data):
    hits = data.draw(st.integers(0, n))
    low, high = proportion_bounds(hits, n, low_tail=0.01, high_tail=0.05)
    assert 0 <= low <= hits / n <= high <= 1
    if hits:
        assert stats.binom.sf(hits - 1, n, low) == pytest.approx(0.01, rel=1e-6)
    if hits < n:
        assert stats.binom.cdf(hits, n, high) == pytest.approx(0.05, rel=1e-6)


def test_no_rows_exclude_nothing():
    assert proportion_bounds(0, 0, low_tail=0.05, high_tail=0.05) == (0.0, 1.0)
    assert paired_drop(0, 0, 0, low_tail=0.05, high_tail=0.05) == (0.0, -1.0, 1.0)


@pytest.mark.parametrize("rows", [150, 1000])
def test_more_than_a_limit_set_on_few_rows_lets_through_is_seldom_said_of_the_same_world(rows):
    rng = np.random.default_rng(0)
    allowed = int(0.02 * (rows + 1))
    limits = np.sort(rng.random((2000, rows)), axis=1)[:, allowed - 1]
    chances = [chance_of_more(int(rng.binomial(5000, limit)), 5000, allowed - 1, rows) for limit in limits]
    assert 0.005 <= np.mean(np.array(chances) < 0.01) <= 0.015
    assert chance_of_more(400, 5000, allowed - 1, rows) < 0.05


@given(limit=st.floats(0.001, 0.9))
def test_the_rows_asked_for_exclude_the_limit_and_one_fewer_does_not(limit):
    n = rows_to_exclude(limit)
    assert proportion_bounds(0, n, low_tail=0.05, high_tail=0.05)[1] <= limit + 1e-9
    assert n == 1 or proportion_bounds(0, n - 1, low_tail=0.05, high_tail=0.05)[1] > limit - 1e-9


@given(n=st.integers(1, 500), data=st.data())
def test_a_paired_drop_lies_between_its_bounds_and_turns_its_sign_with_the_pairs(n, data):
    lost = data.draw(st.integers(0, n))
    gained = data.draw(st.integers(0, n - lost))
    value, low, high = paired_drop(lost, gained, n, low_tail=0.05, high_tail=0.05)
    assert -1 <= low <= value <= high <= 1
    back = paired_drop(gained, lost, n, low_tail=0.05, high_tail=0.05)
    assert back == pytest.approx((-value, -high, -low))


def test_paired_bounds_cover_the_true_drop_as_often_as_asked():
    rng = np.random.default_rng(0)
    covered = 0
    for lost, gained, _ in rng.multinomial(60, [0.10, 0.04, 0.86], 2000):
        covered += paired_drop(lost, gained, 60, low_tail=0.05, high_tail=0.05)[2] >= 0.06
    assert covered / 2000 >= 0.94


def test_hits_that_split_by_size_are_no_surprise_and_hits_on_one_side_are():
    p = sooner_elsewhere(np.array([50, 50]), np.array([10, 0]), 1 / 6)
    assert p[0] > 0.3
    assert p[1] == pytest.approx((5 / 6) ** 50)


def test_the_pairs_that_decide_decide_and_one_fewer_does_not():
    n = pairs_to_decide(2, 2, 60, 0.03, tail=0.05)
    assert n is not None
    bounds = [
        paired_drop(round(2 * size / 60), round(2 * size / 60), size, low_tail=0.05, high_tail=0.05)
        for size in (n, n - 1)
    ]
    assert bounds[0][2] <= 0.03 < bounds[1][2]


def test_no_number_of_pairs_decides_at_the_limit_itself():
    assert pairs_to_decide(3, 0, 100, 0.03, tail=0.05) is None


@given(n=st.integers(20, 500), data=st.data())
def test_pairs_that_exclude_do_so_where_gains_make_up_for_losses(n, data):
    lost = data.draw(st.integers(0, n // 4))
    size = pairs_to_exclude(lost, lost, n, 0.05, tail=0.05)
    changed = round(lost * size / n)
    assert size > n
    assert paired_drop(changed, changed, size, low_tail=0.05, high_tail=0.05)[2] <= 0.05
