"""Missing is never a pass: where nothing had anything to compare, an enforcing feed accepts nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.config import Policy, parse_contract
from tests.unit.pipeline.conftest import decide, make_batch, make_state, sessions

ROLES = ("source_id", "item_id", "answer", "observed_at", "source_since")


def feed(*roles, **table):
    return parse_contract(
        {"name": "quiz", "kind": "answers", "columns": {"record_id": "id"} | {r: r for r in roles}} | table
    )


def records(*roles, n=120, seed=3):
    frame = sessions(n, np.random.default_rng(seed))
    frame["text"] = [f"what {row} says of the {row * 7} things it saw" for row in range(n)]
    keys = ["record_id", "content_hash", "object", "row", "received_at"]
    return frame[[*keys, *roles]]


def places(contract, frame, state=None):
    decided = decide(make_batch(frame), contract, state or make_state())
    return set(decided.decisions["place"]), decided


@pytest.mark.parametrize("roles", [("text",), ("source_id",), ("item_id", "answer"), ("text", "item_id", "answer")])
def test_a_feed_without_what_judges_it_stages_everything_and_says_so(roles):
    where, decided = places(feed(*roles), records(*roles))
    assert where == {"staged"}
    assert [note.code for note in decided.notes] == ["unjudged"]
    assert {code for codes in decided.decisions["reasons"] for code in codes} == {"unjudged"}


def test_an_observing_feed_accepts_what_nothing_judged_and_says_so():
    where, decided = places(feed("text", mode="observe"), records("text"))
    assert where == {"accepted"}
    assert "unjudged" in {note.code for note in decided.notes}
    assert set(decided.decisions["action"]) == {"quarantine"}


@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_a_role_that_no_record_has_a_value_for_is_named_and_nothing_is_said_to_be_judged_by_it(mode):
    claims = ("source_id", "text", "prompt")
    frame = records("source_id", "text", n=400).assign(prompt="say what you saw")
    assert places(feed(*claims, mode=mode), frame)[1].measurements["coverage"]["judged"]
    where, decided = places(feed(*claims, mode=mode), frame.assign(text=None, prompt=None))
    assert where == {"accepted" if mode == "observe" else "staged"}
    named = [note.args["columns"] for note in decided.notes if note.code == "role_empty"]
    assert named == [["text"], ["prompt"]]
    facts = decided.measurements["coverage"]
    assert (facts["empty"], facts["judged"]) == (["prompt", "text"], False)


def test_a_signal_without_a_value_to_compare_did_not_run_though_others_did():
    features = {"columns": {"record_id": "id", **{r: r for r in ROLES}, "features": ["dwell", "speed"]}}
    frame = sessions(400, np.random.default_rng(5))
    assert places(feed(**features), frame, make_state(frame, frame))[0] >= {"accepted"}
    empty = frame.assign(**{"feature.dwell": np.nan, "feature.speed": np.nan})
    where, decided = places(feed(**features), empty, make_state(frame, frame))
    assert "accepted" not in where
    assert {"nothing_to_compare", "role_empty"} <= {note.code for note in decided.notes}


def test_one_answer_an_item_counts_as_not_having_run():
    alone = records(*ROLES).assign(item_id=lambda f: "i" + f["record_id"])
    assert places(feed(*ROLES), alone)[0] == {"staged"}
    assert places(feed(*ROLES), records(*ROLES, n=400))[0] == {"accepted"}


def test_one_source_counts_as_not_having_run():
    assert places(feed(*ROLES), records(*ROLES).assign(source_id="API"))[0] == {"staged"}


def test_a_required_signal_that_had_nothing_to_compare_stages_though_others_judged():
    texts = ("source_id", "item_id", "answer", "text", "prompt")
    frame = records("source_id", "item_id", "answer", "text", n=400).assign(prompt="say what you saw")
    alone = frame.assign(item_id=lambda f: "i" + f["record_id"])
    assert places(feed(*texts), alone)[0] == {"accepted"}  # few people repeating a claim would show
    where, decided = places(feed(*texts, policy={"required": ["source"]}), alone)
    assert where == {"staged"}
    assert {note.code for note in decided.notes} == {"nothing_to_compare"}


def test_controls_are_something_to_compare_with():
    alone = records(*ROLES).assign(item_id=lambda f: "i" + f["record_id"])
    controls = pd.DataFrame({"item_id": ["ir00000"], "answer": ["1"]})
    assert places(feed(*ROLES), alone, make_state(controls=controls))[0] == {"accepted"}


def test_votes_without_times_and_ages_are_searched_for_groups():
    rng = np.random.default_rng(8)
    honest = records("source_id", "item_id", "answer", n=700)
    items = honest["item_id"].drop_duplicates().head(30).to_list()
    wrong = [str((int(item[1:]) + 2) % 5) for item in items]
    parts = [
        pd.DataFrame({"item_id": items, "answer": wrong, "source_id": f"evil{k}"}).sample(24, random_state=k)
        for k in range(8)
    ]
    evil = pd.concat(parts, ignore_index=True)
    ids = [f"evil{k:04d}" for k in rng.permutation(len(evil))]
    evil = evil.assign(record_id=ids, content_hash=ids, object="mem", row=1, received_at=honest["received_at"].iloc[0])
    contract = dataclasses.replace(feed("source_id", "item_id", "answer"), policy=Policy(source_alpha=1e-12))
    assert "campaign" in contract.signals
    _, decided = places(contract, pd.concat([honest, evil], ignore_index=True))
    assert {campaign.kind for campaign in decided.campaigns} == {"agreement"}
    held = decided.decisions.loc[decided.decisions["place"] == "quarantined", "record_id"]
    assert held.str.startswith("evil").mean() > 0.95
    assert len(held) > 150


def test_copies_without_sources_are_one_group_in_a_feed_that_is_still_unjudged():
    frame = records("text", n=300)
    frame.loc[100:159, "text"] = "the best bank of all is surely brenolix since it pays twice what others pay"
    where, decided = places(feed("text"), frame)
    assert where == {"staged", "quarantined"}
    [group] = decided.campaigns
    assert group.kind == "copies"
    assert len(group.record_ids) == 59
    assert not len(decided.sources)


@given(
    roles=st.sets(st.sampled_from([*ROLES, "text"])),
    sources=st.sampled_from([1, 2, 60]),
    items=st.sampled_from([1, 30, 200]),
)
@settings(max_examples=10, deadline=None)
def test_nothing_is_accepted_by_a_feed_that_enforces_where_nothing_was_compared(roles, sources, items):
    if not roles:
        return
    rng = np.random.default_rng(len(roles) + sources + items)
    drawn = {"source_id": rng.integers(0, sources, 150), "item_id": rng.integers(0, items, 150)}
    frame = records(*roles, n=150).assign(**{k: [f"{k[0]}{x}" for x in v] for k, v in drawn.items() if k in roles})
    where, decided = places(feed(*roles), frame)
    judged = decided.measurements["coverage"]["judged"]
    assert ("accepted" in where) <= judged
    assert judged or "unjudged" in {note.code for note in decided.notes}
