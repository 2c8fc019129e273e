from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from poison_guard.signals.conformal import conformal_p
from poison_guard.signals.pvalues import (
    SMALLEST_P,
    benjamini_hochberg,
    beta_binomial_low,
    beta_low,
    binomial_high,
    binomial_sum_high,
    combine_fisher,
    e_lond,
    e_value,
)

P = st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=40).map(np.array)


def test_the_lower_bound_holds_in_nineteen_of_twenty_draws():
    draws = np.random.default_rng(0).beta(12, 3, 20_000)
    assert (draws > beta_low(12, 3)).mean() == pytest.approx(0.95, abs=0.01)


def test_an_e_value_is_the_mean_of_the_calibrators_and_one_in_the_mean():
    for p in (1e-8, 0.003, 0.4, 0.9995, 1.0):
        mean = quad(lambda k, p=p: k * p ** (k - 1), 0, 1)[0]
        assert e_value(p) == pytest.approx(mean, rel=1e-4)
    logs = np.linspace(-600, 0, 2_000_001)  # the mean over a uniform p, in p = exp(log)
    mean = np.trapezoid(e_value(np.exp(logs)) * np.exp(logs), logs)
    assert mean == pytest.approx(1.0, abs=0.01)
    assert mean <= 1.0


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_smaller_p_value_is_never_less_evidence(a, b):
    low, high = sorted((a, b))
    assert e_value(low) >= e_value(high) * (1 - 1e-9)
    assert np.isfinite(e_value(low))


@given(st.lists(st.floats(0, 1e9), max_size=50), st.floats(0.01, 0.5))
def test_alarms_follow_the_rule_and_the_level_is_never_spent_twice(values, level):
    alarms = list(e_lond(values, level))
    assert len(alarms) == len(values)
    spent = 0.0
    before = 0
    for alarm in alarms:
        assert alarm.raised == (alarm.e >= alarm.needed)
        spent += 1 / (alarm.needed * (before + 1))
        before += alarm.raised
    assert spent <= level


def test_of_all_alarms_few_are_false_though_all_batches_share_one_calibration_set():
    rng = np.random.default_rng(2)
    shares = []
    for _ in range(300):
        luck = rng.exponential()  # what all honest batches have in common
        p = np.exp(-np.full(40, luck))
        attacked = rng.random(40) < 0.2
        p[attacked] = 1e-9
        raised = np.array([alarm.raised for alarm in e_lond(e_value(p), 0.1)])
        shares.append((raised & ~attacked).sum() / max(1, raised.sum()))
        assert raised[attacked].mean() > 0.8 or attacked.sum() == 0
    assert np.mean(shares) <= 0.1


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


def test_beta_binomial_agrees_with_scipy_and_says_nothing_without_trials():
    right, n = np.array([[0, 3], [2, 3]]), np.array([[0, 9], [2, 9]])
    expected = [[1.0, stats.betabinom.cdf(3, 9, 8, 2)], [1.0, stats.betabinom.cdf(3, 9, 8, 2)]]
    assert beta_binomial_low(right, n, 8, 2) == pytest.approx(np.array(expected))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=20), st.floats(0, 1))
def test_chances_are_scipys_whose_statistics_a_run_does_not_import(pairs, rate):
    k, n = np.array([(min(a, b), max(a, b)) for a, b in pairs], float).T
    assert binomial_high(k, n, rate) == pytest.approx(np.maximum(stats.binom.sf(k - 1, n, rate), SMALLEST_P), rel=1e-12)
    assert binomial_high(n + 1, n, rate) == pytest.approx(SMALLEST_P)
    expected = stats.betabinom.cdf(k, n, 0.5 + rate, 3)
    assert beta_binomial_low(k, n, 0.5 + rate, 3) == pytest.approx(expected, rel=1e-12)


@given(P)
def test_adjusted_p_values_are_scipys(p):
    assert benjamini_hochberg(p).tolist() == stats.false_discovery_control(p).tolist()
