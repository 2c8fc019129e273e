"""One DAG `retrain_<feed>` for each feed contract, woken when a snapshot is admitted: verify, train, evaluate, promote.

Wiring only. Events may come twice, together or late: the store says what is due, and one snapshot is trained on once.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, chain, dag, task

from poison_guard.airflow import tasks
from poison_guard.airflow.feeds import read_feeds
from poison_guard.airflow.operators import admitted_asset

if TYPE_CHECKING:
    from poison_guard.config import Contract


def retrain_dag(contract: Contract) -> DAG:
    """Return the DAG that trains on what the store says is due for one feed; it skips to the end when nothing is."""
    file = str(contract.path)

    @dag(
        dag_id=f"retrain_{contract.name}",
        schedule=[admitted_asset(contract.name)],
        start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        catchup=False,
        max_active_runs=1,  # one model of a feed is trained at a time
        default_args={"retries": 2, "retry_delay": dt.timedelta(seconds=15)},
        tags=["poison_guard", str(contract.kind)],
        doc_md=__doc__,
    )
    def wire() -> None:
        due: Any = task(tasks.due)(file)
        snapshot: Any = task(tasks.verify)(file, due)
        model: Any = task(tasks.train)(file, snapshot)
        promoted = task(tasks.promote)(file, model)
        chain(task(tasks.evaluate)(file, model), promoted, task(tasks.report)(file))

    return wire()


for _contract in read_feeds(Path(__file__).parent).contracts:
    retrain_dag(_contract)
