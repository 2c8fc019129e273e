"""Give the rows of an object the columns that its folders name: ``lake/dt=2026-11-01/region=eu/part-0.parquet``."""

from __future__ import annotations

import dataclasses
import re
from pathlib import PurePosixPath
from urllib.parse import unquote

import pyarrow as pa

from poison_guard.ingest.raw_table import NAME_CHARS, RawTable

__all__ = ["folder_columns", "with_folder_columns"]

_NAMED = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)
_MISSING = frozenset(("__HIVE_DEFAULT_PARTITION__", ""))


def folder_columns(uri: str) -> dict[str, str | None]:
    """Return the columns of the folders of an object, outermost first; None is a missing value.

    >>> folder_columns("lake/dt=2026-11-01/region=New%20York/part-0.parquet")
    {'dt': '2026-11-01', 'region': 'New York'}
    """
    found: dict[str, str | None] = {}
    for folder in PurePosixPath(re.split(r"[?#]", uri)[0] if "://" in uri else uri).parts[:-1]:
        match = _NAMED.fullmatch(folder)
        if match and len(match[1]) <= NAME_CHARS and (value := unquote(match[2])).isprintable():
            found[match[1]] = None if value in _MISSING else value
    return found


def with_folder_columns(raw: RawTable, uri: str) -> RawTable:
    """Return the rows with a column of text for each folder ``NAME=VALUE``; one that the object has itself is kept."""
    columns = {name: value for name, value in folder_columns(uri).items() if name not in raw.table.column_names}
    if not columns or not raw.table.num_columns:
        return raw
    table = raw.table
    for name, value in columns.items():
        table = table.append_column(name, pa.repeat(pa.scalar(value, pa.large_string()), table.num_rows))
    return dataclasses.replace(raw, table=table)
