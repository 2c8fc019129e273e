from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from poison_guard.airflow import tasks
from poison_guard.errors import DataError, StaleStateError, TamperError

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore"),  # Airflow's own deprecations
]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISON_GUARD_HOME", "the-home")


def test_collect_hands_on_the_run_and_its_partitions(steps: ModuleType):
    steps.collect = lambda *args: {"run_id": f"run of {args}", "partitions": [0, 1]}
    assert tasks.collect("chat.toml") == {"guard_run": "run of ('chat.toml', 'the-home')", "partitions": [0, 1]}


def test_collect_skips_the_rest_when_nothing_is_new(steps: ModuleType):
    from airflow.sdk.exceptions import AirflowSkipException

    steps.collect = lambda *_: {"run_id": None, "partitions": []}
    with pytest.raises(AirflowSkipException, match="nothing new"):
        tasks.collect("chat.toml")


def test_each_task_calls_its_step_with_ids_only(steps: ModuleType):
    called: list[tuple[object, ...]] = []
    for name in ("validate", "score", "decide"):
        setattr(steps, name, lambda *args, name=name: called.append((name, *args)))
    steps.store = lambda *_: {"received": 3}
    assert tasks.validate("c.toml", "run-1", [0, 1]) == [0, 1]
    tasks.score("c.toml", "run-1", 1)
    tasks.decide("c.toml", "run-1")
    assert tasks.store("c.toml", "run-1") == {"received": 3}
    assert called == [
        ("validate", "c.toml", "the-home", "run-1"),
        ("score", "c.toml", "the-home", "run-1", 1),
        ("decide", "c.toml", "the-home", "run-1"),
    ]


@pytest.mark.parametrize("error", [DataError("inbox/chat.csv is empty"), TamperError("the chain is broken at 7")])
def test_what_a_retry_cannot_mend_fails_for_good(steps: ModuleType, error: Exception):
    from airflow.sdk.exceptions import AirflowFailException

    def fail(*_: object) -> None:
        raise error

    steps.decide = fail
    with pytest.raises(AirflowFailException, match=str(error)):
        tasks.decide("c.toml", "run-1")


def test_what_a_retry_may_mend_is_retried(steps: ModuleType):
    def fail(*_: object) -> None:
        raise StaleStateError("another run came first")

    steps.store = fail
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
    from airflow.sdk.exceptions import AirflowSkipException

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
