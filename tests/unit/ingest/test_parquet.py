"""Parquet: read in a process with bounded memory; bombs, lies and damage are refused with the reason."""

from __future__ import annotations

import datetime as dt
import decimal
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from poison_guard.ingest.raw_table import Limits, RawTable, Unreadable
from poison_guard.ingest.reader import read_in_child


def read(path: Path) -> RawTable:
    return read_in_child(path, "parquet", Limits())


def write(path: Path, **columns: pa.Array) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_types_are_brought_to_few(tmp_path):
    day = dt.date(2026, 1, 2)
    path = write(
        tmp_path / "a.parquet",
        small=pa.array([1, None], pa.int8()),
        single=pa.array([0.5, 1.0], pa.float32()),
        word=pa.array(["x", "y"]).dictionary_encode(),
        price=pa.array([decimal.Decimal("4.00"), decimal.Decimal("4.50")]),
        amount=pa.array([decimal.Decimal("1234567890123456.50"), None]),
        day=pa.array([day, None]),
        wide=pa.array([2**64 - 1, 1], pa.uint64()),
        pair=pa.array([[1, 2], None]),
        raw=pa.array([b"\x00", None]),
    )
    table = read(path).table
    assert [str(f.type) for f in table.schema] == [
        *("int64", "double", "large_string", "double", "large_string", "timestamp[us, tz=UTC]"),
        *("large_string", "large_string", "large_binary"),
    ]
    assert table["price"].to_pylist() == [4.0, 4.5]
    assert table["amount"].to_pylist() == ["1234567890123456.5", None]  # more digits than a float has
    assert table["wide"].to_pylist() == [str(2**64 - 1), "1"]
    assert table["pair"].to_pylist() == ["[1,2]", None]
    assert table["day"][0].as_py() == dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


def test_times_in_any_unit_become_microseconds(tmp_path):
    moment = dt.datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001  columns without a zone are the case
    columns = {unit: pa.array([moment]).cast(pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")}
    table = read(write(tmp_path / "a.parquet", **columns)).table
    assert all(table[unit][0].as_py() == moment.replace(tzinfo=dt.UTC) for unit in columns)


def test_a_bomb_of_rows_is_refused_by_its_footer(tmp_path):
    path = tmp_path / "bomb.parquet"
    rows = 30_000_000
    table = pa.table({"x": pa.array(np.zeros(rows, "int8"))})
    pq.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 500_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Unreadable, match="30,000,000 rows, more than max_rows = 20,000,000"):
        read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_a_bomb_of_one_long_string_repeated_is_stopped(tmp_path):
    path = tmp_path / "bomb.parquet"
    rows = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, np.int32)), pa.array(["x" * 500_000]))
    pq.write_table(pa.table({"x": rows}), path, compression="zstd")
    assert path.stat().st_size < 500_000
    with pytest.raises(Unreadable, match=r"bytes unpacked, more than max_bytes|MiB of memory"):
        read(path)


def test_a_wide_table_is_refused(tmp_path):
    path = write(tmp_path / "a.parquet", **{f"c{i}": pa.array([1]) for i in range(5_000)})
    with pytest.raises(Unreadable, match="5,000 columns, more than max_columns = 4,096"):
        read(path)


def test_a_deeply_nested_column_is_refused(tmp_path):
    value: object = 1
    for _ in range(9):
        value = [value]
    with pytest.raises(Unreadable, match="nested deeper than max_depth = 8"):
        read(write(tmp_path / "a.parquet", a=pa.array([value])))


@pytest.mark.parametrize("cut", [3, 40, -1, -8, -200])
def test_a_truncated_file_is_refused_with_a_reason(tmp_path, cut):
    path = write(tmp_path / "a.parquet", a=pa.array(range(1000)))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(Unreadable, match="not a readable Parquet file"):
        read(path)


def test_text_that_is_not_utf8_costs_its_row_only(tmp_path):
    cells = [b"ok", b"\xff\xfe", *([b"fine"] * 300), b"\xc3"]
    broken = pa.Array.from_buffers(pa.string(), len(cells), pa.array(cells).buffers())
    nested = pa.ListArray.from_arrays(pa.array(range(len(cells) + 1), pa.int32()), broken)
    for column in (broken, nested):
        numbers = pa.array(range(len(cells)))  # as times they are no whole microseconds, which Python cannot show
        raw = read(write(tmp_path / "a.parquet", a=column, b=numbers, at=numbers.cast(pa.timestamp("ns"))))
        assert raw.table["b"].to_pylist() == [0, *range(2, 302)]
        assert raw.row_numbers.tolist() == [1, *range(3, 303)]
        assert [(b.row, "not UTF-8" in b.reason) for b in raw.bad] == [(2, True), (303, True)]


def test_cells_of_10_mb_are_read(tmp_path):
    raw = read(write(tmp_path / "a.parquet", a=pa.array(["x" * 10_000_000, "y"])))
    assert [len(v) for v in raw.table["a"].to_pylist()] == [10_000_000, 1]
