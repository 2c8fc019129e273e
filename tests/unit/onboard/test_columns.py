"""Descriptions of columns: the kind comes from the cells, not from the storage type."""

from __future__ import annotations

import pandas as pd
import pytest

from poison_guard.onboard.columns import describe_columns

TURNS = [[{"role": "user", "content": "hi"}]]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([1, 2, 3], "number"),
        (["1", "2.5", "-3e2"], "number"),
        ([True, False, None], "bool"),
        (["true", "False", "TRUE"], "bool"),
        (["2026-01-01", "2026-01-02T10:00:00Z"], "time"),
        (pd.to_datetime(["2026-01-01"]), "time"),
        (["a", "b"], "text"),
        (TURNS, "list"),
        (['[{"role": "user"}]'], "text"),
        ([b"\x89PNG"], "binary"),
        ([None, None], "empty"),
        (["", "  "], "empty"),
    ],
)
def test_the_kind_comes_from_the_cells(cells, kind):
    (column,) = describe_columns(pd.DataFrame({"c": cells}))
    assert column.kind == kind


def test_a_few_cells_that_do_not_parse_leave_a_column_of_numbers():
    (column,) = describe_columns(pd.DataFrame({"c": [str(i) for i in range(19)] + ["x"]}))
    assert (column.kind, column.low, column.high) == ("number", 0.0, 18.0)


def test_empty_text_counts_as_missing():
    (column,) = describe_columns(pd.DataFrame({"c": pd.Series(["a", "", " ", None], dtype="str")}))
    assert (column.nulls, column.distinct) == (3, 1)


def test_infinite_numbers_do_not_stretch_the_range():
    (column,) = describe_columns(pd.DataFrame({"c": [1.0, 2.0, float("inf")]}))
    assert (column.low, column.high) == (1.0, 2.0)


def test_a_closed_list_needs_five_rows_per_value():
    few, many = describe_columns(pd.DataFrame({"few": ["a", "b"] * 5, "many": list("abcdefghij")}))
    assert few.is_closed_list
    assert not many.is_closed_list


def test_numbers_that_number_the_rows_are_told_from_measurements():
    def counts_up(cells):
        return describe_columns(pd.DataFrame({"n": cells}))[0].counts_up

    assert counts_up([*range(1000, 1200), None])
    assert counts_up([str(n) for n in range(25)][::-1])
    assert not counts_up([*range(200), 7])
    assert not counts_up([*range(0, 400, 2)])
    assert not counts_up([1, 2, 3])


def test_hashes_and_addresses_are_no_words():
    frame = pd.DataFrame(
        {"hash": [f"f{n:030x}e" for n in range(9)], "text": ["so it is"] * 9, "zh": ["这个回答很好"] * 9}
    )
    assert [c.words for c in describe_columns(frame)] == [False, True, True]
