"""What Airflow's database says of a run and of an Asset."""

from __future__ import annotations

from inspect import signature
from typing import Any

from poison_guard.airflow.run import dags_folder
from poison_guard.airflow.versions import dagbag


def states(run: Any) -> dict[str, str]:
    """Return ``task: state``, mapped tasks as ``task[index]``."""
    named = {
        t.task_id if t.map_index < 0 else f"{t.task_id}[{t.map_index}]": str(t.state) for t in run.get_task_instances()
    }
    return dict(sorted(named.items()))


def events_of(asset: str) -> list[dict[str, Any]]:
    """Return the extras of an Asset's events, oldest first."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session

    with create_session() as session:
        rows = session.query(AssetEvent).join(AssetModel, AssetEvent.asset_id == AssetModel.id)
        return [event.extra for event in rows.filter(AssetModel.name == asset).order_by(AssetEvent.id)]


def bundle_bag() -> Any:
    """Read the DAG files as the DAG processor does."""
    made = dagbag()
    named = {"bundle_name": "dags-folder"} if "bundle_name" in signature(made.DagBag).parameters else {}  # since 3.2
    return made.BundleDagBag(dag_folder=dags_folder(), bundle_path=dags_folder(), **named)


def unpause(dag_id: str) -> None:
    """Write the DAGs to the database, as the DAG processor does, and let `dag_id` run when an Asset wakes it."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)
    dagbag().sync_bag_to_db(bundle_bag(), "dags-folder", None)
    with create_session() as session:
        session.get(DagModel, dag_id).is_paused = False


def woken() -> set[str]:
    """Return the DAGs that an Asset event has queued a run for."""
    from airflow.models.asset import AssetDagRunQueue
    from airflow.utils.session import create_session

    with create_session() as session:
        return {row.target_dag_id for row in session.query(AssetDagRunQueue)}
