import json

import numpy as np

from poison_guard.config import Policy
from poison_guard.decide.decisions import HOLD, decide_records, evidence_table
from poison_guard.records import Level, Reason, SignalEvidence
from poison_guard.signals.conformal import conformal_p, rows_needed


def evidence(signal, level, p, **codes):
    reasons = {int(row.removeprefix("r")): Reason(code) for row, code in codes.items()}
    return SignalEvidence(signal, level, np.array(p), reasons)


def test_the_most_suspicious_reason_comes_first_and_mild_hints_are_not_named():
    found = [
        evidence("anomaly", Level.RECORD, [0.001, 0.04, 1.0], r0="beyond_trusted", r1="unusual_combination"),
        evidence("campaign", Level.CAMPAIGN, [1e-9, 1.0, 1.0], r0="lockstep"),
    ]
    frame, risks = decide_records(["a", "b", "c"], found, ["c-1", None, None], Policy())
    assert frame["reasons"].tolist() == [["lockstep", "beyond_trusted"], [], []]
    assert frame["action"].tolist() == ["quarantine", "accept", "accept"]
    assert frame["risk"].iloc[0] == risks[Level.CAMPAIGN][0]


def test_only_overwhelming_source_evidence_rejects():
    found = [evidence("source", Level.SOURCE, [1e-7, 1e-4], r0="controls_wrong", r1="controls_wrong")]
    frame, _ = decide_records(["a", "b"], found, [None, None], Policy())
    assert frame["action"].tolist() == ["reject", "quarantine"]


def test_evidence_is_a_row_a_reason_with_arguments_as_json():
    found = [SignalEvidence("source", Level.SOURCE, np.array([0.01]), {0: Reason("controls_wrong", {"wrong": 9})})]
    row = evidence_table(["a"], found).iloc[0]
    assert (row["record_id"], row["signal"], row["level"], row["code"]) == ("a", "source", "source", "controls_wrong")
    assert json.loads(row["args"]) == {"wrong": 9}


def test_with_just_enough_calibration_rows_the_strangest_record_is_held():
    policy = Policy(false_quarantine_rate=0.01)
    calibration = np.arange(rows_needed(policy.false_quarantine_rate), dtype=float)
    assert len(calibration) == 99
    p = conformal_p(calibration, np.array([1e9, 50.0]))
    found = [SignalEvidence("anomaly", Level.RECORD, p, {0: Reason("far_from_trusted")})]
    frame, _ = decide_records(["strangest", "usual"], found, [None, None], policy)
    assert frame["risk"].iloc[0] == HOLD  # p is the threshold itself: no other p-value of 99 rows could hold anything
    assert frame["action"].tolist() == ["quarantine", "accept"]
    assert frame["reasons"].tolist() == [["far_from_trusted"], []]
