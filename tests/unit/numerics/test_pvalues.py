from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from poison_guard.numerics.pvalues import beta_low, e_lond, e_value


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
