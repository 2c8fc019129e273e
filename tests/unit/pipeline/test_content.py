"""Content as a record-level signal through the whole line."""

import numpy as np
import pandas as pd
import pytest

from poison_guard.config import parse_contract
from tests.unit.pipeline.conftest import NOW, decide, make_batch, make_state

ROLES = {"record_id": "id", "source_id": "user", "text": "said", "observed_at": "at"}


@pytest.fixture
def chat():
    asked = {"required": ["campaign", "content"]}
    return parse_contract({"name": "quiz", "kind": "messages", "columns": ROLES, "policy": asked})


def messages(texts, prefix="m"):
    n = len(texts)
    at = pd.Series(pd.Timestamp(NOW) - pd.to_timedelta(np.arange(n), unit="h")).astype("datetime64[us, UTC]")
    names = [f"{prefix}{k:05d}" for k in range(n)]
    return pd.DataFrame(
        {
            "record_id": names,
            "content_hash": [f"{name:0>32}" for name in names],
            "object": "mem",
            "row": np.arange(1, n + 1),
            "received_at": pd.Series([pd.Timestamp(NOW)] * n).astype("datetime64[us, UTC]"),
            "source_id": [f"{prefix}s{k}" for k in range(n)],
            "text": pd.Series(texts, dtype="str"),
            "observed_at": at,
        }
    )


def calm(n, start=0):
    return [f"how long does soup number {start + k} keep in the fridge" for k in range(n)]


def held(texts, contract, state):
    decided = decide(make_batch(messages(texts)), contract, state)
    return dict(zip(decided.decisions["record_id"], decided.decisions["action"], strict=True)), decided


def test_an_abusive_record_among_harmless_trusted_ones_is_held_and_told(chat):
    state = make_state(reference=messages(calm(10), "t"), calibration=messages(calm(400, 10), "c"))
    actions, decided = held([*calm(20, 900), "you fucking idiot"], chat, state)
    assert [k for k, action in actions.items() if action != "accept"] == ["m00020"]
    assert set(decided.evidence.loc[decided.evidence["signal"] == "content", "code"]) == {"toxic"}
    assert decided.decisions["risk"].max() < 0.9


def test_content_is_looked_at_only_where_a_feed_asks_for_it():
    plain = parse_contract({"name": "quiz", "kind": "messages", "columns": ROLES})
    assert "content" not in plain.signals
    state = make_state(calibration=messages(calm(400), "c"))
    _, decided = held([*calm(20, 900), "you fucking idiot"], plain, state)
    assert "content" not in set(decided.evidence["signal"])
    assert {code for codes in decided.decisions["reasons"] for code in codes} == {"unjudged"}


def test_without_trusted_texts_everything_waits(chat):
    _, decided = held(calm(20), chat, make_state())
    assert set(decided.decisions["place"]) == {"staged"}


def test_content_that_was_asked_for_stages_what_it_could_not_judge(chat, monkeypatch):
    def dies(*_, **__):
        raise RuntimeError("no classifier")

    monkeypatch.setattr("poison_guard.signals.content.ContentModel.fit", dies)
    state = make_state(calibration=messages(calm(400), "c"))
    _, decided = held(calm(3, 900), chat, state)
    assert set(decided.decisions["place"]) == {"staged"}
