"""What a reviewer reads of a failed expectation."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from poison_guard.contracts.expectation import Expectation, expected_phrase, shown_value

VALUES = "expect_column_values_to_"


@pytest.mark.parametrize(
    ("type_", "kwargs", "phrase"),
    [
        (VALUES + "be_between", {"min_value": 1.0, "max_value": 5}, "between 1 and 5"),
        (
            VALUES + "be_between",
            {"min_value": 0, "strict_min": True, "max_value": 20000},
            "more than 0 and at most 20,000",
        ),
        (VALUES + "be_between", {"max_value": math.inf}, "at most inf"),
        (VALUES + "be_in_set", {"value_set": ["ham", "spam"]}, "one of ham, spam"),
        (VALUES + "be_in_set", {"value_set": list(range(11))}, "one of 0, 1, 2, 3, 4, 5, 6, 7 and 3 more"),
        (VALUES + "not_be_null", {}, "a value"),
        (VALUES + "not_match_regex", {"regex": "^x"}, "no match of ^x"),
        ("expect_column_value_lengths_to_be_between", {"min_value": 1, "max_value": 64}, "between 1 and 64 characters"),
        (VALUES + "be_json_parseable", {}, "to be json parseable"),
        ("expect_table_row_count_to_be_between", {"min_value": 1}, "at least 1"),
    ],
)
def test_the_phrase_says_what_was_expected(type_, kwargs, phrase):
    assert expected_phrase(Expectation(type_, {"column": "c"} | kwargs)) == phrase


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (np.float64(9.0), 9.0),
        (np.int64(3), 3),
        (math.inf, "inf"),
        (math.nan, "(empty)"),
        (None, "(empty)"),
        (pd.NaT, "(empty)"),
        (pd.Timestamp("2026-01-01", tz="UTC"), "2026-01-01T00:00:00+00:00"),
        ("x" * 300, "x" * 200 + "…"),
        ([1, 2], "[1, 2]"),
        (b"\x00\xff", "b'\\x00\\xff'"),
    ],
)
def test_a_cell_is_shown_as_a_bounded_scalar_that_json_can_hold(cell, shown):
    assert shown_value(cell) == shown
    json.dumps(shown_value(cell), allow_nan=False)
