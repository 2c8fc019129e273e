"""What Airflow sees when it reads the DAG files."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from poison_guard.airflow.run import dags_folder
from poison_guard.airflow.versions import dagbag
from tests.e2e.airflow_rows import bundle_bag

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[2]

CONTRACT = """
kind = "telemetry"
schedule = "@daily"
[data]
path = "inbox/*.csv"
[columns]
source_id = "user"
features = ["speed"]
"""

PARSE = """
import json, sys, time
import airflow.sdk
from poison_guard.airflow.versions import dagbag
DagBag = dagbag().DagBag
before = time.process_time()
bag = DagBag(sys.argv[1])
took = time.process_time() - before
found = {"dags": sorted(bag.dags), "errors": bag.import_errors}
print(json.dumps({**found, "seconds": took, "modules": sorted(sys.modules)}))
"""


def bag() -> Any:
    return dagbag().DagBag(dags_folder())


@pytest.fixture
def feeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "feeds"
    folder.mkdir()
    (folder / "good.toml").write_text('name = "good"\n' + CONTRACT)
    monkeypatch.setenv("POISON_GUARD_FEEDS", str(folder))
    return folder


def test_every_shipped_contract_has_its_dag():
    found = bag()
    assert found.import_errors == {}
    feeds = [file.stem for file in (ROOT / "feeds").glob("*.toml")]
    assert set(found.dags) == {f"{kind}_{feed}" for kind in ("guard", "retrain") for feed in feeds}


def test_a_dag_is_serial_scheduled_by_its_contract_and_mapped_over_partitions(feeds: Path):
    dag = bag().dags["guard_good"]
    assert (dag.max_active_runs, dag.catchup, dag.schedule) == (1, False, "@daily")
    order = [task.task_id for task in dag.topological_sort()]
    assert order[:7] == ["collect", "validate", "score", "decide", "store", "seal", "gate"]
    assert set(order[7:]) == {"route", "passed", "ask", "approve", "admit", "report"}
    assert dag.task_dict["score"].is_mapped
    assert [asset.name for asset in dag.task_dict["store"].outlets] == ["guard_good"]
    assert [asset.name for asset in dag.task_dict["admit"].outlets] == ["admitted_good"]
    assert all((task.retries or 0) == 2 for task in dag.tasks)


def test_the_question_is_rejected_without_an_answer_in_time(feeds: Path):
    ask = bag().dags["guard_good"].task_dict["ask"]
    assert (ask.defaults, ask.response_timeout) == (["Reject"], dt.timedelta(hours=0.8 * 24))


def test_where_no_clock_runs_a_feed_its_next_run_does_not_wait_for_the_answer(feeds: Path):
    (feeds / "good.toml").write_text('name = "good"\n' + CONTRACT.replace('schedule = "@daily"\n', ""))
    dag = bag().dags["guard_good"]
    assert (dag.schedule, dag.max_active_runs) == (None, 16)
    assert dag.task_dict["ask"].response_timeout == dt.timedelta(hours=12)


def test_admission_is_not_let_through_by_the_success_of_anything_but_a_pass_or_an_approval(feeds: Path):
    dag = bag().dags["guard_good"]
    assert dag.task_dict["admit"].upstream_task_ids == {"passed", "approve"}
    assert dag.task_dict["approve"].trigger_rule == dag.task_dict["passed"].trigger_rule == "all_success"


def test_a_training_waits_for_the_admitted_asset_and_is_serial(feeds: Path):
    dag = bag().dags["retrain_good"]
    assert [task.task_id for task in dag.topological_sort()] == [
        "due",
        "verify",
        "train",
        "evaluate",
        "promote",
        "report",
    ]
    (waits_for,) = dag.schedule
    assert (waits_for.name, dag.max_active_runs, dag.catchup) == ("admitted_good", 1, False)


def test_parsing_takes_under_two_seconds_and_imports_nothing_heavy(feeds: Path, tmp_path: Path):
    env = {**os.environ, "AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(dags_folder())], env=env, capture_output=True, text=True, check=True
    )
    parsed = json.loads(done.stdout.splitlines()[-1])
    assert (parsed["dags"], parsed["errors"]) == (["guard_good", "retrain_good"], {})
    heavy = {"torch", "great_expectations", "pandas", "sklearn", "matplotlib", "scipy", "pyarrow"}
    assert heavy.isdisjoint(parsed["modules"])
    assert parsed["seconds"] < 2.0


def test_a_broken_contract_is_an_import_error_that_names_it_and_takes_no_other_dag_down(
    feeds: Path, airflow_database: None
):
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.models.dag import DagModel
    from airflow.models.errors import ParseImportError
    from airflow.utils.session import create_session

    (feeds / "torn.toml").write_text('name = "torn"\nscheduel = "@daily"\n' + CONTRACT)
    found = bundle_bag()
    assert set(found.dags) == {"guard_good", "retrain_good"}
    ((file, error),) = found.import_errors.items()
    assert file == "contracts.py"
    assert f"unknown key `scheduel` in the top level of {feeds / 'torn.toml'}; did you mean `schedule`?" in error

    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)
    dagbag().sync_bag_to_db(found, "dags-folder", None)
    with create_session() as session:
        model = session.get(DagModel, "guard_good")
        assert (model.is_stale, model.has_import_errors) == (False, False)
        assert [row.filename for row in session.query(ParseImportError)] == ["contracts.py"]
