"""Convert whatever a cell may hold to one of few Arrow types; the rest of the package handles only these."""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.text import number_text

__all__ = [
    "BLOCK_CELLS",
    "BLOCK_CHARS",
    "BLOCK_ROWS",
    "LIST_METADATA",
    "MAX_EXACT_INT",
    "NAIVE_METADATA",
    "NESTED_PATTERN",
    "TIME_TYPE",
    "array_from_values",
    "as_text",
    "byte_text",
    "field_metadata",
    "in_micros",
    "is_json",
    "is_uuid",
    "join_tables",
    "simple_type",
    "simplify",
    "sorted_json",
]


TIME_TYPE = pa.timestamp("us", tz="UTC")
LIST_METADATA = {b"kind": b"list"}
"""Field metadata of a column whose cells are JSON text of nested values."""
NAIVE_METADATA = {b"kind": b"naive"}
"""Field metadata of a column of timestamps (or days) that name no zone."""
MAX_EXACT_INT = 2**53 - 1
"""Largest whole number to which no other rounds in float64."""
_EXACT_DIGITS = 15
"""Decimal digits that float64 tells apart; longer decimals are read as their text."""
NESTED_PATTERN = r"^\s*[\[{]"
"""What the text of a list or an object begins with."""
_LOOSE = re.compile(r"\{|[\[,:]\s|\s[\],]|\.0[,\]]|\d[eE]")
"""What JSON text may have that is written otherwise elsewhere: objects, blanks, whole numbers with a fraction."""
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}


def simple_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that a column of Arrow type `kind` is read as; `simplify` converts to it."""
    types = pa.types
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return simple_type(kind.value_type)
    table: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
        (types.is_null, pa.null()),
        (types.is_boolean, pa.bool_()),
        (types.is_uint64, pa.large_string()),
        (types.is_integer, pa.int64()),
        (types.is_floating, pa.float64()),
        (lambda kind: types.is_decimal(kind) and kind.precision <= _EXACT_DIGITS, pa.float64()),
        (types.is_timestamp, TIME_TYPE),
        (types.is_date, TIME_TYPE),
        (_is_bytes, pa.large_binary()),
    )
    return next((simple for test, simple in table if test(kind)), pa.large_string())


def field_metadata(kind: pa.DataType) -> dict[bytes, bytes] | None:
    """Return the metadata that a column of Arrow type `kind` keeps when it is read as its simple type."""
    if pa.types.is_nested(kind):
        return LIST_METADATA
    naive = pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None)
    return NAIVE_METADATA if naive else None


def simplify(array: pa.Array) -> pa.Array:
    """Return `array` as its `simple_type`; values are kept, nested ones become JSON text.

    Raises `UnicodeDecodeError` when text inside a nested value is not UTF-8.
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        return simplify(array.dictionary_decode())
    if pa.types.is_run_end_encoded(kind):
        return simplify(pc.run_end_decode(array))
    goal = simple_type(kind)
    if kind == goal:
        return array
    if goal == TIME_TYPE:
        return _as_time(array)
    return _as_string(array) if pa.types.is_large_string(goal) else array.cast(goal)


def array_from_values(values: Sequence[Any]) -> tuple[pa.Array, bool]:
    """Return Python `values` as one array of a simple type, and whether any was nested (then all are text).

    Values of one kind keep it; values of several become text. Raises
    `UnicodeEncodeError` when a string holds half a surrogate pair.
    """
    kinds = set(map(type, values))
    kinds.discard(type(None))
    if dict in kinds or list in kinds or tuple in kinds or np.ndarray in kinds:
        return pa.array([_json_text(v) for v in values], pa.large_string()), True
    return _scalar_array(values, kinds), False


def _scalar_array(values: Sequence[Any], kinds: set[type]) -> pa.Array:
    if not kinds:
        return pa.nulls(len(values))
    for group, goal in (({str}, pa.large_string()), ({bool}, pa.bool_()), ({bytes}, pa.large_binary())):
        if kinds <= group:
            return pa.array(values, goal)
    if kinds <= {int} and all(v is None or -(2**63) <= v < 2**63 for v in values):
        return pa.array(values, pa.int64())
    if kinds <= {int, float} and all(type(v) is not int or abs(v) <= MAX_EXACT_INT for v in values):
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    if all(issubclass(k, dt.date) for k in kinds):
        return pa.array([_utc_datetime(v) for v in values], TIME_TYPE)
    return pa.array([_plain_text(v) for v in values], pa.large_string())


def as_text(array: pa.Array) -> pa.Array:
    """Return an array of a simple type as large_string: ``4.0`` is ``4``, truth is ``true`` or ``false``, times ISO.

    Bytes that are not UTF-8 become null; compare null masks to find them.
    """
    kind = array.type
    if pa.types.is_large_string(kind):
        return array
    if pa.types.is_floating(kind):
        unique, inverse = np.unique(array.to_numpy(zero_copy_only=False), return_inverse=True)
        texts = pa.array([None if math.isnan(v) else number_text(float(v)) for v in unique], pa.large_string())
        return texts.take(pa.array(inverse.astype(np.int64)))
    if pa.types.is_large_binary(kind):
        return pa.array([_utf8(v) for v in array.to_pylist()], pa.large_string())
    return array.cast(pa.string()).cast(pa.large_string())


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def _as_string(array: pa.Array) -> pa.Array:
    """Return strings and numbers too wide for float64 as text, everything else as JSON text."""
    kind, types = array.type, pa.types
    if types.is_decimal(kind):
        whole = pc.replace_substring_regex(array.cast(pa.string()), r"^(-?\d+)\.0+$", r"\1")
        return pc.replace_substring_regex(whole, r"(\.\d*[1-9])0+$", r"\1").cast(pa.large_string())
    if types.is_string(kind) or types.is_string_view(kind) or types.is_uint64(kind):
        return array.cast(pa.string()).cast(pa.large_string())
    return pa.array([_json_text(v) for v in array.cast(in_micros(kind), safe=False).to_pylist()], pa.large_string())


def in_micros(kind: pa.DataType) -> pa.DataType:
    """Return a type with microseconds for nanoseconds, also inside lists and structs: Python's times hold no more."""
    types = pa.types
    if types.is_struct(kind):
        return pa.struct([pa.field(f.name, in_micros(f.type), f.nullable) for f in kind])
    if types.is_map(kind):
        return pa.map_(in_micros(kind.key_type), in_micros(kind.item_type))
    if types.is_list(kind) or types.is_large_list(kind):
        return (pa.list_ if types.is_list(kind) else pa.large_list)(in_micros(kind.value_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(in_micros(kind.value_type), kind.list_size)
    if getattr(kind, "unit", None) != "ns":
        return kind
    if types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.time64("us") if types.is_time(kind) else pa.duration("us")


def _as_time(array: pa.Array) -> pa.Array:
    """Return microseconds of any time unit; values beyond int64 become its ends, which are not valid times."""
    if pa.types.is_date(array.type):
        array = array.cast(pa.date32()).cast(pa.timestamp("s"))
    values = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    if array.type.unit == "ns":
        values = values // 1_000
    else:
        factor = 1_000_000 // _PER_SECOND[array.type.unit]
        values = np.clip(values, -(2**62) // factor, 2**62 // factor) * factor
    return pa.array(values, mask=np.asarray(array.is_null())).cast(pa.timestamp("us")).cast(TIME_TYPE)


def _utf8(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _utc_datetime(value: dt.date | None) -> dt.datetime | None:
    """Return a date or time as an aware datetime; pandas' missing time becomes None."""
    if value is None or value != value:
        return None
    if not isinstance(value, dt.datetime):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    return value if value.tzinfo else value.replace(tzinfo=dt.UTC)


def _plain_text(value: Any) -> str | None:
    match value:
        case None:
            return None
        case str():
            return value
        case bool() | np.bool_():
            return "true" if value else "false"
        case int() | float():
            return None if value != value else number_text(value)  # NaN is missing
        case np.generic():
            return _plain_text(value.item())
        case bytes():
            return byte_text(value)
        case dt.date() | dt.time():
            return None if value != value else value.isoformat()  # pandas' missing time
        case _:
            text = str(value)
            return None if text in ("NaT", "<NA>", "nan") else text


def sorted_json(text: pa.Array) -> pa.Array:
    """Return text in which cells that are JSON lists or objects that say the same are the same text.

    Keys are sorted, and one without a value is as good as none; ``1.0`` is 1. Each cell is judged by itself.
    """
    nested = pc.fill_null(pc.match_substring_regex(text, NESTED_PATTERN), False)
    if not pc.any(nested).as_py():
        return text
    cells = [_sorted_json(cell) for cell in text.filter(nested).to_pylist()]
    return pc.replace_with_mask(text, nested, pa.array(cells, pa.large_string()))


def byte_text(value: bytes) -> str:
    """Return bytes as a text format holds them: the UUID of 16 bytes, the text of printable UTF-8, else base64."""
    if is_uuid(value):
        return str(uuid.UUID(bytes=value))
    text = _utf8(value)
    printable = text is not None and (text.isprintable() or "".join(text.split()).isprintable())
    return text if text is not None and printable else base64.b64encode(value).decode()


def is_uuid(value: bytes | None) -> bool:
    """Return whether bytes are the 16 of a UUID: no printable ASCII."""
    return value is not None and len(value) == 16 and not (value.isascii() and value.decode("ascii").isprintable())


def is_json(text: str) -> bool:
    """Return whether a text is JSON."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _sorted_json(text: str) -> str:
    if not _LOOSE.search(text):
        return text
    try:
        value = json.loads(
            text,
            parse_float=_whole if ".0" in text else None,  # a function for each costs as much as all else
            object_hook=_without_nulls if "null" in text else None,
        )
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError, UnicodeEncodeError):  # text that only begins so
        return text


def _without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    return {key: each for key, each in value.items() if each is not None}


def _whole(text: str) -> float | int:
    value = float(text)
    return int(value) if value.is_integer() and abs(value) <= MAX_EXACT_INT else value


def _json_text(value: Any) -> str | None:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, (dict, list, tuple)):
        return _plain_text(value)
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain_text)
    except (TypeError, ValueError):  # keys that JSON cannot have, or a container inside itself
        return repr(value)


BLOCK_ROWS = 20_000
BLOCK_CELLS = 1_000_000
BLOCK_CHARS = 4_000_000
"""Rows, cells and characters that are held as Python objects before they become Arrow columns."""


def join_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of all `tables` under the union of their columns, in order of first sight.

    A column of several types becomes number or text.
    """
    if len(tables) == 1:
        return tables[0]
    marks = {f.name: f.metadata for mark in (NAIVE_METADATA, LIST_METADATA) for t in tables for f in t.schema
             if f.metadata == mark}  # fmt: skip
    fields: list[pa.Field] = []
    columns: list[pa.ChunkedArray] = []
    for name in dict.fromkeys(n for t in tables for n in t.column_names):
        blocks = [c for t in tables for c in (t[name].chunks if name in t.column_names else [pa.nulls(t.num_rows)])]
        filled = [block for block in blocks if len(block)]
        types = {block.type for block in filled} - {pa.null()}
        goal = types.pop() if len(types) == 1 else _common_type(types, filled) if types else pa.null()
        parts = [block if block.type == goal else _convert_block(block, goal) for block in filled]
        columns.append(pa.chunked_array(parts, goal))
        fields.append(pa.field(name, goal, metadata=marks.get(name)))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _common_type(kinds: set[pa.DataType], parts: Sequence[pa.Array]) -> pa.DataType:
    """Return the type for columns of several types: float64 for numbers that it holds exactly, else text."""
    integers = [p for p in parts if pa.types.is_int64(p.type)]
    if kinds <= {pa.int64(), pa.float64()} and all(_is_exact(p) for p in integers):
        return pa.float64()
    return pa.large_string()


def _is_exact(array: pa.Array) -> bool:
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    return bool(np.all((values >= -MAX_EXACT_INT) & (values <= MAX_EXACT_INT)))


def _convert_block(array: pa.Array, goal: pa.DataType) -> pa.Array:
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), goal)
    return as_text(array) if pa.types.is_large_string(goal) else pc.cast(array, goal)
