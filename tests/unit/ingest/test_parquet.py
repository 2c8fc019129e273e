"""Parquet: read in a process with bounded memory; bombs, lies and damage are refused with the reason."""

from __future__ import annotations

import datetime as dt
import decimal
import resource
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from poison_guard.ingest.parquet import ParquetReader
from poison_guard.ingest.raw_table import Limits, Unreadable


@pytest.fixture(scope="module")
def reader() -> Iterator[ParquetReader]:
    with closing(ParquetReader(Limits())) as reader:
        yield reader


def write(path: Path, **columns: pa.Array) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_types_are_brought_to_few(reader, tmp_path):
    day = dt.date(2026, 1, 2)
    path = write(
        tmp_path / "a.parquet",
        small=pa.array([1, None], pa.int8()),
        single=pa.array([0.5, 1.0], pa.float32()),
        word=pa.array(["x", "y"]).dictionary_encode(),
        price=pa.array([decimal.Decimal("4.00"), decimal.Decimal("4.50")]),
        day=pa.array([day, None]),
        wide=pa.array([2**64 - 1, 1], pa.uint64()),
        pair=pa.array([[1, 2], None]),
        raw=pa.array([b"\x00", None]),
    )
    table = reader.read(path).table
    assert [str(f.type) for f in table.schema] == [
        *("int64", "double", "large_string", "large_string", "timestamp[us, tz=UTC]"),
        *("large_string", "large_string", "large_binary"),
    ]
    assert table["price"].to_pylist() == ["4", "4.50"]
    assert table["wide"].to_pylist() == [str(2**64 - 1), "1"]
    assert table["pair"].to_pylist() == ["[1,2]", None]
    assert table["day"][0].as_py() == dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


def test_times_in_any_unit_become_microseconds(reader, tmp_path):
    moment = dt.datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001  columns without a zone are the case
    columns = {unit: pa.array([moment]).cast(pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")}
    table = reader.read(write(tmp_path / "a.parquet", **columns)).table
    assert all(table[unit][0].as_py() == moment.replace(tzinfo=dt.UTC) for unit in columns)


def test_a_bomb_of_rows_is_refused_by_its_footer(reader, tmp_path):
    path = tmp_path / "bomb.parquet"
    rows = 30_000_000
    table = pa.table({"x": pa.array(np.zeros(rows, "int8"))})
    pq.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 500_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Unreadable, match="30,000,000 rows, more than max_rows = 20,000,000"):
        reader.read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_a_bomb_of_one_long_string_repeated_is_stopped(reader, tmp_path):
    path = tmp_path / "bomb.parquet"
    rows = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, np.int32)), pa.array(["x" * 500_000]))
    pq.write_table(pa.table({"x": rows}), path, compression="zstd")
    assert path.stat().st_size < 500_000
    with pytest.raises(Unreadable, match=r"bytes unpacked, more than max_bytes|MiB of memory"):
        reader.read(path)


def test_a_wide_table_is_refused(reader, tmp_path):
    path = write(tmp_path / "a.parquet", **{f"c{i}": pa.array([1]) for i in range(300)})
    with pytest.raises(Unreadable, match="300 columns, more than max_columns = 256"):
        reader.read(path)


def test_a_deeply_nested_column_is_refused(reader, tmp_path):
    value: object = 1
    for _ in range(9):
        value = [value]
    with pytest.raises(Unreadable, match="nested deeper than max_depth = 8"):
        reader.read(write(tmp_path / "a.parquet", a=pa.array([value])))


@pytest.mark.parametrize("cut", [3, 40, -1, -8, -200])
def test_a_truncated_file_is_refused_with_a_reason(reader, tmp_path, cut):
    path = write(tmp_path / "a.parquet", a=pa.array(range(1000)))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(Unreadable, match="not a readable Parquet file"):
        reader.read(path)


def test_text_that_is_not_utf8_costs_its_row_only(reader, tmp_path):
    cells = [b"ok", b"\xff\xfe", *([b"fine"] * 300), b"\xc3"]
    broken = pa.Array.from_buffers(pa.string(), len(cells), pa.array(cells).buffers())
    nested = pa.ListArray.from_arrays(pa.array(range(len(cells) + 1), pa.int32()), broken)
    for column in (broken, nested):
        raw = reader.read(write(tmp_path / "a.parquet", a=column, b=pa.array(range(len(cells)))))
        assert raw.table["b"].to_pylist() == [0, *range(2, 302)]
        assert raw.row_numbers.tolist() == [1, *range(3, 303)]
        assert [(b.row, "not UTF-8" in b.reason) for b in raw.bad] == [(2, True), (303, True)]


def test_cells_of_10_mb_are_read(reader, tmp_path):
    raw = reader.read(write(tmp_path / "a.parquet", a=pa.array(["x" * 10_000_000, "y"])))
    assert [len(v) for v in raw.table["a"].to_pylist()] == [10_000_000, 1]


def test_a_reader_that_died_is_started_again(tmp_path):
    good = write(tmp_path / "a.parquet", a=pa.array([1]))
    with closing(ParquetReader(Limits())) as reader:
        reader.read(good)
        reader._child.kill()
        reader._child.wait()
        with pytest.raises(Unreadable, match="the process that read it died"):
            reader.read(good)
        assert reader.read(good).table.to_pydict() == {"a": [1]}


def test_a_read_that_takes_too_long_is_ended(tmp_path):
    path = write(tmp_path / "a.parquet", a=pa.array([1]))
    with closing(ParquetReader(Limits(seconds=0.0))) as reader, pytest.raises(Unreadable, match="died"):
        reader.read(path)
