"""The coverage verb, and the statement that scan, run and status end with."""

from __future__ import annotations

import datetime as dt
import json

import pandas as pd
import pytest
from click.testing import CliRunner

from poison_guard import Guard
from poison_guard.cli import cli
from poison_guard.config import load_contract
from poison_guard.decide.coverage import kinds_of
from poison_guard.errors import UsageError
from poison_guard.guard import Home
from poison_guard.steps import coverage_trial, own_attacks
from tests.integration.steps.conftest import answers

VOTES = """
name = "votes"
kind = "answers"
mode = "{mode}"
[columns]
record_id = "id"
source_id = "user"
item_id = "word"
answer = "said"
"""
TEXTS = """
name = "texts"
kind = "examples"
mode = "{mode}"
[columns]
record_id = "id"
text = "said"
label = "kind"
"""


def write(folder, contract, mode="enforce"):
    file = folder / "feed.toml"
    file.write_text(contract.format(mode=mode))
    return file


def documents(n=60):
    said = [f"what number {k} says of the {k * 7} things it saw in town {k % 13}" for k in range(n)]
    return pd.DataFrame({"id": [f"d{k}" for k in range(n)], "said": said, "kind": "a"})


def call(*words):
    return CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def quick(monkeypatch):
    """Few attacks of few sizes: what is tried here is what becomes of a measurement, not how good it is."""
    monkeypatch.setattr(coverage_trial, "TRIES", 1)
    monkeypatch.setattr(own_attacks, "_GROUPS", ((12, 15),))
    monkeypatch.setattr(own_attacks, "_ALONE", (5,))


def test_what_was_measured_is_said_by_scan_run_and_status_until_the_trusted_set_changes(tmp_path, quick):
    guard = Guard.open(write(tmp_path, VOTES), home=tmp_path / "home")
    frame = answers(400, 1)
    before = guard.scan(frame)
    assert before.coverage.measured is None
    assert any("could be seen here" in sentence for sentence in before.statement())
    result = guard.coverage(frame)
    assert result.coverage.measured.kinds["agreed answers"].seen
    assert 0 <= result.honest_held < 0.1
    assert set(result.coverage.remedies) | set(result.coverage.measured.kinds) == set(
        kinds_of(load_contract(guard.contract_path))
    )
    assert guard.scan(frame).coverage == result.coverage
    assert guard.ingest(frame).coverage == result.coverage
    [status] = Home.open(tmp_path / "home").status(guard.contract_path).feeds
    assert status.coverage == result.coverage
    assert json.loads(json.dumps(result.to_dict()))["sentences"]
    guard.trust(answers(40, 2, prefix="t"), by="ann", reason="vetted")
    after = guard.scan(frame).coverage
    assert after.measured is None
    assert after.outdated
    assert guard.coverage().coverage.measured.records == 400  # of the store: the contract names no data
    assert "changed since this was measured" in after.sentences()[-1]


def test_the_same_seed_measures_the_same_and_a_measurement_that_is_not_whole_counts_as_none(tmp_path, quick):
    guard = Guard.open(write(tmp_path, VOTES), home=tmp_path / "home")
    frame = answers(150, 1)
    once, twice = guard.coverage(frame), guard.coverage(frame)
    assert once.coverage.measured.kinds == twice.coverage.measured.kinds
    assert not (tmp_path / "home" / "store.db").exists()
    for broken in ("", "[]", '{"key": 1}'):
        (tmp_path / "home" / "coverage" / "votes.json").write_text(broken)
        assert guard.scan(frame.head(30)).coverage.measured is None


def test_too_few_records_and_an_empty_home_are_refused_in_one_sentence(tmp_path):
    guard = Guard.open(write(tmp_path, VOTES), home=tmp_path / "home")
    for source in (answers(12, 1), None):
        with pytest.raises(UsageError, match=r"of the 20 needed are there: name a file|names no|no \[data\]"):
            guard.coverage(source)


@pytest.mark.parametrize(("mode", "scanned", "ran"), [("enforce", 3, 3), ("observe", 3, 0)])
def test_a_feed_that_nothing_judges_ends_with_three_and_is_called_unjudged(tmp_path, mode, scanned, ran):
    file, data, home = write(tmp_path, TEXTS, mode), tmp_path / "d.csv", tmp_path / "home"
    documents().to_csv(data, index=False)
    scan = call("scan", data, "--feed", file, "--home", home)
    assert scan.exit_code == scanned
    assert scan.output.count("nothing could judge what these records say") >= 1
    assert "with a column for source_id" in scan.output
    run = call("run", data, "--feed", file, "--home", home, "--json")
    assert run.exit_code == ran
    told = json.loads(run.stdout)
    assert told["coverage"]["judged"] is False
    place = "accepted" if mode == "observe" else "staged"
    assert told["counts"][place] == 60
    status = call("status", "--feed", file, "--home", home)
    assert "unjudged" in status.output
    assert "enforcing" not in status.output


def test_coverage_by_hand_ends_with_three_where_only_copies_are_seen(tmp_path):
    documents(240).to_csv(tmp_path / "d.csv", index=False)
    result = call("coverage", tmp_path / "d.csv", "--feed", write(tmp_path, TEXTS), "--home", tmp_path / "home")
    assert result.exit_code == 3
    assert "one text sent again and again" in result.output


def test_what_an_observing_feed_accepted_unjudged_is_not_sealed_by_schedule(tmp_path):
    guard = Guard.open(write(tmp_path, TEXTS, "observe"), home=tmp_path / "home")
    guard.ingest(documents())
    sealed = guard.stage_seal()
    assert sealed.snapshot_id is None
    assert sealed.unjudged.startswith("nothing could judge")
    by_hand = guard.seal()
    assert by_hand.unjudged == sealed.unjudged
    assert "note: accepted without being judged: nothing could judge" in str(by_hand)


def test_staged_records_without_company_are_looked_at_again_the_next_day_with_what_came_since(tmp_path, monkeypatch):
    guard = Guard.open(write(tmp_path, VOTES), home=tmp_path / "home")
    alone = answers(40, 1).drop_duplicates("word")
    assert guard.ingest(alone).counts["staged"] == len(alone)
    assert guard.ingest(answers(40, 2).drop_duplicates("word").head(2)).counts["staged"] >= 2
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    monkeypatch.setattr("poison_guard.guard._now", lambda: tomorrow)
    counts = guard.ingest(answers(200, 3)).counts
    assert counts["staged"] == 0
    assert counts["unstaged"] > len(alone)
