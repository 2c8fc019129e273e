"""One DAG `guard_<feed>` for each feed contract: collect, validate, score (mapped), decide, store, report. Wiring only.

Tasks hand on ids; every step loads what it needs from the store and the lake, and may be retried or cleared at will.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset, chain, dag, task

from poison_guard.airflow import tasks
from poison_guard.airflow.feeds import read_feeds

if TYPE_CHECKING:
    from poison_guard.config import Contract


def guard_dag(contract: Contract) -> DAG:
    """Return the DAG that takes in whatever is new for one feed; it skips to the end when nothing is."""
    file = str(contract.path)
    stored = Asset(f"guard_{contract.name}", group="poison_guard")

    @task(outlets=[stored])
    def store(guard_run: str, outlet_events: Any = None) -> dict[str, int]:
        """Commit the run and say so to the DAGs that wait for this feed."""
        counts = tasks.store(file, guard_run)
        outlet_events[stored].extra = {"feed": contract.name, "guard_run": guard_run, "counts": counts}
        return counts

    @dag(
        dag_id=f"guard_{contract.name}",
        schedule=contract.schedule,
        start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        catchup=False,
        max_active_runs=1,  # a feed's runs are serial
        default_args={"retries": 2, "retry_delay": dt.timedelta(seconds=15)},
        tags=["poison_guard", str(contract.kind)],
        doc_md=__doc__,
    )
    def wire() -> None:
        found: Any = task(tasks.collect)(file)
        guard_run = found["guard_run"]
        partitions = task(tasks.validate)(file, guard_run, found["partitions"])
        scored = task(tasks.score).partial(contract=file, guard_run=guard_run).expand(partition=partitions)
        decided = task(tasks.decide)(file, guard_run)
        chain(scored, decided, store(guard_run), task(tasks.report)(guard_run))

    return wire()


for _contract in read_feeds(Path(__file__).parent).contracts:
    guard_dag(_contract)
