"""Roles that only the values show: who, about what and what was said, in columns of any name."""

from __future__ import annotations

import tomllib
import uuid

import numpy as np
import pandas as pd
import pytest

from poison_guard.config import parse_contract
from poison_guard.onboard.columns import describe_columns
from poison_guard.onboard.contract_proposal import draft_contract
from poison_guard.onboard.roles import guess_roles


def _votes(n=500, users=40, items=60, *, seed=0, agree=0.8):
    """Return who, what and said of votes: no source has two on one item."""
    rng = np.random.default_rng(seed)
    pairs = rng.choice(users * items, n, replace=False)
    who, what = pairs // items, pairs % items
    truth = rng.integers(0, 3, items)
    return who, what, np.where(rng.random(n) < agree, truth[what], rng.integers(0, 3, n))


def _drafted(frame):
    draft = draft_contract(frame, name="feed", data_path="data.csv")
    return parse_contract(tomllib.loads(draft.text)), draft


def _words(codes, form):
    return [form.format(code) for code in codes]


@pytest.mark.parametrize("names", [("Nutzer", "Aufgabe", "Antwort"), ("回答者", "問題", "回答"), ("c3", "c1", "c2")])
@pytest.mark.parametrize("seed", range(3))
def test_source_item_and_answer_are_found_under_any_names(names, seed):
    who, what, said = _votes(seed=seed)
    columns = {names[1]: _words(what, "T-{:04d}"), names[2]: _words(said, "wahl {}"), names[0]: _words(who, "u{}")}
    contract, draft = _drafted(pd.DataFrame(columns))
    assert dict(contract.columns) == {"source_id": names[0], "item_id": names[1], "answer": names[2]}
    assert contract.kind == "answers"
    assert draft.text.count("# guess by values") == 3


def test_whole_numbers_are_ids_where_their_pairs_never_repeat_and_measurements_are_not():
    who, what, said = _votes(agree=0.9)
    contract, _ = _drafted(pd.DataFrame({"a": who, "b": what, "c": said}))
    assert dict(contract.columns) == {"source_id": "a", "item_id": "b", "answer": "c"}
    rng = np.random.default_rng(1)
    clicks, keys = rng.poisson(12, 500), rng.poisson(30, 500)
    bot = (clicks + rng.normal(0, 2, 500) > 12).astype(int)  # a class that follows from a count
    contract, draft = _drafted(pd.DataFrame({"a": clicks, "b": keys, "c": bot}))
    assert not contract.columns
    assert contract.features == ("a", "b", "c")
    assert not draft.question


def test_a_missing_item_is_found_beside_a_named_source_and_vote_and_spellings_of_one_id_are_one():
    who, what, said = _votes()
    blanks = [" " * (row % 3) for row in range(len(what))]
    item = [f"{blank}Käse {code}" for blank, code in zip(blanks, what, strict=True)]
    contract, _ = _drafted(pd.DataFrame({"customer": _words(who, "c{}"), "product": item, "stars": said + 1}))
    assert dict(contract.columns) == {"source_id": "customer", "item_id": "product", "rating": "stars"}


def test_columns_of_people_who_judged_the_row_are_asked_about_and_answers_to_several_questions_are_not():
    rng = np.random.default_rng(3)
    truth = rng.choice(["cat", "dog", "bird"], 150)
    judged = {name: np.where(rng.random(150) < 0.15, "dog", truth) for name in ("Anna", "Bob", "Cem")}
    frame = pd.DataFrame({"Picture": [f"p{i}.png" for i in range(150)], **judged})
    question = draft_contract(frame, name="wide", data_path="wide.csv").question
    assert question.startswith(
        "Anna, Bob, Cem hold the same 3 values and agree within a row: if each is what one person"
    )
    asked = {name: rng.choice(["yes", "no"], 150) for name in ("tea", "coffee", "milk")}
    frame = pd.DataFrame({"n": rng.normal(size=150), **asked})
    assert not draft_contract(frame, name="wide", data_path="wide.csv").question


def test_properties_of_items_and_sources_are_no_votes():
    who, what, _ = _votes()
    country = np.array(["DE", "AT", "CH"])[who % 3]
    colour = np.array(["red", "green", "blue"])[what % 3]
    frame = pd.DataFrame({"a": _words(who, "u{}"), "b": _words(what, "t{}"), "c": country, "d": colour})
    contract, draft = _drafted(frame)
    assert "answer" not in contract.columns
    assert not {"a", "b"} & set(contract.features)
    assert "source_id in [columns] could be a (40 values in 500 rows) or b (60 values in 500 rows)" in draft.question
    assert "source_id in [columns] could be a (40 values" in draft.text.replace("\n#  ", "")


@pytest.mark.parametrize(
    "ids",
    [
        [uuid.UUID(int=n + 7).hex for n in range(90)],
        [str(uuid.UUID(int=n + 7)) for n in range(90)],
        [bytes([255 - n]) * 16 for n in range(90)],
    ],
)
def test_hashes_and_uuids_that_never_repeat_are_ids_and_no_text(ids):
    contract, _ = _drafted(pd.DataFrame({"req": ids, "ms": np.arange(90) * 1.5}))
    assert dict(contract.columns) == {"record_id": "req"}


def test_numbers_that_are_all_moments_of_some_years_are_the_time_whatever_their_name():
    frame = pd.DataFrame({"user": ["a", "b"] * 50, "wann": 1.7935e9 + np.arange(100.0) * 60, "x": np.arange(100)})
    assert _drafted(frame)[0].columns["observed_at"] == "wann"
    spread = frame.assign(wann=np.linspace(1e9, 4e9, 100).round())
    assert "observed_at" not in _drafted(spread)[0].columns


def test_the_column_of_a_question_is_no_item():
    frame = pd.DataFrame(
        {
            "Email Address": [f"p{i % 20}@example.org" for i in range(100)],
            "How satisfied are you?": ["very", "somewhat", "not at all", "do not know"] * 25,
            "Would you recommend us (0-10)": [i % 11 for i in range(100)],
        }
    )
    roles = {g.role: g.column.name for g in guess_roles(describe_columns(frame))}
    assert "item_id" not in roles
