"""What the tasks of `dags/retrain.py` do: ask the store what is due, verify its admission, train, evaluate, promote."""

from __future__ import annotations

from typing import Any

from poison_guard.airflow.feeds import guard_home
from poison_guard.airflow.tasks import final_errors

__all__ = ["due", "evaluate", "promote", "train", "verify"]


def due(contract: str) -> str:
    """Return the admitted snapshot that no model was trained on yet; skips the rest of the DAG when there is none.

    Events only wake the DAG: two of them, or one that came late, find that the store has nothing left to do.
    """
    from airflow.sdk.exceptions import AirflowSkipException

    from poison_guard import steps

    with final_errors():
        snapshot = steps.due(contract, guard_home())["snapshot_id"]
    if snapshot is None:
        raise AirflowSkipException(f"nothing is due for {contract}")
    return str(snapshot)


def verify(contract: str, snapshot_id: str) -> str:
    """Hold the stored manifest against the data and the revocations; returns the snapshot, fails for good if closed."""
    from poison_guard import steps

    with final_errors():
        return str(steps.check_admission(contract, guard_home(), snapshot_id)["snapshot_id"])


def train(contract: str, snapshot_id: str) -> str:
    """Train on an admitted snapshot; returns the model's id. A retry goes on where a killed training stopped."""
    from poison_guard import steps

    with final_errors():
        return str(steps.train(contract, guard_home(), snapshot_id)["model_id"])


def evaluate(contract: str, model_id: str) -> dict[str, Any]:
    """Measure a model on what it was not trained on; returns its figures."""
    from poison_guard import steps

    with final_errors():
        return dict(steps.evaluate(contract, guard_home(), model_id))


def promote(contract: str, model_id: str) -> dict[str, Any]:
    """Make a model the feed's champion, or refuse it; returns ``promoted`` and ``why``. A refusal is no failure."""
    from poison_guard import steps

    with final_errors():
        found = steps.promote(contract, guard_home(), model_id)
    return {"model_id": model_id, "promoted": bool(found["promoted"]), "why": str(found["why"])}
