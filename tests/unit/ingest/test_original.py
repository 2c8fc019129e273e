"""The row that a record was made of comes back: JSON by value, type and order of keys, CSV by cell, Parquet by type."""

import csv
import datetime as dt
import decimal
import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poison_guard.config.contract import parse_contract
from poison_guard.ingest.collect import batch_from_frame, collect_frames
from poison_guard.ingest.original import original_rows
from poison_guard.records import Batch
from tests.thorough import examples

_NOW = dt.datetime(2026, 11, 3, 12, tzinfo=dt.UTC)


def _batch(path, **columns: Any) -> Batch:
    table = {"name": "x", "kind": "examples", "data": {"path": str(path)}, "columns": columns}
    return collect_frames(parse_contract(table), str(path), home=path.parent, received_at=_NOW)


def _rows(batch: Batch) -> list[dict[str, Any]]:
    """Return the rows as they came, in the order of the file."""
    found = {}
    for group in original_rows(batch.records):
        found |= dict(zip(group.at, group.rows(), strict=True))
    return [found[i] for i in np.argsort(batch.records["row"].to_numpy(), kind="stable")]


_NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=6)
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.sampled_from([" a ", "01", "4.0", "true", "", "null", "\0", "1e3"]),
)  # fmt: skip
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_NAMES, inner, max_size=3)),
    max_leaves=8,
)  # fmt: skip
_OBJECTS = st.lists(st.dictionaries(_NAMES, _VALUES, max_size=5), min_size=1, max_size=6)


@settings(max_examples=examples(10), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(objects=_OBJECTS, roles=st.permutations(["text", "label", "rating", "source_id", "observed_at"]))
def test_every_json_row_comes_back_with_its_types_and_the_order_of_its_keys(tmp_path, objects, roles):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in objects), encoding="utf-8")
    names = list(dict.fromkeys(name for row in objects for name in row))
    batch = _batch(path, **(dict(zip(roles, names, strict=False)) or {"text": "nothing"}))
    if len(batch.records) + batch.duplicates == len(objects) and not batch.duplicates:
        assert json.dumps(_rows(batch)) == json.dumps(objects)


_CELLS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
    st.sampled_from(["", " a ", "0.50", "1", "1.0", "-0", "nan", "NULL", "2026-01-01", "01.02.2026", "3,5", "=1+1"]),
)  # fmt: skip


@settings(max_examples=examples(10), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(_CELLS, min_size=6, max_size=6).filter(lambda r: any(r)), min_size=1, max_size=8),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
)
def test_every_csv_row_comes_back_cell_by_cell(tmp_path, rows, delimiter):
    names = ["source", "label", "rating", "at", "text", "other"]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerows([names, *([cell.replace("\r", "") for cell in row] for row in rows)])
    path = tmp_path / "a.csv"
    path.write_bytes(text.getvalue().encode())
    batch = _batch(path, source_id="source", label="label", rating="rating", observed_at="at", text="text")
    wanted = [dict(zip(names, [cell.replace("\r", "") for cell in row], strict=True)) for row in rows]
    assert (batch.duplicates, len(batch.records)) == (0, len(rows))
    assert _rows(batch) == wanted


def _parquet_table() -> pa.Table:
    ns = pa.array([1_700_000_000_000_000_001, None, 1_700_000_000_000_000_000], pa.timestamp("ns", "Europe/Berlin"))
    spans = pa.array([dt.timedelta(seconds=1), None, dt.timedelta(days=2)], pa.duration("ms"))
    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string()), ("weight", pa.float32())]))
    return pa.table(
        {
            "id": pa.array([1, 2, 2**60], pa.int64()),
            "small": pa.array([1, None, -3], pa.int16()),
            "big": pa.array([2**63 + 1, 0, None], pa.uint64()),
            "half": pa.array([0.1, float("nan"), None], pa.float32()),
            "label": pa.array(["a", "b", "a"]).dictionary_encode(),
            "flag": pa.array([True, None, False]),
            "at": ns,
            "day": pa.array([dt.date(2026, 1, 2), None, dt.date(1990, 1, 1)], pa.date32()),
            "clock": pa.array([dt.time(1, 2, 3, 4), None, dt.time(0)], pa.time64("us")),
            "price": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("2.00")], pa.decimal128(9, 2)),
            "span": spans,
            "tick": pa.array([1, None, 86_399_999_999_999], pa.time64("ns")),
            "raw": pa.array([b"\xff\x00", b"text", None], pa.binary()),
            "messages": pa.array([[{"role": "user", "content": "Hi", "weight": 0.1}], [], None], messages),
            "pairs": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int32())),
            "blobs": pa.array([[b"\xff"], [], None], pa.list_(pa.binary())),
            "times": pa.array(
                [[dt.datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=dt.UTC).replace(tzinfo=None)], None, []],
                pa.list_(pa.timestamp("us")),
            ),
            "nothing": pa.nulls(3),
            "text": pa.array(["", None, " x "], pa.large_string()),
        }
    )


def test_a_parquet_row_comes_back_with_the_schema_of_its_file(tmp_path):
    table = _parquet_table()
    pq.write_table(table, tmp_path / "a.parquet")
    written = pq.read_table(tmp_path / "a.parquet")
    batch = _batch(tmp_path / "a.parquet", record_id="id", label="label", text="text", observed_at="at", rating="half")
    (group,) = original_rows(batch.records)
    got = group.table().take(pa.array(np.argsort(batch.records["row"].to_numpy()[group.at])))
    assert got.schema.equals(written.schema)
    assert [name for name in written.column_names if not got[name].equals(written[name])] in ([], ["half"])
    assert np.array_equal(got["half"].to_numpy(), written["half"].to_numpy(), equal_nan=True)
    assert got["half"].null_count == written["half"].null_count


def test_nanoseconds_cost_few_bytes_a_row(tmp_path):
    times = pa.array(range(1_700_000_000_000_000_001, 1_700_000_000_000_001_001), pa.timestamp("ns", "UTC"))
    pq.write_table(pa.table({"at": times}), tmp_path / "a.parquet")
    batch = _batch(tmp_path / "a.parquet", observed_at="at")
    assert batch.records["was.at"].str.len().max() <= 22
    assert original_rows(batch.records)[0].table()["at"].combine_chunks().equals(times)


def test_a_frame_comes_back_with_its_values(tmp_path):
    frame = pd.DataFrame(
        {"n": [1, 2], "t": pd.to_datetime(["2026-01-01", None], utc=True), "m": [[{"b": 1, "a": None}], None]}
    )
    contract = parse_contract({"name": "x", "kind": "examples", "columns": {"rating": "n"}})
    batch = batch_from_frame(contract, frame, object_uri=None, received_at=_NOW)
    assert _rows(batch) == [
        {"n": 1, "t": pd.Timestamp("2026-01-01", tz="UTC"), "m": [{"b": 1, "a": None}]},
        {"n": 2, "t": None, "m": None},
    ]


def test_a_clamped_time_and_an_id_given_twice_come_back_as_they_came(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,at,text\n7,2031-01-01,a\n7,2026-11-02,b\n8,2026-11-02,c\n", encoding="utf-8")
    batch = _batch(path, record_id="id", observed_at="at", text="text")
    assert batch.records["record_id"].str.contains("~").any()
    assert [(row["id"], row["at"]) for row in _rows(batch)] == [
        ("7", "2031-01-01"), ("7", "2026-11-02"), ("8", "2026-11-02")
    ]  # fmt: skip


def test_one_file_costs_one_shape_and_no_more_columns_where_records_say_it_all(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"row {i}", "n": i}) + "\n" for i in range(500)), encoding="utf-8")
    batch = _batch(path, text="text")
    assert len(set(batch.records["shape"])) == 1
    assert not [name for name in batch.records if name.startswith("was.")]


@pytest.mark.parametrize("spelling", ['{"b": 1, "a": 2}', '{"a":2,"b":1}'])
def test_the_order_of_nested_keys_does_not_change_what_a_record_is(tmp_path, spelling):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "x", "more": {spelling}}}\n', encoding="utf-8")
    other = tmp_path / "b.jsonl"
    other.write_text('{"text": "x", "more": {"b": 1, "a": 2}}\n', encoding="utf-8")
    hashes = [_batch(each, text="text").records["content_hash"].iloc[0] for each in (path, other)]
    assert hashes[0] == hashes[1]
