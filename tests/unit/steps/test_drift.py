from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from poison_guard.steps.drift import run_alarms
from poison_guard.store import Run

NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


def run(k: int, held: int, *, records: int = 1000, rows: int = 999, status: str = "committed", **changed) -> Run:
    measured = {
        "phase": "enforcing",
        "risk_histogram": {"accept": [records - held, 0], "quarantine": [0, held]},
        "held_by_level": {"record": held, "source": 3},
        "calibration": {"supervised": True, "rate": 0.01, "groups": {"": {"n": rows}}},
    }
    return Run(f"run-{k}", "f", f"b{k}", status, k, NOW, NOW, NOW, "p", measurements={**measured, **changed})


def test_a_run_that_holds_many_more_than_the_rate_raises_and_others_do_not():
    told = run_alarms([run(1, 9), run(2, 12), run(3, 90), run(4, 10)])
    assert [alarm.raised for alarm in told] == [False, False, True, False]
    assert told[2].expected == 10.0
    assert told[2].false_share == pytest.approx(10 / 90)
    assert told[3].needed < told[2].needed * 2  # an alarm lowers what the next one needs


def test_runs_that_were_not_judged_are_left_out():
    told = run_alarms(
        [
            run(1, 9, status="failed"),
            run(2, 9, phase="calibrating"),
            run(3, 9, calibration={"supervised": False, "groups": {"": {"n": 9}}}),
            run(4, 9, calibration={}),
            run(5, 0),
        ]
    )
    assert [(alarm.run_id, alarm.false_share, alarm.p) for alarm in told] == [("run-5", 0.0, 1.0)]
    assert run_alarms([]) == ()


def test_few_calibration_rows_make_the_same_excess_less_surprising():
    few, many = run_alarms([run(1, 40, rows=150)]), run_alarms([run(1, 40, rows=5000)])
    assert few[0].p > 100 * many[0].p


def test_a_year_of_honest_runs_raises_no_alarm():
    rng = np.random.default_rng(0)
    raised = 0
    for _ in range(20):
        share = rng.beta(10, 990)  # one calibration set's luck, shared by all runs
        runs = [run(k, int(held)) for k, held in enumerate(rng.binomial(1000, share, 365))]
        raised += any(alarm.raised for alarm in run_alarms(runs))
    assert raised <= 4  # 5 % of 20 feeds is one; five or more have a chance of 0.003
