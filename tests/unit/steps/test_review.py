"""What a decision asks for before anything is looked up."""

from __future__ import annotations

import pytest

from poison_guard.config import parse_contract
from poison_guard.errors import UsageError
from poison_guard.review.rules import check_person
from poison_guard.steps.queue import claim
from poison_guard.steps.review import select

CONTRACT = parse_contract({"name": "chat", "kind": "messages", "columns": {"text": "text"}})


@pytest.mark.parametrize(
    ("by", "reason", "told"),
    [
        ("", "why", "needs the name"),
        ("  ", "why", "needs the name"),
        ("ann", "\n", "needs a reason"),
        ("a" * 201, "why", "at most 200"),
        ("ann", "w" * 2001, "at most 2000"),
        ("ann\0", "why", "without NUL"),
    ],
)
def test_a_decision_needs_a_name_and_a_reason(by, reason, told):
    with pytest.raises(UsageError, match=told):
        check_person(by, reason)


def test_space_around_names_does_not_count():
    assert check_person(" ann ", " fine\n") == ("ann", "fine")


@pytest.mark.parametrize(
    "chosen", [{}, {"campaign_id": "c-1", "source_id": "eve"}, {"record_ids": [], "source_id": "eve"}]
)
def test_a_decision_is_chosen_in_exactly_one_way(chosen):
    with pytest.raises(UsageError, match="exactly one of"):
        select(None, CONTRACT, "release", **chosen)  # the store is not asked


@pytest.mark.parametrize(("limit", "seconds"), [(0, 600), (1, 0)])
def test_a_claim_is_for_some_entries_and_some_time(limit, seconds):
    with pytest.raises(UsageError, match="must be above 0"):
        claim(None, CONTRACT, by="ann", limit=limit, lease_seconds=seconds)
