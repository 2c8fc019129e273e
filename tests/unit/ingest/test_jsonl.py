"""JSON lines: objects are read, every other line is kept with its number and reason."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from poison_guard.ingest.raw_table import Limits, RawTable, Unreadable
from poison_guard.ingest.reader import read_in_child
from tests.unit.ingest.conftest import read_bytes


def read(tmp_path: Path, content: bytes | str, keep: tuple[str, ...] = (), **limits: int) -> RawTable:
    return read_bytes(tmp_path / "a.jsonl", content, keep, **limits)


def test_types_are_kept_and_absent_keys_are_missing(tmp_path):
    raw = read(tmp_path, '{"a": 1, "b": "x"}\n{"a": 2, "c": true}\n{"d": 0.5}\n')
    assert raw.table.to_pylist() == [
        {"a": 1, "b": "x", "c": None, "d": None},
        {"a": 2, "b": None, "c": True, "d": None},
        {"a": None, "b": None, "c": None, "d": 0.5},
    ]


def test_lines_that_are_no_object_are_unreadable_with_the_reason(tmp_path):
    raw = read(tmp_path, '{"a": 1}\n[1]\n{"a": \nnull\n\n{"a": 2}\n')
    assert raw.row_numbers.tolist() == [1, 6]
    assert [b.row for b in raw.bad] == [2, 3, 4]
    assert "not valid JSON" in raw.bad[1].reason
    assert raw.bad[0].text == "[1]"


def test_a_column_of_several_types_becomes_text(tmp_path):
    raw = read(tmp_path, '{"a": 1}\n{"a": "x"}\n{"a": 2.0}\n{"a": false}\n{"a": 9007199254740993}\n')
    assert raw.table["a"].to_pylist() == ["1", "x", "2", "false", "9007199254740993"]


def test_nested_values_become_json_text(tmp_path):
    raw = read(tmp_path, '{"messages": [{"role": "user", "content": "hé"}]}\n')
    assert json.loads(raw.table["messages"][0].as_py()) == [{"role": "user", "content": "hé"}]
    assert not raw.flags


def test_nesting_past_the_bound_is_flagged(tmp_path):
    deep = "[" * 9 + "]" * 9
    raw = read(tmp_path, f'{{"a": [[1]]}}\n{{"a": {deep}}}\n', max_depth=8)
    assert [(f.position, f.code, f.args) for f in raw.flags] == [(1, "nested_too_deep", {"column": "a", "limit": 8})]


def test_nesting_that_would_break_the_parser_is_unreadable(tmp_path):
    raw = read(tmp_path, '{"a": ' + "[" * 100_000 + "\n" + '{"a": 1}\n')
    assert raw.row_numbers.tolist() == [2]
    assert raw.bad[0].reason == "it is nested too deeply"


def test_half_a_surrogate_pair_costs_its_row_only(tmp_path):
    raw = read(tmp_path, '{"a": "x"}\n{"a": "\\ud800"}\n{"a": "y"}\n')
    assert raw.table["a"].to_pylist() == ["x", "y"]
    assert [b.row for b in raw.bad] == [2]


def test_a_number_of_too_many_digits_costs_its_row_only(tmp_path):
    raw = read(tmp_path, '{"a": ' + "9" * 10_000 + '}\n{"a": 1}\n')
    assert raw.row_numbers.tolist() == [2]


def test_a_json_array_of_objects_is_read(tmp_path):
    raw = read(tmp_path, json.dumps([{"a": 1}, {"a": 2}, 3], indent=1))
    assert raw.table["a"].to_pylist() == [1, 2]
    assert [b.row for b in raw.bad] == [3]


def test_a_hostile_row_cannot_widen_the_table(tmp_path):
    wide = json.dumps({"a": 1} | {f"k{i}": 1 for i in range(50)})
    rows = ['{"a": 1, "b": 2}'] * 5
    for lines in ([*rows, wide], [wide, *rows]):
        raw = read(tmp_path, "\n".join(lines), keep=("a", "b"), max_columns=10)
        assert len(raw.row_numbers) == 5
        assert "max_columns = 10" in raw.bad[0].reason


def test_rows_that_each_bring_a_new_key_leave_the_frequent_ones_alone(tmp_path):
    lines = [json.dumps({"a": i, f"k{i}": 1}) for i in range(30)] + ['{"a": 1, "b": 1}'] * 5
    raw = read(tmp_path, "\n".join(lines), max_columns=2)
    assert raw.table.column_names == ["a", "b"]
    assert (len(raw.row_numbers), len(raw.bad)) == (5, 30)


def test_keys_that_cannot_be_shown_cost_their_row_only(tmp_path):
    raw = read(tmp_path, '{"a\\u202e": 1}\n{"": 1}\n{"a": 1}\n')
    assert raw.row_numbers.tolist() == [3]


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(Unreadable, match="it is empty"):
        read(tmp_path, b"")


def test_a_row_with_more_keys_than_the_bound_is_one_unreadable_row_whatever_its_values(tmp_path):
    honest = [json.dumps({"id": f"h{i}", "note": "x", "score": 3}) for i in range(50)]
    for value in ("x", 10**9, [1], None):
        wide = json.dumps({f"k{i}": value for i in range(5_000)})
        raw = read(tmp_path, "\n".join([wide, *honest]), keep=("id",))
        assert raw.table["id"].to_pylist() == [f"h{i}" for i in range(50)]
        assert raw.table["score"].to_pylist() == [3] * 50
        assert [b.row for b in raw.bad] == [1]


def test_a_row_that_widens_a_large_file_costs_itself_only(tmp_path):
    wide = json.dumps({f"k{i}": i for i in range(250)})
    content = gzip.compress((wide + "\n" + '{"id": "h", "b": 1}\n' * 50_000).encode())
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(content)
    raw = read_in_child(path, "jsonl", Limits(), ("id",))
    assert raw.table.num_rows == 50_000
    assert raw.table["b"].to_pylist() == [1] * 50_000
    assert [(b.row, "columns, too many for so many rows" in b.reason) for b in raw.bad] == [(1, True)]


def test_a_line_longer_than_the_bound_costs_its_row_only(tmp_path):
    long = '{"a": "' + "x" * 300 + '"}'
    raw = read(tmp_path, f'{{"a": "1"}}\n{long}\n{{"a": "2"}}\n', max_line_chars=100)
    assert raw.table["a"].to_pylist() == ["1", "2"]
    assert [(b.row, b.reason) for b in raw.bad] == [(2, "it is longer than 100 characters")]


@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_on_one_line_or_several_is_read_piece_by_piece(tmp_path, indent):
    rows = [{"a": i, "b": "é" * (i % 40)} for i in range(60_000)]
    raw = read(tmp_path, json.dumps(rows, indent=indent, ensure_ascii=False), max_line_chars=100_000)
    assert raw.table.to_pylist() == rows
    assert raw.row_numbers.tolist() == list(range(1, 60_001))


@pytest.mark.parametrize("end", ["", "]]", '] {"a": 2}', ", ]", ",", "]x"])
def test_an_array_that_is_broken_is_read_by_its_lines(tmp_path, end):
    raw = read(tmp_path, '[\n{"a": 1}\n' + end)
    assert raw.table["a"].to_pylist() == [1]
    assert raw.row_numbers.tolist() == [2]
