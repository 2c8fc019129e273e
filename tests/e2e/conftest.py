"""A migrated Airflow, and small feeds with trusted sets to run real DAGs on: one without labels, one with."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

CONTRACT = """
name = "sessions"
kind = "telemetry"
schedule = "@hourly"
[data]
path = "inbox/*.csv"
partition_rows = 100
[columns]
record_id = "session"
source_id = "device"
observed_at = "at"
features = ["speed", "pause", "turns"]
[policy]
required = ["anomaly"]
"""

LABELLED = """
name = "visits"
kind = "telemetry"
schedule = "@hourly"
[data]
path = "inbox/*.csv"
[columns]
record_id = "session"
source_id = "device"
observed_at = "at"
source_since = "since"
label = "human"
features = ["speed", "pause", "turns"]
[retrain]
epochs = 3
"""


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """Migrate the database of the Airflow home that `tests/conftest.py` made."""
    from airflow.utils import db

    db.initdb()


def sessions(n: int, *, seed: int, prefix: str) -> pd.DataFrame:
    """Return `n` honest sessions."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "session": [f"{prefix}{i:05d}" for i in range(n)],
            "device": [f"{prefix}d{i % 40}" for i in range(n)],
            "at": pd.date_range("2026-03-01", periods=n, freq="97s", tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ"),
            "speed": rng.normal(1.0, 0.2, n).round(6),
            "pause": rng.gamma(2.0, 0.5, n).round(6),
            "turns": rng.normal(10, 2, n).round(6),
        }
    )


def trusting(folder: Path, contract: str, batch: pd.DataFrame, vetted: pd.DataFrame) -> Path:
    """Write a contract, a file in the inbox and a trusted set into a folder, and return it."""
    from poison_guard import Guard

    home, file = folder / "home", folder / "feeds" / f"{tomllib.loads(contract)['name']}.toml"
    file.parent.mkdir()
    file.write_text(contract)
    (home / "inbox").mkdir(parents=True)
    batch.to_csv(home / "inbox" / "day-1.csv", index=False)
    Guard.open(file, home=home).trust(vetted, by="tester", reason="made for this test")
    return folder


def copied(folder: Path, to: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the feed that `trusting` made, let Airflow look there, and return the contract's path."""
    shutil.copytree(folder, to, dirs_exist_ok=True)
    monkeypatch.setenv("POISON_GUARD_FEEDS", str(to / "feeds"))
    monkeypatch.setenv("POISON_GUARD_HOME", str(to / "home"))
    return next((to / "feeds").iterdir())


@pytest.fixture(scope="session")
def trusted_sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    batch = sessions(250, seed=1, prefix="s")
    batch.loc[[10, 60, 110, 160, 210], "speed"] = 9.5
    return trusting(tmp_path_factory.mktemp("sessions"), CONTRACT, batch, sessions(2000, seed=2, prefix="t"))


@pytest.fixture
def feed(trusted_sessions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A contract, a trusted set and 250 records, 5 of them far off; the contract's path."""
    return copied(trusted_sessions, tmp_path, monkeypatch)


def visits(n: int, *, seed: int, prefix: str) -> pd.DataFrame:
    """Return `n` honest sessions with the label that a model can learn from their speed and pauses."""
    rng = np.random.default_rng(seed)
    human = rng.random(n) < 0.6
    frame = sessions(n, seed=seed, prefix=prefix).assign(since="2024-01-01T00:00:00Z")
    frame["device"] = [f"{prefix}d{i % 97}" for i in range(n)]
    frame["human"] = np.where(human, "yes", "no")
    frame["speed"] = (rng.normal(1.0, 0.2, n) + np.where(human, 0.0, 1.0)).round(6)
    frame["pause"] = (rng.gamma(2.0, 0.5, n) * np.where(human, 1.0, 0.2)).round(6)
    return frame


@pytest.fixture(scope="session")
def trusted_visits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, batch = tmp_path_factory.mktemp("visits"), visits(600, seed=1, prefix="s")
    return trusting(folder, LABELLED, batch, visits(2000, seed=2, prefix="t"))


@pytest.fixture
def labelled(trusted_visits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A contract with labels, its trusted set and 600 records; the contract's path."""
    return copied(trusted_visits, tmp_path, monkeypatch)
