"""Masks: failing rows by hand-made cases; agreement with Great Expectations is tested in integration."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from poison_guard.contracts.expectation import Expectation
from poison_guard.contracts.masks import failing_mask, make_comparable

VALUES = "expect_column_values_to_"
FRAME = pd.DataFrame(
    {
        "n": [1.0, 5.0, np.nan, -2.0],
        "t": pd.Series(["ab", "", None, "9"], dtype="str"),
        "answer": pd.Series(["4", "5", "x", None], dtype="str"),
        "at": pd.to_datetime(["2026-01-01", None, "2026-06-01", "2027-01-01"], utc=True),
        "flag": pd.array([True, None, False, True], dtype="boolean"),
    }
)


def failing(type_, **kwargs):
    mask = failing_mask(make_comparable(FRAME, Expectation(type_, kwargs)))
    return None if mask is None else np.flatnonzero(mask).tolist()


@pytest.mark.parametrize(
    ("type_", "kwargs", "rows"),
    [
        (VALUES + "not_be_null", {"column": "n"}, [2]),
        (VALUES + "be_null", {"column": "n"}, [0, 1, 3]),
        (VALUES + "be_between", {"column": "n", "min_value": 0, "max_value": 4}, [1, 3]),
        (VALUES + "be_between", {"column": "n", "min_value": 1, "strict_min": True}, [0, 3]),
        (VALUES + "match_regex", {"column": "t", "regex": "^(a|b)"}, [1, 3]),
        (VALUES + "not_match_regex", {"column": "t", "regex": "[0-9]"}, [3]),
        (VALUES + "match_regex_list", {"column": "t", "regex_list": ["a", "9"]}, [1]),
        (VALUES + "match_regex_list", {"column": "t", "regex_list": ["a", "b"], "match_on": "all"}, [1, 3]),
        (VALUES + "not_match_regex_list", {"column": "t", "regex_list": ["a", "9"]}, [0, 3]),
        ("expect_column_value_lengths_to_be_between", {"column": "t", "min_value": 1, "max_value": 1}, [0, 1]),
        ("expect_column_value_lengths_to_equal", {"column": "t", "value": 2}, [1, 3]),
        (VALUES + "be_in_set", {"column": "t", "value_set": ["ab", ""]}, [3]),
        (VALUES + "not_be_in_set", {"column": "t", "value_set": ["ab"]}, [0]),
    ],
)
def test_a_mask_marks_exactly_the_rows_that_fail(type_, kwargs, rows):
    assert failing(type_, **kwargs) == rows


def test_numbers_in_a_suite_meet_ids_and_answers_kept_as_text():
    assert failing(VALUES + "be_in_set", column="answer", value_set=[4, 5.0]) == [2]


def test_text_where_a_number_is_due_fails_whatever_the_bounds():
    assert failing(VALUES + "be_between", column="answer", max_value=4) == [1, 2]


def test_times_are_compared_in_utc_also_with_bounds_that_name_no_zone():
    assert failing(VALUES + "be_between", column="at", min_value="2026-02-01", max_value="2026-12-31") == [0, 3]


def test_text_is_compared_as_what_the_bounds_are():
    frame = pd.DataFrame({"day": ["2026-01-01", "2026-03-01T10:00:00Z", "soon", None], "n": ["10", "9", "x", None]})
    days = make_comparable(frame, Expectation(VALUES + "be_between", {"column": "day", "min_value": "2026-02-01"}))
    assert np.flatnonzero(failing_mask(days)).tolist() == [0, 2]
    numbers = make_comparable(frame, Expectation(VALUES + "be_between", {"column": "n", "min_value": "9.5"}))
    assert np.flatnonzero(failing_mask(numbers)).tolist() == [1, 2]


def test_nested_cells_are_compared_as_text():
    frame = pd.DataFrame({"turns": [["a"], ["b"], ["a"], None]})
    unique = make_comparable(frame, Expectation(VALUES + "be_unique", {"column": "turns"}))
    assert np.flatnonzero(failing_mask(unique)).tolist() == [0, 2]


def test_truth_values_are_compared_as_numbers():
    assert failing(VALUES + "be_between", column="flag", max_value=0) == [0, 3]


def test_all_rows_that_share_a_value_fail_to_be_unique():
    frame = pd.DataFrame({"a": ["x", "y", "x", None, None], "b": [1, 1, 1, 1, 1]})
    unique = make_comparable(frame, Expectation(VALUES + "be_unique", {"column": "a"}))
    assert np.flatnonzero(failing_mask(unique)).tolist() == [0, 2]
    both = make_comparable(frame, Expectation("expect_compound_columns_to_be_unique", {"column_list": ["a", "b"]}))
    assert np.flatnonzero(failing_mask(both)).tolist() == [0, 2, 3, 4]


@pytest.mark.parametrize(
    ("ignore", "rows"),
    [("both_values_are_missing", [1, 2]), ("either_value_is_missing", [1]), ("neither", [1, 2, 3])],
)
def test_pairs_skip_the_rows_that_ignore_row_if_names(ignore, rows):
    frame = pd.DataFrame({"a": [2.0, 1.0, np.nan, np.nan], "b": [1.0, 2.0, 1.0, np.nan]})
    kwargs = {"column_A": "a", "column_B": "b", "ignore_row_if": ignore}
    rule = make_comparable(frame, Expectation("expect_column_pair_values_a_to_be_greater_than_b", kwargs))
    assert np.flatnonzero(failing_mask(rule)).tolist() == rows


def test_there_is_no_mask_for_a_missing_column_a_row_condition_or_an_unknown_type():
    assert failing(VALUES + "not_be_null", column="nope") is None
    assert failing(VALUES + "not_be_null", column="n", row_condition="n > 1", condition_parser="pandas") is None
    assert failing(VALUES + "be_json_parseable", column="t") is None
