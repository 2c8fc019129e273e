"""The raw view shows records under the user's column names."""

from __future__ import annotations

import pandas as pd

from poison_guard.config import parse_contract
from poison_guard.contracts.check import raw_view


def records(**more):
    frame = {
        "record_id": ["r1", "r2"],
        "content_hash": ["0" * 32, "1" * 32],
        "object": ["a.csv", "a.csv"],
        "row": [1, 2],
        "received_at": pd.to_datetime(["2026-01-01", "2026-01-01"], utc=True),
    }
    return pd.DataFrame(frame | more)


def contract(columns):
    return parse_contract({"name": "f", "kind": "answers", "columns": columns})


def test_roles_features_and_extras_get_the_names_of_the_users_columns():
    made = contract({"record_id": "answer id", "source_id": "user", "answer": "typed", "features": ["dwell"]})
    given = records(
        source_id=["u", "v"], answer=["4", "5"], **{"feature.dwell": [1.0, 2.0], "extra.note.x": ["a", "b"]}
    )
    view = raw_view(given, made)
    assert sorted(view.columns) == ["answer id", "dwell", "note.x", "typed", "user"]
    assert view["typed"].tolist() == ["4", "5"]
    assert view["note.x"].tolist() == ["a", "b"]


def test_bookkeeping_and_derived_ids_are_left_out():
    assert raw_view(records(source_id=["u", "v"]), contract({"source_id": "user"})).columns.tolist() == ["user"]


def test_a_column_that_plays_two_parts_is_shown_as_its_feature():
    made = contract({"source_id": "user", "rating": "stars", "features": ["stars"]})
    view = raw_view(records(source_id=["u", "v"], rating=["x", "y"], **{"feature.stars": [1.0, 2.0]}), made)
    assert view["stars"].tolist() == [1.0, 2.0]


def test_row_labels_stay_as_they_are():
    given = records(source_id=["u", "v"]).set_axis([7, 9])
    assert raw_view(given, contract({"source_id": "user"})).index.tolist() == [7, 9]
