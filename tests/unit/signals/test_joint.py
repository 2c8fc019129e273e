"""Signals that judge a record by itself are ranked together: the rate is theirs in all, and 99 rows are enough."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.signals.conformal import ALL, Calibration, rows_needed
from poison_guard.signals.joint import Known, TailScale, joint_scores

RATE = 0.01


def drawn(rng, n, alike, tail):
    """Scores of three signals, more or less alike, with tails of any weight."""
    shared = rng.standard_normal(n)
    z = [alike**0.5 * shared + (1 - alike) ** 0.5 * rng.standard_normal(n) for _ in range(3)]
    return [z[0], np.exp(tail * z[1]), np.round(z[2], 1)]


def together(known):
    scores, whole = joint_scores(known)
    none = np.full(int(whole.sum()), ALL, dtype=object)
    return {name: Calibration.fit(scores[name], none, RATE) for name in known}


def smallest_p(calibrations, scores):
    none = np.full(len(scores[0]), ALL, dtype=object)
    return np.min([c.p(s, none) for c, s in zip(calibrations.values(), scores, strict=True)], axis=0)


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("rows", [99, 300])
def test_all_signals_together_hold_the_rate_and_no_more(alike, rows):
    held, worlds, n = [], 150, 400
    for seed in range(worlds):
        rng = np.random.default_rng(seed)
        before, after, new = (drawn(rng, size, alike, 2.0) for size in (200, rows, n))
        names = ("anomaly", "label", "content")
        known = {name: Known(a, b) for name, a, b in zip(names, before, after, strict=True)}
        held.append((smallest_p(together(known), new) <= RATE + 1e-12).mean())
    expected = int(RATE * (rows + 1)) / (rows + 1)
    spread = np.std(held) / worlds**0.5
    assert np.mean(held) <= expected + 4 * spread
    assert np.mean(held) >= 0.5 * expected  # tied scores cost some


def test_with_just_enough_rows_each_signal_can_hold_a_record():
    rng = np.random.default_rng(0)
    known = {"a": Known(rng.random(200), rng.random(99)), "b": Known(rng.random(200) ** 9, rng.random(99) ** 9)}
    assert rows_needed(RATE) == 99
    found = smallest_p(together(known), [np.array([50.0, 0.5, 0.5]), np.array([0.1, 50.0, 0.1])])
    assert found[:2].max() <= RATE
    assert found[2] > 0.1


def test_a_score_beyond_all_that_are_alike_is_the_rarest():
    scale = TailScale.fit(np.zeros(50))
    assert scale.apply(np.array([0.0]))[0] == 0
    assert scale.apply(np.array([1e-9]))[0] >= np.log(51)
    assert scale.invert(np.array([2.0]))[0] > 0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.lists(st.floats(-2e6, 2e6), min_size=2, max_size=2))
@settings(max_examples=100, deadline=None)
def test_a_stranger_score_is_never_less_rare(reference, pair):
    scale = TailScale.fit(np.array(reference))
    low, high = scale.apply(np.sort(pair))
    assert 0 <= low <= high + 1e-12  # interpolation rounds


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=30), st.floats(0, 9), st.floats(-1e3, 1e4))
@settings(max_examples=100, deadline=None)
def test_a_score_below_the_inverse_is_less_rare(reference, share, score):
    scale = TailScale.fit(np.array(reference))
    at = scale.invert(np.array([share]))[0]
    if score < at - 1e-6 * max(1, abs(at)):
        assert scale.apply(np.array([score]))[0] <= share + 1e-6


def test_rows_that_one_signal_does_not_judge_do_not_calibrate():
    known = {
        "a": Known(np.arange(9.0), np.arange(5.0)),
        "b": Known(np.arange(9.0), np.array([1, np.nan, 3, 4, np.nan])),
    }
    scores, whole = joint_scores(known)
    assert whole.tolist() == [True, False, True, True, False]
    assert {name: len(found) for name, found in scores.items()} == {"a": 3, "b": 3}
