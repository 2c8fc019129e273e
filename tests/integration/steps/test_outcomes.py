"""Outcomes are read once by whoever runs the feed, speak of sources from then on, and hold nothing up."""

import re

import pandas as pd
import pytest

from poison_guard import Guard
from poison_guard.steps.opening import open_feed
from poison_guard.store import audit, verify
from poison_guard.store.reading import load_sources, load_verified_answers
from tests.integration.steps.conftest import CONTRACT, answers, copied, put

PLAIN = CONTRACT.replace('features = ["dwell", "speed"]\n', "")  # nothing that needs a trusted set to be judged
HEAD = '[outcomes]\npath = "truth/*.csv"\n'


@pytest.fixture(scope="module")
def first_day(tmp_path_factory):
    """A guard with outcomes and a first batch taken in."""
    file = tmp_path_factory.mktemp("outcomes") / "quiz.toml"
    file.write_text(PLAIN + HEAD)
    guard = Guard.open(file, home=file.parent / "home")
    put(guard.home, answers(200, 1), "a.csv")
    guard.ingest()
    return guard


@pytest.fixture
def fed(first_day, tmp_path):
    return copied(first_day, tmp_path)


def tell(guard, frame, name="one.csv"):
    folder = guard.home / "truth"
    folder.mkdir(exist_ok=True)
    pd.DataFrame(frame).to_csv(folder / name, index=False)


def sums(guard):
    with open_feed(guard.contract_path, guard.home) as feed:
        ledger = load_sources(feed.store, feed.contract)
        assert verify(feed.store).ok
        return int(ledger["outcomes_right"].sum()), int(ledger["outcomes_wrong"].sum())


def head(guard):
    with open_feed(guard.contract_path, guard.home) as feed, feed.store.read() as conn:
        return audit.head(conn)


IDS = [f"r1-{i:05d}" for i in range(6)]


def test_a_run_reads_new_outcomes_once_and_says_so(fed):
    tell(fed, {"record_id": IDS, "correct": ["yes", "TRUE", "1", "no", "0.0", "maybe"]})
    first = fed.ingest()
    assert sums(fed) == (3, 2)
    assert any("outcome" in note for note in first.notes)
    version = head(fed)
    assert fed.ingest().notes == ("nothing new: every object was taken in before",)
    assert (sums(fed), head(fed)) == ((3, 2), version)


def test_the_scheduled_steps_read_them_too_and_alone(fed):
    tell(fed, {"record_id": IDS[:2], "correct": [1, 0]})
    assert fed.stage_collect().run_id is None
    assert sums(fed) == (1, 1)
    tell(fed, {"record_id": [*IDS[:2], "nobody", ""], "correct": [1, 1, 1, 0]}, "two.csv")
    told = fed.outcomes().counts
    assert {name: n for name, n in told.items() if n} == {
        "files": 1, "bad": 1, "right": 1, "revised": 1, "unknown": 1, "repeated": 1,
    }  # fmt: skip
    assert fed.outcomes().counts == {}
    assert sums(fed) == (2, 0)


def test_a_scan_reads_none(fed):
    tell(fed, {"record_id": IDS, "correct": 1})
    fed.scan(answers(10, 2))
    assert sums(fed) == (0, 0)


@pytest.mark.parametrize("flaw", ["no column", "broken", "empty"])
def test_a_file_that_cannot_be_read_is_told_and_the_batch_goes_on(fed, flaw):
    content = {"no column": "record_id,right\nr1,1\n", "broken": 'record_id,correct\n"r1,1\n', "empty": ""}[flaw]
    tell(fed, {"record_id": IDS[:1], "correct": [1]})
    (fed.home / "truth" / "bad.csv").write_text(content)
    put(fed.home, answers(50, 3), "b.csv")
    result = fed.ingest()
    assert result.counts["received"] == 50
    assert sum("outcomes" in note for note in result.notes) == 2  # what was read, and what could not be
    assert sums(fed) == (1, 0)
    tell(fed, {"record_id": IDS[1:2], "correct": [0]}, "bad.csv")
    fed.ingest()
    assert sums(fed) == (1, 1)


def test_a_path_that_is_not_there_yet_is_a_note(tmp_path):
    file = tmp_path / "quiz.toml"
    file.write_text(PLAIN + '[outcomes]\npath = "truth.csv"\n')
    guard = Guard.open(file, home=tmp_path / "home")
    put(guard.home, answers(20, 1), "a.csv")
    assert any("outcomes" in note for note in guard.ingest().notes)


def test_columns_may_have_other_names_and_say_when_an_outcome_was_visible(tmp_path):
    file = tmp_path / "quiz.toml"
    named = 'record_id = "answer"\ncorrect = "ok"\nvisible_at = "known"\n'
    file.write_text(PLAIN + HEAD + named)
    guard = Guard.open(file, home=tmp_path / "home")
    put(guard.home, answers(50, 1), "a.csv")
    guard.ingest()
    known = ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "who knows"]
    frame = answers(50, 1)
    ids = [frame.loc[frame["word"] == word, "id"].iloc[0] for word in frame["word"].drop_duplicates()[:4]]
    tell(guard, {"answer": ids, "ok": ["right", "wrong", "right", "right"], "known": known})
    guard.ingest()
    assert sums(guard) == (2, 1)  # the first was given when its outcome had long been known


def test_answers_to_controls_and_outcomes_make_one_line_a_source(tmp_path):
    file = tmp_path / "quiz.toml"
    file.write_text(PLAIN + HEAD + '[controls]\npath = "controls.csv"\n')
    guard = Guard.open(file, home=tmp_path / "home")
    frame = answers(120, 4)
    put(guard.home, frame, "a.csv")
    truth = pd.DataFrame({"item_id": [f"w{k}" for k in range(5)], "answer": [f"a{k % 5}" for k in range(5)]})
    truth.to_csv(guard.home / "controls.csv", index=False)
    guard.ingest()
    checked = frame[frame["word"].isin(truth["item_id"])]
    with open_feed(file, guard.home) as feed:
        line, ledger = load_verified_answers(feed.store, feed.contract), load_sources(feed.store, feed.contract)
    right = checked["said"].to_numpy() == ("a" + (checked["word"].str[1:].astype(int) % 5).astype(str)).to_numpy()
    assert len(line) == len(checked.drop_duplicates(["user", "word"]))
    assert line["right"].sum() == ledger["controls_right"].sum() <= right.sum()


def test_rows_that_cannot_be_used_are_named_by_file_row_and_column(fed):
    rows = {"record_id": [IDS[0], IDS[1], None], "correct": ["yes", "perhaps", "no"]}
    tell(fed, rows | {"visible_at": ["soon", "2020-01-01", "2020-01-01"]})
    notes = " | ".join(fed.ingest().notes)
    assert "1 right, 0 wrong" in notes
    assert re.search(r"row 2 of \S+one.csv has correct = 'perhaps', which is neither yes nor no; 1 such row is", notes)
    assert re.search(r"row 3 of \S+one.csv has no record_id; 1 such row is left out", notes)
    assert re.search(r"row 1 of \S+one.csv has visible_at = 'soon', which is no ISO 8601 time", notes)


def test_when_an_outcome_was_visible_is_read_where_a_file_says_so(fed):
    tell(fed, {"record_id": IDS[:2], "correct": ["yes", "no"], "visible_at": ["2020-01-01", "2020-01-01"]})
    assert any("2 too late" in note for note in fed.ingest().notes), "known before these records came"
    assert sums(fed) == (0, 0)
