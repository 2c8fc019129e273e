"""The retrain DAG in a real Airflow, with a stand-in for the guard: woken twice or together, it trains once."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from poison_guard.airflow.run import dags_folder
from poison_guard.errors import ClosedError
from poison_guard.guard import Guard
from poison_guard.steps.admission import Admitted
from poison_guard.steps.promote import Promotion
from poison_guard.steps.stages import Due, EvaluateStage, TrainStage
from tests.e2e.airflow_rows import states
from tests.e2e.conftest import CONTRACT

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("airflow_database"),
]


class Trainer:
    """What the store would hold: the admitted snapshots in order, and the models made of them."""

    def __init__(self) -> None:
        self.admitted: list[str] = []
        self.trained: list[str] = []
        self.promoted: list[str] = []
        self.revoked: set[str] = set()
        self.kills = 0
        self.better = True

    def due(self) -> Due:
        newest = self.admitted[-1] if self.admitted else None
        return Due(None if newest in self.trained else newest)

    def check_admission(self, snapshot: str) -> Admitted:
        if snapshot in self.revoked:
            raise ClosedError(f"{snapshot} was revoked")
        return Admitted(snapshot, Path("m.json"), "ab", dt.datetime(2026, 12, 1, tzinfo=dt.UTC), 9)

    def stage_train(self, snapshot: str) -> TrainStage:
        if self.kills:
            self.kills -= 1
            raise OSError("the machine went away")
        self.trained.append(snapshot)
        return TrainStage(f"model-of-{snapshot}")

    def stage_evaluate(self, model: str) -> EvaluateStage:
        return EvaluateStage(model, {"accuracy": 0.98})

    def stage_promote(self, model: str) -> Promotion:
        if self.better:
            self.promoted.append(model)
        return Promotion(model, self.better, "better" if self.better else "it lost 4 points")


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    from poison_guard.web import report

    trainer = Trainer()
    for name in (name for name in vars(Trainer) if not name.startswith("_")):
        monkeypatch.setattr(Guard, name, getattr(trainer, name))
    monkeypatch.setattr(Guard, "report", lambda *_: SimpleNamespace(reasons=(), notes=()))
    monkeypatch.setattr(report, "write_report", lambda *_, **__: "page.html")
    (tmp_path / "feeds").mkdir()
    (tmp_path / "feeds" / "sessions.toml").write_text(CONTRACT)
    monkeypatch.setenv("POISON_GUARD_FEEDS", str(tmp_path / "feeds"))
    monkeypatch.setenv("POISON_GUARD_HOME", str(tmp_path / "home"))
    return trainer


def retrain_dag() -> Any:
    from poison_guard.airflow.versions import dagbag

    dag = dagbag().DagBag(dags_folder()).dags["retrain_sessions"]
    for task in dag.tasks:
        task.retry_delay = dt.timedelta(0)
    return dag


def test_events_that_came_together_or_again_train_once_on_the_newest(trainer: Trainer):
    trainer.admitted += ["s-1", "s-2"]  # two events, one run
    run = retrain_dag().test()
    assert set(states(run).values()) == {"success"}
    assert (trainer.trained, trainer.promoted) == (["s-2"], ["model-of-s-2"])
    again = retrain_dag().test()
    assert (str(again.state), set(states(again).values())) == ("success", {"skipped"})
    assert trainer.trained == ["s-2"]


def test_what_was_revoked_since_is_not_trained_on(trainer: Trainer):
    trainer.admitted, trainer.revoked = ["s-1"], {"s-1"}
    run = retrain_dag().test()
    assert str(run.state) == "failed"
    assert (states(run)["verify"], states(run)["train"]) == ("failed", "upstream_failed")
    assert trainer.trained == []


def test_a_training_that_was_killed_is_tried_again(trainer: Trainer):
    trainer.admitted, trainer.kills = ["s-1"], 1
    run = retrain_dag().test()
    assert str(run.state) == "success"
    assert trainer.trained == ["s-1"]


def test_a_refused_model_is_an_outcome_of_the_run_and_no_failure(trainer: Trainer):
    trainer.admitted, trainer.better = ["s-1"], False
    run = retrain_dag().test()
    assert str(run.state) == "success"
    said = next(t for t in run.get_task_instances() if t.task_id == "promote").xcom_pull(task_ids="promote")
    assert said == {"model_id": "model-of-s-1", "promoted": False, "why": "it lost 4 points"}
