"""Gives Airflow a home of its own before any test imports it: a test never sees the user's Airflow or its database."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest

from poison_guard.airflow.run import dags_folder, point_airflow

os.environ["POISON_GUARD_CHECK_FRAMES"] = "1"
_HOME = Path(tempfile.mkdtemp(prefix="poison-guard-airflow-"))
point_airflow(_HOME, dags_folder())
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)  # a busy machine makes no law false
hypothesis.settings.load_profile("unhurried")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(_HOME, ignore_errors=True)
