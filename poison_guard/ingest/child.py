"""The process that reads untrusted Parquet: bounded memory, no environment; each request is one file to convert.

It is started by `poison_guard.ingest.parquet` as ``python -P -m poison_guard.ingest.child BYTES`` and answers each line
of JSON on stdin with one on stdout: ``{"rows": n, "bad": [[row, reason, text], …]}`` or ``{"refusal": …}``.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from poison_guard.ingest.cells import LIST_METADATA, simple_type, simplify
from poison_guard.ingest.raw_table import MAX_UNREADABLE, NAME_CHARS, RAW_CHARS, Unreadable

_BATCH_BYTES = 32_000_000
_WIDTHS = {"BOOLEAN": 1 / 8, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 4}


def main() -> None:
    """Answer requests until stdin ends."""
    memory = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pa.set_cpu_count(1)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answer(json.loads(line), memory)) + "\n")
        sys.stdout.flush()


def _answer(request: dict[str, Any], memory: int) -> dict[str, Any]:
    try:
        return _convert(request)
    except Unreadable as refusal:
        return {"refusal": str(refusal)}
    except MemoryError:
        return {"refusal": f"reading it takes more than {memory >> 20:,} MiB of memory"}
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        return {"refusal": f"it is not a readable Parquet file: {first[:300].rstrip('. ')}"}


def _convert(request: dict[str, Any]) -> dict[str, Any]:
    with pq.ParquetFile(request["path"], pre_buffer=False) as file:
        declared = _check(file, request)
        schema = file.schema_arrow
        goal = pa.schema([_simple_field(f) for f in schema])
        rows = written = 0
        bad: list[tuple[int, str, str]] = []
        with pa.OSFile(request["out"], "wb") as sink, pa.ipc.new_file(sink, goal) as writer:
            for batch in file.iter_batches(_batch_rows(file, declared), use_threads=False):
                for simple in _simple_batches(batch, rows, goal, bad):
                    written += simple.nbytes
                    _bound(written, request, "max_bytes", "bytes unpacked")
                    writer.write_batch(simple)
                rows += batch.num_rows
                _bound(rows, request, "max_rows", "rows")
    return {"rows": rows, "bad": bad}


def _check(file: pq.ParquetFile, request: dict[str, Any]) -> float:
    """Refuse a file whose footer is past a bound, before a page is read; return the declared bytes."""
    meta, schema = file.metadata, file.schema_arrow
    _bound(meta.num_rows, request, "max_rows", "rows")
    columns = max(len(schema), meta.num_columns // 4)
    _bound(columns, request, "max_columns", "columns")
    if len(set(schema.names)) < len(schema):
        raise Unreadable("it names a column twice")
    if any(not n or len(n) > NAME_CHARS or not n.isprintable() for n in schema.names):
        raise Unreadable(f"it has a column name that is empty, longer than {NAME_CHARS} characters or not to be shown")
    deep = next((f.name for f in schema if _depth(f.type) > request["max_depth"]), None)
    if deep is not None:
        raise Unreadable(f"column {deep!r} is nested deeper than max_depth = {request['max_depth']}")
    leaves = [meta.schema.column(i) for i in range(meta.num_columns)]
    widths = sum(_WIDTHS.get(leaf.physical_type, leaf.length or 0) for leaf in leaves if not leaf.max_repetition_level)
    stored = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    declared = max(meta.num_rows * widths, stored)
    _bound(declared, request, "max_bytes", "bytes unpacked")
    return declared


def _bound(size: float, request: dict[str, Any], key: str, unit: str) -> None:
    if size > request[key]:
        raise Unreadable(f"it has {size:,.0f} {unit}, more than {key} = {request[key]:,}")


def _depth(kind: pa.DataType) -> int:
    """Return how many containers lie inside one another in a type."""
    depth, layer = -1, [kind]
    while layer:
        depth += 1
        layer = [k.field(i).type for k in layer if pa.types.is_nested(k) for i in range(k.num_fields)]
    return depth


def _simple_field(field: pa.Field) -> pa.Field:
    return pa.field(
        field.name, simple_type(field.type), metadata=LIST_METADATA if pa.types.is_nested(field.type) else None
    )


def _batch_rows(file: pq.ParquetFile, declared: float) -> int:
    return int(np.clip(_BATCH_BYTES / max(1.0, declared / max(1, file.metadata.num_rows)), 16, 65_536))


def _simple_batches(
    batch: pa.RecordBatch, first: int, goal: pa.Schema, bad: list[tuple[int, str, str]]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows in simple types; rows with text that is not UTF-8 are found by halving and go to `bad`."""
    parts = [(batch, first)]
    while parts:
        part, start = parts.pop()
        try:
            for column in part.columns:
                # a slice of a nested column is validated with the values around it; decoding it validates it alone
                column.validate(full=not pa.types.is_nested(column.type))
            yield pa.RecordBatch.from_arrays([simplify(column) for column in part.columns], schema=goal)
        except (pa.ArrowInvalid, UnicodeDecodeError):
            half = part.num_rows // 2
            if half:
                parts += [(part.slice(half), start + half), (part.slice(0, half), start)]
                continue
            bad.append((start + 1, "it holds text that is not UTF-8", _shown(part)))
            if len(bad) > MAX_UNREADABLE:
                raise Unreadable(f"more than {MAX_UNREADABLE:,} of its rows hold text that is not UTF-8") from None


def _shown(row: pa.RecordBatch) -> str:
    cells = []
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            cells.append(f"{name}={column[0].as_py()!r}")
        except UnicodeDecodeError as error:
            cells.append(f"{name}={error.object!r}")
    return ", ".join(cells)[:RAW_CHARS]


if __name__ == "__main__":
    main()
