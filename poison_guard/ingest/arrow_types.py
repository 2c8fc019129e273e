"""Turn cells that were read as a simple type back into the Arrow type of their file, exactly.

What cannot be turned back is kept beside its cell: times as their number of nanoseconds, others as Arrow's own bytes.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import decimal
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.ingest.cells import simple_type

__all__ = ["EXACT", "array_of", "is_exact", "kept_exactly", "read_schema", "schema_text"]

_COUNT, _BYTES = "\0n", "\0x"
EXACT = (_COUNT, _BYTES)
"""What the text of a cell begins with that is a number of its type's units (of nanoseconds), or Arrow's own bytes
(base64 of a record batch of one row)."""
_MOST_SCHEMA = 65_536


def schema_text(schema: pa.Schema) -> str:
    """Return a schema as text; metadata that makes it very long is left out."""
    if schema.serialize().size > _MOST_SCHEMA:
        schema = pa.schema([field.remove_metadata() for field in schema])
    return base64.b64encode(schema.serialize()).decode()


def read_schema(text: str) -> pa.Schema:
    """Return the schema that `text` says."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def is_exact(kind: pa.DataType) -> bool:
    """Return whether every value of a type survives being read as its simple type."""
    types = pa.types
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return is_exact(kind.value_type)
    if types.is_timestamp(kind):
        return bool(kind.unit == "us")
    if types.is_list(kind) or types.is_large_list(kind):
        return is_exact(kind.value_type) and not types.is_null(kind.value_type) and not _is_coarse(kind.value_type)
    if types.is_struct(kind):
        return kind.num_fields > 0 and all(is_exact(f.type) and not _is_coarse(f.type) for f in kind)
    tests: tuple[Callable[[pa.DataType], bool], ...] = (
        types.is_null, types.is_boolean, types.is_integer, types.is_float32, types.is_float64, types.is_string,
        types.is_large_string, types.is_binary, types.is_large_binary, types.is_date32,
    )  # fmt: skip
    return any(test(kind) for test in tests)


def _is_coarse(kind: pa.DataType) -> bool:
    """Whether a value that is whole at the top is not inside JSON text."""
    types = pa.types
    return bool(
        types.is_timestamp(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_date(kind)
        or types.is_dictionary(kind)
        or types.is_run_end_encoded(kind)
    )


def kept_exactly(column: pa.Array, simple: pa.Array) -> pa.Array:
    """Return, as text that `array_of` reads, the cells of `column` that its `simple` form does not give back."""
    kind = column.type
    odd = _is_odd_time(column) if pa.types.is_timestamp(kind) else _is_other(column, simple)
    odd &= np.asarray(column.is_valid())
    if not odd.any():
        return pa.nulls(len(column), pa.large_string())
    if _has_counts(kind):
        counts = pc.binary_join_element_wise(_COUNT, column.cast(_count_type(kind)).cast(pa.string()), "")
        return pc.if_else(pa.array(odd), counts, None).cast(pa.large_string())
    texts = [_BYTES + base64.b64encode(_row(column, i)).decode() if odd[i] else None for i in range(len(column))]
    return pa.array(texts, pa.large_string())


def _is_odd_time(column: pa.Array) -> np.ndarray:
    """Return which times are no whole microseconds, or past what those can say."""
    counts = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    steps = {"s": 1_000_000, "ms": 1_000}.get(column.type.unit)
    return np.abs(counts) > 2**62 // steps if steps else counts % 1_000 != 0


def _is_other(column: pa.Array, simple: pa.Array) -> np.ndarray:
    """Return which cells are others once they were read as their simple type and turned back."""
    again: pa.Array | None = None
    with contextlib.suppress(pa.ArrowException, TypeError, ValueError, OverflowError, decimal.InvalidOperation):
        again = array_of(simple.to_pylist(), column.type)
    if again is None or again.equals(column):
        return np.full(len(column), again is None)
    return np.array([not again.slice(i, 1).equals(column.slice(i, 1)) for i in range(len(column))])


def _has_counts(kind: pa.DataType) -> bool:
    """Return whether a value of a type is a number of units: of nanoseconds, of days."""
    return bool(pa.types.is_temporal(kind) and not pa.types.is_interval(kind))


def _count_type(kind: pa.DataType) -> pa.DataType:
    return pa.int32() if kind.bit_width == 32 else pa.int64()


def _row(column: pa.Array, i: int) -> bytes:
    one = pa.concat_arrays([column.slice(i, 1)])
    return bytes(pa.RecordBatch.from_arrays([one], ["x"]).serialize())


def array_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return plain values of a simple type (nested ones as text or as parsed) as an array of the type `kind`.

    A text that begins with one of `EXACT` stands for the value that `kept_exactly` wrote.
    """
    own = {mark: [i for i, v in enumerate(values) if isinstance(v, str) and v.startswith(mark)] for mark in EXACT}
    if not any(own.values()):
        return _array_of(values, kind)
    rest = list(values)
    order = [i for found in own.values() for i in found]
    for i in order:
        rest[i] = None
    base = pa.nulls(len(rest), kind) if all(value is None for value in rest) else _array_of(rest, kind)
    schema = pa.schema([pa.field("x", kind)])
    parts = [base]
    if own[_COUNT]:
        parts.append(pa.array([int(values[i][2:]) for i in own[_COUNT]], _count_type(kind)).cast(kind))
    for i in own[_BYTES]:
        body = base64.b64decode(values[i][2:])
        parts.append(pa.ipc.read_record_batch(pa.py_buffer(body), schema).column(0))
    at = np.arange(len(values))
    at[order] = len(values) + np.arange(len(order))
    return pa.concat_arrays(parts).take(pa.array(at))


def _array_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    types = pa.types
    if types.is_dictionary(kind):
        return _array_of(values, kind.value_type).dictionary_encode().cast(kind)
    if types.is_run_end_encoded(kind):
        return pc.run_end_encode(_array_of(values, kind.value_type), kind.run_end_type)
    if types.is_nested(kind):
        return pa.array([_nested(json.loads(v) if isinstance(v, str) else v, kind) for v in values], kind)
    if types.is_decimal(kind) or types.is_time(kind):
        return pa.array([_nested(value, kind) for value in values], kind)
    if types.is_temporal(kind) and not types.is_duration(kind):
        import pandas as pd  # never in the process that reads files

        times = [None if value is None else pd.Timestamp(value) for value in values]
        micros = pa.array(times, pa.timestamp("us", "UTC")).cast(pa.int64())
        return micros.cast(pa.timestamp("us")).cast(pa.timestamp("us", getattr(kind, "tz", None))).cast(kind)
    return pa.array(values, simple_type(kind)).cast(kind)


def _nested(value: Any, kind: pa.DataType) -> Any:
    """Return a value of JSON as Python holds one of the type `kind`."""
    types = pa.types
    if value is None:
        return None
    if types.is_struct(kind):
        return {field.name: _nested(value.get(field.name), field.type) for field in kind}
    if types.is_map(kind):
        return [(_nested(k, kind.key_type), _nested(v, kind.item_type)) for k, v in value]
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return [_nested(each, kind.value_type) for each in value]
    if types.is_decimal(kind):
        return decimal.Decimal(str(value))
    if types.is_timestamp(kind):
        return dt.datetime.fromisoformat(value) if isinstance(value, str) else value
    if types.is_date(kind):
        return dt.date.fromisoformat(value)
    if types.is_time(kind):
        return dt.time.fromisoformat(value) if isinstance(value, str) else value
    if types.is_binary(kind) or types.is_large_binary(kind):
        return value.encode()
    return value
