import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.signals.campaigns.claims import CountTail


@given(st.lists(st.integers(1, 60), min_size=1, max_size=200))
def test_a_larger_count_is_never_more_likely(counts):
    chance = CountTail(np.array(counts)).chance(np.arange(0, 300))
    assert chance[0] == 1
    assert ((chance > 0) & (chance <= 1)).all()
    assert (np.diff(chance[100:]) <= 0).all()


@pytest.mark.parametrize("spread", [0.5, 0.8, 1.0])
def test_of_log_normal_crowds_about_one_source_in_a_thousand_is_beyond_a_thousandth(spread):
    rng = np.random.default_rng(0)
    beyond = [
        (CountTail(counts).chance(counts) <= 0.001).mean()
        for counts in (np.ceil(rng.lognormal(0, spread, 2000)) for _ in range(20))
    ]
    assert np.mean(beyond) <= 0.0015


def test_geometric_crowds_are_not_beyond_either():
    rng = np.random.default_rng(1)
    beyond = [(CountTail(c).chance(c) <= 0.001).mean() for c in (rng.geometric(0.5, 1500) for _ in range(20))]
    assert np.mean(beyond) <= 0.0015


def test_a_few_attackers_in_the_crowd_bend_the_tail_little():
    rng = np.random.default_rng(2)
    honest = rng.geometric(0.7, 1000)
    clean, mixed = CountTail(honest), CountTail(np.r_[honest, np.full(2, 60)])
    assert clean.chance(np.array([60]))[0] < 1e-4
    assert mixed.chance(np.array([60]))[0] < 1e-3


def test_where_nobody_repeats_anything_a_few_repetitions_are_no_proof():
    tail = CountTail(np.ones(500))
    assert tail.chance(np.array([12]))[0] > 0.001
    assert tail.chance(np.array([15]))[0] < 0.001
