"""What a feed let pass while it observed is counted as of a snapshot, and can be taken back as a whole."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from poison_guard.errors import NotFoundError, UsageError
from poison_guard.review.rules import Selector
from poison_guard.steps.review import recall, release, select, undo
from poison_guard.store import audit
from poison_guard.store.gate_counts import count_would_be_held, would_be_held_ids
from tests.integration.conftest import feed_of

WHO = {"by": "ann", "reason": "looked"}


@pytest.fixture
def watched(store, made):
    """A store whose feed took in four records, two of which the guard would have held."""
    records = made.records("a1", "a2", "h1", "h2")
    decided = made.decided(records, {"h1": "quarantined", "h2": "quarantined"})
    passed = decided.decisions.assign(place="accepted")
    made.commit(store, made.begin(store, "b1"), records, dataclasses.replace(decided, decisions=passed))
    return store


def head(store):
    with store.read() as conn:
        return audit.head(conn)


def test_accepted_records_that_would_have_been_held_are_counted(watched):
    assert count_would_be_held(watched, "captcha", seq=head(watched)) == {"accepted": 4, "passed": 2}
    assert count_would_be_held(watched, "captcha", seq=0) == {"accepted": 0, "passed": 0}


def test_they_are_taken_back_as_a_whole_and_released_ones_count_no_more(watched, made):
    sealed = head(watched)
    done = recall(feed_of(watched, made.contract), observed=True, now=made.now, **WHO)
    assert done.record_ids == ("h1", "h2")
    assert count_would_be_held(watched, "captcha", seq=head(watched)) == {"accepted": 2, "passed": 0}
    back = release(feed_of(watched, made.contract), record_ids=["h1"], now=made.now, **WHO)
    assert would_be_held_ids(watched, "captcha").tolist() == []
    assert count_would_be_held(watched, "captcha", seq=sealed)["passed"] == 2  # as of then, nobody had looked
    undo(feed_of(watched, made.contract), back.seq, now=made.now, **WHO)
    undo(feed_of(watched, made.contract), done.seq, now=made.now, **WHO)
    assert would_be_held_ids(watched, "captcha").tolist() == ["h1", "h2"]


def test_a_feed_that_holds_back_lets_nothing_pass(store, made):
    made.ingest(store, "b1", made.records("a1", "h1"), {"h1": "quarantined"})
    release(feed_of(store, made.contract), record_ids=["h1"], now=made.now, **WHO)
    assert would_be_held_ids(store, "captcha").equals(pd.Series([], dtype="str", name="record_id"))
    with pytest.raises(NotFoundError, match="accepted nothing that it would have held"):
        recall(feed_of(store, made.contract), observed=True, now=made.now, **WHO)


@pytest.mark.parametrize(
    ("verb", "more", "message"),
    [
        ("release", {}, "chooses for a recall; release takes"),
        ("recall", {"source_id": "user-1"}, "exactly one of them, got 2"),
    ],
)
def test_what_was_accepted_in_observe_mode_is_chosen_for_a_recall_and_by_nothing_else(
    watched, made, verb, more, message
):
    with pytest.raises(UsageError, match=message):
        select(feed_of(watched, made.contract), verb, Selector.of(verb, observed=True, **more))
