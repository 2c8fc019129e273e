"""OpenLineage events: what a run, a snapshot and an admission leave in the outbox, and what arrives."""

import json

import pytest

from poison_guard import Guard
from poison_guard.errors import MissingExtraError, StoreError
from poison_guard.steps import lineage
from poison_guard.steps.lineage import trace_run
from poison_guard.steps.opening import open_feed
from poison_guard.store import list_runs, outbox
from tests.integration.steps.conftest import CONTRACT, answers, put

TASK = {
    "feed": "quiz",
    "step": "seal",
    "ref": "snapshot-1",
    "inputs": [["poison_guard", "quiz/records", None]],
    "outputs": [["poison_guard", "quiz/snapshots", "snapshot-1"]],
    "began": "2026-02-03T11:00:00+00:00",
    "ended": "2026-02-03T11:00:05+00:00",
    "facts": {"examples": 7},
}


def settings_to(guard: Guard, target: str):
    guard.home.mkdir(exist_ok=True)
    (guard.home / "settings.toml").write_text(f'lineage = "{target}"\n')
    return Guard.open(guard.contract.path, home=guard.home).settings


def test_a_run_tells_of_its_files_counts_and_cost_once(guard, monkeypatch):
    guard.contract.path.write_text(CONTRACT.replace('features = ["dwell", "speed"]', ""))  # which need torch
    settings_to(guard, "https://lineage.example")
    monkeypatch.setattr(lineage, "emit", lambda settings, task: (_ for _ in ()).throw(StoreError("is away")))
    opened = Guard.open(guard.contract.path, home=guard.home)
    file = put(opened.home, answers(60, 1), "a.csv")
    opened.ingest()
    with open_feed(opened.contract, opened.settings) as feed:
        trace_run(feed, list_runs(feed.store, "quiz")[0])  # again, as after a crash
        (task,) = [task.payload for task in outbox.pending(feed.store) if task.kind == outbox.LINEAGE]
    assert task["step"] == "run"
    assert task["inputs"][0][:2] == ["file", str(file)]
    assert len(task["inputs"][0][2]) == 64
    assert task["facts"]["received"] == 60
    assert task["facts"]["cpu_s"] > 0
    assert task["began"] < task["ended"]


def test_without_the_library_the_event_waits_and_the_extra_is_named(guard, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openlineage.client", None)
    with pytest.raises(MissingExtraError, match=r"poison-guard\[lineage\]"):
        lineage.emit(settings_to(guard, "https://lineage.example"), TASK)


def test_events_are_of_the_standard_and_one_run_however_often_they_are_sent(guard, tmp_path):
    pytest.importorskip("openlineage.client", reason="openlineage-python is not installed")
    settings = settings_to(guard, str(tmp_path / "events.jsonl"))
    for _ in range(2):
        lineage.emit(settings, TASK)
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"] * 2
    assert len({event["run"]["runId"] for event in events}) == 1
    assert events[0]["job"] == {"namespace": "poison_guard", "name": "quiz.seal", "facets": {}}
    assert events[1]["outputs"][0]["facets"]["version"]["datasetVersion"] == "snapshot-1"
    assert events[1]["run"]["facets"]["tags"]["tags"][0]["value"] == "7"


def test_a_server_that_does_not_answer_is_named_without_its_secrets(guard):
    pytest.importorskip("openlineage.client", reason="openlineage-python is not installed")
    settings = settings_to(guard, "http://me:hush@127.0.0.1:1/?token=hush")
    with pytest.raises(StoreError, match="was not told of seal snapshot-1") as caught:
        lineage.emit(settings, TASK)
    assert "hush" not in str(caught.value)
