"""The files of a snapshot: each example under its own columns, and what the guard adds in columns ``guard.NAME``.

A role's text that is an example's own column is written once: the schema's metadata says which column it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.frames import ADDED
from poison_guard.ingest.original import column_of
from poison_guard.store import Lake
from poison_guard.store.snapshots import Part

__all__ = ["part_table", "read_own", "read_part", "record_ids", "reference_table"]

_LEAD = ("example_id", "label", "slice")
_GUARD, _OWN = ADDED, "own."
"""Prefix of the columns that the guard adds; one of an example's own that begins so gets the other in front."""
_METADATA = b"poison_guard"
_REFERENCE = ("record_id", "object", "content_hash")


def part_table(frame: pd.DataFrame, own: pa.Table, columns: Mapping[str, str]) -> pa.Table:
    """Return the table of a part: `frame` has ``example_id, label, slice`` and content, `own` the rows as they came.

    `columns` maps a role to the name of the own column that it was read from.
    """
    arrays = {f"{_GUARD}{name}": pa.array(frame[name].astype("str"), pa.string()) for name in _LEAD}
    own = own.rename_columns([_OWN + name if name.startswith(_GUARD) else name for name in own.column_names])
    arrays |= {name: own[name] for name in own.column_names}
    fields = {field.name: field for field in own.schema}
    content: dict[str, str] = {}
    for name in (name for name in frame.columns if name not in _LEAD):
        source = columns.get(name, name)
        if source in arrays and source not in content.values() and _same(own[source], frame[name]):
            content[name] = source
            continue
        content[name] = _GUARD + name if columns or name in arrays else name
        arrays[content[name]] = _array(frame[name])
    schema = pa.schema(
        [fields.get(name, pa.field(name, array.type)) for name, array in arrays.items()],
        {**(own.schema.metadata or {}), _METADATA: json.dumps({"content": content}).encode()},
    )
    return pa.Table.from_arrays(list(arrays.values()), schema=schema)


def reference_table(frame: pd.DataFrame, records: pd.DataFrame) -> pa.Table:
    """Return the table of a part that copies no content: which row of which file each example is, and its hash."""
    arrays = {f"{_GUARD}{name}": pa.array(frame[name].astype("str"), pa.string()) for name in _LEAD}
    arrays |= {f"{_GUARD}{name}": pa.array(records[name].astype("str"), pa.string()) for name in _REFERENCE}
    arrays[f"{_GUARD}row"] = pa.array(records["row"].astype("int64"))
    return pa.table(arrays).replace_schema_metadata({_METADATA: json.dumps({"content": {}})})


def record_ids(lake: Lake, part: Part) -> pd.DataFrame | None:
    """Return ``example_id, record_id`` of a part that copies no content; None for any other."""
    named = f"{_GUARD}record_id"
    names = [f"{_GUARD}example_id", named]
    table = lake.read_table(part.path, lambda schema: names if named in schema.names else [], sha256=part.sha256)
    return table.rename_columns(["example_id", "record_id"]).to_pandas() if table.num_columns else None


def _array(cells: pd.Series) -> pa.Array:
    """Return content as Arrow: lists (pixels) as lists, so that Parquet keeps their numbers."""
    if cells.dtype == object:
        return column_of([cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in cells])
    array = pa.array(cells, from_pandas=True)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _same(own: pa.ChunkedArray, cells: pd.Series) -> bool:
    """Whether an own column says the very same as a content column."""
    if pa.types.is_string(own.type) or pa.types.is_large_string(own.type):
        if cells.dtype.kind != "O" or cells.dtype == object:
            return False
        mine = own.cast(pa.large_string()).fill_null("").combine_chunks()
        return bool(mine.equals(pa.array(cells.fillna(""), pa.large_string())))
    if cells.dtype.kind != "f" or not (pa.types.is_integer(own.type) or pa.types.is_floating(own.type)):
        return False
    numbers = pc.cast(own, pa.float64(), safe=False).to_numpy()
    return bool(np.array_equal(numbers, cells.to_numpy(np.float64), equal_nan=True))


def read_part(lake: Lake, part: Part, columns: Sequence[str] | None) -> pd.DataFrame:
    """Return ``example_id, label, slice`` and the content of a part, or the given columns of these."""
    names: dict[str, str] = {}

    def pick(schema: pa.Schema) -> list[str] | None:
        told = (schema.metadata or {}).get(_METADATA)
        if told is None:  # sealed by an earlier version: nothing but these columns
            return None if columns is None else list(columns)
        names.update({f"{_GUARD}{name}": name for name in _LEAD})
        names.update({source: name for name, source in json.loads(told)["content"].items()})
        return [source for source, name in names.items() if columns is None or name in columns]

    table = lake.read_table(part.path, pick, sha256=part.sha256)
    return table.rename_columns([names.get(name, name) for name in table.column_names]).to_pandas(ignore_metadata=True)


def read_own(lake: Lake, part: Part) -> pd.DataFrame:
    """Return ``example_id, label, slice`` and the own columns of a part; content under a role where it has no own."""
    table = lake.read_table(part.path, sha256=part.sha256)
    names = [name.removeprefix(_GUARD).removeprefix(_OWN) for name in table.column_names]
    keep = [i for i, name in enumerate(names) if names.index(name) == i]
    frame = table.select(keep).to_pandas(ignore_metadata=True)
    return frame.set_axis([names[i] for i in keep], axis=1)
