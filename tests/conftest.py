"""Gives the tests temporary folders in memory, and Airflow a home of its own before any test imports it.

Stores and lakes wait for the disk at each commit, as they should; tests need not. No test sees the user's Airflow.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest

from poison_guard.airflow.run import dags_folder, point_airflow

os.environ["POISON_GUARD_CHECK_FRAMES"] = "1"
_MEMORY, _ROOM = Path("/dev/shm"), 4 << 30
if "TMPDIR" not in os.environ and _MEMORY.is_dir():
    _space = os.statvfs(_MEMORY)
    if _space.f_bavail * _space.f_frsize >= _ROOM and not _space.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"], tempfile.tempdir = str(_MEMORY), None
_HOME = Path(tempfile.mkdtemp(prefix="poison-guard-airflow-"))
point_airflow(_HOME, dags_folder())
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)  # a busy machine makes no law false
hypothesis.settings.load_profile("unhurried")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(_HOME, ignore_errors=True)
