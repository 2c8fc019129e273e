"""What the supported versions of Airflow (3.1 to 3.3) keep in different places, from one place."""

from __future__ import annotations

from types import ModuleType

try:
    from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, AirflowTimetableInvalid
except ImportError:  # before Airflow 3.2
    from airflow.exceptions import AirflowFailException, AirflowSkipException, AirflowTimetableInvalid

__all__ = ["AirflowFailException", "AirflowSkipException", "AirflowTimetableInvalid", "dagbag"]


def dagbag() -> ModuleType:
    """Return the module that reads folders of DAG files, with ``DagBag`` in it; importing it is slow."""
    try:
        from airflow.dag_processing import dagbag
    except ImportError:  # before Airflow 3.2
        from airflow.models import dagbag
    return dagbag
