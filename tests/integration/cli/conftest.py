"""A small feed worked by hand: sessions with two features, some of them forged."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from poison_guard.cli import cli


def sessions(n: int, *, seed: int, name: str, forged: int = 0) -> pd.DataFrame:
    """Return `n` sessions of people and `forged` strange ones, under the user's own column names."""
    rng = np.random.default_rng(seed)
    times = pd.Timestamp("2026-11-01", tz="UTC") + pd.to_timedelta(np.arange(n + forged) * 37, unit="s")
    frame = pd.DataFrame(
        {
            "session_id": [f"{name}-{k:04d}" for k in range(n + forged)],
            "user_id": [f"u-{k % 90:03d}" for k in range(n + forged)],
            "started_at": times.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "dwell_ms": rng.lognormal(6.5, 0.4, n + forged).round(1),
            "pointer_speed": rng.gamma(4.0, 0.3, n + forged).round(3),
        }
    )
    frame.loc[n:, "pointer_speed"] = rng.uniform(40, 90, forged).round(3)
    return frame


CONTRACT = """
name = "sessions"
kind = "telemetry"

[data]
path = "inbox/*.csv"

[columns]
record_id = "session_id"
source_id = "user_id"
observed_at = "started_at"
features = ["dwell_ms", "pointer_speed"]

[policy]
audit_rate = 0.0
"""


@dataclass
class Hand:
    """A person at the command line, in a folder of their own."""

    folder: Path
    runner: CliRunner = field(default_factory=CliRunner)

    def __call__(self, *arguments: str | Path, home: str = "home") -> Result:
        return self.runner.invoke(cli, [*map(str, arguments), "--home", str(self.folder / home)])

    def json(self, *arguments: str | Path) -> dict:
        result = self(*arguments, "--json")
        assert result.exit_code in (0, 1, 3), result.stderr
        return json.loads(result.stdout)

    @property
    def feed(self) -> Path:
        return self.folder / "feeds" / "sessions.toml"


def prepare(folder: Path) -> Hand:
    (folder / "feeds").mkdir()
    (folder / "feeds" / "sessions.toml").write_text(CONTRACT)
    (folder / "home" / "inbox").mkdir(parents=True)
    sessions(900, seed=1, name="vetted").to_csv(folder / "vetted.csv", index=False)
    sessions(400, seed=2, name="day1", forged=12).to_csv(folder / "home" / "inbox" / "day1.csv", index=False)
    return Hand(folder)


@pytest.fixture(scope="module")
def hand(tmp_path_factory) -> Hand:
    return prepare(tmp_path_factory.mktemp("hand"))


@pytest.fixture
def fresh(tmp_path) -> Hand:
    return prepare(tmp_path)
