"""From a batch to a champion through both DAGs, nothing stood in for: store, keys, statistics, torch."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path
from typing import Any

import pytest

from poison_guard import Guard
from poison_guard.airflow.run import dags_folder
from tests.e2e.airflow_rows import events_of, states, unpause, woken

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("airflow_database"),
]


def run(dag_id: str) -> Any:
    from poison_guard.airflow.versions import dagbag

    dag = dagbag().DagBag(dags_folder()).dags[dag_id]
    for task in dag.tasks:
        kwargs = task.partial_kwargs if task.is_mapped else task.__dict__
        kwargs["retry_delay"] = dt.timedelta(0)
    return dag.test()


def page_of(home: Path) -> str:
    (page,) = (home / "reports").glob("*.html")
    return page.read_text()


def champions(contract: Path, home: Path) -> list[str]:
    from poison_guard.steps.opening import open_feed
    from poison_guard.store.models import list_models

    with open_feed(contract, home) as feed:
        return [model.snapshot_id for model in list_models(feed.store, "visits") if model.status == "champion"]


def test_a_clean_batch_is_admitted_wakes_its_training_and_is_learned_from_once(labelled: Path):
    home, before = labelled.parents[1] / "home", len(events_of("admitted_visits"))
    unpause("retrain_visits")
    guarded = run("guard_visits")
    assert str(guarded.state) == "success", states(guarded)
    (event,) = events_of("admitted_visits")[before:]
    manifest = home / "manifests" / f"{event['snapshot_id']}.json"
    assert event["digest"] == hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert "retrain_visits" in woken()
    assert 'id="gate"' in page_of(home)
    assert 'id="models"' not in page_of(home)

    trained = run("retrain_visits")
    assert set(states(trained).values()) == {"success"}
    assert champions(labelled, home) == [event["snapshot_id"]]
    assert "The champion is" in page_of(home)

    for dag_id in ("guard_visits", "retrain_visits"):
        again = run(dag_id)
        assert (str(again.state), set(states(again).values())) == ("success", {"skipped"})
    assert len(events_of("admitted_visits")) == before + 1


@pytest.mark.thorough
def test_an_admission_that_was_recalled_meanwhile_is_not_learned_from(labelled: Path):
    home = labelled.parents[1] / "home"
    run("guard_visits")
    Guard.open(labelled, home=home).recall(record_ids=["s00007"], by="tester", reason="forged")
    trained = run("retrain_visits")
    assert champions(labelled, home) == []
    assert states(trained)["train"] == "skipped"

    resealed = run("guard_visits")  # nothing new came in, and yet there is a snapshot without that record to judge
    assert states(resealed)["collect"] == "skipped"
    assert states(resealed)["admit"] == "success"
    run("retrain_visits")
    (learned,) = champions(labelled, home)
    assert learned == events_of("admitted_visits")[-1]["snapshot_id"]


def test_a_manifest_edited_in_the_store_is_not_trained_on(labelled: Path):
    import sqlite3

    home = labelled.parents[1] / "home"
    run("guard_visits")
    with sqlite3.connect(home / "store.db") as connection:
        (envelope,) = connection.execute("SELECT envelope FROM admissions").fetchone()
        connection.execute("UPDATE admissions SET envelope = ?", [envelope.replace("A", "B", 1)])
    trained = run("retrain_visits")
    assert str(trained.state) == "failed"
    assert (states(trained)["verify"], states(trained)["train"]) == ("failed", "upstream_failed")
    assert champions(labelled, home) == []
