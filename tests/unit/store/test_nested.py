"""Nested cells in the lake are lists and structs where they come back as they were, else text."""

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from poison_guard.store.lake import Lake
from poison_guard.store.nested import as_nested, as_text

N = 600
SAME = [[{"role": "user", "content": "é"}], ["a b", None], [0.1, 1e-07], [], {"a": {"b": [1]}}]
OTHER = {
    "other keys": [{"a": 1}, {"b": 1}],
    "other order of keys": [{"a": 1, "b": 1}, {"b": 1, "a": 1}],
    "numbers of two spellings": [[1], [1.5]],
    "keys come late": [*[{"a": 1}] * (N - 1), {"a": 1, "z": 1}],
    "no keys": [{}],
    "other types": [[1], {"a": 1}],
    "too large": [[2**70]],
}


def _table(values) -> pa.Table:
    texts = [None, *(json.dumps(values[i % len(values)], ensure_ascii=False, separators=(",", ":")) for i in range(N))]
    return pa.table({"extra.x": pa.array(texts, pa.large_string())})


@pytest.mark.parametrize("value", SAME, ids=str)
def test_what_comes_back_as_it_was_is_a_list_or_a_struct(value):
    table = _table([value])
    kept = as_nested(table)
    assert pa.types.is_nested(kept.schema.field(0).type)
    assert as_text(kept).equals(table)


@pytest.mark.parametrize("values", OTHER.values(), ids=OTHER)
def test_what_would_come_back_otherwise_stays_text(values):
    assert as_nested(_table(values)).equals(_table(values))


def test_text_that_only_looks_so_and_the_guards_own_columns_stay_text():
    table = pa.table({"extra.x": ["[INST] hi [/INST]"], "text": ["{broken"], "shape": ["[1]"], "raw": ['{"a":1}']})
    table = table.cast(pa.schema([(name, pa.large_string()) for name in table.column_names]))
    assert as_nested(table).equals(table)


def test_a_file_of_the_lake_holds_lists_and_gives_back_the_frame(tmp_path):
    lake = Lake(str(tmp_path))
    frame = pd.DataFrame({"record_id": ["a", "b"], "extra.tags": ['["x"]', None]}).astype("str")
    file = lake.add_frame(frame, "runs/1")
    assert pa.types.is_list(pq.read_schema(tmp_path / file.path).field("extra.tags").type)
    pd.testing.assert_frame_equal(lake.read_frame(file.path), frame)
    assert lake.read_frame(file.path, record_ids=["a"])["extra.tags"].tolist() == ['["x"]']
