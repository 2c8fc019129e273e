"""Put rows that `explode` took apart together again: one row, with those elements of its list that are exported."""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from poison_guard.steps.written import Rows

__all__ = ["together"]

_LIST = re.compile(r"[^\[\]*?|+&'\"#]+\[\]")
"""A path to one list: names with dots between, and its brackets."""


def together(rows: Rows, keys: Sequence[Hashable], explode: str | None) -> Rows:
    """Return one row for each of the `keys` (where each of `rows` came from), its lists joined in order.

    Rows stay as they are where `explode` names something else than lists at the end of plain paths.
    """
    paths = [part.strip() for part in (explode or "").split(",")]
    if not all(map(_LIST.fullmatch, paths)):
        return rows
    places = [path.removesuffix("[]").split(".") for path in paths]
    found: dict[Hashable, dict[str, Any]] = {}
    for key, row in zip(keys, rows.rows, strict=True):
        if key not in found:
            found[key] = copy.deepcopy(dict(row))
            continue
        for place in places:
            mine, other = _list_at(found[key], place), _list_at(row, place)
            if mine is not None and other is not None:
                mine += other
    whole = list(found.values())
    table = None
    if rows.table is not None:
        with contextlib.suppress(pa.ArrowException, TypeError, ValueError):
            table = pa.Table.from_pylist(whole, schema=rows.table.schema)
    return Rows(whole, table, rows.delimiter, rows.ascii)


def _list_at(row: Mapping[str, Any], place: Sequence[str]) -> list[Any] | None:
    """Return the list at a path of keys; a name with dots may be a column."""
    if ".".join(place) in row:
        value = row[".".join(place)]
    else:
        value = row
        for key in place:
            value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, list) else None
