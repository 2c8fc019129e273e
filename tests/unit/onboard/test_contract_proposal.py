"""Proposed contracts: the right roles, a text that loads, doubts in words, hostile names escaped."""

from __future__ import annotations

import tomllib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.config import load_contract, parse_contract
from poison_guard.errors import ConfigError, DataError
from poison_guard.onboard import propose_contract
from tests.unit.onboard.samples import EXPECTED, make_samples

SAMPLES = make_samples()


def proposed(frame, name="feed"):
    return parse_contract(tomllib.loads(propose_contract(frame, name=name, data_path="inbox/data.csv")))


@pytest.mark.parametrize("sample", sorted(EXPECTED))
def test_roles_kind_and_features_are_recognised(sample):
    kind, columns, features = EXPECTED[sample]
    contract = proposed(SAMPLES[sample])
    assert (contract.kind, dict(contract.columns), contract.features) == (kind, columns, features)


@pytest.mark.parametrize("sample", sorted(EXPECTED))
def test_a_file_read_as_text_alone_gets_the_same_roles(sample):
    frame = SAMPLES[sample]
    assert proposed(frame.astype("str")).columns == proposed(frame).columns


@pytest.mark.parametrize("sample", sorted(EXPECTED))
def test_the_text_loads_from_a_file_and_keeps_to_readable_lines(sample, tmp_path):
    text = propose_contract(SAMPLES[sample], name="feed", data_path="inbox/data.csv")
    path = tmp_path / "feed.toml"
    path.write_text(text, encoding="utf-8")
    assert load_contract(path).data.path == "inbox/data.csv"
    assert max(map(len, text.splitlines())) <= 120


def test_what_the_data_cannot_prove_is_marked_as_a_guess():
    ids = [f"c{i}" for i in range(199)] + ["c0"]
    frame = pd.DataFrame({"COMMENT_ID": ids, "CONTENT": [f"some words number {i}" for i in range(200)]})
    text = propose_contract(frame, name="feed", data_path="x.csv")
    assert 'record_id = "COMMENT_ID"  # guess: 1 of 200 ids repeat' in text
    sessions = SAMPLES["sessions"].drop(columns=["device_id"]).assign(session_id=["a", "b"] * 150)
    assert "each session counts as a source of its own" in propose_contract(sessions, name="feed", data_path="x.csv")


def test_a_role_that_was_not_found_is_offered_as_a_comment_that_says_what_it_is_for():
    text = propose_contract(SAMPLES["trl"], name="feed", data_path="x.jsonl")
    assert '# source_id = "…"  # not found: who sent the record' in text


def test_columns_left_out_are_named():
    text = propose_contract(SAMPLES["arena"], name="feed", data_path="x.csv")
    assert "judged by no signal: model_a." in text


def test_the_only_column_of_long_text_is_the_text_and_marked_as_a_guess():
    frame = pd.DataFrame(
        {"freitext": [f"a sentence about number {i} that goes on" for i in range(50)], "worker": ["w"] * 50}
    )
    text = propose_contract(frame, name="feed", data_path="x.csv")
    assert 'text = "freitext"  # guess: the only column of long text' in text


def test_epoch_numbers_are_times_only_under_the_name_of_a_time():
    stamps = 1_763_385_772_090 + np.arange(100) * 1000
    frame = pd.DataFrame({"user_id": ["u", "v"] * 50, "createdAtMillis": stamps, "x": stamps + 1, "y_pos": range(100)})
    contract = proposed(frame)
    assert contract.columns["observed_at"] == "createdAtMillis"
    assert "x" not in contract.features


@settings(max_examples=60, deadline=None)
@given(names=st.lists(st.text(max_size=12), min_size=1, max_size=6, unique=True), data=st.data())
def test_hostile_column_names_never_break_the_text(names, data):
    kinds = [data.draw(st.sampled_from(["number", "text", "empty"])) for _ in names]
    cells = {"number": [1.5, 2.5, 4.0], "text": ["a b", "c", "c"], "empty": [None, None, None]}
    frame = pd.DataFrame(
        {name: cells[kind] for name, kind in zip(names, kinds, strict=True)} | {"user_id": ["u", "v", "v"]}
    )
    table = tomllib.loads(propose_contract(frame, name="feed", data_path='in"box\\#\n.csv'))
    assert table["data"]["path"] == 'in"box\\#\n.csv'
    listed = [v for k, v in table["columns"].items() if k != "features"] + table["columns"].get("features", [])
    assert set(listed) <= set(frame.columns)


def test_a_file_without_rows_or_without_anything_to_map_is_refused_in_one_sentence():
    with pytest.raises(DataError, match=r"x\.csv has no records"):
        propose_contract(pd.DataFrame({"user_id": []}), name="feed", data_path="x.csv")
    with pytest.raises(DataError, match="write \\[columns\\]"):
        propose_contract(pd.DataFrame({"zzz": ["a", "a"]}), name="feed", data_path="x.csv")
    cut_at_commas = pd.DataFrame({"zzz;yyy": ["a", "a"], "xxx": ["b", "b"]})
    with pytest.raises(DataError, match=r"no column of in/x\.csv .*is it separated by ';'\?"):
        propose_contract(cut_at_commas, name="feed", data_path="../in/x.csv", shown="in/x.csv")


def test_a_name_that_no_feed_can_have_is_refused():
    with pytest.raises(ConfigError, match="name must be a word"):
        propose_contract(SAMPLES["trl"], name="My Feed", data_path="x.csv")


@pytest.mark.parametrize("name", ["when", "submitted", "Submitted At", "First seen", "zeitpunkt"])
def test_the_only_column_of_times_is_found_whatever_its_name(name):
    times = pd.date_range("2026-11-20", periods=60, freq="h")
    frame = pd.DataFrame({"user": ["u", "v", "w"] * 20, "task": ["t1", "t2"] * 30, "answer": ["a", "b"] * 30})
    for cells in (times, times.strftime("%Y-%m-%d %H:%M:%S"), times.strftime("%Y-%m-%dT%H:%M:%SZ")):
        assert proposed(frame.assign(**{name: cells})).columns["observed_at"] == name
    assert "observed_at" not in proposed(frame.assign(date_of_birth=times)).columns


def test_a_running_number_is_no_feature_and_who_said_it_is_the_author_beside_a_person_who_flagged_it():
    frame = SAMPLES["sessions"].assign(Nr=range(len(SAMPLES["sessions"])))
    assert "Nr" not in proposed(frame).features
    chat = pd.DataFrame({"who": [f"u{i % 30}" for i in range(90)], "msg": [f"what {i} says of it" for i in range(90)]})
    assert proposed(chat).columns["source_id"] == "who"
    flagged = proposed(chat.assign(flagged_by=[f"mod{i % 3}" for i in range(90)])).columns
    assert (flagged["source_id"], flagged["author_id"]) == ("flagged_by", "who")


def test_an_id_of_another_record_or_of_a_job_is_nobody_who_sent_it():
    ids = [f"x{i % 9}" for i in range(90)]
    frame = pd.DataFrame(
        {"text": [f"what {i} says of it" for i in range(90)], "parent_message_id": ids, "batch_id": ids}
    )
    assert "source_id" not in proposed(frame).columns
    assert proposed(frame.assign(owner_id=ids)).columns["source_id"] == "owner_id"


def test_a_yes_or_no_beside_the_answer_is_no_label():
    frame = pd.DataFrame({"user": ["u", "v", "w"] * 20, "task": ["t1", "t2"] * 30, "answer": ["a", "b"] * 30})
    assert "label" not in proposed(frame.assign(is_gold=[True, False] * 30)).columns


def test_a_proposed_feed_observes_and_names_the_files_of_all_days():
    text = propose_contract(SAMPLES["trl"], name="feed", data_path="in/x_2026.csv", pattern="in/x_*.csv")
    assert 'mode = "observe"' in text
    assert '# path = "in/x_*.csv"  # takes in the files of other days too' in text


def test_a_log_of_what_a_model_answered_is_a_feed_of_queries():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 2)), columns=["income", "age"]).assign(
        user_id=[f"u{i % 7}" for i in range(300)],
        asked_at=pd.date_range("2026-01-01", periods=300, freq="min").astype(str),
        prediction=["yes", "no"] * 150,
        confidence=rng.uniform(size=300),
    )
    text = propose_contract(frame, name="asks", data_path="asks.csv")
    assert "query signal needs vetted records of 30 sources" in text
    assert "anomaly" not in text
    contract = proposed(frame)
    assert contract.kind == "queries"
    assert contract.columns["answer"] == "prediction"
    assert contract.columns["source_id"] == "user_id"
    assert contract.features == ("income", "age")


@pytest.mark.parametrize("names", [("q", "a"), ("user", "assistant"), ("human", "gpt")])
def test_two_columns_of_prose_with_names_of_turns_are_prompt_and_response(names):
    ask, reply = names
    frame = pd.DataFrame(
        {
            "id": range(50),
            ask: [f"What is number {i}?" for i in range(50)],
            reply: [f"It is the number {i}." for i in range(50)],
        }
    )
    assert proposed(frame).columns == {"record_id": "id", "prompt": ask, "response": reply}
