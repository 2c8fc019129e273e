"""The payload schema: what kind of thing each column of a feed holds, so that a later run can see it drift."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.ingest.cells import EXACT, LIST_KIND
from poison_guard.ingest.numbers import parse_numbers
from poison_guard.ingest.times import parse_times

__all__ = ["NUMBER_SHARE", "payload_schema"]

NUMBER_SHARE = 0.9
"""Share of a text column's cells from which it is a column of numbers (or times) with some wrong cells."""
_LONGEST = 64
"""Bytes of the longest cell that is tried as a number or a time."""
_TRUTH = r"^(?:true|false|True|False|TRUE|FALSE)$"


def payload_schema(table: pa.Table) -> dict[str, str]:
    """Return column name to kind: ``text``, ``number``, ``time``, ``bool``, ``binary``, ``list``, or ``empty``.

    ``empty`` is a column without a single value: it agrees with every kind.
    """
    return {field.name: _kind(field, table[field.name].combine_chunks()) for field in table.schema}


def _kind(field: pa.Field, array: pa.Array) -> str:
    types, kind = pa.types, field.type
    if array.null_count == len(array):
        return "empty"
    if field.metadata == LIST_KIND:
        return _nested_kind(array)
    if types.is_boolean(kind):
        return "bool"
    if types.is_integer(kind):
        ends = pc.min_max(array).as_py()
        return "number" if ends["min"] >= -EXACT and ends["max"] <= EXACT else "text"
    if types.is_floating(kind):
        return "number"
    if types.is_timestamp(kind):
        return "time"
    return "binary" if types.is_large_binary(kind) else _text_kind(array)


def _nested_kind(array: pa.Array) -> str:
    """Return the kind of a column with nested cells: one of them in a column of text makes it no column of lists."""
    if not pa.types.is_large_string(array.type):
        return "list"
    nested = pc.sum(pc.match_substring_regex(array, r"^[\[{]")).as_py() or 0
    return "list" if nested >= NUMBER_SHARE * (len(array) - array.null_count) else _text_kind(array)


def _text_kind(array: pa.Array) -> str:
    """Return the kind of a large_string column by what nine in ten of its non-empty cells are."""
    full = array.filter(pc.fill_null(pc.greater(pc.binary_length(array), 0), False))
    if not len(full):
        return "empty"
    short = full.filter(pc.less_equal(pc.binary_length(full), _LONGEST))
    if len(short) < NUMBER_SHARE * len(full):
        return "text"
    numbers = parse_numbers(full)
    if numbers.share >= NUMBER_SHARE:
        binary = np.isin(numbers.values, (0.0, 1.0)).mean() >= NUMBER_SHARE
        words = (pc.sum(pc.match_substring_regex(full, _TRUTH)).as_py() or 0) if binary else 0
        return "bool" if words >= NUMBER_SHARE * len(full) else "number"
    return "time" if parse_times(full).share >= NUMBER_SHARE else "text"
