from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.config.policies import GatePolicy
from poison_guard.gate import measure
from poison_guard.gate.outcomes import ERROR_BUDGET, THREATS, Verdict, judge_harm
from poison_guard.gate.verdict import ALERTS, CHECKS, REPLY_CHECKS, evaluate_checks
from poison_guard.records import Outcome

POLICY = GatePolicy()
EQUAL = {"a": 2500, "b": 2500}


def honest():
    drop = {"n": 500, "lost": 2, "gained": 4}
    sums = {"a": [2500, 25.0, 10.0], "b": [2500, 25.0, 10.0]}
    own = {"a": [500, 5.0, 2.0], "b": [500, 5.0, 2.0]}
    return {
        "label_neighbours": {
            "labels": ["a", "b"],
            "n": 5000,
            "trusted_n": 1000,
            "unseen": {"all": 0},
            "suspicion": {"all": sums, "trusted": own},
            "effect": 0.8,
            "pairs": {
                "all": [["a", "b", 11, 10.0], ["b", "a", 9, 10.0]],
                "trusted": [["a", "b", 2, 2.0], ["b", "a", 0, 2.0]],
            },
            "shows": [],
        },
        "triggers": {"n": 5000, "trusted_n": 1000, "marks": [], "family": []},
        "canary": {"n": 1000, "lost": 4, "gained": 8, "classes": {"a": drop, "b": drop}, "slices": {}},
        "label_shift": {"n": 5000, "labels": EQUAL, "trusted_n": 1000, "trusted": {"a": 510, "b": 490}},
        "source_share": measure.source_share({f"s{i}": 50 for i in range(100)}),
        "new_cohort": measure.new_cohort({f"s{i}": 50 for i in range(100)}, {f"s{i}": 50 for i in range(10)}),
        "trusted_set": measure.trusted_set({"a": 510, "b": 490}, EQUAL, age_days=3),
        "audits": measure.audits(n=200, wrong=0),
        "observed": measure.observed(n=5000, passed=0),
        "backlog": measure.backlog(n=5000, deferred=10),
        "candidate": measure.no_candidate(),
        "planted_triggers": measure.no_candidate(),
    }


def test_what_was_only_let_pass_is_for_a_person_to_judge():
    check = CHECKS["observed"](measure.observed(n=5000, passed=1), POLICY)
    assert (check.outcome, check.blocking) == (Outcome.INCONCLUSIVE, True)
    assert "recall --observed" in check.why


def test_a_gate_without_audits_does_not_speak_of_none_of_none():
    assert "0 of 0" not in CHECKS["audits"](measure.audits(n=0, wrong=0), POLICY).why


def outcome(name, measured):
    return CHECKS[name](measured, POLICY).outcome


def test_an_honest_snapshot_passes_every_check():
    verdict = evaluate_checks(honest(), POLICY)
    assert verdict.why == ()
    assert verdict.outcome is Outcome.PASS
    assert {check.name for check in verdict.checks} == set(CHECKS)
    assert {*CHECKS, *REPLY_CHECKS} == set(THREATS)


@pytest.mark.parametrize("name", CHECKS)
def test_a_missing_crashed_or_unreadable_measurement_is_an_error_and_closes_unless_it_only_alerts(name):
    for wrong in (None, {"error": "no memory"}, {}, {"n": "many"}, 7, [], {"n": float("nan")}):
        measured = honest() | {name: wrong}
        check = next(c for c in evaluate_checks(measured, POLICY).checks if c.name == name)
        assert check.outcome is Outcome.ERROR
        expected = Outcome.PASS if name in ALERTS else Outcome.ERROR
        assert evaluate_checks(measured, POLICY).outcome is expected
    assert evaluate_checks({k: v for k, v in honest().items() if k != name}, POLICY).outcome is expected


def test_no_measurement_at_all_is_an_error():
    assert evaluate_checks({}, POLICY).outcome is Outcome.ERROR


def test_a_verdict_goes_to_json_and_back():
    verdict = evaluate_checks(honest() | {"canary": {"error": "x"}}, POLICY)
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json(), allow_nan=False))) == verdict


def test_an_error_comes_before_a_failure_and_a_failure_before_inconclusive():
    measured = honest() | {"source_share": measure.source_share({"x": 900, **{f"s{i}": 1 for i in range(100)}})}
    assert evaluate_checks(measured, POLICY).outcome is Outcome.FAIL
    measured |= {"trusted_set": measure.trusted_set({"a": 500, "b": 5}, EQUAL, age_days=3)}
    assert evaluate_checks(measured, POLICY).outcome is Outcome.FAIL
    assert (
        evaluate_checks(measured | {"source_share": honest()["source_share"]}, POLICY).outcome is Outcome.INCONCLUSIVE
    )
    assert evaluate_checks(measured | {"audits": {"error": "x"}}, POLICY).outcome is Outcome.ERROR


@pytest.mark.parametrize("checks", [CHECKS, REPLY_CHECKS])
def test_the_error_budget_adds_up_to_one(checks):
    assert sum(ERROR_BUDGET.get(name, 0.0) for name in checks) == pytest.approx(1.0)


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 0.5))
def test_more_harm_with_the_same_certainty_is_never_judged_milder(value, width, more, limit):
    first = judge_harm(value, value - width, value + width, limit)
    second = judge_harm(value + more, value + more - width, value + more + width, limit)
    if first is not Outcome.PASS:
        assert second is not Outcome.PASS
    assert judge_harm(float("nan"), float("nan"), float("nan"), limit) is Outcome.INCONCLUSIVE


def test_one_source_beyond_its_share_fails_and_few_sources_may_hold_three_even_shares():
    assert outcome("source_share", measure.source_share({f"s{i}": 10 for i in range(10)})) is Outcome.PASS
    assert outcome("source_share", measure.source_share({"x": 60, **{f"s{i}": 1 for i in range(100)}})) is Outcome.FAIL
    assert outcome("source_share", measure.no_sources()) is Outcome.PASS


def test_new_sources_fail_by_count_and_by_share_and_unknown_ages_are_said():
    old = {f"s{i}": 100 for i in range(100)}
    assert outcome("new_cohort", measure.new_cohort({**old, "x": 251}, {"x": 251})) is Outcome.FAIL
    many = {f"n{i}": 100 for i in range(101)}
    assert outcome("new_cohort", measure.new_cohort({**old, **many}, many)) is Outcome.FAIL
    check = CHECKS["new_cohort"](measure.new_cohort(old, {}, unknown=old["s0"]), POLICY)
    assert "10000" in check.why


def test_a_trusted_set_with_a_missing_label_says_how_many_it_needs():
    check = CHECKS["trusted_set"](measure.trusted_set({"a": 500}, EQUAL, age_days=1), POLICY)
    assert (check.outcome, check.needs) == (Outcome.INCONCLUSIVE, 520)
    for wrong in ({"age_days": 400}, {"age_days": None}):
        assert outcome("trusted_set", measure.trusted_set(EQUAL, EQUAL, **wrong)) is Outcome.INCONCLUSIVE
    for wrong in ({"seen_before": 1}, {"seen_before": 7}):
        assert outcome("trusted_set", measure.trusted_set(EQUAL, EQUAL, age_days=1, **wrong)) is Outcome.FAIL
    assert outcome("trusted_set", measure.trusted_set({}, {}, age_days=1)) is Outcome.INCONCLUSIVE


def test_too_few_audits_alert_and_say_how_many_while_many_misses_fail():
    check = CHECKS["audits"](measure.audits(n=0, wrong=0), POLICY)
    assert (check.outcome, check.blocking, check.needs) == (Outcome.INCONCLUSIVE, False, 149)
    assert outcome("audits", measure.audits(n=149, wrong=0)) is Outcome.PASS
    assert outcome("audits", measure.audits(n=149, wrong=20)) is Outcome.FAIL


def test_a_backlog_alerts_and_never_blocks():
    check = CHECKS["backlog"](measure.backlog(n=1, deferred=100, waiting=50, expired=10), POLICY)
    assert (check.outcome, check.blocking) == (Outcome.INCONCLUSIVE, False)


def test_a_class_that_loses_beyond_the_limit_fails_though_the_whole_gains():
    measured = honest()["canary"] | {"classes": {"a": {"n": 100, "lost": 30, "gained": 0}}}
    check = CHECKS["canary"](measured, POLICY)
    assert check.outcome is Outcome.FAIL
    assert "'a'" in check.why
    few = {"n": 25, "lost": 4, "gained": 0, "classes": {}, "slices": {}}
    check = CHECKS["canary"](few, POLICY)
    assert check.outcome is Outcome.INCONCLUSIVE
    assert check.needs is not None
    assert check.needs > 25


def test_a_shift_of_labels_is_measured_against_the_anchor_too():
    drifted = honest()["label_shift"] | {"anchor_n": 5000, "anchor": {"a": 1000, "b": 4000}}
    assert outcome("label_shift", drifted) is Outcome.FAIL
    tiny = {"n": 5000, "labels": EQUAL, "trusted_n": 8, "trusted": {"a": 4, "b": 4}}
    check = CHECKS["label_shift"](tiny, POLICY)
    assert check.outcome is Outcome.INCONCLUSIVE
    assert check.needs is not None


def test_flipped_labels_fail_overall_and_few_trusted_examples_say_what_they_need():
    measured = honest()["label_neighbours"]
    flipped = {"a": [2500, 300.0, 260.0], "b": [2500, 300.0, 260.0]}
    wrong = measured | {"suspicion": measured["suspicion"] | {"all": flipped}}
    assert outcome("label_neighbours", wrong) is Outcome.FAIL
    few = {"a": [20, 2.0, 2.0], "b": [20, 2.0, 2.0]}
    same = {"a": [2500, 250.0, 250.0], "b": [2500, 250.0, 250.0]}
    check = CHECKS["label_neighbours"](
        measured | {"trusted_n": 40, "suspicion": {"all": same, "trusted": few}, "pairs": {"all": [], "trusted": []}},
        POLICY,
    )
    assert check.outcome is Outcome.INCONCLUSIVE
    assert check.needs is not None
    assert check.needs > 40


def test_one_pair_of_labels_that_trusted_examples_deny_fails():
    measured = honest()["label_neighbours"]
    wrong = measured | {"pairs": {"all": [["a", "b", 400, 10.0]], "trusted": [["a", "b", 2, 2.0]]}}
    check = CHECKS["label_neighbours"](wrong, POLICY)
    assert check.outcome is Outcome.FAIL
    assert check.low is not None
    assert check.value is not None
    assert 0 < check.low < check.value


def test_the_new_part_of_a_snapshot_fails_by_itself():
    measured = honest()["label_neighbours"]
    new = {"a": [100, 40.0, 38.0], "b": [100, 40.0, 38.0]}
    groups = measured["suspicion"] | {"new": new}
    wrong = measured | {"suspicion": groups, "unseen": {"all": 0, "new": 0}}
    assert outcome("label_neighbours", wrong | {"pairs": measured["pairs"] | {"new": []}}) is Outcome.FAIL


def test_a_mark_that_only_the_snapshot_has_fails_and_one_that_both_have_passes():
    both = {"n": 5000, "trusted_n": 1000}
    row = {"mark": "word 'x'", "label": "a", "here": 50, "there": 0, "expected": 0.1, "weight": 0.8}
    assert outcome("triggers", both | {"marks": [row], "family": [[50, 0.8]]}) is Outcome.FAIL
    shared = both | {"marks": [row | {"there": 10}], "family": [[60, 0.8]]}
    check = CHECKS["triggers"](shared, POLICY)
    assert check.outcome is Outcome.PASS
    assert check.high is not None
    assert check.high > 0
    small = CHECKS["triggers"]({"n": 5000, "trusted_n": 100, "marks": [], "family": []}, POLICY)
    assert small.needs is not None
    assert small.needs > 100


def test_predictions_for_other_ids_are_an_error_and_a_worse_candidate_fails():
    import pandas as pd

    ids = [f"e{i}" for i in range(200)]
    trusted = pd.DataFrame({"example_id": ids, "label": ["a", "b"] * 100, "slice": ""})
    truth = dict(zip(ids, trusted["label"], strict=True))
    same = measure.candidate(trusted, truth, truth, against="champion")
    assert outcome("candidate", same) is Outcome.PASS
    fewer = {i: truth[i] for i in ids[1:]}
    for wrong in ({}, fewer, {**truth, "other": "a"}):
        check = CHECKS["candidate"](measure.candidate(trusted, wrong, truth, against="champion"), POLICY)
        assert check.outcome is Outcome.ERROR
    worse = dict.fromkeys(ids, "a")
    assert outcome("candidate", measure.candidate(trusted, worse, truth, against="champion")) is Outcome.FAIL


def test_a_candidate_that_speaks_of_other_labels_is_told_so():
    import pandas as pd

    trusted = pd.DataFrame({"example_id": [f"e{i}" for i in range(200)], "label": ["a", "b"] * 100, "slice": ""})
    truth = dict(zip(trusted["example_id"], trusted["label"], strict=True))
    numbered = {i: str(int(label == "b")) for i, label in truth.items()}
    check = CHECKS["candidate"](measure.candidate(trusted, numbered, truth, against="champion"), POLICY)
    assert check.outcome is Outcome.FAIL
    assert "predicts '0', a label no trusted example has" in check.why


def test_a_pair_that_trusted_examples_mix_up_too_is_not_held_against_the_snapshot():
    measured = honest()["label_neighbours"]
    mixed = {"all": [["a", "b", 200, 190.0]], "trusted": [["a", "b", 41, 38.0]]}
    assert outcome("label_neighbours", measured | {"pairs": mixed}) is Outcome.PASS


def test_a_passing_check_says_which_flips_it_could_not_have_seen():
    measured = honest()["label_neighbours"] | {"shows": [["a", "b", 0.02], ["b", "a", 0.9]]}
    check = CHECKS["label_neighbours"](measured, POLICY)
    assert check.outcome is Outcome.PASS
    assert "of label 'a' labelled 'b'" in check.why
    assert check.needs is not None
    assert check.needs > measured["trusted_n"]


def test_without_a_trusted_set_one_check_is_inconclusive_and_says_so_for_all_that_need_one():
    error = {"error": "100 examples in the snapshot and 0 trusted ones; both are needed"}
    measured = honest() | dict.fromkeys(("label_neighbours", "triggers", "canary", "label_shift"), error)
    verdict = evaluate_checks(measured | {"trusted_set": measure.trusted_set({}, EQUAL, age_days=None)}, POLICY)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    [why] = verdict.why
    assert "there is no trusted set" in why
    unmeasured = evaluate_checks(measured, POLICY)
    assert unmeasured.outcome is Outcome.ERROR
