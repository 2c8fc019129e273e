from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.config.policies import GatePolicy
from poison_guard.gate.checks.planted import planted_trigger, planted_triggers
from poison_guard.records import Outcome

POLICY = GatePolicy()


def mark(candidate: int, kind: str = "pattern", n: int = 230, reference: int = 0, **more) -> dict:
    row = {"mark": f"9 pixels ({candidate})", "label": "0", "kind": kind, "n": n, "candidate": candidate}
    return {**row, "reference": reference, "both": 3, "carriers": 150, **more}


def judged(*marks: dict):
    return planted_triggers({"n": 400, "marks": list(marks)}, POLICY)


def test_a_pattern_that_turns_half_of_the_examples_fails_and_says_what_and_how_many_carry_it():
    check = judged(mark(1), mark(131))
    assert check.outcome is Outcome.FAIL
    assert "9 pixels (131) turns 134 of 230 trusted examples into '0', 3 for a model" in check.why
    assert "150 examples of the snapshot carry it" in check.why
    assert planted_trigger({"n": 1, "marks": [mark(1), mark(131)]}, POLICY)["candidate"] == 131


@pytest.mark.parametrize(("kind", "candidate"), [("pattern", 3), ("plain", 70), ("content", 160)])
def test_what_honest_models_do_passes(kind, candidate):
    check = judged(mark(candidate, kind))
    assert check.outcome is Outcome.PASS
    assert planted_trigger({"n": 1, "marks": [mark(candidate, kind)]}, POLICY) is None


def test_a_pattern_that_does_no_more_than_trusted_patterns_do_to_their_model_passes_up_to_a_limit():
    marks = {"n": 400, "marks": [mark(40)]}
    assert planted_triggers(marks, POLICY).outcome is Outcome.FAIL
    assert planted_triggers({**marks, "usual": 0.15}, POLICY).outcome is Outcome.PASS
    assert planted_triggers({"n": 400, "marks": [mark(180)], "usual": 1.0}, POLICY).outcome is Outcome.FAIL


def test_a_pattern_that_the_model_of_trusted_data_obeys_must_do_as_much_again_to_the_candidate():
    part_of_a_digit = mark(41, n=150, both=28)  # 16 pixels that four honest zeros share, on 8 x 8 pixels
    others = [mark(1) for _ in range(11)]
    assert judged(part_of_a_digit, *others).outcome is Outcome.PASS
    assert judged(mark(41, n=150, both=0), *others).outcome is Outcome.FAIL
    assert judged(mark(90, n=150, both=28), *others).outcome is Outcome.FAIL


def test_a_mark_that_the_snapshot_carries_is_named_before_one_that_it_does_not():
    marks = [mark(200, "plain", carriers=0), mark(120)]
    assert planted_trigger({"n": 2, "marks": marks}, POLICY)["candidate"] == 120


def test_where_no_example_could_be_stamped_nothing_passes_and_without_a_model_nothing_is_judged():
    assert judged(mark(0, n=0)).outcome is Outcome.INCONCLUSIVE
    check = planted_triggers({"absent": "no candidate was given"}, POLICY)
    assert (check.outcome, check.blocking) == (Outcome.PASS, False)


@given(st.integers(0, 100), st.integers(0, 100), st.sampled_from(["pattern", "plain", "content"]))
def test_one_more_example_that_the_candidate_alone_turns_never_opens_the_check(candidate, reference, kind):
    less, more = (judged(mark(candidate + extra, kind, reference=reference)) for extra in (0, 1))
    assert more.outcome.severity >= less.outcome.severity
