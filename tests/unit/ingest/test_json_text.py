"""The records of a JSON file are found wherever they are, and a file that is no list of records is never one record."""

from __future__ import annotations

import json

import pytest

from poison_guard.ingest.raw_table import Unreadable
from tests.unit.ingest.conftest import read_bytes

ROWS = [{"id": str(i), "answer": "cat", "turns": [{"role": "user"}]} for i in range(300)]


def read(tmp_path, content, keep=(), **limits):
    return read_bytes(
        tmp_path / "a.jsonl", content if isinstance(content, str) else json.dumps(content), keep, **limits
    )


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda rows: {"data": rows},
        lambda rows: {"meta": {"total": 300, "pages": [1, 2]}, "results": rows, "next": None},
        lambda rows: {"took": 3, "hits": {"total": 300, "hits": rows}},
        lambda rows: {"my_export": rows},
        lambda rows: rows,
    ],
    ids=["data", "results among others", "nested", "any name alone", "array"],
)
def test_the_list_inside_an_object_is_read(tmp_path, wrap, indent):
    raw = read(tmp_path, json.dumps(wrap(ROWS), indent=indent))
    assert raw.table["id"].to_pylist() == [row["id"] for row in ROWS]
    assert raw.row_numbers[-1] == 300


def test_what_was_read_of_an_object_is_said(tmp_path):
    assert read(tmp_path, {"data": ROWS}).notes == ("it is one JSON object; its records are the 300 of data",)


def test_objects_over_several_lines_are_rows_with_the_line_on_which_they_begin(tmp_path):
    raw = read(tmp_path, "\n".join(json.dumps(row, indent=1) for row in ROWS[:3]))
    assert raw.table["id"].to_pylist() == ["0", "1", "2"]
    assert raw.row_numbers.tolist() == [1, 10, 19]


def test_a_key_names_the_list_where_there_are_several(tmp_path):
    content = {"users": ROWS[:3], "votes": ROWS}
    with pytest.raises(Unreadable, match=r"several lists: users \(3\), .*rows in \[data\] says which"):
        read(tmp_path, {"users": ROWS[:3], "answers": ROWS})
    assert len(read(tmp_path, content, rows="users").row_numbers) == 3
    assert len(read(tmp_path, {"a": {"b": ROWS}, "c": ROWS[:1]}, rows="a.b").row_numbers) == 300
    with pytest.raises(Unreadable, match=r"no list of objects at nothing, .* it has users \(3\), votes \(300\)"):
        read(tmp_path, content, rows="nothing")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"id": ["1", "2"], "answer": ["cat", "dog"]}, "one JSON object of columns"),
        ({"id": {"0": "1", "1": "2"}, "answer": {"0": "cat", "1": "dog"}}, "one JSON object of columns"),
        ({"7": {"a": "1", "b": "x"}, "9": {"a": "2", "b": "y"}}, "or of records under their ids"),
        ({"columns": ["id", "answer"], "data": [["1", "cat"], ["2", "dog"]]}, "the rows of data are lists"),
        (json.dumps({"data": ROWS}, indent=2)[:-40], "over several lines, and it is not valid JSON at line"),
        ('{\n "data": [1,\n', "over several lines, and it is not valid JSON at line"),
    ],
)
def test_an_object_that_is_no_list_of_records_is_refused_by_name(tmp_path, content, why):
    with pytest.raises(Unreadable, match=why):
        read(tmp_path, content)


@pytest.mark.parametrize("indent", [None, 1])
def test_a_file_of_one_record_is_one_record(tmp_path, indent):
    row = {"id": "1", "messages": [{"role": "user"}, {"role": "assistant"}], "tags": ["a", "b"], "n": 2}
    assert len(read(tmp_path, json.dumps(row, indent=indent)).row_numbers) == 1
    row = {"id": "1", "items": [{"sku": 1}, {"sku": 2}]}  # the contract maps id: it is a record with a list
    assert len(read(tmp_path, json.dumps(row, indent=indent), keep=("id",)).row_numbers) == 1


def test_elements_that_are_no_objects_are_unreadable_rows(tmp_path):
    raw = read(tmp_path, '{"data": [{"id": 1}, {"id": 2}], "n": 1}')
    assert len(raw.row_numbers) == 2
    raw = read(tmp_path, '[{"id": 1}, 5, {"id": 2}]')
    assert [(bad.row, bad.reason) for bad in raw.bad] == [(2, "it is not a JSON object")]


def test_a_list_larger_than_what_is_read_at_once_is_walked(tmp_path):
    rows = [{"id": i, "text": "x" * 900} for i in range(4_000)]
    assert len(read(tmp_path, json.dumps({"meta": "x" * 2_000_000, "data": rows, "end": 1})).row_numbers) == 4_000
