"""Files of rows: what is written for training is cell for cell what was given; what is for people runs no formula."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.errors import UsageError
from poison_guard.files import defused
from poison_guard.steps.row_files import Rows, file_body

_CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8) | st.sampled_from(["=1+1", "@a"])
_ROWS = st.lists(st.tuples(_CELLS, _CELLS), min_size=1, max_size=6)


def _read(body: bytes, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(body.decode()), delimiter=delimiter, strict=True))


@given(rows=_ROWS, delimiter=st.sampled_from(",;\t|"))
def test_a_csv_for_training_is_cell_for_cell_what_was_given(rows, delimiter):
    made = Rows([dict(zip(("a", "b"), row, strict=True)) for row in rows], None, delimiter)
    body, changed = file_body(made, "csv")
    assert changed == 0
    assert _read(body, delimiter) == [["a", "b"], *map(list, rows)]


@given(rows=_ROWS)
def test_a_csv_for_people_runs_nothing_and_counts_what_it_changed(rows):
    body, changed = file_body(Rows([dict(zip(("a", "b"), row, strict=True)) for row in rows]), "csv", safe=True)
    cells = [cell for row in _read(body)[1:] for cell in row]
    given_cells = [cell for row in rows for cell in row]
    assert cells == [defused(cell) for cell in given_cells]
    assert changed == sum(a != b for a, b in zip(cells, given_cells, strict=True))


def test_json_lines_keep_the_order_of_keys_and_how_letters_are_written():
    row = {"b": "é", "a": {"z": 1.0, "y": None}}
    assert file_body(Rows([row]), "jsonl")[0].decode() == '{"b": "é", "a": {"z": 1.0, "y": null}}\n'
    assert file_body(Rows([row], ascii=True), "jsonl")[0] == b'{"b": "\\u00e9", "a": {"z": 1.0, "y": null}}\n'
    assert json.loads(file_body(Rows([row, row]), "json")[0]) == [row, row]


def test_parquet_holds_lists_and_structs_and_json_text_where_types_differ_within_a_column():
    rows = [{"m": [{"role": "user"}], "odd": 1}, {"m": [], "odd": "x"}]
    table = pq.read_table(pa.BufferReader(file_body(Rows(rows), "parquet", note={"k": "v"})[0]))
    assert pa.types.is_struct(table.schema.field("m").type.value_type)
    assert table["odd"].to_pylist() == ["1", "x"]
    assert table.schema.metadata[b"k"] == b"v"


def test_a_format_that_is_none_is_named():
    with pytest.raises(UsageError, match="there is no format 'xml'; there are jsonl, json, csv, parquet"):
        file_body(Rows([]), "xml")
