"""What a retraining, a rollback and the questions to a candidate look like at the terminal."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from poison_guard.errors import ClosedError
from poison_guard.guard import Guard
from poison_guard.steps.evaluate import EvaluationResult
from poison_guard.steps.examples import CandidateInputs
from poison_guard.steps.retrain import RetrainResult, metric_rows

METRICS = {
    "accuracy": 0.98,
    "per_class": {"human": {"n": 200, "right": 199}, "bot": {"n": 50, "right": 45}, "ghost": {"n": 0, "right": 0}},
    "per_slice": {"web": {"n": 80, "right": 76}},
    "attacks": {"pgd": {"n": 100, "right": 91, "wrong": ["a", "b"]}},
    "robust": {"n": 100, "right": 90},
    "predictions": {"a": "human"},
    "calibration": {"ece": 0.012, "brier": 0.03},
}


def trained(**changed):
    fields = {"feed": "sessions", "model_id": "m-1", "promoted": True, "measure_only": False, "metrics": METRICS}
    return RetrainResult(**fields | {"why": "better than m-0 on all counts"} | changed)


def test_metrics_are_told_with_the_worst_class_that_has_examples():
    rows = {name: (value, n) for name, value, n in metric_rows(METRICS)}
    assert rows["worst class: bot"] == (0.9, 50)
    assert rows["worst slice: web"] == (0.95, 80)
    assert rows["robust"] == (0.9, 100)
    assert rows["under pgd"] == (0.91, 100)
    assert rows["accuracy"] == (0.98, None)
    assert metric_rows({}) == []


@pytest.mark.parametrize(
    ("changed", "arguments", "code", "word"),
    [
        ({}, (), 0, "champion: better than m-0"),
        ({}, ("--from-scratch",), 0, "champion: better than m-0"),
        ({"promoted": False, "why": "bot lost 0.2"}, (), 1, "refused: bot lost 0.2"),
        (
            {"promoted": False, "measure_only": True, "why": "it can never"},
            ("--measure-only",),
            0,
            "measured only: it can never",
        ),
    ],
)
def test_a_retraining_ends_with_what_came_of_it(hand, changed, arguments, code, word):
    hand.result = trained(**changed)
    result = hand.call("retrain", *arguments)
    assert result.exit_code == code, result.output
    assert word in result.stdout
    asked = {"measure_only": "--measure-only" in arguments, "from_scratch": "--from-scratch" in arguments}
    assert hand.asked == [("retrain", asked)]
    assert hand.call("retrain", "--json", *arguments).exit_code == code


def test_json_of_a_retraining_is_versioned(hand):
    hand.result = trained()
    document = json.loads(hand.call("retrain", "--json").stdout)
    assert document["schema_version"] == 1
    assert document["metrics"]["attacks"] == {"pgd": {"n": 100, "right": 91}}
    assert "predictions" not in document["metrics"]
    assert (document["model_id"], document["promoted"], document["measure_only"]) == ("m-1", True, False)


def test_training_without_admission_is_one_sentence_and_one(hand):
    hand.result = ClosedError("sessions-412 has no admission; poison-guard gate check opens the gate")
    result = hand.call("retrain")
    assert result.exit_code == 1
    assert "has no admission" in result.stderr.splitlines()[-1]


def test_measuring_only_and_from_scratch_are_two_things(hand):
    result = hand.call("retrain", "--measure-only", "--from-scratch")
    assert result.exit_code == 2
    assert "choose one" in result.stderr


def test_the_questions_to_a_candidate_are_written_without_labels(hand):
    questions = pd.DataFrame({"example_id": ["a", "b"], "feature.dwell_ms": [1.0, 2.0]})
    hand.result = CandidateInputs("sessions", questions)
    out = hand.folder / "questions.parquet"
    result = hand.call("export", "--trusted", "holdout", "--out", out)
    assert result.exit_code == 0, result.output
    assert list(pd.read_parquet(out).columns) == ["example_id", "feature.dwell_ms"]
    assert "gate check" in result.stderr
    document = json.loads(hand.call("export", "--trusted", "holdout", "--out", out, "--json").stdout)
    assert document == {
        "schema_version": 1, "feed": "sessions", "trusted": "holdout", "examples": 2, "file": str(out),
    }  # fmt: skip


def test_a_feed_without_trusted_examples_has_no_questions(hand):
    hand.result = CandidateInputs("sessions", pd.DataFrame({"example_id": []}))
    result = hand.call("export", "--trusted", "holdout", "--out", hand.folder / "q.csv")
    assert result.exit_code == 2
    assert "poison-guard trust" in result.stderr
    assert not (hand.folder / "q.csv").exists()


def test_questions_and_records_are_not_asked_for_at_once(hand):
    result = hand.call("export", "--trusted", "holdout", "--decisions", "--out", hand.folder / "q.parquet")
    assert result.exit_code == 2
    assert "without --decisions" in result.stderr


def test_an_evaluation_is_printed_line_by_line(hand, monkeypatch):
    attacks = {
        "pgd": {"epsilon": 0.1, "unit": "pixels", "confidence_lost": 0.2, "margin_left": 0.3, "right": 91, "n": 100}
    }
    more = {"worst": {"n": 100, "right": 90}, "noise": None, "pairs": {}, "masking": {"why": "Nothing is masked."}}
    more |= {"attacks": attacks, "membership": {"n": 50, "auc": 0.61, "found": 0.02}}
    monkeypatch.setattr(Guard, "evaluate", lambda *_, **__: EvaluationResult("sessions", "m-1", True, METRICS | more))
    lines = hand.call("evaluate", "--fast").stdout.splitlines()
    assert lines[-1] == "Nothing is masked."
    (told,) = [line for line in lines if line.startswith("chance that a trained-on example")]
    assert told.split()[-2:] == ["0.61", "50"]
