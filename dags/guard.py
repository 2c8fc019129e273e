"""One DAG `guard_<feed>` for each feed contract: collect, validate, score (mapped), decide, store; seal, gate, admit.

Wiring only. Tasks hand on ids; every step loads what it needs from the store and the lake, and may be retried or
cleared at will. Where a check could not be judged, the task `ask` asks a person, once a run; no answer is a no.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param, TriggerRule, chain, dag, task

from poison_guard.airflow import tasks
from poison_guard.airflow.feeds import read_feeds
from poison_guard.airflow.operators import admitted_asset, stored_asset

if TYPE_CHECKING:
    from poison_guard.config import Contract


_OPEN_QUESTIONS = 16
"""Runs of a feed without a schedule that may wait for a person at a time: Airflow's own default for a DAG."""


def guard_dag(contract: Contract) -> DAG:
    """Return the DAG that takes in whatever is new for one feed, and admits what may be learned from."""
    file = str(contract.path)

    @dag(
        dag_id=f"guard_{contract.name}",
        schedule=contract.schedule,
        start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        catchup=False,
        # Runs of a feed are serial; where no clock starts them, the next ones do not wait for a person's answer.
        max_active_runs=1 if contract.schedule else _OPEN_QUESTIONS,
        default_args={"retries": 2, "retry_delay": dt.timedelta(seconds=15)},
        tags=["poison_guard", str(contract.kind)],
        doc_md=__doc__,
    )
    def wire() -> None:
        counts = take_in(contract, file)
        # Sealing goes on when nothing is new: a reviewer may have released or recalled something since.
        snapshot: Any = task(trigger_rule=TriggerRule.NONE_FAILED)(tasks.seal)(file)
        verdict: Any = task(tasks.gate)(file, snapshot)
        chain(counts, snapshot)
        may_pass(contract, file, snapshot, verdict)
        page = task(task_id="report", trigger_rule=TriggerRule.ALL_DONE)(tasks.report_changes)
        chain(verdict, page(file))  # whatever the verdict

    return wire()


def take_in(contract: Contract, file: str) -> Any:
    """Wire collect, validate, score, decide and store; return the task that stores."""
    stored = stored_asset(contract.name)

    @task(outlets=[stored])
    def store(guard_run: str, outlet_events: Any = None) -> dict[str, int]:
        """Commit the run and say so to the DAGs that wait for this feed."""
        counts = tasks.store(file, guard_run)
        outlet_events[stored].extra = {"feed": contract.name, "guard_run": guard_run, "counts": counts}
        return counts

    batch: Any = task(tasks.collect)(file)
    guard_run = batch["guard_run"]
    partitions = task(tasks.validate)(file, guard_run, batch["partitions"])
    scored = task(tasks.score).partial(contract=file, guard_run=guard_run).expand(partition=partitions)
    counts = store(guard_run)
    chain(scored, task(tasks.decide)(file, guard_run), counts)
    return counts


def may_pass(contract: Contract, file: str, snapshot: Any, verdict: Any) -> None:
    """Wire what follows a verdict: pass or ask a person, then admit."""
    admitted = admitted_asset(contract.name)

    @task.branch
    def route(verdict: dict[str, Any], dag_run: Any = None) -> str:
        """Go on, or ask."""
        return tasks.route(verdict, dag_run)

    @task(outlets=[admitted], trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)
    def admit(snapshot_id: str, outlet_events: Any = None) -> dict[str, str]:
        """Sign the admission and wake whoever trains on this feed."""
        signed = tasks.admit(file, snapshot_id)
        outlet_events[admitted].extra = {"feed": contract.name, **signed}
        return signed

    ask = ApprovalOperator(
        task_id="ask",
        subject=verdict["subject"],
        body=verdict["body"],
        params={"note": Param("", type=["string", "null"], title="Why it may be trained on (required to approve)")},
        defaults="Reject",
        response_timeout=tasks.answer_within(contract.schedule),
    )
    answer: Any = ask.output
    approved = task(tasks.approve)(file, snapshot, answer, verdict["verdict_seq"])
    passed = EmptyOperator(task_id="passed")
    chain(route(verdict), [passed, ask])
    # By template: an argument would make `seal` one of those whose success lets `admit` start after a refusal.
    chain([passed, approved], admit("{{ ti.xcom_pull(task_ids='seal') }}"))


for _contract in read_feeds(Path(__file__).parent).contracts:
    guard_dag(_contract)
