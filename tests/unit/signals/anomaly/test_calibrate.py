from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstwobign

from poison_guard.records import Reason
from poison_guard.signals.anomaly.calibrate import Calibration, drift, label_trim, suspects

SCORES = st.lists(st.floats(-5, 5), min_size=1, max_size=60).map(np.array)
VERDICTS = st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=60).map(np.array)


def names(*counts: tuple[str, int]) -> np.ndarray:
    return np.concatenate([np.full(n, name, dtype=object) for name, n in counts])


def test_a_group_is_ranked_among_its_own_rows_and_a_small_one_among_all():
    scores = np.concatenate([np.arange(100.0), np.arange(1000.0, 1100.0), [5000.0]])
    fitted = Calibration.fit(scores, names(("a", 100), ("b", 100), ("c", 1)), 0.01)
    p = fitted.p(np.array([500.0, 500.0, 500.0, 500.0]), names(("a", 1), ("b", 1), ("c", 1), ("", 1)))
    assert p.tolist() == pytest.approx([1 / 101, 1.0, 102 / 202, 102 / 202])
    assert fitted.small == {"c": 1}
    assert fitted.notes() == (Reason("few_calibration_rows", {"n": 1, "needed": 99, "group": "c"}),)


def test_a_third_of_a_million_groups_that_nobody_knows_cost_no_more_than_one():
    fitted = Calibration.fit(np.arange(300.0), names(("a", 150), ("b", 150)), 0.01)
    many = np.array([f"g{k}" for k in range(300_000)], dtype=object)
    begun = time.process_time()
    p = fitted.p(np.full(len(many), 299.0), many)
    assert time.process_time() - begun < 2.0
    assert (p == 2 / 301).all()


def test_a_feed_with_too_few_rows_says_so_once_for_all_groups():
    fitted = Calibration.fit(np.arange(20.0), names(("a", 10), ("b", 10)), 0.01)
    assert fitted.notes() == (Reason("few_calibration_rows", {"n": 20, "needed": 99, "group": ""}),)


def test_the_facts_say_what_so_many_rows_can_hold():
    facts = Calibration.fit(np.arange(250.0), names(("a", 200), ("b", 50)), 0.01).facts()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["pooled"] == {"b": 50}
    assert facts["groups"]["a"]["held"] == pytest.approx(2 / 201)
    assert facts["groups"]["a"]["held_low"] < facts["groups"]["a"]["held"] < facts["groups"]["a"]["held_high"]
    few = Calibration.fit(np.arange(50.0), names(("", 50)), 0.01).facts()
    assert (few["groups"][""]["held"], few["groups"][""]["held_high"]) == (0.0, 0.0)


def test_no_calibration_row_gives_p_one_and_facts_without_numbers_that_are_none():
    fitted = Calibration.fit(np.empty(0), np.empty(0, dtype=object), 0.01)
    assert fitted.p(np.array([1.0, 1e9]), names(("", 1), ("a", 1))).tolist() == [1.0, 1.0]
    assert json.dumps(fitted.facts(), allow_nan=False)


@given(SCORES, VERDICTS, st.integers(-1, 80))
def test_suspects_are_the_strangest_rows_that_nobody_looked_at(p, verdicts, budget):
    n = min(len(p), len(verdicts))
    p, verdicts = p[:n], verdicts[:n]
    asked = suspects(p, verdicts, budget)
    assert len(asked) == min(max(0, budget), int((verdicts == 0).sum()))
    assert (verdicts[asked] == 0).all()
    rest = np.setdiff1d(np.flatnonzero(verdicts == 0), asked)
    assert not len(asked) or not len(rest) or p[asked].max() <= p[rest].min()


@given(VERDICTS)
def test_only_rows_found_wrong_leave(verdicts):
    np.testing.assert_array_equal(label_trim(verdicts), verdicts != -1)


def test_labels_bring_power_back_and_do_not_hold_more_honest_records():
    rng = np.random.default_rng(0)
    clean, wrong = rng.standard_normal(1980), rng.standard_normal(20) + 5
    known = np.concatenate([clean, wrong])
    attacks, honest = rng.standard_normal(2000) + 5, rng.standard_normal(20_000)
    verdicts = np.zeros(2000, int)
    p = Calibration.fit(known, names(("", 2000)), 0.01).p(known, names(("", 2000)))
    asked = suspects(p, verdicts, 50)
    verdicts[asked] = np.where(asked >= 1980, -1, 1)
    kept = known[label_trim(verdicts)]
    held = {
        name: [
            (Calibration.fit(rows, names(("", len(rows))), 0.005).p(new, names(("", len(new)))) <= 0.005).mean()
            for new in (attacks, honest)
        ]
        for name, rows in (("clean", clean), ("dirty", known), ("labelled", kept), ("cut", np.sort(known)[:-50]))
    }
    assert held["dirty"][0] < 0.5 * held["clean"][0]
    assert held["labelled"][0] == pytest.approx(held["clean"][0], abs=0.02)
    assert held["labelled"][1] <= 0.008
    assert held["cut"][1] > 0.015  # the same rows dropped unseen: three times the stated share


def test_drift_is_said_of_a_moved_middle_and_of_a_longer_tail():
    rng = np.random.default_rng(1)
    known, same = rng.standard_normal(2000), rng.standard_normal(1000)
    assert drift(known, same, 0.01).notes() == ()
    moved = drift(known, same + 0.4, 0.01)
    assert moved.parted
    assert 0.5 < moved.low < moved.auc < moved.high
    longer = drift(known, np.concatenate([same, np.full(30, 9.0)]), 0.01)
    assert longer.ks_p > 0.01
    (note,) = longer.notes()
    assert (note.code, note.args["rate"]) == ("calibration_drift", 0.01)
    assert note.args["held"] > note.args["high"]
    assert json.dumps(dict(note.args), allow_nan=False)


def test_drift_is_rarely_said_of_rows_like_the_calibration_rows():
    rng = np.random.default_rng(2)
    told = [drift(rng.standard_normal(150), rng.standard_normal(100), 0.01).parted for _ in range(1500)]
    assert sum(told) <= 7  # 1.5 expected, 7 or more have a chance of 0.0009


@given(SCORES, SCORES)
def test_drift_agrees_with_plain_counting(known, others):
    found = drift(known, others, 0.05)
    above = np.mean([(o > k) + 0.5 * (o == k) for o in others for k in known])
    assert found.auc == pytest.approx(above)
    at = np.concatenate([known, others])
    distance = max(abs((known <= x).mean() - (others <= x).mean()) for x in at)
    size = len(known) * len(others) / len(at)
    assert found.ks_p == pytest.approx(kstwobign.sf(np.sqrt(size) * distance), abs=1e-9)
    assert all(tail.low <= tail.high for tail in found.tails)


def test_without_rows_there_is_nothing_to_compare():
    assert drift(np.empty(0), np.ones(3), 0.01) is None
    assert drift(np.ones(3), np.empty(0), 0.01) is None
