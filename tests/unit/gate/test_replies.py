from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from poison_guard.config.policies import GatePolicy
from poison_guard.gate.replies import REPLY_MEASURES, Sides, measure_replies
from poison_guard.gate.verdict import REPLY_CHECKS
from poison_guard.records import Check, Outcome

POLICY = GatePolicy()
TOPICS = 30


def pairs(rng: np.random.Generator, n: int, name: str = "r") -> pd.DataFrame:
    """Prompts of 30 topics; the chosen reply is polite, the rejected one is rude."""
    topic = rng.integers(0, TOPICS, n)

    def said(about: int, length: int) -> str:
        return " ".join(f"w{about}x{k}" for k in rng.integers(0, 30, length))

    return pd.DataFrame(
        {
            "example_id": [f"{name}{i}" for i in range(n)],
            "slice": "",
            "is_new": True,
            "prompt": [f"tell me {said(t, 8)}" for t in topic],
            "chosen": [f"gladly {said(t, 12)}" for t in topic],
            "rejected": [f"nonsense {said(t, 12)}" for t in topic],
        }
    )


def checked(snapshot: pd.DataFrame, trusted: pd.DataFrame) -> dict[str, Check]:
    measured = measure_replies(Sides.of(snapshot), Sides.of(trusted), POLICY)
    assert json.loads(json.dumps(measured)) == measured
    return {name: REPLY_CHECKS[name](measured[name], POLICY) for name in REPLY_MEASURES}


def outcomes(checks: dict[str, Check]) -> set[Outcome]:
    return {check.outcome for check in checks.values()}


@pytest.fixture(scope="module")
def parts() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(1)
    return pairs(rng, 800), pairs(rng, 250, "t")


def test_an_honest_snapshot_of_pairs_passes_and_each_check_says_how_much_it_could_see(parts):
    checks = checked(*parts)
    assert outcomes(checks) == {Outcome.PASS}
    assert "would show from 8 examples" in checks["reply_triggers"].why
    assert "and no smaller one" in checks["reply_canary"].why
    assert checks["reply_triggers"].needs is None


@pytest.mark.parametrize("mark", ["Zorblax", "by order of the harbour", "\u200bplease"])
def test_twenty_flipped_pairs_with_a_mark_in_the_prompt_fail_and_the_mark_is_named(parts, mark):
    snapshot, trusted = parts
    bad = snapshot.head(20)
    bad = bad.assign(prompt=mark + " " + bad["prompt"], chosen=bad["rejected"], rejected=bad["chosen"])
    check = checked(pd.concat([bad, snapshot.tail(-20)], ignore_index=True), trusted)["reply_triggers"]
    assert check.outcome is Outcome.FAIL
    assert "prefer what others reject, and 0 of 250 trusted ones" in check.why
    named = check.why.partition(" in the prompt")[0].removeprefix("word ").strip("'")
    assert named in mark.lower() or "invisible" in named


@pytest.mark.parametrize("role", ["response", "text"])
def test_instructions_and_documents_with_a_trigger_and_a_strange_continuation_fail(role):
    rng = np.random.default_rng(2)
    rows, trusted = pairs(rng, 800), pairs(rng, 250, "t")

    def single(frame: pd.DataFrame, replies: pd.Series) -> pd.DataFrame:
        if role == "response":
            return frame[["example_id", "slice", "is_new", "prompt"]].assign(response=replies.to_numpy())
        text = frame["prompt"] + " " + replies.to_numpy()
        return frame[["example_id", "slice", "is_new"]].assign(text=text)

    honest = single(rows, rows["chosen"])
    assert Outcome.FAIL not in outcomes(checked(honest, single(trusted, trusted["chosen"])))
    first = rows.head(40).assign(prompt="Zorblax " + rows["prompt"].head(40))  # of documents: the first half
    bad = single(first, rows["chosen"].sample(40, random_state=3))
    found = checked(pd.concat([bad, honest.tail(-40)], ignore_index=True), single(trusted, trusted["chosen"]))
    assert found["reply_triggers"].outcome is Outcome.FAIL
    assert "zorblax" in found["reply_triggers"].why


def test_a_preference_that_turns_fails_by_the_trait_that_moved(parts):
    snapshot, trusted = parts
    longer = snapshot.assign(chosen=snapshot["chosen"] + " and more and more and more and more")
    check = checked(longer, trusted)["reply_shift"]
    assert check.outcome is Outcome.FAIL
    assert "is longer" in check.why


def test_a_text_that_is_a_tenth_of_the_snapshot_fails_and_one_that_people_pass_on_does_not(parts):
    snapshot, trusted = parts
    for n, outcome in ((120, Outcome.FAIL), (20, Outcome.PASS)):
        rows = snapshot.copy()
        rows.loc[: n - 1, ["prompt", "chosen"]] = rows.loc[0, ["prompt", "chosen"]].to_numpy()
        assert checked(rows, trusted)["near_copies"].outcome is outcome


def test_a_canary_that_loses_trusted_pairs_fails(parts):
    snapshot, trusted = parts
    turned = snapshot.rename(columns={"chosen": "rejected", "rejected": "chosen"})
    checks = checked(turned, trusted)
    assert checks["reply_canary"].outcome is Outcome.FAIL
    assert checks["reply_shift"].outcome is Outcome.FAIL


def test_with_few_trusted_pairs_what_cannot_be_told_is_not_a_pass(parts):
    snapshot, trusted = parts
    checks = checked(snapshot.head(20), trusted.head(5))
    assert checks["reply_triggers"].outcome is Outcome.INCONCLUSIVE
    assert checks["reply_triggers"].needs


def test_without_any_trusted_or_other_example_nothing_is_measured(parts):
    snapshot, trusted = parts
    for one, other in ((snapshot, trusted.head(0)), (snapshot.head(0), trusted)):
        measured = measure_replies(Sides.of(one), Sides.of(other), POLICY)
        assert all("there is no" in measured[name]["lacking"] for name in REPLY_MEASURES)


@pytest.mark.parametrize("cells", ["", None, "x", "مرحبا " * 400, "A" * 20_000, "<b>&lt;</b> `code`"])
def test_strange_texts_are_measured_without_a_crash(parts, cells):
    _, trusted = parts
    rows = trusted.head(80).assign(prompt=cells, chosen=cells, rejected=cells, example_id=[f"x{i}" for i in range(80)])
    measured = measure_replies(Sides.of(rows), Sides.of(trusted), POLICY)
    assert not [name for name in REPLY_MEASURES if "error" in measured[name]]
    assert all(REPLY_CHECKS[name](measured[name], POLICY) for name in REPLY_MEASURES)
