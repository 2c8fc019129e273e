"""A file that was exported in any format is read as the same records: no other content, no changed columns."""

import csv
import datetime as dt
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from poison_guard.config.contract import parse_contract
from poison_guard.contracts.check import schema_drift
from poison_guard.ingest.collect import collect_frames
from poison_guard.ingest.original import original_rows
from poison_guard.records import Batch
from poison_guard.steps.row_files import Rows, file_body
from tests.unit.ingest.test_original import _parquet_table

_NOW = dt.datetime(2026, 11, 3, 12, tzinfo=dt.UTC)
_AT = "2026-11-01T10:00:00Z"


def _batch(path) -> Batch:
    columns = {"record_id": "id", "text": "text", "label": "label", "observed_at": "at"}
    contract = parse_contract({"name": "x", "kind": "examples", "data": {"path": str(path)}, "columns": columns})
    return collect_frames(contract, str(path), home=path.parent, received_at=_NOW)


def _json_lines() -> bytes:
    values = [
        1,
        "x",
        True,
        None,
        [1],
        {"q": 1},
        {"a": None},
        {},
        2.5,
        "2026-11-01",
        "[not json",
        "[1, 2]",
        2**60,
        "é\u2028",
    ]
    rows = [
        {"id": f"r{i}", "text": f"row {i}", "label": "a", "at": _AT, "mixed": values[i % len(values)],
         "result": [1, 2.5, {"rating": i}] if i % 2 else [{"choices": ["a", None]}],
         "few": {"a": 1} if i % 20 else "txt",
         "deep": {"a": {"b": [{"c": i, "d": float(i)}]}}, "empty": "", "none": None, "object": {}, "list": [],
         "truth": bool(i % 2), "digits": f"{i:04d}", "number": i if i % 2 else i + 0.5, "whole": float(i),
         "told": "2026-11-01 10:00:00", "json": '{"a": [1, 2]}', "long": 2**62 + i,
         "blank": " x ", "lines": "a\nb\r\nc",
         "some": None if i % 3 else {"x": None, "y": 1}, "tags": ["a b", "c"]}
        for i in range(60)
    ]  # fmt: skip
    del rows[7]["number"]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _csv() -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";")
    writer.writerow(["id", "text", "label", "at", "n", "json", "day", "number", "odd"])
    for i in range(30):
        writer.writerow(
            [i, f"=row {i}", "yes", _AT, f"{i}.50", f'{{"b": {i}.0, "a": [ ]}}', "2026-11-01", 2**60 + i, " x"]
        )
    return out.getvalue().encode()


def _parquet() -> bytes:
    table = _parquet_table()
    table = table.set_column(table.column_names.index("label"), "label", pa.array(["a", "b", "c"]))
    table = table.append_column("uid", pa.array([bytes(range(i, i + 16)) for i in (0, 100, 200)], pa.binary(16)))
    sink = io.BytesIO()
    pq.write_table(table.append_column("long", pa.array([2**60, None, 2**61])), sink)
    return sink.getvalue()


@pytest.fixture(
    scope="module", params=[("jsonl", _json_lines), ("csv", _csv), ("parquet", _parquet)], ids=lambda p: p[0]
)
def first(request, tmp_path_factory) -> Batch:
    """What is read of a file of one format, with cells of many kinds."""
    form, content = request.param
    path = tmp_path_factory.mktemp(form) / f"in.{form}"
    path.write_bytes(content())
    return _batch(path)


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "parquet"])
def test_a_file_exported_in_any_format_is_read_as_the_same_records(first, form, tmp_path):
    rows = Rows.of(original_rows(first.records), {at: at for at in range(len(first.records))})
    path = tmp_path / f"again.{form}"
    path.write_bytes(file_body(rows, form)[0])
    again = _batch(path)
    same = ["record_id", "content_hash"]
    assert (
        again.records[same].sort_values(same).to_numpy().tolist()
        == first.records[same].sort_values(same).to_numpy().tolist()
    )
    assert schema_drift(first.schema, again.schema) is None
    assert sorted(again.issues["code"]) == sorted(first.issues["code"])
    assert "wrong_type" not in set(first.issues["code"]), "bytes that no role needs hold no record"


def test_what_the_guard_adds_to_exported_rows_is_no_data_of_the_feed(first, tmp_path):
    rows = Rows.of(original_rows(first.records), {at: at for at in range(len(first.records))}).rows
    told = Rows([{**row, "guard.risk": 0.5, "guard.why": "copies"} for row in rows])
    (tmp_path / "why.jsonl").write_bytes(file_body(told, "jsonl")[0])
    again = _batch(tmp_path / "why.jsonl")
    assert sorted(again.records["content_hash"]) == sorted(first.records["content_hash"])
    assert not [name for name in (*again.records, *again.schema) if "guard." in name]
