from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from poison_guard.airflow.run import DagOutcome, _line
from poison_guard.airflow.tables import gate_table, models_table, why_closed


def shown(table: Any) -> str:
    console = Console(width=220, no_color=True)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_the_gate_s_table_counts_the_checks_that_decide_and_says_why():
    checks = [
        {"name": "canary", "outcome": "pass", "blocking": True},
        {"name": "trusted_set", "outcome": "inconclusive", "blocking": True},
        {"name": "backlog", "outcome": "inconclusive", "blocking": False},
    ]
    verdict = {"outcome": "inconclusive", "admitted": False, "snapshot_id": "s", "examples": 4210, "checks": checks}
    told = {"chat": {**verdict, "why": ["trusted_set: 12 of 20 for toxic"]}, "quiet": {**verdict, "admitted": True}}
    (line,) = [line for line in shown(gate_table(told)).splitlines() if "chat" in line]
    for part in ("inconclusive", "no", "1 of 2", "4,210"):
        assert part in line
    assert why_closed(told) == "chat: trusted_set: 12 of 20 for toxic"


def test_names_from_a_feed_are_neither_markup_nor_terminal_codes():
    verdict = {"outcome": "fail", "admitted": False, "snapshot_id": "s", "why": ["source [bold]x[/bold]\x1b[31m"]}
    text = shown(why_closed({"chat": verdict}))
    assert "[bold]x[/bold]<U+001B>[31m" in text


@pytest.mark.parametrize("as_index", [False, True])
def test_the_models_table_has_a_line_for_each_of_the_three(as_index: bool):
    learned = pd.DataFrame(
        {
            "row": ["everything", "admitted", "truth"],
            "accuracy": [0.91, 0.953, 0.956],
            "worst_class": [0.4, 0.9, 0.91],
            "attack_success": [0.62, 0.01, np.nan],
            "robust_accuracy": [0.5, 0.61, 0.62],
            "n": [5000, 4700, 4710],
        }
    )
    text = shown(models_table("captcha", learned.set_index("row") if as_index else learned))
    assert "feed captcha: models" in text
    lines = {name: line for line in text.splitlines() for name in ("everything", "admitted", "truth") if name in line}
    assert "62.0%" in lines["everything"]
    assert "4,700" in lines["admitted"]
    assert "–" in lines["truth"]


COUNTS = {"received": 1200, "accepted": 1100, "quarantined": 100}


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (DagOutcome("guard_a", "success", 3.0, None), "nothing new\n"),
        (
            DagOutcome("guard_a", "success", 3.0, COUNTS, {"outcome": "pass", "why": []}, "a-7-ab"),
            "   3 s   1,200 received, 1,100 accepted, 100 quarantined; a-7-ab admitted\n",
        ),
        (
            DagOutcome("guard_a", "success", 3.0, None, {"outcome": "inconclusive", "why": ["canary: 41"]}),
            "   3 s   not admitted, inconclusive: canary: 41\n",
        ),
        (
            DagOutcome("guard_a", "failed", 3.0, COUNTS, errors=("gate: the gate is closed",), closed=True),
            "failed in 3 s: gate: the gate is closed\n",
        ),
        (
            DagOutcome(
                "r", "success", 9.0, None, model={"model_id": "m-1", "promoted": True, "why": "no champion yet"}
            ),
            "   9 s   the champion is now m-1: no champion yet\n",
        ),
        (
            DagOutcome("r", "success", 9.0, None, model={"model_id": "m-1", "promoted": False, "why": "it lost 4 %"}),
            "   9 s   not promoted: m-1: it lost 4 %\n",
        ),
    ],
    ids=["nothing", "admitted", "inconclusive", "closed", "promoted", "refused"],
)
def test_each_dag_has_one_line_that_says_what_came_of_it(outcome: DagOutcome, line: str):
    assert _line(outcome) == line
