"""Infer the kind of each column: the payload schema."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.config import Parse
from poison_guard.ingest.cells import LIST_METADATA, MAX_EXACT_INT, NESTED_PATTERN, is_json
from poison_guard.ingest.numbers import TRUTH_PATTERN, ParsedCells, parse_numbers, present_cells
from poison_guard.ingest.times import EARLIEST, LATEST, parse_times

__all__ = [
    "EARLIEST",
    "LATEST",
    "NUMBER_SHARE",
    "ParsedCells",
    "column_kind",
    "parse_numbers",
    "parse_times",
    "payload_schema",
    "present_cells",
]


NUMBER_SHARE = 0.9
"""Share of numbers (or times) from which a text column counts as numbers (or times) with some wrong cells."""
_SCALAR_CHARS = 96
"""Bytes of the longest cell that may be a number or a time: JavaScript writes the zone's name."""
_LOOKED_AT = 100
"""Cells that begin as JSON does and are parsed to say whether a column is JSON: what is none fails at once."""
_PLAIN = Parse()


def payload_schema(
    table: pa.Table, parse: Parse = _PLAIN, numbers: Collection[str] = (), times: Collection[str] = ()
) -> dict[str, str]:
    """Return column name to kind: ``text``, ``number``, ``time``, ``bool``, ``binary``, ``list``, or ``empty``.

    ``empty`` is a column without a single value: it agrees with every kind. `numbers` and `times` name the columns that
    a contract reads as such, by its `parse`: one of `times` that holds times is ``time`` however they are written.
    """
    kinds = {}
    for field in table.schema:
        name, cells = field.name, table[field.name].combine_chunks()
        style = parse if name in numbers else _PLAIN
        kinds[name] = column_kind(cells, nested=field.metadata == LIST_METADATA, parse=style)
        if name in times and kinds[name] in ("number", "text"):
            kinds[name] = "time" if _is_mostly(parse_times(cells, parse)) else kinds[name]
        elif kinds[name] == "time" and pa.types.is_large_string(cells.type) and _is_mostly_digits(cells):
            kinds[name] = "text"  # numbers too long to be exact, which a typed file holds as numbers
        elif kinds[name] == "text" and pa.types.is_large_string(cells.type) and _is_mostly_nested(cells):
            kinds[name] = "list"  # nested in other formats
    return kinds


def _is_mostly_digits(cells: pa.Array) -> bool:
    full = _filled(cells)
    return bool((pc.sum(pc.match_substring_regex(full, r"^[0-9]+$")).as_py() or 0) >= NUMBER_SHARE * len(full))


def _filled(cells: pa.Array) -> pa.Array:
    return cells.filter(pc.fill_null(pc.greater(pc.binary_length(cells), 0), False))


def _is_mostly(parsed: ParsedCells) -> bool:
    return bool(parsed.ok.sum() / max(1, parsed.present.sum()) >= NUMBER_SHARE)


def column_kind(array: pa.Array, *, nested: bool = False, parse: Parse = _PLAIN) -> str:
    """Return the kind of a column of a simple type; `nested`: some cells are JSON text of nested values."""
    types, kind = pa.types, array.type
    if array.null_count == len(array):
        return "empty"
    if nested and not types.is_large_string(kind):
        return "list"
    if types.is_boolean(kind):
        return "bool"
    if types.is_integer(kind):
        ends = pc.min_max(array).as_py()
        return "number" if ends["min"] >= -MAX_EXACT_INT and ends["max"] <= MAX_EXACT_INT else "text"
    if types.is_floating(kind):
        return "number"
    if types.is_timestamp(kind):
        return "time"
    if types.is_large_binary(kind):
        return "binary"
    if nested and _is_mostly_nested(array):
        return "list"
    return _text_kind(array, parse)


def _is_mostly_nested(cells: pa.Array) -> bool:
    """Return whether text is JSON lists and objects, as other formats have them and as CSV writes them."""
    full = _filled(cells)
    begun = pc.match_substring_regex(full, NESTED_PATTERN)
    if not len(full) or (pc.sum(begun).as_py() or 0) < NUMBER_SHARE * len(full):
        return False
    some = full.filter(begun)[:_LOOKED_AT].to_pylist()
    return sum(map(is_json, some)) >= NUMBER_SHARE * len(some)


def _text_kind(array: pa.Array, parse: Parse) -> str:
    """Return the kind of a large_string column: that of nine in ten of its non-empty cells."""
    full = _filled(array)
    if not len(full):
        return "empty"
    short = full.filter(pc.less_equal(pc.binary_length(full), _SCALAR_CHARS))
    if len(short) < NUMBER_SHARE * len(full):
        return "text"
    numbers = parse_numbers(full, parse)
    if _is_mostly(numbers):
        binary = np.isin(numbers.values, (0.0, 1.0)).mean() >= NUMBER_SHARE
        words = (pc.sum(pc.match_substring_regex(full, TRUTH_PATTERN)).as_py() or 0) if binary else 0
        return "bool" if words >= NUMBER_SHARE * len(full) else "number"
    return "time" if _is_mostly(parse_times(full)) else "text"
