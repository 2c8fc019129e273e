"""Two small feeds: answers about items, with controls and outcomes; and labelled visits that a model can learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

__all__ = ["QUIZ", "VISITS", "answers", "visits", "write_quiz", "write_quiz_parquet", "write_visits"]

QUIZ = """
name = "quiz"
kind = "answers"
[data]
path = "inbox/quiz/*.csv"
partition_rows = 60
[columns]
record_id = "id"
source_id = "user"
item_id = "word"
answer = "said"
observed_at = "at"
source_since = "since"
[controls]
path = "quiz/controls.csv"
[outcomes]
path = "quiz/outcomes/*.csv"
"""

VISITS = """
name = "visits"
kind = "telemetry"
[data]
path = "inbox/visits/*.csv"
[columns]
record_id = "session"
source_id = "device"
observed_at = "at"
source_since = "since"
label = "human"
features = ["speed", "pause"]
[policy]
audit_rate = 0.0
[retrain]
epochs = 3
"""

_START = pd.Timestamp("2026-11-01", tz="UTC")


def answers(n: int, seed: int, *, prefix: str) -> pd.DataFrame:
    """Return `n` answers of 30 people about 20 words."""
    rng = np.random.default_rng(seed)
    word, wrong = rng.integers(0, 20, n), rng.random(n) < 0.1
    return pd.DataFrame(
        {
            "id": [f"{prefix}{i:04d}" for i in range(n)],
            "user": [f"u{k}" for k in rng.integers(0, 30, n)],
            "word": [f"w{k}" for k in word],
            "said": [f"a{(k + w) % 5}" for k, w in zip(word, wrong, strict=True)],
            "at": (_START + pd.to_timedelta(np.arange(n) * 60, unit="s")).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "since": "2024-01-01T00:00:00Z",
        }
    )


def visits(n: int, seed: int, *, prefix: str, forged: int = 0, humans: float = 0.6) -> pd.DataFrame:
    """Return `n` honest sessions whose label a model can learn; `forged` are far off, a share is of `humans`."""
    rng = np.random.default_rng(seed)
    human = rng.random(n) < humans
    speed = (rng.normal(1.0, 0.2, n) + np.where(human, 0.0, 1.0)).round(6)
    speed[:forged] = rng.uniform(40, 90, forged).round(3)
    pause = (rng.gamma(2.0, 0.5, n) * np.where(human, 1.0, 0.2)).round(6)
    return pd.DataFrame(
        {
            "session": [f"{prefix}{i:05d}" for i in range(n)],
            "device": [f"{prefix}d{i % 97}" for i in range(n)],
            "at": (_START + pd.to_timedelta(np.arange(n) * 97, unit="s")).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "since": "2024-01-01T00:00:00Z",
            "human": np.where(human, "yes", "no"),
            "speed": speed,
            "pause": pause,
        }
    )


def write_quiz(home: Path) -> None:
    """Write what the quiz feed reads: two days of answers (the second waits in ``later``), controls and outcomes."""
    for folder in ("inbox/quiz", "later/quiz", "quiz/outcomes", "feeds"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "feeds" / "quiz.toml").write_text(QUIZ)
    first, second = answers(100, 1, prefix="a"), answers(100, 2, prefix="b")
    first.to_csv(home / "inbox" / "quiz" / "day-1.csv", index=False)
    ragged = second.to_csv(index=False).splitlines()
    ragged[5] = "only,two"
    (home / "later" / "quiz" / "day-2.csv").write_text("\n".join(ragged) + "\n")
    controls = pd.DataFrame({"item_id": ["w1", "w2", "w3"], "answer": ["a1", "a2", "a3"]})
    controls.to_csv(home / "quiz" / "controls.csv", index=False)
    told = pd.DataFrame({"record_id": first["id"].head(12), "correct": ["yes", "no"] * 6})
    told.to_csv(home / "later" / "outcomes.csv", index=False)


def write_visits(home: Path) -> None:
    """Write what the visits feed reads: a trusted file and two days of sessions (the second waits in ``later``).

    The third, ``poison.csv``, shifts the labels and nothing else: no record is held, and the gate stays closed.
    """
    for folder in ("inbox/visits", "later/visits", "feeds"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "feeds" / "visits.toml").write_text(VISITS)
    visits(900, 3, prefix="t").to_csv(home / "vetted.csv", index=False)
    visits(300, 4, prefix="s", forged=4).to_csv(home / "inbox" / "visits" / "day-1.csv", index=False)
    visits(200, 5, prefix="v", forged=3).to_csv(home / "later" / "visits" / "day-2.csv", index=False)
    visits(300, 6, prefix="p", humans=1.0).to_csv(home / "later" / "visits" / "poison.csv", index=False)


def write_quiz_without_audits(home: Path) -> None:
    """Write the quiz feed without audits, which are drawn by the key of the home."""
    write_quiz(home)
    (home / "feeds" / "quiz.toml").write_text(f"{QUIZ}[policy]\naudit_rate = 0.0\n")


def write_quiz_parquet(home: Path) -> None:
    """Write the quiz feed with its first day as two Parquet files."""
    write_quiz(home)
    contract = home / "feeds" / "quiz.toml"
    contract.write_text(QUIZ.replace('*.csv"\npartition', '*.parquet"\npartition'))
    day = home / "inbox" / "quiz" / "day-1.csv"
    frame = pd.read_csv(day)
    for name, part in (("day-1a", frame[:50]), ("day-1b", frame[50:])):
        part.to_parquet(day.with_name(f"{name}.parquet"), index=False)
    day.unlink()
