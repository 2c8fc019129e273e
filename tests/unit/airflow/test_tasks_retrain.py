from __future__ import annotations

from types import ModuleType

import pytest

from poison_guard.airflow import tasks
from poison_guard.errors import ClosedError, StoreError

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISON_GUARD_HOME", "the-home")


def test_nothing_due_skips_the_rest(steps: ModuleType):
    from airflow.sdk.exceptions import AirflowSkipException

    steps.due = lambda *_: {"snapshot_id": None}
    with pytest.raises(AirflowSkipException, match=r"nothing is due for c\.toml"):
        tasks.due("c.toml")


def test_each_task_calls_its_step_with_ids_only(steps: ModuleType):
    called: list[tuple[object, ...]] = []

    def step(name: str, found: dict[str, object]) -> None:
        setattr(steps, name, lambda *args: called.append((name, *args)) or found)

    step("due", {"snapshot_id": "s-1"})
    step("check_admission", {"snapshot_id": "s-1", "digest": "ab"})
    step("train", {"model_id": "m-1"})
    step("evaluate", {"accuracy": 0.97})
    step("promote", {"promoted": False, "why": "it lost 4 points on class 3", "checks": []})
    assert tasks.verify("c.toml", tasks.due("c.toml")) == "s-1"
    assert tasks.train("c.toml", "s-1") == "m-1"
    assert tasks.evaluate("c.toml", "m-1") == {"accuracy": 0.97}
    assert tasks.promote("c.toml", "m-1") == {
        "model_id": "m-1",
        "promoted": False,
        "why": "it lost 4 points on class 3",
    }
    assert called == [
        ("due", "c.toml", "the-home"),
        ("check_admission", "c.toml", "the-home", "s-1"),
        ("train", "c.toml", "the-home", "s-1"),
        ("evaluate", "c.toml", "the-home", "m-1"),
        ("promote", "c.toml", "the-home", "m-1"),
    ]


@pytest.mark.parametrize("task", ["verify", "train", "evaluate", "promote"])
def test_a_closed_gate_is_final_and_a_store_that_is_down_is_retried(steps: ModuleType, task: str):
    from airflow.sdk.exceptions import AirflowFailException

    step = "check_admission" if task == "verify" else task
    for error, seen in ((ClosedError("s-1 was revoked"), AirflowFailException), (StoreError("is down"), StoreError)):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        setattr(steps, step, fail)
        with pytest.raises(seen, match=str(error)):
            getattr(tasks, task)("c.toml", "an-id")
