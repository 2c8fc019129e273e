"""Rows that explode took apart are one row again."""

import pyarrow as pa
import pytest

from poison_guard.steps.row_files import Rows, together

_WHOLE = {"prompt": "p", "steps": ["a", "b", "c"], "in": {"labels": [1, 2, 3]}}
_PARTS = [{"prompt": "p", "steps": [s], "in": {"labels": [n]}} for s, n in (("a", 1), ("b", 2), ("c", 3))]


def test_lists_side_by_side_and_inside_objects_are_joined_in_order():
    rows = together(Rows([*_PARTS, _PARTS[0]]), ["x", "x", "x", "y"], "steps[], in.labels[]")
    assert list(rows.rows) == [_WHOLE, _PARTS[0]]
    assert _PARTS[0]["steps"] == ["a"], "what was given stays as it is"


def test_the_schema_of_parquet_stays():
    table = pa.Table.from_pylist([{"n": 1, "steps": ["a"]}, {"n": 1, "steps": ["b"]}])
    table = table.cast(pa.schema([("n", pa.int8()), ("steps", pa.list_(pa.string()))]))
    rows = together(Rows(table.to_pylist(), table), [1, 1], "steps[]")
    assert rows.table is not None
    assert rows.table.schema == table.schema
    assert rows.table.to_pylist() == [{"n": 1, "steps": ["a", "b"]}]


@pytest.mark.parametrize("explode", [None, "a[].b[]", "tree.**.replies", "*"])
def test_what_is_no_plain_list_stays_apart(explode):
    assert len(together(Rows(_PARTS), ["x"] * 3, explode).rows) == 3
