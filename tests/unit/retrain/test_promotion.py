from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.config.policies import GatePolicy
from poison_guard.retrain.promotion import decide_promotion

POLICY = GatePolicy()
ATTACKS = ("fgsm", "pgd", "apgd", "apgd targeted", "blackbox", "noise")


def evaluation(wrong: set[int] = frozenset(), n: int = 300, fooled: set[int] = frozenset(), **more: Any) -> dict:
    """An evaluation of n examples, half of each label, that is wrong about some and fooled about more."""
    ids = [f"e{i}" for i in range(n)]
    labels = {one: "ab"[i % 2] for i, one in enumerate(ids)}
    flipped = {"a": "b", "b": "a"}
    attacked = ids[:250]
    lost = sorted({f"e{i}" for i in set(wrong) | set(fooled)} & set(attacked))
    base = {
        "version": 2,
        "kind": "table",
        "seed": 0,
        "budget": {"attacked": 250},
        "classes": ["a", "b"],
        "accuracy": 1 - len(wrong) / n,
        "attacked": attacked,
        "attacks": {name: {"wrong": lost, "epsilon": 0.1} for name in ATTACKS},
        "predictions": {one: flipped[labels[one]] if i in wrong else labels[one] for i, one in enumerate(ids)},
        "labels": labels,
        "slices": {},
        "masking": {"suspected": False, "why": ""},
    }
    return json.loads(json.dumps({**base, **more}))


def check(promotion, name: str) -> dict:
    (found,) = [one for one in promotion.checks if one.name == name]
    return found.to_json()


def test_a_candidate_that_lost_nothing_is_promoted_and_every_check_can_be_read():
    promotion = decide_promotion(evaluation(), evaluation(), None, POLICY)
    assert promotion.promoted
    checks = [one.to_json() for one in promotion.checks]
    assert json.loads(json.dumps(checks, allow_nan=False)) == checks
    for one in checks:
        assert one["why"].endswith(".")
        assert one["outcome"] == "pass"
    accuracy = check(promotion, "accuracy against the champion")
    assert (accuracy["value"], accuracy["limit"], accuracy["n"]) == (0, POLICY.max_drop, 300)
    assert accuracy["low"] < 0 < accuracy["high"] < POLICY.max_drop


def test_a_loss_beyond_the_limit_is_refused():
    promotion = decide_promotion(evaluation(set(range(40))), evaluation(), None, POLICY)
    assert not promotion.promoted
    assert check(promotion, "accuracy against the champion")["outcome"] == "fail"
    assert "40 lost and 0 gained of 300 examples" in promotion.why
    assert "limit 3" in promotion.why


def test_a_loss_that_cannot_be_excluded_is_refused_and_told_what_n_would_decide():
    few, same = evaluation({0, 1}, n=60), evaluation({2, 3}, n=60)
    promotion = decide_promotion(few, same, None, POLICY)
    accuracy = check(promotion, "accuracy against the champion")
    assert not promotion.promoted
    assert accuracy["outcome"] == "inconclusive"
    assert f"{accuracy['needs']} examples would decide" in accuracy["why"]
    n, share = accuracy["needs"], 2 / 60
    more = set(range(round(share * n)))
    others = {n - 1 - i for i in range(round(share * n))}
    decided = decide_promotion(evaluation(more, n=n), evaluation(others, n=n), None, POLICY)
    assert check(decided, "accuracy against the champion")["outcome"] == "pass"
    fewer = int(0.8 * n)
    less, apart = set(range(round(share * fewer))), {fewer - 1 - i for i in range(round(share * fewer))}
    still = decide_promotion(evaluation(less, n=fewer), evaluation(apart, n=fewer), None, POLICY)
    assert check(still, "accuracy against the champion")["outcome"] == "inconclusive"


def test_a_loss_of_one_class_is_refused_though_the_accuracy_holds():
    lost = {i for i in range(0, 300, 2) if i < 80}  # 40 of the 150 examples of class a
    kept = {i for i in range(1, 300, 2) if i < 80}  # that many of class b gained
    promotion = decide_promotion(evaluation(lost), evaluation(kept), None, GatePolicy(max_drop=0.1))
    assert check(promotion, "accuracy against the champion")["outcome"] == "pass"
    classes = check(promotion, "every class against the champion")
    assert classes["outcome"] == "fail"
    assert classes["n"] == 150
    assert "class 'a'" in classes["why"]
    assert not promotion.promoted


def test_a_loss_of_one_slice_is_refused_and_small_slices_are_judged_together():
    tagged = {f"e{i}": "north" if i < 40 else f"place {i % 20}" for i in range(80)}
    lost = evaluation(set(range(16)), slices=tagged)
    promotion = decide_promotion(lost, evaluation(slices=tagged), None, GatePolicy(max_drop=0.1))
    slices = check(promotion, "every slice against the champion")
    assert slices["outcome"] == "fail"
    assert "'north'" in slices["why"]
    rest = decide_promotion(
        evaluation(set(range(60, 80)), slices=tagged), evaluation(slices=tagged), None, GatePolicy(max_drop=0.2)
    )
    assert "(all smaller ones)" in check(rest, "every slice against the champion")["why"]


def test_robustness_to_any_attack_may_not_fall():
    promotion = decide_promotion(evaluation(fooled=set(range(90))), evaluation(fooled=set(range(20))), None, POLICY)
    assert not promotion.promoted
    assert check(promotion, "robustness to pgd against the champion")["outcome"] == "fail"
    assert check(promotion, "accuracy against the champion")["outcome"] == "pass"


def test_robustness_that_only_hides_the_gradient_counts_by_what_the_search_found():
    masked = evaluation(fooled=set(range(100)))
    for name in ("fgsm", "pgd", "apgd", "apgd targeted"):
        masked["attacks"][name]["wrong"] = []
    masked["masking"] = {"suspected": True, "why": "Gradients may be masked."}
    champion = evaluation(fooled=set(range(40)))
    champion["attacks"]["blackbox"]["wrong"] = []
    promotion = decide_promotion(masked, champion, None, POLICY)
    assert check(promotion, "robustness to pgd against the champion")["outcome"] == "pass"
    worst = check(promotion, "robustness to all attacks within the radius against the champion")
    assert worst["outcome"] == "fail"
    warning = check(promotion, "gradient masking")
    assert (warning["outcome"], warning["blocking"], warning["why"]) == ("fail", False, "Gradients may be masked.")


def test_a_masking_warning_alone_does_not_refuse():
    warned = evaluation(masking={"suspected": True, "why": "Gradients may be masked."})
    assert decide_promotion(warned, evaluation(), None, POLICY).promoted


def test_without_champion_the_baseline_is_the_measure_and_without_both_nothing_is_promoted():
    assert decide_promotion(evaluation(), None, evaluation(), POLICY).promoted
    assert not decide_promotion(evaluation(set(range(40))), None, evaluation(), POLICY).promoted
    alone = decide_promotion(evaluation(), None, None, POLICY)
    assert not alone.promoted
    assert "no champion and no baseline" in alone.why


def test_small_losses_do_not_add_up_past_the_baseline():
    sunk = set(range(30))  # champions that each lost little, 10 points below the baseline together
    against_champion = decide_promotion(evaluation(sunk), evaluation(sunk), None, POLICY)
    against_both = decide_promotion(evaluation(sunk), evaluation(sunk), evaluation(), POLICY)
    assert against_champion.promoted
    assert not against_both.promoted
    assert "against the baseline" in against_both.why


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"classes": ["a", "b", "c"]}, "No example of class 'c' was evaluated"),
        ({"accuracy": float("nan")}, "not finite at accuracy"),
        ({"calibration": {"ece": float("inf")}}, "not finite at calibration.ece"),
        ({"accuracy": 1.5}, "another accuracy than its predictions"),
        ({"classes": []}, "predictions that are not among its classes"),
        ({"classes": ["a"]}, "predictions that are not among its classes"),
        ({"accuracy": 0.5}, "another accuracy than its predictions"),
        ({"accuracy": None}, "another accuracy than its predictions"),
        ({"predictions": {}}, "predictions for other examples than labels"),
        ({"labels": {}, "predictions": {}}, "predictions for other examples than labels"),
        ({"attacks": {}}, "lacks one of fgsm, pgd, apgd, apgd targeted, blackbox"),
        ({"attacks": None}, "lacks attacks"),
        ({"attacked": [], "attacks": {name: {"wrong": []} for name in ATTACKS}}, "attacked nothing"),
        ({"attacked": ["somebody else's"]}, "attacked examples that it has no labels of"),
        ({"seed": 7}, "with another seed"),
        ({"mutable": ["a"]}, "with another mutable"),
        ({"budget": {"attacked": 10}}, "with another budget"),
        ({"slices": {"e0": "north"}}, "other labels or slices"),
    ],
)
def test_an_evaluation_that_is_broken_or_of_something_else_is_refused_with_the_reason(change, says):
    promotion = decide_promotion(evaluation(**change), evaluation(), None, POLICY)
    assert not promotion.promoted
    assert says in promotion.why


def test_a_champion_evaluated_on_other_examples_or_at_another_radius_is_no_measure():
    others = decide_promotion(evaluation(n=300), evaluation(n=260), None, POLICY)
    assert not others.promoted
    assert "other examples (40 are missing, 0 are others); evaluate the champion again" in others.why
    weaker = evaluation()
    weaker["attacks"]["pgd"]["epsilon"] = 0.01
    radius = decide_promotion(evaluation(), weaker, None, POLICY)
    assert not radius.promoted
    assert "another epsilon" in radius.why


def test_a_class_that_the_candidate_does_not_know_is_refused():
    every_b = set(range(1, 300, 2))
    promotion = decide_promotion(evaluation(every_b, classes=["a"]), evaluation(), None, POLICY)
    assert not promotion.promoted
    assert "The candidate does not know class 'b'" in promotion.why


def test_a_class_that_only_the_champion_knew_must_be_judged():
    promotion = decide_promotion(evaluation(), evaluation(classes=["a", "b", "rare"]), None, POLICY)
    assert not promotion.promoted
    assert "'rare'" in promotion.why


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(set(evaluation(n=2)) - {"masking"})), JSON, st.booleans())
def test_no_evaluation_whatever_it_holds_raises_and_a_torn_one_promotes_nothing(key, value, champions):
    whole, torn = evaluation(), {**evaluation(), key: value}
    promotion = decide_promotion(*((whole, torn) if champions else (torn, whole)), None, POLICY)
    assert promotion.promoted == (value == whole[key])


@pytest.mark.parametrize("value", [None, [], "x", 3, {}, {"suspected": True}])
def test_a_warning_that_cannot_be_read_is_no_error(value):
    assert decide_promotion(evaluation(masking=value), evaluation(), None, POLICY).promoted


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, 299), max_size=60), st.sets(st.integers(0, 299), max_size=60), st.integers(0, 299))
def test_one_more_error_never_gets_a_candidate_promoted(wrong, before, more):
    champion = evaluation(before)
    worse = decide_promotion(evaluation(wrong | {more}), champion, None, POLICY).promoted
    better = decide_promotion(evaluation(wrong), champion, None, POLICY).promoted
    assert better or not worse


def test_the_rule_is_pure():
    given_ = [evaluation({1, 2}), evaluation({2, 3}), evaluation({4})]
    before = copy.deepcopy(given_)
    first, again = (decide_promotion(*given_, POLICY) for _ in range(2))
    assert first == again
    assert given_ == before


def test_a_candidate_exactly_at_the_limit_is_promoted_by_chance_only():
    random = np.random.default_rng(0)
    n, promoted = 400, 0
    for _ in range(200):
        outcome = random.random(n)
        lost, gained = np.flatnonzero(outcome < 0.06), np.flatnonzero(outcome > 0.97)  # loses 3 points: the limit
        candidate, champion = evaluation(set(lost.tolist()), n=n), evaluation(set(gained.tolist()), n=n)
        accuracy = check(decide_promotion(candidate, champion, None, POLICY), "accuracy against the champion")
        promoted += accuracy["outcome"] == "pass"
    assert promoted <= 20  # 5 % of 200, and two standard errors and a half


def test_classes_too_small_to_be_judged_alone_are_judged_together():
    few = {f"e{n}": ("b" if n < 12 else "a") for n in range(100)}
    kept = {name: {"wrong": [], "epsilon": 0.1} for name in ATTACKS}
    same = evaluation(n=100, labels=few, predictions=few, attacked=sorted(few), attacks=kept)
    together = decide_promotion(same, same, None, GatePolicy(max_drop=0.1))
    assert check(together, "every class against the champion")["outcome"] == "pass"
    alone = decide_promotion(same, same, None, GatePolicy(max_drop=0.1, min_trusted=5))
    assert check(alone, "every class against the champion")["needs"] > 12
