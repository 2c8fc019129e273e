import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from poison_guard import Guard

CONTRACT = """
name = "quiz"
kind = "answers"
[data]
path = "inbox/quiz/*.csv"
partition_rows = 150
[columns]
record_id = "id"
source_id = "user"
item_id = "word"
answer = "said"
observed_at = "at"
source_since = "since"
features = ["dwell", "speed"]
"""


NOW = pd.Timestamp("2026-02-03T11:00:00Z")  # fixed: which records an audit draws hangs on their content


def answers(n: int, seed: int, *, prefix: str = "r") -> pd.DataFrame:
    """Honest answers of 60 people about 40 words, with two correlated log-normal features."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=n)
    word = rng.integers(0, 40, n)
    wrong = rng.random(n) < 0.1
    return pd.DataFrame(
        {
            "id": [f"{prefix}{seed}-{i:05d}" for i in range(n)],
            "user": [f"u{k}" for k in rng.integers(0, 60, n)],
            "word": [f"w{k}" for k in word],
            "said": [f"a{(k + w) % 5}" for k, w in zip(word, wrong, strict=True)],
            "at": (NOW - pd.to_timedelta(rng.uniform(0, 4 * 86400, n), unit="s")).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "since": "2024-01-01T00:00:00Z",
            "dwell": np.exp(0.5 * base + 0.3 * rng.normal(size=n)).round(6),
            "speed": np.exp(0.5 * base + 0.3 * rng.normal(size=n)).round(6),
        }
    )


def put(home: Path, frame: pd.DataFrame, name: str) -> Path:
    folder = home / "inbox" / "quiz"
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / name, index=False)
    return folder / name


def copied(guard: Guard, folder: Path) -> Guard:
    """Copy a guard, contract and home in one folder, into another that a test may change."""
    shutil.copytree(guard.contract_path.parent, folder, dirs_exist_ok=True)
    return Guard.open(folder / guard.contract_path.name, home=folder / guard.home.name)


@pytest.fixture
def contract(tmp_path) -> Path:
    file = tmp_path / "quiz.toml"
    file.write_text(CONTRACT)
    return file


@pytest.fixture
def guard(tmp_path, contract) -> Guard:
    return Guard.open(contract, home=tmp_path / "home")


@pytest.fixture(scope="session")
def trusting(tmp_path_factory) -> Guard:
    """A guard with a trusted set, to be copied."""
    folder = tmp_path_factory.mktemp("trusting")
    (folder / "quiz.toml").write_text(CONTRACT)
    guard = Guard.open(folder / "quiz.toml", home=folder / "home")
    guard.trust(answers(900, 99, prefix="t"), by="reviewer-1", reason="labelled in the audit")
    return guard


@pytest.fixture
def trusted_guard(trusting, tmp_path) -> Guard:
    return copied(trusting, tmp_path)
