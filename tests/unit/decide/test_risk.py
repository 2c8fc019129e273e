import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.config import Policy
from poison_guard.decide.decisions import HOLD, risk_by_level, risk_of_p
from poison_guard.records import Level, SignalEvidence

P = st.floats(1e-12, 1.0, exclude_min=False)


def _evidence(level: Level, p: float, signal: str = "s") -> SignalEvidence:
    return SignalEvidence(signal, level, np.array([p]), {})


@given(P, P, st.floats(1e-4, 0.5))
def test_lowering_a_p_value_never_lowers_its_risk(a, b, alpha):
    low, high = sorted((a, b))
    risk = risk_of_p(np.array([low, high]), alpha)
    assert risk[0] >= risk[1]


@given(st.lists(st.tuples(st.sampled_from(list(Level)), P), min_size=1, max_size=6), st.data())
def test_lowering_any_p_value_never_lowers_the_overall_risk(signals, data):
    which = data.draw(st.integers(0, len(signals) - 1))
    lower = data.draw(st.floats(1e-12, signals[which][1]))

    def overall(values):
        evidence = [_evidence(level, p, str(i)) for i, (level, p) in enumerate(values)]
        return max(float(r[0]) for r in risk_by_level(evidence, Policy(), 1).values())

    lowered = list(signals)
    lowered[which] = (signals[which][0], lower)
    assert overall(lowered) >= overall(signals)


@given(st.floats(1e-6, 0.5))
def test_the_threshold_itself_is_held_and_just_above_is_not(alpha):
    assert risk_of_p(np.array([alpha]), alpha)[0] >= HOLD
    assert risk_of_p(np.array([min(1.0, alpha * 1.01)]), alpha)[0] < HOLD


def test_only_source_evidence_can_reach_rejection():
    policy = Policy()
    for level in Level:
        risk = risk_by_level([_evidence(level, 1e-12)], policy, 1)[level][0]
        assert (risk >= policy.reject_risk) == (level is Level.SOURCE)


def test_the_same_signal_twice_counts_once():
    p = np.geomspace(1e-6, 1, 50)
    once, twice = ([SignalEvidence(str(i), Level.RECORD, p, {}) for i in range(k)] for k in (1, 2))
    np.testing.assert_allclose(
        risk_by_level(twice, Policy(), 50)[Level.RECORD], risk_by_level(once, Policy(), 50)[Level.RECORD]
    )


def test_silence_is_no_risk():
    assert risk_by_level([_evidence(Level.RECORD, 1.0)], Policy(), 1)[Level.RECORD][0] == 0
    assert all(r[0] == 0 for r in risk_by_level([], Policy(), 1).values())
