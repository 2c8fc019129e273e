"""A migrated Airflow, and small feeds with trusted sets to run real DAGs on: one without labels, one with."""

from __future__ import annotations

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


@pytest.fixture
def feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the contract, a trusted set and 250 records, 5 of them far off; return the contract's path."""
    from poison_guard import Guard

    home, contract = tmp_path / "home", tmp_path / "feeds" / "sessions.toml"
    contract.parent.mkdir()
    contract.write_text(CONTRACT)
    (home / "inbox").mkdir(parents=True)
    batch = sessions(250, seed=1, prefix="s")
    batch.loc[[10, 60, 110, 160, 210], "speed"] = 9.5
    batch.to_csv(home / "inbox" / "day-1.csv", index=False)
    monkeypatch.setenv("POISON_GUARD_FEEDS", str(contract.parent))
    monkeypatch.setenv("POISON_GUARD_HOME", str(home))
    vetted = sessions(2000, seed=2, prefix="t")
    Guard.open(contract, home=home).trust(vetted, by="tester", reason="made for this test")
    return contract


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


@pytest.fixture
def labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a contract with labels, its trusted set and 600 records; return the contract's path."""
    from poison_guard import Guard

    home, contract = tmp_path / "home", tmp_path / "feeds" / "visits.toml"
    contract.parent.mkdir()
    contract.write_text(LABELLED)
    (home / "inbox").mkdir(parents=True)
    visits(600, seed=1, prefix="s").to_csv(home / "inbox" / "day-1.csv", index=False)
    monkeypatch.setenv("POISON_GUARD_FEEDS", str(contract.parent))
    monkeypatch.setenv("POISON_GUARD_HOME", str(home))
    Guard.open(contract, home=home).trust(visits(2000, seed=2, prefix="t"), by="tester", reason="made for this test")
    return contract
