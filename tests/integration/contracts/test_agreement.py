"""Property: the masks fail exactly the rows that Great Expectations fails, and its verdict follows from their share."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.contracts.expectation import Expectation
from poison_guard.contracts.gx import run_expectations
from poison_guard.contracts.masks import MASKS, failing_mask, make_comparable
from tests.thorough import examples

VALUES = "expect_column_values_to_"
LENGTHS = "expect_column_value_lengths_to_"
NUMBERS = st.one_of(st.none(), st.integers(-3, 3), st.floats(-3, 3), st.sampled_from([np.inf, -np.inf, 2.5]))
TEXTS = st.one_of(
    st.none(), st.sampled_from(["", "a", "ab", "A", "0", "é", "日本", "x\ny", "1.0"]), st.text(max_size=3)
)
TIMES = st.one_of(st.none(), st.datetimes(pd.Timestamp("2026-01-01"), pd.Timestamp("2026-01-04")))


@st.composite
def frames(draw):
    """Rows with nulls in every column, and repeats."""
    n = draw(st.integers(0, 30))

    def column(cells, dtype):
        return pd.Series(draw(st.lists(cells, min_size=n, max_size=n)), dtype=dtype)

    return pd.DataFrame(
        {
            "number": column(NUMBERS, "float64"),
            "other": column(NUMBERS, "float64"),
            "whole": column(st.integers(-3, 3), "int64"),
            "text": column(TEXTS, "str"),
            "at": column(TIMES, "datetime64[us]").dt.tz_localize("UTC"),
        }
    )


def rules(low, high, mostly):
    """One expectation of every type that has a mask, and then some."""
    bounds = {"min_value": low, "max_value": high}
    named = [
        (VALUES + "not_be_null", {"column": "text"}),
        (VALUES + "be_null", {"column": "number"}),
        (VALUES + "be_between", {"column": "number", **bounds}),
        (VALUES + "be_between", {"column": "number", **bounds, "strict_min": True, "strict_max": True}),
        (VALUES + "be_between", {"column": "whole", "max_value": high}),
        (VALUES + "be_between", {"column": "at", "min_value": "2026-01-02", "max_value": "2026-01-03T12:00:00"}),
        (VALUES + "be_in_set", {"column": "text", "value_set": ["a", "", "日本"]}),
        (VALUES + "be_in_set", {"column": "whole", "value_set": ["1", 2]}),
        (VALUES + "be_in_set", {"column": "number", "value_set": [low, high]}),
        (VALUES + "not_be_in_set", {"column": "text", "value_set": ["a", 0]}),
        (VALUES + "match_regex", {"column": "text", "regex": "^(a|A)"}),
        (VALUES + "match_regex", {"column": "number", "regex": r"\.0$"}),
        (VALUES + "not_match_regex", {"column": "text", "regex": r"(?i)A$"}),
        (VALUES + "match_regex", {"column": "text", "regex": r"a(?!b)"}),
        (VALUES + "match_regex_list", {"column": "text", "regex_list": ["a", r"\d"], "match_on": "any"}),
        (VALUES + "match_regex_list", {"column": "text", "regex_list": ["a", "b"], "match_on": "all"}),
        (VALUES + "not_match_regex_list", {"column": "text", "regex_list": ["a", r"\s"]}),
        (LENGTHS + "be_between", {"column": "text", "min_value": 1, "max_value": 2}),
        (LENGTHS + "be_between", {"column": "text", "min_value": 1, "max_value": 2, "strict_max": True}),
        (LENGTHS + "equal", {"column": "text", "value": 1}),
        (VALUES + "be_unique", {"column": "text"}),
        ("expect_compound_columns_to_be_unique", {"column_list": ["text", "whole"]}),
        (
            "expect_compound_columns_to_be_unique",
            {"column_list": ["text", "number"], "ignore_row_if": "any_value_is_missing"},
        ),
        ("expect_column_pair_values_to_be_equal", {"column_A": "number", "column_B": "other"}),
        (
            "expect_column_pair_values_a_to_be_greater_than_b",
            {"column_A": "number", "column_B": "other", "or_equal": True, "ignore_row_if": "either_value_is_missing"},
        ),
    ]
    return [Expectation(type_, kwargs | {"mostly": mostly}) for type_, kwargs in named]


def test_every_mask_is_under_test():
    assert {e.type for e in rules(0, 1, 1)} == set(MASKS)


def answers_of_great_expectations(frame, expectations):
    """Verdict and failing rows of each expectation, all asked in one go."""
    numbered = frame.assign(position=np.arange(len(frame)))
    wanted = {
        "result_format": "COMPLETE",
        "unexpected_index_column_names": ["position"],
        "return_unexpected_index_query": False,
    }
    for outcome in run_expectations(numbered, expectations, result_format=wanted):
        assert outcome.error is None
        yield outcome.success, sorted(row["position"] for row in outcome.result.get("unexpected_index_list") or ())


@settings(max_examples=examples(4), deadline=None)
@given(frame=frames(), low=st.integers(-3, 0), high=st.integers(0, 3), mostly=st.sampled_from([0.3, 0.5, 1]))
def test_masks_and_great_expectations_agree_on_every_row_and_the_verdict_on_their_share(frame, low, high, mostly):
    compared = [make_comparable(frame, e) for e in rules(low, high, mostly)]
    assert all(cells is frame[c] or cells.equals(frame[c]) for rule in compared for c, cells in rule.columns.items())
    answers = answers_of_great_expectations(frame, [rule.expectation for rule in compared])
    for rule, (success, rows) in zip(compared, answers, strict=True):
        failing = failing_mask(rule)
        assert np.flatnonzero(failing).tolist() == rows, rule.expectation
        counted = counted_rows(frame, rule.expectation)
        assert success == (counted == 0 or (counted - failing.sum()) / counted >= mostly), rule.expectation


def counted_rows(frame, expectation):
    """Rows whose share `mostly` is about: nulls are left out, but for rules about nulls and `ignore_row_if`."""
    if expectation.type.endswith("null"):
        return len(frame)
    missing = frame[list(expectation.columns)].isna()
    either = expectation.kwargs.get("ignore_row_if") in ("either_value_is_missing", "any_value_is_missing")
    return int((~(missing.any(axis=1) if either else missing.all(axis=1))).sum())
