"""What people get wrong: each ends in one sentence and the right exit code, or in quarantine; nothing is lost."""

from __future__ import annotations

import json
import os

import pandas as pd
import pytest

from tests.integration.cli.conftest import sessions

WHO = ("--by", "ann", "--reason", "test")


def _one_sentence(result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.stderr
    lines = [line for line in result.stderr.splitlines() if not line.endswith("…")]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("poison-guard: ")
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in lines[0]


def test_a_missing_contract_says_how_to_make_one(fresh):
    _one_sentence(fresh("scan", "--feed", "nowhere.toml"), 2, "nowhere.toml does not exist", "poison-guard init")


def test_a_typo_in_a_contract_names_the_nearest_key(fresh):
    fresh.feed.write_text(fresh.feed.read_text().replace("source_id =", "sorce_id ="))
    _one_sentence(fresh("run", "--feed", fresh.feed), 2, "sorce_id", "did you mean `source_id`?")


@pytest.mark.parametrize("name", ["missing.csv", "empty.csv"])
def test_a_file_that_is_not_there_or_empty_is_a_usage_error(fresh, name):
    (fresh.folder / "empty.csv").touch()
    _one_sentence(fresh("scan", fresh.folder / name, "--feed", fresh.feed), 2, name)


def test_a_truncated_file_is_quarantined_and_the_rest_goes_on(fresh):
    whole = fresh.folder / "home" / "inbox" / "day2.parquet"
    sessions(50, seed=3, name="day2").to_parquet(whole)
    whole.write_bytes(whole.read_bytes()[:800])
    fresh.feed.write_text(fresh.feed.read_text().replace("inbox/*.csv", "inbox/*"))
    fresh("trust", fresh.folder / "vetted.csv", "--feed", fresh.feed, *WHO)
    document = fresh.json("run", "--feed", fresh.feed)
    assert document["counts"]["unreadable"] == 1
    assert document["counts"]["received"] == 413
    assert "unreadable_object" in [r["code"] for r in document["reasons"]]


def test_without_a_trusted_set_nothing_is_judged_and_scan_says_inconclusive(fresh):
    sessions(60, seed=4, name="few").to_csv(fresh.folder / "few.csv", index=False)
    result = fresh("scan", fresh.folder / "few.csv", "--feed", fresh.feed, "--json")
    assert result.exit_code == 3
    counts = json.loads(result.stdout)["counts"]
    assert counts["staged"] == 60


def test_a_trusted_set_of_three_rows_is_told_to_be_too_small(fresh):
    sessions(3, seed=5, name="three").to_csv(fresh.folder / "three.csv", index=False)
    assert fresh("trust", fresh.folder / "three.csv", "--feed", fresh.feed, *WHO).exit_code == 0
    result = fresh("run", "--feed", fresh.feed)
    assert result.exit_code == 0
    assert "needed" in result.stdout
    feed = fresh.json("status", "--feed", fresh.feed)["feeds"][0]
    assert feed["phase"] in ("cold", "calibrating")
    assert feed["vetted_records_missing"] == 393


def test_a_store_that_cannot_be_reached_is_exit_code_four_and_shows_no_password(fresh, monkeypatch):
    monkeypatch.setenv("POISON_GUARD_STORE", "postgresql://guard:s3cret@127.0.0.1:9/guard")
    result = fresh("status")
    assert "s3cret" not in result.output
    _one_sentence(result, 4, "127.0.0.1")


def test_looking_into_a_home_that_is_not_there_makes_none(fresh):
    _one_sentence(fresh("status", home="typo"), 2, "there is no store")
    assert not (fresh.folder / "typo").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_home_is_one_sentence(fresh):
    (fresh.folder / "home").chmod(0o500)
    _one_sentence(fresh("run", "--feed", fresh.feed), 4, "home")


def test_a_home_that_is_a_file_is_one_sentence(fresh):
    (fresh.folder / "file").write_text("x")
    result = fresh("run", "--feed", fresh.feed, home="file/home")
    _one_sentence(result, 4, "file")


def test_a_flawed_trusted_file_is_refused_whole(fresh):
    flawed = sessions(50, seed=6, name="flawed").astype({"dwell_ms": object})
    flawed.loc[7, "dwell_ms"] = "fast"
    flawed.to_csv(fresh.folder / "flawed.csv", index=False)
    _one_sentence(
        fresh("trust", fresh.folder / "flawed.csv", "--feed", fresh.feed, *WHO), 2, "flawed.csv", "dwell_ms", "fast"
    )
    assert fresh("trust", fresh.folder / "flawed.csv", "--feed", fresh.feed, *WHO, "--dry-run").exit_code == 1


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_init_proposes_what_the_file_itself_passes(fresh, ending):
    data = fresh.folder / f"day.{ending}"
    frame = sessions(300, seed=7, name="init")
    {"csv": frame.to_csv, "parquet": frame.to_parquet}.get(
        ending, lambda path, index: frame.to_json(path, orient="records", lines=True)
    )(data, index=False)
    document = fresh.json("init", data, "--out", fresh.folder / "new")
    assert document["rows_failing"] == 0
    assert "anomaly" in document["signals"]
    assert (fresh.folder / "new" / "feeds" / "day.toml").is_file()
    assert json.loads((fresh.folder / "new" / "expectations" / "day.json").read_text())["expectations"]
    again = fresh("init", data, "--out", fresh.folder / "new")
    _one_sentence(again, 2, "exists already", "--force")


def test_init_recognises_a_chat_log(fresh):
    log = pd.DataFrame(
        {
            "id": [f"m{k}" for k in range(40)],
            "user_id": [f"u{k % 9}" for k in range(40)],
            "prompt": [f"please explain topic number {k} to me" for k in range(40)],
            "chosen": [f"a long and careful answer about {k}" for k in range(40)],
            "rejected": [f"a short answer about {k}" for k in range(40)],
            "created_at": [f"2026-11-01T10:{k:02d}:00Z" for k in range(40)],
        }
    )
    log.to_json(fresh.folder / "log.jsonl", orient="records", lines=True)
    document = fresh.json("init", fresh.folder / "log.jsonl", "--dry-run")
    assert 'chosen = "chosen"' in document["toml"]
    assert document["rows_failing"] == 0
    assert not (fresh.folder / "feeds" / "log.toml").exists()


def test_decisions_are_never_written_over_the_records_they_are_about(fresh):
    data = fresh.folder / "home" / "inbox" / "day1.csv"
    before = data.read_bytes()
    _one_sentence(fresh("scan", data, "--feed", fresh.feed, "--out", data), 2, "one of the files to scan")
    assert data.read_bytes() == before


def test_what_holds_a_whole_batch_is_told_in_words(fresh):
    reasons = fresh.json("scan", fresh.folder / "home" / "inbox" / "day1.csv", "--feed", fresh.feed)["reasons"]
    told = {reason["code"]: reason["example"] for reason in reasons}
    assert told["no_trusted_set"] == "true of the whole batch: see the notes"
