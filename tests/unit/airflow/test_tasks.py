from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from poison_guard.airflow import tasks
from poison_guard.errors import DataError, StaleStateError, TamperError
from poison_guard.steps.stages import CollectStage, CommitStage

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore"),  # Airflow's own deprecations
]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISON_GUARD_HOME", "the-home")


def test_collect_hands_on_the_run_and_its_partitions(guard: Any):
    guard.stage_collect = lambda: CollectStage("run-1", (0, 1))
    assert tasks.collect("chat.toml") == {"guard_run": "run-1", "partitions": [0, 1]}
    assert guard.opened == [("chat.toml", "the-home")]


def test_collect_skips_the_rest_when_nothing_is_new(guard: Any):
    from poison_guard.airflow.versions import AirflowSkipException

    guard.stage_collect = lambda: CollectStage(None)
    with pytest.raises(AirflowSkipException, match="nothing new"):
        tasks.collect("chat.toml")


def test_each_task_calls_its_stage_with_ids_only(guard: Any):
    called: list[tuple[object, ...]] = []
    for name in ("validate", "score", "decide"):
        setattr(guard, f"stage_{name}", lambda *args, name=name: called.append((name, *args)))
    guard.stage_commit = lambda _: CommitStage("run-1", {"received": 3})
    assert tasks.validate("c.toml", "run-1", [0, 1]) == [0, 1]
    tasks.score("c.toml", "run-1", 1)
    tasks.decide("c.toml", "run-1")
    assert tasks.store("c.toml", "run-1") == {"received": 3}
    assert called == [
        ("validate", "run-1"),
        ("score", "run-1", 1),
        ("decide", "run-1"),
    ]
    assert guard.opened == [("c.toml", "the-home")] * 4


@pytest.mark.parametrize("error", [DataError("inbox/chat.csv is empty"), TamperError("the chain is broken at 7")])
def test_what_a_retry_cannot_mend_fails_for_good(guard: Any, error: Exception):
    from poison_guard.airflow.versions import AirflowFailException

    def fail(*_: object) -> None:
        raise error

    guard.stage_decide = fail
    with pytest.raises(AirflowFailException, match=str(error)):
        tasks.decide("c.toml", "run-1")


def test_what_a_retry_may_mend_is_retried(guard: Any):
    def fail(*_: object) -> None:
        raise StaleStateError("another run came first")

    guard.stage_commit = fail
    with pytest.raises(StaleStateError):
        tasks.store("c.toml", "run-1")


class Held:
    """A task instance that holds what other tasks handed on."""

    def __init__(self, **said: object) -> None:
        self.said = said

    def xcom_pull(self, task_ids: str) -> object:
        return self.said.get(task_ids)


def test_the_page_is_written_when_a_batch_was_stored_or_a_snapshot_was_there_to_judge(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    from poison_guard.airflow.versions import AirflowSkipException
    from poison_guard.guard import ReportResult

    guard = SimpleNamespace(report=lambda: ReportResult(run={"run_id": "c-7", "feed": "c"}), home=tmp_path)
    monkeypatch.setattr(tasks, "opened", lambda contract: guard)
    page = tmp_path / "reports" / "c-7.html"
    assert tasks.report_changes("c.toml", Held(store={"received": 3})) == str(page)
    page.unlink()
    assert tasks.report_changes("c.toml", Held(seal="s-1")) == str(page)
    assert "c-7" in page.read_text()
    with pytest.raises(AirflowSkipException, match=r"nothing changed for c\.toml"):
        tasks.report_changes("c.toml", Held())


def test_what_the_guard_says_stands_in_the_log_of_the_task(guard: Any, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", logger="poison_guard.airflow.tasks")
    guard.stage_collect = lambda: CollectStage("run-1", (0, 1))
    guard.stage_commit = lambda _: CommitStage("run-1", {"received": 1203, "accepted": 1200, "staged": 0})
    tasks.collect("c.toml")
    tasks.store("c.toml", "run-1")
    assert caplog.messages == [
        "run run-1: 2 partitions to score",
        "stored run run-1: 1,203 received, 1,200 accepted",
    ]
