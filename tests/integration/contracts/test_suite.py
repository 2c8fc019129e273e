"""Suites are checked before data is looked at: the message names the file, the expectation and what to do."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from poison_guard.contracts.suite import check_suite, load_suite, parse_suite
from poison_guard.errors import ConfigError

BETWEEN = "expect_column_values_to_be_between"


def suite(*rules):
    return {"name": "feed", "expectations": list(rules)}


def rule(type_=BETWEEN, severity="critical", **kwargs):
    return {"type": type_, "kwargs": kwargs, "severity": severity}


def test_a_suite_that_great_expectations_wrote_is_read(tmp_path):
    path = tmp_path / "feed.json"
    written = suite(rule(column="stars", min_value=1, max_value=5, mostly=0.95))
    written["expectations"][0] |= {"id": "0b9c", "meta": {"why": "a scale"}}
    path.write_text(json.dumps(written | {"id": "7d", "meta": {"great_expectations_version": "1.24.1"}, "notes": None}))
    loaded = load_suite(path)
    assert loaded.name == "feed"
    assert loaded.path == path
    (expectation,) = loaded.expectations
    assert (expectation.columns, expectation.severity) == (("stars",), "critical")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([], "must hold a JSON object"),
        ({"name": "x"}, "expectations of .* must be a list"),
        ({"name": "", "expectations": []}, "name of .* must be a non-empty text"),
        ({"name": "x", "expectatons": []}, "did you mean `expectations`"),
        (suite("x"), "expectation 1 of .* must be an object with a type"),
        (
            suite(rule(column="a", min_value=1), rule("expect_column_values_to_be_betwen", column="a")),
            "expectation 2 of",
        ),
        (suite(rule("expect_column_values_to_be_betwen")), "did you mean `expect_column_values_to_be_between`"),
        (suite(rule("unexpected_rows_expectation", unexpected_rows_query="select 1")), "needs a SQL database"),
        (suite(rule(min_value=1)), r"has wrong kwargs: column: field required"),
        (suite(rule(column="a", min_value=1, most=0.9)), "most: extra fields not permitted"),
        (suite(rule(column="a", min_value=1, mostly=2)), "mostly: "),
        (
            suite(rule(column="a", min_value=5, max_value=1)),
            "must have a min_value of at most its max_value, got 5 and 1",
        ),
        (suite(rule(column="a")), "min_value and max_value cannot both be None"),
        (suite(rule(column="a", min_value=1, severity="fatal")), "severity of .* must be one of"),
        (suite(rule("expect_column_values_to_match_regex", column="a", regex="(")), "regular expression '\\('"),
    ],
)
def test_a_fault_is_one_sentence_that_names_the_file(table, message, tmp_path):
    path = tmp_path / "feed.json"
    path.write_text(json.dumps(table))
    with pytest.raises(ConfigError, match=message) as caught:
        check_suite(load_suite(path))
    assert "feed.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[" * 100_000, '{"name": NaN}', "\udcff"])
def test_a_file_that_is_not_json_is_refused(content, tmp_path):
    path = tmp_path / "feed.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=r"feed\.json cannot be read as a suite in JSON"):
        load_suite(path)


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigError, match="poison-guard init DATA"):
        load_suite(tmp_path / "none.json")


def test_an_empty_suite_is_a_suite():
    assert parse_suite(suite()).expectations == ()


def test_loading_a_suite_does_not_import_great_expectations(tmp_path):
    path = tmp_path / "feed.json"
    path.write_text(json.dumps(suite(rule(column="stars", min_value=1, max_value=5))))
    code = (
        "import sys; from poison_guard.contracts import load_suite; "
        "load_suite(sys.argv[1]); sys.exit('great_expectations' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 0
