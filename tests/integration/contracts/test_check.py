"""The batch contract through Great Expectations, and the rows that break it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from poison_guard.contracts.check import MAX_REASONS, check_batch, failing_rows
from poison_guard.contracts.suite import parse_suite

VALUES = "expect_column_values_to_"
FRAME = pd.DataFrame(
    {
        "stars": [1.0, 9.0, np.nan, 5.0],
        "answer": pd.Series(["1", "2", "x", None], dtype="str"),
        "at": pd.to_datetime(["2026-01-01", "2026-06-01", None, "2027-01-01"], utc=True),
    }
)


def suite(*rules):
    return parse_suite({"name": "feed", "expectations": list(rules)})


def rule(type_, severity="critical", **kwargs):
    return {"type": type_, "kwargs": kwargs, "severity": severity}


def test_a_batch_that_keeps_its_contract_passes():
    report = check_batch(FRAME, suite(rule(VALUES + "be_between", column="stars", min_value=1, max_value=9)))
    assert (report.success, report.failed, report.outcomes) == (True, (), (True,))


def test_a_broken_expectation_is_told_with_what_was_seen_and_what_was_expected():
    report = check_batch(
        FRAME,
        suite(
            rule("expect_table_row_count_to_be_between", min_value=1),
            rule(VALUES + "be_between", column="stars", min_value=1, max_value=5, mostly=0.9),
            rule("expect_column_mean_to_be_between", column="stars", max_value=3),
        ),
    )
    assert report.outcomes == (True, False, False)
    assert [r.code for r in report.failed] == ["batch_contract", "batch_contract"]
    rows, mean = (r.args for r in report.failed)
    assert (rows["observed"], rows["expected"]) == ("1 of 4 rows fail", "between 1 and 5 in at least 90.0% of rows")
    assert (mean["observed"], mean["expected"]) == (5.0, "at most 3")
    json.dumps([dict(r.args) for r in report.failed])


def test_mostly_governs_the_batch_and_not_the_row():
    lenient = suite(rule(VALUES + "be_between", column="stars", max_value=5, mostly=0.6))
    assert check_batch(FRAME, lenient).success
    assert failing_rows(FRAME, lenient)["position"].tolist() == [1]


def test_a_warning_is_told_and_holds_neither_batch_nor_row():
    lenient = suite(rule(VALUES + "be_between", "warning", column="stars", max_value=5))
    report = check_batch(FRAME, lenient)
    assert report.success
    assert [r.args["column"] for r in report.warnings] == ["stars"]
    assert failing_rows(FRAME, lenient).empty


def test_a_missing_column_breaks_the_batch_and_is_named():
    broken = suite(rule(VALUES + "not_be_null", column="nope"), rule("expect_column_to_exist", column="nope"))
    report = check_batch(FRAME, broken)
    assert [r.args["observed"] for r in report.failed] == ["the batch has no column nope"] * 2
    assert failing_rows(FRAME, broken).empty


def test_an_expectation_that_cannot_be_computed_is_not_met():
    numbers = rule(VALUES + "match_strftime_format", column="stars", strftime_format="%Y")  # it wants text
    report = check_batch(FRAME, suite(numbers))
    assert not report.success
    assert "could not be computed" in report.failed[0].args["observed"]


def test_one_cell_of_text_among_numbers_fails_its_row_and_not_the_batch():
    numeric = suite(rule(VALUES + "be_between", column="answer", min_value=0, max_value=9))
    assert check_batch(FRAME, numeric).success
    assert failing_rows(FRAME, numeric)["args"].map(lambda a: a["value"]).tolist() == ["x"]


def test_bounds_on_times_need_no_zone():
    timed = suite(rule(VALUES + "be_between", column="at", min_value="2026-02-01", max_value="2026-12-31"))
    assert check_batch(FRAME, timed).failed[0].args["observed"] == "2 of 4 rows fail"
    assert failing_rows(FRAME, timed)["position"].tolist() == [0, 3]


def test_reasons_name_expectation_column_value_and_what_was_expected():
    (found,) = failing_rows(FRAME, suite(rule(VALUES + "be_in_set", column="answer", value_set=[1, 2]))).to_dict(
        "records"
    )
    assert (found["position"], found["code"]) == (2, "expectation")
    assert found["args"] == {
        "expectation": "expect_column_values_to_be_in_set",
        "column": "answer",
        "value": "x",
        "expected": "one of 1, 2",
    }


@pytest.mark.parametrize(
    ("checked", "rows"),
    [
        (rule(VALUES + "match_strftime_format", column="day", strftime_format="%Y-%m-%d"), [1, 3]),
        (rule(VALUES + "match_strftime_format", column="day", strftime_format="%Y-%m-%d", mostly=0.1), [1, 3]),
        (rule(VALUES + "not_be_null", column="day", row_condition="n > 2", condition_parser="pandas"), [4]),
        (
            rule(
                VALUES + "not_be_null",
                column="day",
                row_condition={"type": "comparison", "column": {"name": "n"}, "operator": ">", "parameter": 2},
            ),
            [4],
        ),
        (rule("expect_multicolumn_sum_to_equal", column_list=["n", "m"], sum_total=5), [0, 2, 3, 4]),
    ],
)
def test_expectations_without_a_mask_are_asked_of_great_expectations_itself(checked, rows, monkeypatch):
    monkeypatch.setattr("poison_guard.contracts.check._CHUNK_ROWS", 2)
    frame = pd.DataFrame(
        {"day": ["2026-01-01", "soon", "2026-01-02", "1/2/26", None], "n": [1, 2, 3, 4, 5], "m": [1, 3, 3, 3, 3]}
    )
    assert failing_rows(frame, suite(checked))["position"].tolist() == rows
    assert failing_rows(frame.set_axis([9, 9, 8, 7, 6]), suite(checked))["position"].tolist() == rows


def test_rules_about_the_order_of_rows_judge_the_batch_and_never_a_row():
    ordered = suite(rule(VALUES + "be_increasing", column="stars"))
    assert not check_batch(FRAME, ordered).success
    assert failing_rows(FRAME, ordered).empty


def test_a_row_that_breaks_many_rules_is_told_a_few_times_only():
    many = suite(*[rule(VALUES + "be_between", column="stars", max_value=-n) for n in range(10)])
    assert failing_rows(FRAME, many)["position"].value_counts().max() == MAX_REASONS


def test_a_batch_without_rows_or_a_suite_without_rules_is_no_error():
    empty = FRAME.head(0)
    assert check_batch(empty, suite(rule(VALUES + "not_be_null", column="stars"))).success
    assert not check_batch(empty, suite(rule("expect_table_row_count_to_be_between", min_value=1))).success
    assert failing_rows(empty, suite(rule(VALUES + "not_be_null", column="stars"))).empty
    assert check_batch(FRAME, suite()).success
    assert failing_rows(FRAME, suite()).columns.tolist() == ["position", "code", "args"]
