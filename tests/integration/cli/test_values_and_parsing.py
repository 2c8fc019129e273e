"""Files that other people's tools wrote, from `init` to a decision: spellings, placeholders, times and numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from poison_guard import Guard
from tests.integration.cli.conftest import Hand

NAMES = np.array(["cat", "dog", "bird"])
N = 360


def crowd() -> pd.DataFrame:
    """Answers of 30 aged accounts about 40 pictures, a few of them wrong."""
    rng = np.random.default_rng(4)
    item = np.arange(N) % 40
    return pd.DataFrame(
        {
            "answer_id": [f"a{k:04d}" for k in range(N)],
            "user_id": [f"u{k:03d}" for k in rng.integers(0, 30, N)],
            "item_id": [f"img{k:03d}" for k in item],
            "answer": NAMES[(item + (rng.random(N) < 0.05)) % 3],
            "answered_at": (pd.Timestamp("2026-11-20") + pd.to_timedelta(np.arange(N) * 17, "min")).strftime(
                "%Y-%m-%dT%H:%MZ"
            ),
            "account_created_at": "2025-01-01",
        }
    )


@pytest.fixture
def hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hand:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    return Hand(tmp_path)


def labels(frame: pd.DataFrame) -> dict[str, str]:
    """Return the labels adopted of a file for which `init` wrote the contract."""
    frame.to_csv("votes.csv", index=False)
    items = Guard.open("feeds/votes.toml", home="home").scan("votes.csv").items
    return items[items["adopted"]].set_index("item_id")["label"].to_dict()


def test_capitals_blanks_and_spellings_of_one_label_are_one_label(hand):
    clean = crowd()
    messy = clean.copy()
    messy.loc[::5, "answer"] = messy.loc[::5, "answer"].str.capitalize()
    messy.loc[1::7, "answer"] += " "
    messy.loc[2::9, "user_id"] = " " + messy.loc[2::9, "user_id"]
    messy.to_csv("votes.csv", index=False)
    said = hand("init", "votes.csv")
    assert said.exit_code == 0, said.output
    assert 'case = "fold"' in Path("feeds/votes.toml").read_text()
    assert labels(clean) == labels(messy)
    decided = Guard.open("feeds/votes.toml", home="home").ingest("votes.csv")
    assert (decided.decisions["action"] == "accept").all()
    shown = hand("explain", "a0000", "--feed", "feeds/votes.toml").stdout
    assert "given.answer" in shown, "what was written stays in the record"


def test_booleans_are_one_label_in_parquet_csv_and_controls(hand):
    votes = crowd()
    votes["answer"] = votes["answer"] == "cat"
    votes.to_parquet("votes.parquet")
    pd.DataFrame({"item_id": ["img000", "img001"], "answer": ["True", "False"]}).to_csv("controls.csv", index=False)
    assert hand("init", "votes.parquet").exit_code == 0
    contract = Path("feeds/votes.toml")
    contract.write_text(contract.read_text() + '\n[controls]\npath = "../controls.csv"\n')
    guard = Guard.open(contract, home="home")
    first = guard.ingest("votes.parquet")
    assert set(first.items["label"].dropna()) == {"true", "false"}
    assert set(first.items.set_index("item_id").loc[["img000", "img001"], "label"]) == {"true", "false"}
    votes.assign(answer=np.where(votes["answer"], "TRUE", "False")).to_csv("again.csv", index=False)
    assert guard.ingest("again.csv").counts["seen_before"] == N, "the same answers, spelled by another tool"


def test_lists_of_labels_in_another_order_are_one_answer(hand):
    votes = crowd()
    votes["answer"] = [[a, "indoor"] if k % 2 else ["indoor", a] for k, a in enumerate(votes["answer"])]
    votes.to_json("votes.jsonl", orient="records", lines=True)
    assert hand("init", "votes.jsonl").exit_code == 0
    items = Guard.open("feeds/votes.toml", home="home").scan("votes.jsonl").items
    assert items["adopted"].mean() > 0.9


def test_placeholders_are_missing_users_with_a_note(hand):
    votes = crowd()
    votes.loc[::4, ["user_id", "account_created_at"]] = "NULL"
    votes.to_csv("votes.csv", index=False)
    said = hand("init", "votes.csv")
    assert "user_id is 'NULL', which stands for no value (null_words in [parse])" in said.output
    assert 'source_since = "account_created_at"' in Path("feeds/votes.toml").read_text()
    scanned = hand("scan", "votes.csv", "--feed", "feeds/votes.toml")
    assert "90 of 360 rows have 'NULL' as user_id, which counts as no id" in scanned.output


def test_day_and_month_are_asked_for_and_the_key_that_is_chosen_is_read(hand):
    votes = crowd()
    votes["answered_at"] = (pd.Timestamp("2026-11-01") + pd.to_timedelta(np.arange(N) * 40, "min")).strftime(
        "%m/%d/%Y %I:%M %p"
    )
    votes.to_csv("votes.csv", index=False)
    said = hand("init", "votes.csv")
    assert said.exit_code == 3
    assert "left out: answered_at ('11/01/2026 12:00 AM') can be read in 2 ways" in said.output
    contract = Path("feeds/votes.toml")
    text = contract.read_text()
    assert "observed_at" not in Guard.open(contract, home="home").contract.columns
    text = text.replace('#   time_format = "%m', 'time_format = "%m').replace("# observed_at", "observed_at")
    contract.write_text(text)
    assert (Guard.open(contract, home="home").scan("votes.csv").decisions["action"] == "accept").all()


def test_thousands_and_another_encoding_are_read_as_init_writes_them(hand):
    votes = crowd()
    rng = np.random.default_rng(0)
    votes["dwell_ms"] = [f"{v:,}".replace(",", ".") for v in rng.integers(200, 9000, N)]
    votes["pointer_speed"] = [f"{v:.3f}".replace(".", ",") for v in rng.uniform(0.1, 9, N)]
    votes["remark"] = "très bien, 5 €"
    Path("votes.csv").write_bytes(votes.to_csv(index=False, sep=";").encode("cp1252"))
    said = hand("init", "votes.csv")
    assert said.exit_code == 0, said.output
    text = Path("feeds/votes.toml").read_text()
    for line in (
        'encoding = "cp1252"',
        'delimiter = ";"',
        'decimal = ","',
        'thousands = "."',
        '"dwell_ms", "pointer_speed"',
    ):
        assert line in text
    assert "rows of the file that fail: 0" in said.output
