"""The state machine of a review: from where each verb takes records, and how they are chosen."""

from __future__ import annotations

import pytest

from poison_guard.errors import UsageError
from poison_guard.records import Place
from poison_guard.review.rules import VERBS, Selector, allowed_places, check_person, select_rows


@pytest.mark.parametrize(
    ("by", "reason", "message"),
    [
        ("", "why", "needs the name"),
        ("  ", "why", "needs the name"),
        ("ann", "\n", "needs a reason"),
        ("a" * 201, "why", "at most 200"),
        ("ann", "w" * 2001, "at most 2000"),
        ("ann\0", "why", "without NUL"),
    ],
)
def test_a_decision_needs_a_name_and_a_reason(by, reason, message):
    with pytest.raises(UsageError, match=message):
        check_person(by, reason)


def test_space_around_names_does_not_count():
    assert check_person(" ann ", " fine\n") == ("ann", "fine")


@pytest.mark.parametrize(
    "selectors",
    [{}, {"campaign_id": None}, {"campaign_id": "c-1", "source_id": "eve"}, {"record_ids": [], "source_id": "eve"}],
)
@pytest.mark.parametrize("verb", VERBS)
def test_records_are_chosen_in_exactly_one_way(verb, selectors):
    with pytest.raises(UsageError, match="exactly one of"):
        Selector.of(verb, **selectors)


def test_what_was_observed_is_chosen_for_a_recall_alone_and_by_nothing_else():
    assert Selector.of("recall", observed=True, run_id=None) == Selector("observed", True)
    with pytest.raises(UsageError, match="chooses for a recall; release takes"):
        Selector.of("release", observed=True)
    with pytest.raises(UsageError, match="exactly one of them, got 2"):
        Selector.of("recall", observed=True, run_id="r")


def test_a_selector_keeps_ids_as_given_and_notes_how_many_they_are():
    one, several = Selector.of("reject", record_ids="a"), Selector.of("reject", record_ids=["a", "b", "a"])
    assert (one.ids, several.ids) == (("a",), ("a", "b", "a"))
    assert (several.noted(), several.filters) == ({"record_ids": 2}, {})
    group = Selector.of("reject", campaign_id="c-1", record_ids=None)
    assert (group.ids, group.noted(), group.filters) == ((), {"campaign_id": "c-1"}, {"campaign_id": "c-1"})


def test_a_keyword_that_chooses_nothing_is_refused_with_those_that_do():
    with pytest.raises(TypeError, match="takes no campaign; records are chosen by record_ids, campaign_id"):
        Selector.of("release", campaign="c-1")  # type: ignore[call-arg]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("selector", ["record_ids", "campaign_id", "source_id", "run_id"])
def test_no_verb_takes_a_whole_group_from_where_it_moves_it(verb, selector):
    places = allowed_places(verb, selector)
    assert VERBS[verb].destination not in places or (verb, selector) == ("release", "record_ids")
    assert set(places) <= set(VERBS[verb].places_of_ids), "what a group may, an id may too"


def test_a_release_takes_staged_records_by_run_or_id_and_never_a_staged_group():
    taken = {key: Place.STAGED in allowed_places("release", key) for key in ("record_ids", "run_id", "campaign_id")}
    assert taken == {"record_ids": True, "run_id": True, "campaign_id": False}
    assert allowed_places("recall", "observed") == (Place.ACCEPTED,)


def test_a_selection_counts_places_and_sources():
    rows = [("b", "staged", "u"), ("a", "staged", "u"), ("c", "recalled", None)]
    chosen = select_rows("release", rows, {"run_id": "r"})
    assert chosen.record_ids == ("a", "b", "c")
    assert (dict(chosen.places), chosen.sources) == ({"staged": 2, "recalled": 1}, 1)
