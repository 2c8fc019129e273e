"""The second half of the guard DAG in a real Airflow: who is asked, what an answer does, when the Asset is sent.

The verbs of the guard are stood in for, so that a test chooses the verdict; `test_guard_dag.py` runs the real ones.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from poison_guard.airflow import tasks
from poison_guard.airflow.run import dags_folder
from poison_guard.errors import ClosedError, InconclusiveError
from poison_guard.guard import Guard
from poison_guard.steps.admission import Admitted
from poison_guard.steps.stages import ApproveStage, CollectStage, Due, GateStage, SealStage
from tests.e2e.airflow_rows import events_of, states
from tests.e2e.conftest import CONTRACT

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("airflow_database"),
]


JUDGED = threading.Event()
"""Set when a run has asked for a verdict: what follows is the question to a person."""
_PATIENCE_SECONDS = 60
ADMITTED = Admitted("sessions-1-ab", Path("m.json"), "d" * 64, dt.datetime(2026, 12, 1, tzinfo=dt.UTC), 9)


class Gate:
    """What the store would hold: one snapshot, its verdict, who approved it, whether it was admitted."""

    def __init__(self) -> None:
        self.outcome, self.why = "pass", ["canary: 41 examples of class 7, needs 300"]
        self.new, self.judged, self.admitted, self.trained = True, False, False, False
        self.approvals: list[tuple[str, str]] = []
        self.asked_to_judge = 0

    def stage_collect(self) -> CollectStage:
        return CollectStage(None)

    def stage_seal(self) -> SealStage:
        return SealStage("sessions-1-ab", self.new, self.judged)

    def check_admission(self, _: str) -> Admitted:
        if not self.admitted:
            raise ClosedError("sessions-1-ab has no admission")
        return ADMITTED

    def stage_gate(self, _: str) -> GateStage:
        self.judged, self.asked_to_judge = True, self.asked_to_judge + 1
        JUDGED.set()
        return GateStage("sessions-1-ab", self.outcome, 5, () if self.outcome == "pass" else tuple(self.why))

    def stage_approve(self, _: str, *, by: str, reason: str, verdict_seq: int) -> ApproveStage:
        assert verdict_seq == 5, "the approval is of the verdict that was shown"
        self.approvals.append((by, reason))
        return ApproveStage("sessions-1-ab", len(self.approvals))

    def stage_admit(self, _: str) -> Admitted:
        if self.outcome != "pass" and not self.approvals:
            raise InconclusiveError("sessions-1-ab needs an approval")
        self.admitted = True
        return ADMITTED

    def due(self) -> Due:
        return Due("sessions-1-ab" if self.admitted and not self.trained else None)


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    from poison_guard.web import report

    gate = Gate()
    for name in (name for name in vars(Gate) if not name.startswith("_")):
        monkeypatch.setattr(Guard, name, getattr(gate, name))
    monkeypatch.setattr(Guard, "report", lambda *_: SimpleNamespace(reasons=(), notes=()))
    monkeypatch.setattr(report, "write_report", lambda *_, **__: "page.html")
    (tmp_path / "feeds").mkdir()
    (tmp_path / "feeds" / "sessions.toml").write_text(CONTRACT)
    monkeypatch.setenv("POISON_GUARD_FEEDS", str(tmp_path / "feeds"))
    monkeypatch.setenv("POISON_GUARD_HOME", str(tmp_path / "home"))
    return gate


def guard_dag(*, minutes: float = 5) -> Any:
    from poison_guard.airflow.versions import dagbag

    dag = dagbag().DagBag(dags_folder()).dags["guard_sessions"]
    dag.task_dict["ask"].response_timeout = dt.timedelta(minutes=minutes)
    return dag


def ended(run: Any) -> dict[str, str]:
    """Return the states of the gate's tasks."""
    intake = {"collect", "validate", "score", "decide", "store"}
    return {name: state for name, state in states(run).items() if name not in intake}


hands_on_answers = pytest.mark.skipif(
    version("apache-airflow").startswith("3.1."),
    reason="DAG.test of Airflow 3.1 does not hand a person's answer to the task",
)


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `DAG.test` ask, as a scheduled run does."""
    monkeypatch.setattr(tasks, "_TESTING", "nobody")


def answered(dag: Any, act: Callable[[Any, dict[str, Any]], None]) -> Any:
    """Run a DAG and act once it waits for a person, with a client signed in as `admin` and the waiting task."""
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    client = TestClient(create_app(apps="core"))
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="admin", role="admin"))
    client.headers["Authorization"] = f"Bearer {token}"

    def watch() -> None:
        JUDGED.wait(_PATIENCE_SECONDS)
        end = time.monotonic() + _PATIENCE_SECONDS
        while not (questions := waiting(client)) and time.monotonic() < end:
            pass
        act(client, questions[0])

    JUDGED.clear()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    run = dag.test()
    thread.join(10)
    return run


def waiting(client: Any) -> list[dict[str, Any]]:
    """Return the questions that wait for a person's answer."""
    where = "/api/v2/dags/guard_sessions/dagRuns/~/hitlDetails"
    questions = client.get(where, params={"response_received": False}).json()["hitl_details"]
    return [each for each in questions if each["task_instance"]["state"] == "awaiting_input"]


def answer(option: str, note: str) -> Callable[[Any, dict[str, Any]], None]:
    def act(client: Any, detail: dict[str, Any]) -> None:
        task = detail["task_instance"]
        where = f"/api/v2/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/ask/-1/hitlDetails"
        sent = client.patch(where, json={"chosen_options": [option], "params_input": {"note": note}})
        assert sent.status_code == 200, sent.text

    return act


def test_a_pass_is_admitted_without_asking_and_the_event_names_the_manifest(held: Gate):
    before = len(events_of("admitted_sessions"))
    run = guard_dag().test()
    assert str(run.state) == "success"
    assert ended(run) == {
        "admit": "success",
        "approve": "skipped",
        "ask": "skipped",
        "gate": "success",
        "passed": "success",
        "report": "success",
        "route": "success",
        "seal": "success",
    }
    (event,) = events_of("admitted_sessions")[before:]
    assert event == {"feed": "sessions", "snapshot_id": "sessions-1-ab", "digest": "d" * 64}


@pytest.mark.parametrize("outcome", ["fail", "error"])
def test_a_closed_gate_fails_the_run_once_sends_no_event_and_the_page_is_still_written(held: Gate, outcome: str):
    held.outcome, before = outcome, len(events_of("admitted_sessions"))
    run = guard_dag().test()
    assert str(run.state) == "failed"
    found = ended(run)
    assert (found["gate"], found["ask"], found["admit"]) == ("failed", "upstream_failed", "upstream_failed")
    assert found["report"] == "success"
    assert held.asked_to_judge == 1
    assert len(events_of("admitted_sessions")) == before


def test_in_a_test_run_an_inconclusive_verdict_ends_at_once_unadmitted(held: Gate):
    held.outcome, before = "inconclusive", len(events_of("admitted_sessions"))
    run = guard_dag().test()
    assert str(run.state) == "success"
    found = ended(run)
    assert {found[task] for task in ("route", "passed", "ask", "approve", "admit")} == {"skipped"}
    assert (held.approvals, len(events_of("admitted_sessions"))) == ([], before)


@hands_on_answers
def test_an_approval_with_a_note_admits_in_the_name_of_who_answered(held: Gate, somebody: None):
    held.outcome, before = "inconclusive", len(events_of("admitted_sessions"))
    seen: list[dict[str, Any]] = []

    def act(client: Any, detail: dict[str, Any]) -> None:
        seen.append(detail)
        answer("Approve", "looked at all 41 of them")(client, detail)

    run = answered(guard_dag(), act)
    assert str(run.state) == "success"
    assert held.approvals == [("admin", "looked at all 41 of them")]
    found = ended(run)
    assert (found["ask"], found["approve"], found["passed"], found["admit"]) == (
        "success",
        "success",
        "skipped",
        "success",
    )
    assert len(events_of("admitted_sessions")) == before + 1
    assert seen[0]["subject"] == "Train on sessions-1-ab? The gate could not judge it"
    assert "- `canary: 41 examples of class 7, needs 300`" in seen[0]["body"]


@hands_on_answers
def test_an_approval_without_a_note_is_refused(held: Gate, somebody: None):
    held.outcome = "inconclusive"
    run = answered(guard_dag(), answer("Approve", "  "))
    assert str(run.state) == "failed"
    assert (ended(run)["approve"], ended(run)["admit"]) == ("failed", "upstream_failed")
    assert (held.approvals, held.admitted) == ([], False)


@hands_on_answers
def test_a_rejection_ends_the_run_without_an_event(held: Gate, somebody: None):
    held.outcome, before = "inconclusive", len(events_of("admitted_sessions"))
    run = answered(guard_dag(), answer("Reject", "no"))
    assert str(run.state) == "success"
    assert (ended(run)["ask"], ended(run)["approve"], ended(run)["admit"]) == ("success", "skipped", "skipped")
    assert (held.approvals, len(events_of("admitted_sessions"))) == ([], before)


@hands_on_answers
def test_no_answer_in_time_is_a_rejection(held: Gate, somebody: None):
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner

    def sweep(client: Any, _detail: dict[str, Any]) -> None:
        end = time.monotonic() + _PATIENCE_SECONDS
        while waiting(client) and time.monotonic() < end:  # what the scheduler does every few seconds
            SchedulerJobRunner(job=Job()).check_awaiting_input_timeouts()

    held.outcome, before = "inconclusive", len(events_of("admitted_sessions"))
    run = answered(guard_dag(minutes=0.001), sweep)
    assert str(run.state) == "success"
    assert (ended(run)["ask"], ended(run)["approve"], ended(run)["admit"]) == ("success", "skipped", "skipped")
    assert (held.approvals, len(events_of("admitted_sessions"))) == ([], before)


def test_marking_the_question_a_success_by_hand_approves_nothing(held: Gate, somebody: None):
    held.outcome, before = "inconclusive", len(events_of("admitted_sessions"))
    run = guard_dag().test(mark_success_pattern="ask")
    assert str(run.state) == "failed"
    assert (held.approvals, held.admitted, len(events_of("admitted_sessions"))) == ([], False, before)
    run = guard_dag().test(mark_success_pattern="ask|approve")
    assert ended(run)["admit"] == "failed"
    assert (held.admitted, len(events_of("admitted_sessions"))) == (False, before)


def test_what_was_judged_is_not_judged_again_but_announced_until_somebody_trained_on_it(held: Gate):
    guard_dag().test()
    before, judged = len(events_of("admitted_sessions")), held.asked_to_judge
    held.new = False
    guard_dag().test()
    assert (held.asked_to_judge, len(events_of("admitted_sessions"))) == (judged, before + 1)
    held.trained = True
    run = guard_dag().test()
    assert (str(run.state), set(ended(run).values())) == ("success", {"skipped"})
    assert len(events_of("admitted_sessions")) == before + 1
