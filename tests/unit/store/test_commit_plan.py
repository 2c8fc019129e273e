"""Sorting what came in by what the store has."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.errors import StaleStateError, StoreError
from poison_guard.store.commit_plan import classify_rows

COLUMNS = ["record_id", "content_hash", "place"]


def frame(*rows):
    return pd.DataFrame(rows, columns=COLUMNS).astype("str")


def sort(rows, known, *, revisions=False):
    return classify_rows(frame(*rows), frame(*known), revisions=revisions)


def test_new_seen_and_staged_records_are_told_apart():
    rows = [("n", "h1", "accepted"), ("s", "h2", "accepted"), ("g", "h3", "accepted"), ("u", "h4", None)]
    intake = sort(rows, [("s", "h2", "rejected"), ("g", "h3", "staged"), ("u", "h4", "staged")])
    assert intake.new["record_id"].tolist() == ["n"]
    assert intake.redecided["record_id"].tolist() == ["g"]
    assert intake.n_known == 2


def test_other_content_that_the_store_got_since_the_run_looked_is_refused():
    with pytest.raises(StaleStateError, match="'a' with other content"):
        sort([("a", "1234567890", "accepted")], [("a", "h", "accepted")])


def test_a_revision_replaces():
    intake = sort([("a", "1234567890", "accepted")], [("a", "h", "accepted")], revisions=True)
    assert intake.revised["record_id"].tolist() == ["a"]
    assert intake.new.empty


@pytest.mark.parametrize("rows", [[("a", "h", None)], [("a", "h", "accepted"), ("a", "h", "accepted")]])
def test_rows_without_a_decision_and_repeated_rows_are_refused(rows):
    with pytest.raises(StoreError, match="nothing was stored"):
        sort(rows, [])


CELL = st.tuples(st.sampled_from("abc"), st.sampled_from(["1" * 10, "2" * 10]), st.sampled_from(["accepted", "staged"]))


@given(rows=st.lists(CELL, unique_by=lambda r: r[0]), known=st.lists(CELL, unique_by=lambda r: r[0]))
def test_every_row_is_counted_once(rows, known):
    intake = sort(rows, known, revisions=True)
    assert len(intake.new) + len(intake.redecided) + len(intake.revised) + intake.n_known == len(rows)
    assert intake.new["record_id"].is_unique
