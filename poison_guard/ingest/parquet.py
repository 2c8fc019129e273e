"""Read a Parquet object: types become few, nested values JSON text; lies of the footer and bombs are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from poison_guard.ingest.arrow_types import is_exact, kept_exactly, schema_text
from poison_guard.ingest.blocks import Blocks
from poison_guard.ingest.cells import field_metadata, in_micros, simple_type, simplify
from poison_guard.ingest.raw_table import HIDDEN, MAX_UNREADABLE, NAME_CHARS, RAW_CHARS, Limits, Unreadable
from poison_guard.ingest.shapes import column_shape

__all__ = ["read_parquet"]

_BATCH_BYTES = 32_000_000
_BUFFER_BYTES = 1 << 20
"""Column chunks are read through a buffer of this size, never whole."""
_WIDTHS = {"BOOLEAN": 1 / 8, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 4}


def read_parquet(path: Path, limits: Limits, out: Blocks) -> None:
    """Put the rows of a Parquet file into `out`; a row with text that is not UTF-8 is unreadable.

    Raises `Unreadable` if the file is past a bound, before a page is read where the footer says so.
    """
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
        declared = _check(file, limits, out)
        goal = pa.schema([_simple_field(f) for f in file.schema_arrow])
        out.shapes.append(column_shape("parquet", goal, schema_text(file.schema_arrow)))
        inexact = [f for f in file.schema_arrow if not is_exact(f.type)]
        goal = pa.schema([*goal, *(pa.field(f"{HIDDEN}was:{f.name}", pa.large_string()) for f in inexact)])
        rows = written = 0
        for batch in file.iter_batches(_batch_rows(file, declared), use_threads=False):
            for simple, start in _simple_batches(batch, rows, goal, out):
                written += simple.nbytes
                _bound(written, limits.max_bytes, "max_bytes", "bytes unpacked")
                out.add(simple.columns, simple.schema, np.arange(start + 1, start + 1 + simple.num_rows))
            rows += batch.num_rows
        if not out.count:
            out.add([pa.nulls(0, f.type) for f in goal], goal, [])


def _check(file: pq.ParquetFile, limits: Limits, out: Blocks) -> float:
    """Refuse a file whose footer is past a bound, before a page is read; return the declared bytes."""
    meta, schema = file.metadata, file.schema_arrow
    _bound(meta.num_rows, limits.max_rows, "max_rows", "rows")
    columns = max(len(schema), meta.num_columns // 4)
    _bound(columns, limits.max_columns, "max_columns", "columns")
    if columns > out.most_columns(meta.num_rows):
        raise Unreadable(f"its {out.stored:,} bytes unpack to {meta.num_rows:,} rows × {columns} columns")
    if len(set(schema.names)) < len(schema):
        raise Unreadable("it names a column twice")
    if any(not n or len(n) > NAME_CHARS or not n.isprintable() for n in schema.names):
        raise Unreadable(f"it has a column name that is empty, longer than {NAME_CHARS} characters or not to be shown")
    deep = next((f.name for f in schema if _depth(f.type) > limits.max_depth), None)
    if deep is not None:
        raise Unreadable(f"column {deep!r} is nested deeper than max_depth = {limits.max_depth}")
    leaves = [meta.schema.column(i) for i in range(meta.num_columns)]
    widths = sum(_WIDTHS.get(leaf.physical_type, leaf.length or 0) for leaf in leaves if not leaf.max_repetition_level)
    stored = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    declared = max(meta.num_rows * widths, stored)
    _bound(declared, limits.max_bytes, "max_bytes", "bytes unpacked")
    return declared


def _bound(size: float, limit: int, key: str, unit: str) -> None:
    if size > limit:
        raise Unreadable(f"it has {size:,.0f} {unit}, more than {key} = {limit:,}")


def _depth(kind: pa.DataType) -> int:
    """Return how many containers lie inside one another in a type."""
    depth, layer = -1, [kind]
    while layer:
        depth += 1
        layer = [k.field(i).type for k in layer if pa.types.is_nested(k) for i in range(k.num_fields)]
    return depth


def _simple_field(field: pa.Field) -> pa.Field:
    return pa.field(field.name, simple_type(field.type), metadata=field_metadata(field.type))


def _batch_rows(file: pq.ParquetFile, declared: float) -> int:
    return int(np.clip(_BATCH_BYTES / max(1.0, declared / max(1, file.metadata.num_rows)), 16, 65_536))


def _simple_batches(
    batch: pa.RecordBatch, first: int, goal: pa.Schema, out: Blocks
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Yield the rows in simple types with their first number; rows that are not UTF-8, found by halving, are bad."""
    parts = [(batch, first)]
    while parts:
        part, start = parts.pop()
        try:
            for column in part.columns:
                # a slice of a nested column is validated with the values around it; decoding it validates it alone
                column.validate(full=not pa.types.is_nested(column.type))
            simple = [simplify(column) for column in part.columns]
            exact = [
                kept_exactly(column, text)
                for column, text in zip(part.columns, simple, strict=True)
                if not is_exact(column.type)
            ]
            paths: dict[str, pa.Array] = {} if out.reshaper is None else out.reshaper.reached(part)
            fields = [*goal, *(pa.field(name, array.type) for name, array in paths.items())]
            yield pa.RecordBatch.from_arrays([*simple, *exact, *paths.values()], schema=pa.schema(fields)), start
        except (pa.ArrowInvalid, UnicodeDecodeError):
            half = part.num_rows // 2
            if half:
                parts += [(part.slice(half), start + half), (part.slice(0, half), start)]
                continue
            if len(out.bad.rows) >= MAX_UNREADABLE:
                raise Unreadable(f"more than {MAX_UNREADABLE:,} of its rows hold text that is not UTF-8") from None
            out.bad.add(start + 1, "it holds text that is not UTF-8", _shown(part))


def _shown(row: pa.RecordBatch) -> str:
    cells = []
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            cells.append(f"{name}={column.cast(in_micros(column.type), safe=False)[0].as_py()!r}")
        except UnicodeDecodeError as error:
            cells.append(f"{name}={error.object!r}")
    return ", ".join(cells)[:RAW_CHARS]
