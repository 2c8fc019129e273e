"""Turn a pandas frame that a caller hands over into the same few Arrow types that files are read as."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from poison_guard.errors import DataError
from poison_guard.ingest.cells import LIST_KIND, depth_of, from_values, simplify
from poison_guard.ingest.limits import NAME_CHARS, Limits
from poison_guard.ingest.raw import Flag, RawTable

__all__ = ["read_frame"]


def read_frame(frame: pd.DataFrame, limits: Limits) -> RawTable:
    """Return the rows of `frame`, in order, its index left out; `DataError` when it has none or is past the bounds."""
    names = [str(name) for name in frame.columns]
    if not len(frame) or not names:
        raise DataError("the frame has no rows; there is nothing to read")
    for found, key in ((len(frame), "max_rows"), (len(names), "max_columns")):
        if found > getattr(limits, key):
            raise DataError(f"the frame has {found:,} {key[4:]}, more than {key} = {getattr(limits, key):,} in [data]")
    if len(set(names)) < len(names):
        raise DataError(f"the frame names the column {next(n for n in names if names.count(n) > 1)} twice; rename one")
    if any(not n or len(n) > NAME_CHARS for n in names):
        raise DataError(f"the frame has a column name that is empty or longer than {NAME_CHARS} characters; rename it")
    fields: list[pa.Field] = []
    arrays: list[pa.Array] = []
    flags: list[Flag] = []
    for i, name in enumerate(names):
        array, nested, values = _column(frame.iloc[:, i])
        fields.append(pa.field(name, array.type, metadata=LIST_KIND if nested else None))
        arrays.append(array)
        if nested:
            flags += _too_deep(name, values, limits.max_depth)
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
    return RawTable(table, np.arange(1, len(frame) + 1, dtype=np.int64), flags=tuple(flags))


def _column(series: pd.Series) -> tuple[pa.Array, bool, list[Any]]:
    if series.dtype != object:
        try:
            array = pa.array(series, from_pandas=True)
            nested = pa.types.is_nested(array.type)
            array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
            return simplify(array), nested, []
        except (pa.ArrowException, TypeError, ValueError):
            pass
    values = [None if _is_missing(v) else v for v in series.astype(object).tolist()]
    try:
        array, nested = from_values(values)
    except UnicodeEncodeError:
        values = [v.encode("utf-8", "backslashreplace").decode() if isinstance(v, str) else v for v in values]
        array, nested = from_values(values)
    return array, nested, values


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _too_deep(name: str, values: list[Any], limit: int) -> list[Flag]:
    args = {"column": name, "limit": limit}
    deep = (i for i, v in enumerate(values) if isinstance(v, (dict, list)) and depth_of(v, limit) > limit)
    return [Flag(i, "nested_too_deep", args) for i in deep]
