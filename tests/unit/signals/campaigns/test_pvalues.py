import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from poison_guard.numerics.conformal import conformal_p
from poison_guard.numerics.pvalues import SMALLEST_P
from poison_guard.signals.campaigns.pvalues import benjamini_hochberg, binomial_high, binomial_sum_high, combine_fisher

P = st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=40).map(np.array)


def test_binomial_tail_counts_the_value_itself():
    assert binomial_high([0, 1, 2], 2, 0.5) == pytest.approx([1.0, 0.75, 0.25])


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.8])
def test_the_bound_of_a_binomial_sum_is_above_the_exact_tail_and_near_it(rate):
    hits = np.arange(21)
    bound = np.array([
        binomial_sum_high(np.zeros(20, int), np.r_[np.ones(k), np.zeros(20 - k)], np.ones(20), np.full(20, rate),
                          np.full(20, 0.7), 1)[0]
        for k in hits
    ])  # fmt: skip
    exact = binomial_high(hits, 20, rate)
    assert (bound >= exact * (1 - 1e-9)).all()
    assert bound[-1] <= exact[-1] * 1.01
    assert (np.diff(bound) <= 1e-12).all()


def test_the_bound_of_draws_without_replacement_is_super_uniform():
    rng = np.random.default_rng(1)
    rows, sources = 4000, 400
    of = np.repeat(np.arange(sources), rows // sources)
    like, near = rng.integers(0, 12, rows), rng.integers(0, 12, rows)
    hits = rng.hypergeometric(like, 12 - like, near)
    rate = like / 12
    p = binomial_sum_high(of, hits, near, rate, (1 - rate) ** 2, sources)
    assert all((p <= level).mean() <= level for level in (0.5, 0.1, 0.05))


def test_adjusted_p_values_of_a_known_case():
    assert benjamini_hochberg(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.04, 0.03, 0.04])


@given(st.floats(1e-200, 1), st.floats(1e-200, 1))
def test_two_p_values_combine_to_what_the_chi_square_says(a, b):
    expected = stats.chi2.sf(-2 * (np.log(a) + np.log(b)), 4)
    assert combine_fisher(a, b) == pytest.approx(max(expected, SMALLEST_P), rel=1e-6)


def test_a_sum_of_very_rare_hits_overflows_nowhere():
    one = np.zeros(3, int)
    with np.errstate(all="raise", under="ignore", divide="raise"):
        (p,) = binomial_sum_high(one, np.ones(3), np.ones(3), np.array([1e-4, 1e-3, 1.0]), np.array([9.2, 6.9, 0.1]), 1)
    assert p == pytest.approx(1e-7)  # all hit: the bound is exact in the limit
    (never,) = binomial_sum_high(one, np.zeros(3), np.ones(3), np.array([0.0, 0.5, 0.5]), np.full(3, 9.0), 1)
    assert never == 1.0


@given(P)
def test_adjusting_keeps_the_order_and_never_lowers_a_p_value(p):
    q = benjamini_hochberg(p)
    assert (q >= p * (1 - 1e-12)).all()
    assert (q <= 1).all()
    assert (np.diff(q[np.argsort(p, kind="stable")]) >= 0).all()


def test_no_p_value_needs_no_adjusting():
    assert benjamini_hochberg(np.empty(0)).shape == (0,)


def test_conformal_p_values_keep_the_false_discovery_rate():
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(400):
        known, honest, strange = rng.standard_normal(500), rng.standard_normal(190), rng.standard_normal(10) + 4
        found = benjamini_hochberg(conformal_p(known, np.concatenate([honest, strange]))) <= 0.2
        shares.append(found[:190].sum() / max(1, found.sum()))
    assert np.mean(shares) <= 0.2 + 3 * np.std(shares) / 20
