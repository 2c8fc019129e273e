"""What the first tasks of `dags/guard.py` do: call one step with ids, and tell Airflow what a retry cannot mend.

Arguments are the contract's file and ids; the steps, with their heavy libraries, are imported when a task runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from poison_guard.airflow.feeds import guard_home
from poison_guard.errors import ClosedError, TamperError, UsageError

__all__ = ["collect", "decide", "final_errors", "report", "report_changes", "score", "store", "validate"]


@contextmanager
def final_errors() -> Iterator[None]:
    """Fail the task for good on a closed gate and on errors in what a person wrote or a file holds; retry others."""
    from airflow.sdk.exceptions import AirflowFailException

    try:
        yield
    except (UsageError, TamperError, ClosedError) as error:
        raise AirflowFailException(str(error)) from error


def collect(contract: str) -> dict[str, Any]:
    """Take in what is new: ``guard_run`` and its ``partitions``; skips the rest of the DAG when nothing is."""
    from airflow.sdk.exceptions import AirflowSkipException

    from poison_guard import steps

    with final_errors():
        found = steps.collect(contract, guard_home())
    if found["run_id"] is None:
        raise AirflowSkipException(f"nothing new for {contract}")
    return {"guard_run": found["run_id"], "partitions": found["partitions"]}


def validate(contract: str, guard_run: str, partitions: list[int]) -> list[int]:
    """Hold the batch against its suite; returns the partitions to score."""
    from poison_guard import steps

    with final_errors():
        steps.validate(contract, guard_home(), guard_run)
    return partitions


def score(contract: str, guard_run: str, partition: int) -> None:
    """Score the records of one partition."""
    from poison_guard import steps

    with final_errors():
        steps.score(contract, guard_home(), guard_run, partition)


def decide(contract: str, guard_run: str) -> None:
    """Find campaigns and bad sources over all partitions, then decide every record."""
    from poison_guard import steps

    with final_errors():
        steps.decide(contract, guard_home(), guard_run)


def store(contract: str, guard_run: str) -> dict[str, int]:
    """Commit the run, once however often this is called; returns its counts."""
    from poison_guard import steps

    with final_errors():
        return dict(steps.store(contract, guard_home(), guard_run))


def report(contract: str) -> str:
    """Write the page of the feed's newest run into the home, with the gate and the models as they are now."""
    from poison_guard.web.report import write_newest_report

    with final_errors():
        return str(write_newest_report(guard_home(), contract))


def report_changes(contract: str, ti: Any = None) -> str:
    """Write the page as `report` does; skips when the run neither stored a batch nor had a snapshot to judge."""
    from airflow.sdk.exceptions import AirflowSkipException

    if ti.xcom_pull(task_ids="store") is None and ti.xcom_pull(task_ids="seal") is None:
        raise AirflowSkipException(f"nothing changed for {contract}")
    return report(contract)
