from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from poison_guard.airflow import tasks
from poison_guard.errors import ClosedError, StoreError
from poison_guard.steps.admission import Admitted
from poison_guard.steps.promote import Promotion
from poison_guard.steps.stages import Due, EvaluateStage, TrainStage

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISON_GUARD_HOME", "the-home")


def test_nothing_due_skips_the_rest(guard: Any):
    from poison_guard.airflow.versions import AirflowSkipException

    guard.due = lambda: Due(None)
    with pytest.raises(AirflowSkipException, match=r"nothing is due for c\.toml"):
        tasks.due("c.toml")


def test_each_task_calls_the_guard_with_ids_only(guard: Any):
    called: list[tuple[object, ...]] = []

    def answer(name: str, value: object) -> None:
        setattr(guard, name, lambda *args: called.append((name, *args)) or value)

    answer("due", Due("s-1"))
    answer("check_admission", Admitted("s-1", Path("m.json"), "ab", dt.datetime(2026, 12, 1, tzinfo=dt.UTC), 9))
    answer("stage_train", TrainStage("m-1"))
    answer("stage_evaluate", EvaluateStage("m-1", {"accuracy": 0.97}))
    answer("stage_promote", Promotion("m-1", False, "it lost 4 points on class 3"))
    assert tasks.verify("c.toml", tasks.due("c.toml")) == "s-1"
    assert tasks.train("c.toml", "s-1") == "m-1"
    assert tasks.evaluate("c.toml", "m-1") == {"accuracy": 0.97}
    assert tasks.promote("c.toml", "m-1") == {
        "model_id": "m-1",
        "promoted": False,
        "why": "it lost 4 points on class 3",
    }
    assert called == [
        ("due",),
        ("check_admission", "s-1"),
        ("stage_train", "s-1"),
        ("stage_evaluate", "m-1"),
        ("stage_promote", "m-1"),
    ]
    assert guard.opened == [("c.toml", "the-home")] * 5


@pytest.mark.parametrize("task", ["verify", "train", "evaluate", "promote"])
def test_a_closed_gate_is_final_and_a_store_that_is_down_is_retried(guard: Any, task: str):
    from poison_guard.airflow.versions import AirflowFailException

    verb = "check_admission" if task == "verify" else f"stage_{task}"
    for error, seen in ((ClosedError("s-1 was revoked"), AirflowFailException), (StoreError("is down"), StoreError)):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        setattr(guard, verb, fail)
        with pytest.raises(seen, match=str(error)):
            getattr(tasks, task)("c.toml", "an-id")
