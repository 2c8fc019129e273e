"""The notifier hands how a task ended on to the guard, by plain names."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]


def test_it_tells_how_a_task_ended(guard):
    from poison_guard.airflow.notifier import PoisonNotifier

    told: list[dict[str, str]] = []
    guard.tell_of_task = lambda task: told.append(task) or {"open": 3}
    task = SimpleNamespace(dag_id="guard_chat", task_id="gate", run_id="m1", state="failed", try_number=2)
    PoisonNotifier(feed="chat", home="h").notify({"ti": task})
    assert guard.opened == [("chat", "h")]
    assert told == [{"dag_id": "guard_chat", "task_id": "gate", "run_id": "m1", "state": "failed", "try_number": "2"}]
