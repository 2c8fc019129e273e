"""What a verdict looks like at the terminal: exit codes, the table of checks, the next command."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from poison_guard.cli.gate import gate_code
from poison_guard.errors import ClosedError
from poison_guard.steps.gate import GateResult
from poison_guard.steps.seal import SealResult
from poison_guard.steps.status import admission_state

WHO = ("--by", "ann", "--reason", "looked at it")
NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)


def check(name: str, outcome: str, **changed):
    """Return one check as a row."""
    whole = {
        "name": name,
        "outcome": outcome,
        "value": 0.0312,
        "limit": 0.03,
        "n": 1203,
        "low": 0.021,
        "high": 0.044,
        "why": f"{name} is what it is",
        "needs": None,
        "atlas": "AML.T0020",
        "nist": "NISTAML.013",
        "blocking": True,
    }
    return whole | changed


def judged(outcome: str, *, admitted: bool = False, checks=None, why=(), candidate=None):
    """Return what the guard gives back from its gate."""
    rows = [check("label_neighbours", outcome)] if checks is None else checks
    return GateResult(
        feed="sessions",
        outcome=outcome,
        admitted=admitted,
        checks=pd.DataFrame(rows),
        snapshot_id="sessions-412-ab12cd34",
        manifest=Path("home/manifests/sessions-412-ab12cd34.json") if admitted else None,
        why=tuple(why),
        candidate=candidate,
    )


@pytest.mark.parametrize(
    ("outcome", "admitted", "code"),
    [
        ("pass", True, 0),
        ("pass", False, 1),
        ("inconclusive", True, 0),
        ("inconclusive", False, 3),
        ("fail", True, 0),
        ("fail", False, 1),
        ("error", False, 1),
        ("something else", False, 1),
    ],
)
def test_only_an_admission_is_zero_and_only_what_one_person_may_open_is_three(hand, outcome, admitted, code):
    assert gate_code(outcome, admitted) == code
    hand.result = judged(outcome, admitted=admitted)
    assert hand.call("gate", "check").exit_code == code
    assert hand.call("gate", "check", "--json").exit_code == code
    assert hand.call("gate", "approve", *WHO).exit_code == code


def test_a_check_is_told_with_value_limit_n_interval_and_why(hand):
    hand.result = judged("fail", why=["5.1 % of the labels contradict their trusted neighbours"])
    result = hand.call("gate", "check")
    for word in ("label_neighbours", "fail", "0.0312", "0.03", "1,203", "0.021 – 0.044", "closed"):
        assert word in result.stdout
    assert "why: 5.1 % of the labels contradict" in result.stdout


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("inconclusive", ("one named person", "gate approve", "sessions-412-ab12cd34")),
        ("fail", ("two different people", "recall", "--expires")),
        ("error", ("nobody can approve",)),
        ("pass", ("gate check",)),
    ],
)
def test_a_closed_gate_says_what_opens_it(hand, outcome, words):
    hand.result = judged(outcome)
    told = hand.call("gate", "check").stderr
    assert all(word in told for word in words)


def test_an_open_gate_names_its_manifest_and_what_it_is_for(hand):
    hand.result = judged("pass", admitted=True)
    result = hand.call("gate", "check")
    assert "manifest: home/manifests/sessions-412-ab12cd34.json" in result.stdout
    assert "poison-guard verify home/manifests/sessions-412-ab12cd34.json" in result.stderr
    assert "poison-guard retrain" in result.stderr


def test_missing_numbers_are_dashes_needs_are_told_and_alerts_are_marked(hand):
    few = check("canary", "inconclusive", value=None, low=float("nan"), high=None, needs=640, why="too few")
    backlog = check("backlog", "fail", blocking=False)
    hand.result = judged("inconclusive", checks=[few, backlog])
    told = hand.call("gate", "check").stdout
    assert "too few (needs n = 640)" in told
    assert "nan" not in told
    assert "fail (alert)" in told


def test_json_of_a_verdict_is_whole_and_versioned(hand):
    nothing = check("canary", "inconclusive", value=float("nan"), needs=None)
    hand.result = judged("inconclusive", checks=[nothing], why=["canary could not be judged"])
    document = json.loads(hand.call("gate", "check", "--json").stdout)
    assert set(document) == {
        "schema_version", "feed", "snapshot_id", "outcome", "admitted", "manifest", "why", "checks", "candidate",
    }  # fmt: skip
    assert document["feed"] == "sessions"
    assert document["manifest"] is None
    assert document["checks"][0]["value"] is None
    assert document["checks"][0]["atlas"] == "AML.T0020"


def test_candidate_and_snapshot_reach_the_guard(hand):
    predictions = hand.folder / "predictions.parquet"
    predictions.touch()
    hand.result = judged("pass", admitted=True)
    hand.call("gate", "check", "--candidate", predictions, "--snapshot", "sessions-9-ff")
    assert hand.asked == [("gate", {"candidate": predictions, "model": None, "snapshot_id": "sessions-9-ff"})]


def test_predictions_that_are_not_there_are_a_usage_error(hand):
    result = hand.call("gate", "check", "--candidate", hand.folder / "none.parquet")
    assert result.exit_code == 2
    assert "none.parquet" in result.stderr
    assert hand.asked == []


def test_an_approval_lapses_after_the_days_given(hand):
    hand.result = judged("inconclusive", admitted=True)
    hand.call("gate", "approve", "sessions-412-ab12cd34", *WHO, "--expires", "3")
    _, given = hand.asked[0]
    assert (given["by"], given["reason"], given["snapshot_id"]) == ("ann", "looked at it", "sessions-412-ab12cd34")
    left = given["expires"] - dt.datetime.now(dt.UTC)
    assert dt.timedelta(days=2, hours=23) < left <= dt.timedelta(days=3)
    hand.call("gate", "approve", *WHO)
    assert hand.asked[1][1]["expires"] is None


@pytest.mark.parametrize(
    "missing", [("--by", "ann"), ("--reason", "why"), ("--by", "ann", "--reason", "y", "--expires", "0")]
)
def test_an_approval_needs_a_name_a_reason_and_a_time_that_can_be(hand, missing):
    assert hand.call("gate", "approve", *missing).exit_code == 2
    assert hand.asked == []


def test_a_closed_gate_that_raises_is_one_sentence(hand):
    hand.result = ClosedError("sessions-412 was revoked (recall: farm); seal a new snapshot")
    result = hand.call("gate", "check")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"poison-guard: {hand.result}"
    assert result.stdout == ""


def test_sealing_tells_the_snapshot_and_the_next_command(hand):
    hand.result = SealResult("sessions", "sessions-412-ab12cd34", new=True, counts={"examples": 1203, "parts": 2})
    result = hand.call("seal")
    assert result.exit_code == 0
    assert "sealed sessions-412-ab12cd34: 1,203 examples, 2 parts" in result.stdout
    assert "gate check" in result.stderr
    hand.result = dataclasses.replace(hand.result, new=False)
    assert "nothing changed since sessions-412-ab12cd34" in hand.call("seal").stdout
    document = json.loads(hand.call("seal", "--json").stdout)
    assert document["counts"] == {"examples": 1203, "parts": 2}
    assert (document["schema_version"], document["new"]) == (1, False)


@pytest.mark.parametrize(("outcome", "code"), [("pass", 0), ("fail", 1), ("inconclusive", 3), ("error", 1)])
def test_a_candidate_is_told_by_the_verdict_since_it_gets_no_admission(hand, outcome, code):
    (hand.folder / "p.csv").write_text("example_id,label\n")
    hand.result = judged(outcome, candidate=str(hand.folder / "p.csv"))
    result = hand.call("gate", "check", "--candidate", hand.folder / "p.csv")
    assert result.exit_code == code
    assert "with the candidate" in result.stdout


def _snapshot(**changed):
    return SimpleNamespace(**{"revoked_seq": None, "revoked_why": None} | changed)


LATER = {"expires": NOW + dt.timedelta(days=1), "verdict_seq": 7}


@pytest.mark.parametrize(
    ("snapshot", "found", "admitted", "word"),
    [
        (_snapshot(), None, False, "not admitted"),
        (_snapshot(), LATER, True, "admitted until 2026-11-23 00:00"),
        (_snapshot(), LATER | {"expires": NOW}, False, "lapsed"),
        (_snapshot(), LATER | {"verdict_seq": 6}, False, "by an earlier verdict"),
        (_snapshot(revoked_seq=9, revoked_why="recall: farm"), LATER, False, "revoked: recall: farm"),
    ],
)
def test_an_admission_stands_for_its_verdict_until_it_lapses_or_is_revoked(snapshot, found, admitted, word):
    state = admission_state(snapshot, found, 7, now=NOW)
    assert state["admitted"] is admitted
    assert word in state["admission"]
