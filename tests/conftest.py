"""Gives the tests temporary folders in memory, and Airflow a home of its own before any test imports it.

Stores and lakes wait for the disk at each commit, as they should; tests need not. No test sees the user's Airflow.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest

from poison_guard.airflow.run import dags_folder, point_airflow
from tests.thorough import also, examples

os.environ["POISON_GUARD_CHECK_FRAMES"] = "1"
_MEMORY, _ROOM = Path("/dev/shm"), 4 << 30
if "TMPDIR" not in os.environ and _MEMORY.is_dir():
    _space = os.statvfs(_MEMORY)
    if _space.f_bavail * _space.f_frsize >= _ROOM and not _space.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"], tempfile.tempdir = str(_MEMORY), None
_HOME = Path(tempfile.mkdtemp(prefix="poison-guard-airflow-"))
point_airflow(_HOME, dags_folder())
hypothesis.settings.register_profile(
    "unhurried", max_examples=examples(40), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)  # a busy machine makes no law false
hypothesis.settings.load_profile("unhurried")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the dear tests of a way that a cheaper one goes too to `make faults`, unless they are asked for by name."""
    left = [item for item in items if item.get_closest_marker("thorough") and not asked_for(item.nodeid, config.args)]
    if left and not also(1):
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]


def asked_for(nodeid: str, args: list[str]) -> bool:
    """Whether a test was named on the command line, and not its file or folder alone."""
    return any("::" in each and nodeid.endswith(each.partition("::")[2]) for each in args)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave what thousands of tests and their libraries hold out of each search for garbage: a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(_HOME, ignore_errors=True)
