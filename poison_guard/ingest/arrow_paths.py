"""Look up paths in columns of lists and structs without making Python values: what a Parquet file has typed already."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.ingest.cells import simplify
from poison_guard.ingest.paths import Expression, Key, Part, Step

__all__ = ["reached_columns"]


def reached_columns(
    batch: pa.RecordBatch, columns: Iterable[tuple[str, bool, Expression]], apart: frozenset[str]
) -> dict[str, pa.Array]:
    """Return, in simple types, the paths of `columns` (name, whether it is text, path) that kernels can look up.

    These are keys of structs and single elements of lists that end in a plain value; all others, and those in the
    columns `apart`, are left to be looked up row by row.
    """
    names = dict.fromkeys(batch.schema.names)
    found: dict[str, pa.Array] = {}
    for name, is_text, expression in columns:
        start = expression.root(names) if expression.op == "path" and name not in names else None
        if start is None or start[0] in apart or not start[1]:
            continue
        reached = _reached(batch.column(start[0]), start[1])
        if reached is not None and _is_plain(reached.type, text_only=is_text):
            found[name] = simplify(reached)
    return found


def _reached(array: pa.Array, steps: Iterable[Step]) -> pa.Array | None:
    for step in steps:
        kind = array.type
        match step:
            case Key(name) if pa.types.is_struct(kind) and kind.get_field_index(name) >= 0:
                array = pc.struct_field(array, name)
            case Part(start=int(place), single=True) if pa.types.is_list(kind) or pa.types.is_large_list(kind):
                array = _element(array, place)
            case _:
                return None
    return array


def _element(lists: pa.Array, place: int) -> pa.Array:
    """Return the element of each list at a place, from its end where that is negative; missing where there is none."""
    offsets = lists.offsets.to_numpy().astype(np.int64)
    first, last = offsets[:-1], offsets[1:]
    index = first + place if place >= 0 else last + place
    absent = (index < first) | (index >= last) | np.asarray(lists.is_null())
    return lists.values.take(pa.array(np.where(absent, 0, index), mask=absent))


def _is_plain(kind: pa.DataType, *, text_only: bool) -> bool:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return True
    plain = pa.types.is_boolean(kind) or pa.types.is_floating(kind) or pa.types.is_integer(kind)
    return plain and not text_only and not pa.types.is_uint64(kind)
