"""A migrated Airflow, and a small feed with a trusted set to run a real DAG on."""

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
