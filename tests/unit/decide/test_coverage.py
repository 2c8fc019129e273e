"""The coverage statement: what could be seen, what was measured, and what is missing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.config import parse_contract
from poison_guard.decide.coverage import (
    KINDS,
    Coverage,
    Measured,
    MeasuredKind,
    coverage_key,
    is_judged,
    kinds_of,
    possible_kinds,
)

COMPARISONS = sorted(set().union(*(kind.by for kind in KINDS.values())))


def feed(*roles, **table):
    features = ["f"] if "features" in roles else []
    columns = {role: role for role in roles if role != "features"} | ({"features": features} if features else {})
    return parse_contract({"name": "quiz", "kind": "messages", "columns": columns} | table)


@given(st.sets(st.sampled_from(COMPARISONS)), st.sampled_from(COMPARISONS))
def test_one_more_comparison_never_makes_a_judged_batch_unjudged(compared, more):
    contract = feed("text", "source_id", "features")
    assert is_judged(possible_kinds(contract, compared | {more})) >= is_judged(possible_kinds(contract, compared))


@given(st.sets(st.sampled_from(COMPARISONS)))
def test_every_kind_is_either_possible_or_has_a_remedy(compared):
    stated = Coverage.of(feed("text"), compared)
    assert set(stated.possible) | set(stated.remedies) == {*kinds_of(feed("text")), *stated.possible}
    assert not set(stated.possible) & set(stated.remedies)
    assert stated.possible == possible_kinds(feed("text"), compared)


@pytest.mark.parametrize("compared", [(), ("copies",), ("near_duplicate_text",)])
def test_finding_copies_alone_judges_nothing(compared):
    stated = Coverage.of(feed("text", "source_id"), compared)
    assert not stated.judged
    assert stated.sentences()[0].startswith("nothing could judge what these records say")


def test_a_remedy_names_the_columns_that_are_missing_and_else_what_the_data_lack():
    stated = Coverage.of(feed("chosen", "rejected"), {"copies"})
    assert stated.nearest_remedy() == "with a column for source_id, rare claims could be seen"
    assert stated.remedies["label flips"] == "columns for item_id, source_id and answer (or label, or rating)"
    votes = Coverage.of(feed("source_id", "item_id", "rating"), ())
    assert votes.remedies["label flips"] == "items that three sources or more answer, or controls"
    assert Coverage.of(feed("features"), ()).remedies["strangers"].startswith("a trusted set")


def test_a_role_without_a_value_cannot_show_what_needs_it_and_its_column_is_named():
    contract = parse_contract(
        {
            "name": "quiz",
            "kind": "answers",
            "columns": {"source_id": "u", "item_id": "i", "answer": "said", "text": "t"},
        }
    )
    compared = {"source", "rare_claims"}
    whole, lacking = (Coverage.of(contract, compared, empty=empty) for empty in ((), ("answer", "text")))
    assert whole.judged
    assert not lacking.judged
    assert not lacking.possible
    assert lacking.remedies["label flips"] == "values in said"
    assert lacking.nearest_remedy() == "with values in said, agreed answers could be seen"
    assert Coverage.of(contract, compared, empty=("text",)).remedies["rare claims"] == "values in t"
    assert Coverage.of(contract, compared, empty=("text",)).judged
    timed = feed("source_id", "text", "observed_at", "source_since")
    copies = Coverage.of(timed, (), empty=("text", "observed_at", "source_since")).remedies["copies"]
    assert copies == "values in text and observed_at or source_since"


MEASURED = Measured(
    "key",
    "2026-12-01T00:00:00+00:00",
    2000,
    10,
    {
        "label flips": MeasuredKind(1.0, 80, 20, 1, aged=True),
        "agreed answers": MeasuredKind(1.0, 500, 60, 6, aged=False),
        "lockstep": MeasuredKind(0.4, 500),
    },
)


def test_what_was_measured_is_said_with_its_size_and_what_was_not_held_as_well():
    said = Coverage.of(feed("source_id", "item_id", "answer"), {"source"}, MEASURED).sentences()
    assert said[0] == (
        "seen here: agreed answers from 60 records by 6 accounts a day old, not by older ones; "
        "label flips from 20 records by 1 account"
    )
    assert said[1] == "not reliably seen here: lockstep, up to 500 records tried (40% of them were held)"
    assert "among 2,000 of the feed's records" in said[-1]


def test_without_a_measurement_the_statement_says_how_to_get_one_and_claims_no_size():
    said = Coverage.of(feed("source_id", "item_id", "answer"), {"source"}).sentences()
    assert said[0] == "could be seen here, if large enough: agreed answers, lockstep, label flips"
    assert said[-1].startswith("`poison-guard coverage --feed quiz`")


def test_a_measurement_survives_json_and_a_broken_one_is_refused():
    assert Measured.from_json(json.loads(json.dumps(MEASURED.to_json()))) == MEASURED
    for broken in ({}, {**MEASURED.to_json(), "kinds": {"lockstep": {"hold": 1}}}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            Measured.from_json(broken)


def test_a_measurement_holds_for_one_set_of_columns_one_policy_and_one_trusted_set():
    keys = {
        coverage_key(feed("source_id", "item_id", "answer"), ""),
        coverage_key(feed("source_id", "item_id", "answer"), "abc"),
        coverage_key(feed("source_id", "item_id", "rating"), ""),
        coverage_key(feed("source_id", "item_id", "answer", policy={"source_alpha": 0.01}), ""),
        coverage_key(feed("source_id", "item_id", "answer", controls={"path": "c.csv"}), ""),
    }
    assert len(keys) == 5
    assert coverage_key(feed("source_id", "item_id", "answer", mode="observe"), "") in keys


def test_a_log_of_queries_is_asked_about_copies_of_the_model_and_no_other_feed_is():
    log = Coverage.of(feed("source_id", "features", kind="queries"), ())
    assert list(log.remedies) == ["model copies"]
    assert log.nearest_remedy() == "with a column for observed_at, model copies could be seen"
    assert "model copies" not in Coverage.of(feed("source_id", "features"), ()).remedies
