"""Keep nested cells in the lake as lists and structs, which any reader of Parquet opens, and give them back as text.

Records hold a nested cell as compact JSON. Where every cell of a file comes back from a list or struct as it was, the
file holds that; where keys differ from row to row, or the spelling of a number would be lost, it holds the text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["as_nested", "as_text"]

_MARK = {b"kind": b"json"}
"""Metadata of a field that is text in a frame."""
_SAMPLE = 500
"""Cells that say which type a column has: looking at all of them, keys that never repeat would cost their square."""
_CONTENT = ("text", "prompt", "response", "chosen", "rejected")
_FAULTS = (pa.ArrowException, TypeError, ValueError, OverflowError, RecursionError)


def as_nested(table: pa.Table) -> pa.Table:
    """Return a table of payloads with lists and structs in the place of JSON text that comes back from them exactly."""
    for i, field in enumerate(table.schema):
        if field.name in _CONTENT or field.name.startswith("extra."):
            array = _nested(table.column(i).combine_chunks())
            if array is not None:
                table = table.set_column(i, pa.field(field.name, array.type, metadata=_MARK), array)
    return table


def as_text(table: pa.Table) -> pa.Table:
    """Return a table as it was before `as_nested`."""
    for i, field in enumerate(table.schema):
        if pa.types.is_nested(field.type) and (field.metadata or {}).get(b"kind") == _MARK[b"kind"]:
            texts = [None if value is None else _json(value) for value in table.column(i).to_pylist()]
            table = table.set_column(i, pa.field(field.name, pa.large_string()), pa.array(texts, pa.large_string()))
    return table


def _nested(array: pa.Array) -> pa.Array | None:
    """Return a column of text as lists or structs; None where it is other text, or would not come back exactly."""
    if not pa.types.is_large_string(array.type) or array.null_count == len(array):
        return None
    if not pc.all(pc.match_substring_regex(array, r"^[\[{]")).as_py():
        return None
    texts = array.to_pylist()
    try:
        sample = pa.array([None if text is None else json.loads(text) for text in texts[:_SAMPLE]])
        if not _is_writable(sample.type) or _back(texts[:_SAMPLE], sample.type) is None:
            return None
        return sample if len(texts) <= _SAMPLE else _back(texts, sample.type)
    except _FAULTS:
        return None


def _back(texts: Sequence[str | None], kind: pa.DataType) -> pa.Array | None:
    """Return JSON texts as an array of a type; None where a text is not what the array gives back."""
    array = pa.array([None if text is None else json.loads(text) for text in texts], kind)
    pairs = zip(texts, array.to_pylist(), strict=True)
    return array if all(text is None or text == _json(value) for text, value in pairs) else None


def _is_writable(kind: pa.DataType) -> bool:
    """Return whether Parquet can hold a type: it cannot hold objects without keys."""
    if pa.types.is_struct(kind) and not kind.num_fields:
        return False
    return not pa.types.is_nested(kind) or all(_is_writable(kind.field(i).type) for i in range(kind.num_fields))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
