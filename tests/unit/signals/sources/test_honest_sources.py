"""A source that was good and turned is found within a few answers, whatever its record; the honest are left alone."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.signals.sources import score_sources
from poison_guard.signals.sources.honest_sources import detect_changes
from poison_guard.signals.sources.reliability import score_history

ALPHA = 0.001
COUNTS = ("controls_right", "controls_wrong", "agreed", "disagreed", "outcomes_right", "outcomes_wrong", "n")
EMPTY = pd.DataFrame(columns=["source_id", *COUNTS, "first_seen", "blocked"])
LINE = st.lists(st.booleans(), max_size=40)


def frame(right, source="a"):
    at = pd.date_range("2026-01-01", periods=len(right), freq="min", tz="UTC")
    return pd.DataFrame({"source_id": source, "at": at, "right": pd.Series(right, dtype=bool)})


def many(rate, lengths, seed):
    """Lines of as many honest sources as there are lengths."""
    right = np.random.default_rng(seed).random(int(np.sum(lengths))) < rate
    return pd.DataFrame({"source_id": np.repeat(np.arange(len(lengths)), lengths), "right": right})


def p_of(right):
    return detect_changes(frame(right))["p"].iloc[0] if len(right) else 1.0


@pytest.mark.parametrize("before", [50, 200, 499])
def test_three_or_four_strikes_after_a_perfect_record_are_enough(before):
    assert p_of([True] * before + [False] * 2) > ALPHA
    assert p_of([True] * before + [False] * 4) <= ALPHA


@pytest.mark.parametrize("rate", [0.6, 0.75, 0.85, 0.95, 0.99])
def test_honest_sources_are_seldom_suspected_however_good_or_weak_they_are(rate):
    lengths = np.random.default_rng(1).integers(5, 400, 5000)
    assert (detect_changes(many(rate, lengths, int(1000 * rate)))["p"] <= ALPHA).mean() <= 0.002


def test_the_p_value_is_not_smaller_than_it_says():
    p = detect_changes(many(0.9, [300] * 3000, 0))["p"]
    for level in (0.1, 0.03, 0.01, 0.003):
        assert (p <= level).mean() <= level + 3 * np.sqrt(level / 3000)


@given(LINE, LINE)
@settings(max_examples=60, deadline=None)
def test_another_wrong_answer_never_makes_a_source_look_more_like_itself(start, end):
    line = [*start, *end]
    assert p_of([*line, False]) <= p_of(line)
    assert p_of([*line, True]) >= p_of([*line, False])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_sources_do_not_see_each_other(pairs, random):
    whole = pd.DataFrame(pairs, columns=["source_id", "right"]).astype({"right": bool})
    together = detect_changes(whole).set_index("source_id")
    for name, part in whole.groupby("source_id"):
        alone = detect_changes(part).iloc[0]
        assert alone["p"] == together.loc[name, "p"]
        assert (alone["wrong"], alone["n"]) == (together.loc[name, "wrong"], together.loc[name, "n"])
    names = ["a", "b", "c"]
    random.shuffle(names)
    by_name = pd.concat([whole[whole["source_id"] == name] for name in names])
    pd.testing.assert_frame_equal(detect_changes(by_name).set_index("source_id").sort_index(), together.sort_index())


def test_what_is_told_is_the_run_of_answers_under_suspicion():
    row = detect_changes(frame([True] * 100 + [False, False, True, False, False])).iloc[0]
    assert (row["wrong"], row["n"]) == (4, 5)
    assert row["before"] == pytest.approx(0.95)
    quiet = detect_changes(frame([True, True])).iloc[0]
    assert (quiet["p"], quiet["wrong"], quiet["n"]) == (1.0, 0, 0)
    assert detect_changes(frame([])).empty


def controls(n):
    return pd.DataFrame({"item_id": [f"c{i}" for i in range(n)], "answer": "1"})


def test_controls_of_this_batch_follow_what_was_verified_before():
    votes = pd.DataFrame({"item_id": [f"c{i}" for i in range(4)], "source_id": "a", "vote": "9"})
    ledger = pd.DataFrame([{"source_id": "a", **dict.fromkeys(COUNTS, 0), "controls_right": 300, "blocked": False}])
    told = score_sources(votes, ledger=ledger, controls=controls(4), alpha=ALPHA, verified=frame([True] * 300)).iloc[0]
    silent = score_sources(votes, ledger=ledger, controls=controls(4), alpha=ALPHA).iloc[0]
    assert told["p"] <= ALPHA
    assert (told["code"], told["args"]["wrong"], told["args"]["n"]) == ("changed", 4, 4)
    assert told["lower_bound"] == silent["lower_bound"]  # the posterior is the same: only the alarm is new


def test_the_order_in_which_a_batch_was_answered_counts_where_it_is_known():
    votes = pd.DataFrame({"item_id": [f"c{i}" for i in range(20)], "source_id": "a", "vote": ["9"] * 5 + ["1"] * 15})
    at = pd.Series(pd.date_range("2026-01-01", periods=20, freq="h", tz="UTC"))
    past = frame([True] * 200)
    p = {}
    for name, times in (("bad first", at), ("bad last", at[::-1].reset_index(drop=True))):
        scored = score_sources(
            votes.assign(observed_at=times), ledger=EMPTY, controls=controls(20), alpha=ALPHA, verified=past
        )
        p[name] = scored["p"].iloc[0]
    assert p["bad last"] <= ALPHA < p["bad first"]


def test_several_answers_to_one_control_are_one_wrong_answer():
    votes = pd.DataFrame({"item_id": ["c0"] * 5, "source_id": "a", "vote": list("12345")})
    scored = score_sources(votes, ledger=EMPTY, controls=controls(1), alpha=ALPHA, verified=frame([True] * 200))
    assert scored["p"].iloc[0] > 0.01


def test_forgetting_lets_an_old_record_fade():
    ledger = pd.DataFrame([{"source_id": "a", **dict.fromkeys(COUNTS, 0), "outcomes_right": 200, "outcomes_wrong": 20}])
    past = frame([True] * 200 + [False] * 20)
    kept = score_history(["a"], ledger=ledger, verified=past, alpha=ALPHA).iloc[0]
    faded = score_history(["a"], ledger=ledger, verified=past, alpha=ALPHA, half_life=10).iloc[0]
    assert kept["reliability"] == pytest.approx(204 / 225)
    assert faded["reliability"] < 0.5
    almost = score_history(["a"], ledger=ledger, verified=past, alpha=ALPHA, half_life=1e6).iloc[0]
    assert almost["reliability"] == pytest.approx(kept["reliability"], abs=1e-3)


def test_history_alone_speaks_for_sources_without_votes():
    ledger = pd.DataFrame(
        [
            {"source_id": "bad", **dict.fromkeys(COUNTS, 0), "outcomes_wrong": 12},
            {"source_id": "good", **dict.fromkeys(COUNTS, 0), "outcomes_right": 40, "outcomes_wrong": 2},
        ]
    )
    scored = score_history(["good", "bad", "new"], ledger=ledger, alpha=ALPHA).set_index("source_id")
    assert scored.loc["bad", "p"] <= ALPHA
    assert scored.loc[["good", "new"], "p"].min() > 0.05
    assert scored.loc["bad", "code"] == "outcomes_wrong"
    assert (scored["n"] == 0).all()
