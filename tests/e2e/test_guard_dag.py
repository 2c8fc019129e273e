"""The guard DAG run for real: Airflow's database, the store and the lake, nothing replaced."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from poison_guard.airflow import tasks
from poison_guard.airflow.run import dags_folder
from poison_guard.errors import StoreError
from poison_guard.guard import Guard
from tests.e2e.airflow_rows import events_of, states
from tests.e2e.conftest import sessions

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("airflow_database"),
]


def guard_dag() -> Any:
    from poison_guard.airflow.versions import dagbag

    dag = dagbag().DagBag(dags_folder()).dags["guard_sessions"]
    for task in dag.tasks:
        kwargs = task.partial_kwargs if task.is_mapped else task.__dict__
        kwargs["retry_delay"] = dt.timedelta(0)
    return dag


def stored_events() -> list[dict[str, Any]]:
    return events_of("guard_sessions")


def contents(contract: Path) -> dict[str, pd.DataFrame]:
    """Return every table of the store, sorted, without the columns that tell the time of day."""
    import sqlalchemy as sa

    engine = sa.create_engine(f"sqlite:///{contract.parents[1] / 'home' / 'store.db'}")
    with engine.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        frames = {name: pd.read_sql_table(name, connection).map(str) for name in names}
    engine.dispose()
    return {name: frame.sort_values(list(frame.columns), ignore_index=True) for name, frame in frames.items()}


def same(left: dict[str, pd.DataFrame], right: dict[str, pd.DataFrame]) -> None:
    assert left.keys() == right.keys()
    for name, frame in left.items():
        pd.testing.assert_frame_equal(frame, right[name], obj=f"table {name}")


def test_a_batch_goes_through_once_and_what_is_cleared_or_run_again_changes_nothing(feed: Path):
    before = len(stored_events())
    run = guard_dag().test()
    assert states(run) == {
        "collect": "success",
        "decide": "success",
        "report": "success",
        **{f"score[{i}]": "success" for i in range(3)},
        "store": "success",
        "validate": "success",
        **dict.fromkeys(
            ("seal", "gate", "route", "passed", "ask", "approve", "admit"), "skipped"
        ),  # no labels to learn
    }
    (event,) = stored_events()[before:]
    counts = event["counts"]
    assert event["feed"] == "sessions"
    assert counts["received"] == 250
    assert counts["received"] == sum(
        counts[place] for place in ("staged", "accepted", "quarantined", "rejected", "seen_before")
    )
    assert counts["quarantined"] >= 5  # the five that are far off
    page = feed.parents[1] / "home" / "reports" / f"{event['guard_run']}.html"
    assert page.read_text().lstrip().lower().startswith("<!doctype html>")

    once = contents(feed)
    file, guard_run = str(feed), event["guard_run"]
    assert tasks.validate(file, guard_run, [0, 1, 2]) == [0, 1, 2]  # each task cleared, in the order of the DAG
    for partition in range(3):
        tasks.score(file, guard_run, partition)
    tasks.decide(file, guard_run)
    assert tasks.store(file, guard_run) == counts
    same(once, contents(feed))

    again = guard_dag().test()
    assert str(again.state) == "success"
    assert set(states(again).values()) == {"skipped"}
    assert len(stored_events()) == before + 1
    same(once, contents(feed))


def test_a_store_task_that_dies_once_is_retried_and_stores_everything_once(feed: Path, monkeypatch: pytest.MonkeyPatch):
    commit, calls = Guard.stage_commit, []

    def flaky(guard: Guard, run_id: str) -> dict[str, int]:
        calls.append(run_id)
        if len(calls) == 1:
            raise StoreError("the disk is full")
        return commit(guard, run_id)

    monkeypatch.setattr(Guard, "stage_commit", flaky)
    run = guard_dag().test()
    assert str(run.state) == "success"
    assert len(calls) == 2
    assert len(contents(feed)["records"]) == 250


@pytest.mark.thorough
def test_a_second_file_is_taken_in_by_the_next_run_alone(feed: Path):
    guard_dag().test()
    first = len(contents(feed)["records"])
    sessions(30, seed=3, prefix="n").to_csv(feed.parents[1] / "home" / "inbox" / "day-2.csv", index=False)
    run = guard_dag().test()
    assert states(run)["store"] == "success"
    assert stored_events()[-1]["counts"]["received"] == 30
    assert len(contents(feed)["records"]) == first + 30


def test_a_batch_that_no_row_can_be_read_of_is_stored_as_quarantined(feed: Path):
    inbox = feed.parents[1] / "home" / "inbox"
    (inbox / "day-1.csv").write_bytes(b"session,device,at,speed,pause,turns\n" + b"\xff\xfe,ragged\n" * 4)
    run = guard_dag().test()
    assert states(run)["store"] == "success"
    counts = stored_events()[-1]["counts"]
    assert (counts["accepted"], counts["quarantined"]) == (0, counts["received"])
    assert counts["received"] > 0
