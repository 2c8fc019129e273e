"""The rule of admission, and its laws."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.gate.admission import decide_admission, same_person

NOW = dt.datetime(2026, 3, 4, 12, 0, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def _by(who, hours=5, **changed):
    expires = None if hours is None else NOW + hours * HOUR
    return {"by": who, "reason": "looked at it", "at": NOW - HOUR, "expires": expires, **changed}


@pytest.mark.parametrize(
    ("outcome", "approvals", "admitted", "needs"),
    [
        ("pass", [], True, 0),
        ("PASS", [_by("ann")], True, 0),
        ("inconclusive", [], False, 1),
        ("inconclusive", [_by("ann")], True, 0),
        ("inconclusive", [_by("ann", None)], True, 0),
        ("inconclusive", [_by("ann", -1)], False, 1),
        ("inconclusive", [_by("ann", 0)], False, 1),
        ("inconclusive", [_by(" ")], False, 1),
        ("inconclusive", [_by("\u200b")], False, 1),
        ("inconclusive", [_by("ann", reason=" ")], False, 1),
        ("inconclusive", [_by("ann", reason=None)], False, 1),
        ("inconclusive", [_by("ann", at=NOW + HOUR)], False, 1),
        ("fail", [], False, 2),
        ("fail", [_by("ann")], False, 1),
        ("fail", [_by("ann"), _by("bob")], True, 0),
        ("fail", [_by("ann"), _by("ANN ")], False, 1),
        ("fail", [_by("ann"), _by("a n\tn")], False, 1),
        ("fail", [_by("ann"), _by("an\u200bn")], False, 1),
        ("fail", [_by("ann"), _by("ａｎｎ")], False, 1),
        ("fail", [_by("ann"), _by("bob", None)], False, 1),
        ("fail", [_by("ann"), _by("bob", -1)], False, 1),
        ("error", [_by("ann"), _by("bob"), _by("eve")], False, 0),
        ("", [_by("ann"), _by("bob")], False, 0),
        ("passed", [], False, 0),
    ],
)
def test_the_rule(outcome, approvals, admitted, needs):
    decision = decide_admission(outcome, approvals, now=NOW)
    assert (decision.admitted, decision.needs) == (admitted, needs)
    assert len(decision.why.splitlines()) == 1
    assert decision.admitted or "closed" in decision.why


@pytest.mark.parametrize(
    ("outcome", "hours", "expires"),
    [
        ("pass", [1], None),
        ("inconclusive", [1, 5], 5),
        ("inconclusive", [5, None], None),
        ("fail", [1, 5], 1),
        ("fail", [1, 5, 3], 3),
    ],
)
def test_it_ends_when_the_last_approvals_that_suffice_lapse(outcome, hours, expires):
    decision = decide_admission(outcome, [_by(f"p{n}", h) for n, h in enumerate(hours)], now=NOW)
    assert decision.expires == (None if expires is None else NOW + expires * HOUR)


def test_one_person_who_approves_again_for_longer_counts_once_and_for_longer():
    decision = decide_admission("fail", [_by("ann", 1), _by("bob", 9), _by("Ann", 5)], now=NOW)
    assert decision.expires == NOW + 5 * HOUR


_PEOPLE = st.lists(st.builds(_by, st.sampled_from(["ann", "Ann", "bob", "eve", ""]), st.sampled_from([-1, 1, 2, None])))
_OUTCOMES = st.sampled_from(["pass", "inconclusive", "fail", "error"])


@given(_OUTCOMES, _PEOPLE, _PEOPLE)
def test_one_more_approval_never_closes_and_never_shortens(outcome, some, more):
    before, after = (decide_admission(outcome, a, now=NOW) for a in (some, some + more))
    assert after.admitted >= before.admitted
    assert after.needs <= before.needs
    if before.admitted and after.expires is not None:
        assert before.expires is not None
        assert after.expires >= before.expires


@given(_OUTCOMES, _PEOPLE, st.randoms())
def test_the_order_of_approvals_does_not_matter(outcome, approvals, rng):
    shuffled = rng.sample(approvals, len(approvals))
    assert decide_admission(outcome, shuffled, now=NOW) == decide_admission(outcome, approvals, now=NOW)


@given(_PEOPLE)
def test_a_worse_verdict_never_admits_what_a_better_one_does_not(approvals):
    admitted = [decide_admission(o, approvals, now=NOW).admitted for o in ("pass", "inconclusive", "fail", "error")]
    assert admitted == sorted(admitted, reverse=True)


@given(_OUTCOMES, _PEOPLE)
def test_what_is_admitted_is_closed_once_it_expired(outcome, approvals):
    decision = decide_admission(outcome, approvals, now=NOW)
    if decision.admitted and decision.expires is not None:
        assert not decide_admission(outcome, approvals, now=decision.expires).admitted


def test_spelling_makes_no_second_person():
    assert same_person("José  Díaz", "jose diaz")
    assert not same_person("ann", "anna")
