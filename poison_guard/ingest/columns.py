"""Gather rows of text formats into Arrow columns, block by block, and join blocks whose types differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.ingest.cells import EXACT, LIST_KIND, as_text

__all__ = ["BLOCK_CHARS", "BLOCK_ROWS", "join_columns", "join_tables"]

BLOCK_ROWS = 20_000
BLOCK_CHARS = 32_000_000
"""Rows and characters that are held as Python objects before they become Arrow columns."""


def join_columns(blocks: Mapping[str, Sequence[pa.Array]], lists: Collection[str] = ()) -> pa.Table:
    """Return one table from the blocks of each column; a column of several types becomes number or text."""
    fields: list[pa.Field] = []
    arrays: list[pa.ChunkedArray] = []
    for name, parts in blocks.items():
        array = _join([p for p in parts if len(p)])
        fields.append(pa.field(name, array.type, metadata=LIST_KIND if name in lists else None))
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def join_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of all `tables` under the union of their columns, in order of first sight."""
    if len(tables) == 1:
        return tables[0]
    names = list(dict.fromkeys(n for t in tables for n in t.column_names))
    lists = {f.name for t in tables for f in t.schema if f.metadata == LIST_KIND}
    blocks = {
        name: [c for t in tables for c in (t[name].chunks if name in t.column_names else [pa.nulls(t.num_rows)])]
        for name in names
    }
    return join_columns(blocks, lists)


def _join(parts: Sequence[pa.Array]) -> pa.ChunkedArray:
    kinds = {p.type for p in parts if not pa.types.is_null(p.type)}
    if not kinds:
        return pa.chunked_array([pa.nulls(sum(map(len, parts)))], pa.null())
    goal = kinds.pop() if len(kinds) == 1 else _common(kinds, parts)
    same = [p if p.type == goal else _to(p, goal) for p in parts]
    return pa.chunked_array(same, goal)


def _common(kinds: set[pa.DataType], parts: Sequence[pa.Array]) -> pa.DataType:
    """Type that holds several kinds: float64 for numbers it is exact for, else text."""
    whole = [p for p in parts if pa.types.is_int64(p.type)]
    if kinds <= {pa.int64(), pa.float64()} and all(_exact(p) for p in whole):
        return pa.float64()
    return pa.large_string()


def _exact(array: pa.Array) -> bool:
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    return bool(np.all((values >= -EXACT) & (values <= EXACT)))


def _to(array: pa.Array, goal: pa.DataType) -> pa.Array:
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), goal)
    return as_text(array) if pa.types.is_large_string(goal) else pc.cast(array, goal)
