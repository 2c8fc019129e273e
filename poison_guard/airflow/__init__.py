"""The guard inside Airflow: provider information, operators and a sensor, and the runner behind `make run`.

Airflow loads this module each time it starts, so it imports nothing.
"""

from __future__ import annotations

__all__ = ["get_provider_info"]


def get_provider_info() -> dict[str, object]:
    """Return what Airflow's provider manager asks of the `apache_airflow_provider` entry point."""
    return {
        "package-name": "poison-guard",
        "name": "poison_guard",
        "description": "Scores, quarantines and gates feedback before a model trains on it.",
        "integrations": [{"integration-name": "poison_guard", "tags": ["software"]}],
        "operators": [{"integration-name": "poison_guard", "python-modules": ["poison_guard.airflow.operators"]}],
        "sensors": [{"integration-name": "poison_guard", "python-modules": ["poison_guard.airflow.operators"]}],
    }
