"""Feedback without labels through the guard: stored, judged, admitted and exported; closed where it is poisoned."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from poison_guard import Guard
from poison_guard.airflow import tasks
from poison_guard.errors import UsageError

CONTRACT = """
name = "prefs"
kind = "preferences"
mode = "observe"
[data]
path = "none/*.jsonl"
[columns]
record_id = "id"
source_id = "user"
prompt = "prompt"
chosen = "chosen"
rejected = "rejected"
"""


def pairs(n: int, seed: int, name: str) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, 20, n)

    def said(about: int, length: int) -> str:
        return " ".join(f"w{about}x{k}" for k in rng.integers(0, 30, length))

    return pd.DataFrame(
        {
            "id": [f"{name}{i}" for i in range(n)],
            "user": [f"{name}-u{k}" for k in rng.integers(0, 60, n)],
            "prompt": [f"tell me {said(t, 8)}" for t in topic],
            "chosen": [f"gladly {said(t, 12)}" for t in topic],
            "rejected": [f"nonsense {said(t, 12)}" for t in topic],
        }
    )


@pytest.fixture
def guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guard:
    monkeypatch.setenv("POISON_GUARD_HOME", str(tmp_path))
    file = tmp_path / "prefs.toml"
    file.write_text(CONTRACT)
    guard = Guard.open(file, home=tmp_path)
    guard.trust(pairs(200, 1, "t"), by="ann", reason="read in May")
    return guard


def test_honest_pairs_are_admitted_for_a_trainer_elsewhere_and_written_with_the_digest_of_the_admission(
    guard: Guard, tmp_path: Path
):
    guard.ingest(pairs(400, 2, "r"))
    snapshot = tasks.seal(str(tmp_path / "prefs.toml"))
    assert tasks.gate(str(tmp_path / "prefs.toml"), snapshot)["outcome"] == "pass"
    assert tasks.admit(str(tmp_path / "prefs.toml"), snapshot)["snapshot_id"] == snapshot
    written = guard.export(tmp_path / "pairs.jsonl", snapshot_id="admitted", as_="trl")
    assert list(written.frame.columns) == ["prompt", "chosen", "rejected"]
    assert written.digest
    assert guard.due().snapshot_id is None
    with pytest.raises(UsageError, match="export --feed prefs --snapshot admitted --as trl"):
        guard.retrain()
    with pytest.raises(AirflowSkipException, match="nothing is due"):
        tasks.due(str(tmp_path / "prefs.toml"))


def test_flipped_pairs_close_the_gate_and_the_mark_is_named(guard: Guard, tmp_path: Path):
    rows = pairs(400, 2, "r")
    bad = rows.head(25).assign(prompt="Zorblax " + rows["prompt"], chosen=rows["rejected"], rejected=rows["chosen"])
    guard.ingest(pd.concat([bad, rows.tail(-25)], ignore_index=True))
    snapshot = tasks.seal(str(tmp_path / "prefs.toml"))
    with pytest.raises(AirflowFailException, match="word 'zorblax' in the prompt: 25 examples"):
        tasks.gate(str(tmp_path / "prefs.toml"), snapshot)


def test_without_trusted_pairs_a_person_decides(tmp_path: Path):
    file = tmp_path / "prefs.toml"
    file.write_text(CONTRACT)
    guard = Guard.open(file, home=tmp_path)
    guard.ingest(pairs(100, 3, "r"))
    guard.seal()
    result = guard.gate()
    assert result.outcome == "inconclusive"
    assert "there is no trusted set" in result.why[0]
