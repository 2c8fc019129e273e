"""Notice a CSV file without a header: its first row looks like the rows below it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.text import visible

__all__ = ["header_doubt"]

_TYPED = {
    "a number": re.compile(r"[+-]?(?:[0-9]+(?:[.,][0-9]+)*|[.][0-9]+)(?:[eE][+-]?[0-9]+)?"),
    "a time": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9:.,+Z -]+)?|[0-9]{1,2}[/.][0-9]{1,2}[/.][0-9]{2,4}.*"),
    "an id": re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{24,64}"),
    "an address": re.compile(r"[^@\s]+@[^@\s]+\.[a-z]+|https?://\S+|[0-9]{1,3}(?:\.[0-9]{1,3}){3}"),
}
_SHARE = 0.9
_SHOWN, _ROWS = 3, 1_000


def header_doubt(names: Sequence[str], table: pa.Table) -> str | None:
    """Return why the first row of a CSV file looks like a record, in words; None where it looks like names.

    `names` are its cells, and `table` holds those below as text. A name speaks against a header if it is a number, a
    time, an id or an address as nine in ten cells below it are, or if it stands in its column again. A column of such
    cells below another name shows that there is a header, and so does a row that is the header once more. Numbers that
    count up are names: years, or those that pandas gives.
    """
    found: list[str] = []
    again: list[str] = []
    numbers: list[int] = []
    for name, column in zip(names, table.columns, strict=True):
        cells = pd.Series(column.to_pandas(), dtype=object).dropna().astype(str).str.strip()
        cells = cells[cells != ""].head(_ROWS)
        kind = next((kind for kind, regex in _TYPED.items() if _share(cells, regex) >= _SHARE), None)
        if kind is not None and _TYPED[kind].fullmatch(name):
            found.append(f"{name!r} is {kind} like the cells below it")
            numbers += [int(name)] if name.isdecimal() else []
        elif kind is not None:
            return None
        elif name and (cells == name).any():
            again.append(name)
    if (again and _repeats_header(names, table)) or (len(numbers) > 1 and set(np.diff(numbers)) == {1}):
        return None
    found += [f"{name!r} stands in its column again" for name in again]
    return "; ".join(visible(why, limit=80) for why in found[:_SHOWN]) if found else None


def _share(cells: pd.Series, regex: re.Pattern[str]) -> float:
    return float(cells.map(lambda cell: regex.fullmatch(cell) is not None).mean()) if len(cells) else 0.0


def _repeats_header(names: Sequence[str], table: pa.Table) -> bool:
    """Return whether a row holds the names of all columns: files with headers put one behind the other."""
    columns = zip(names, table.columns, strict=True)
    same = [np.asarray(pc.fill_null(pc.equal(column.cast(pa.large_string()), name), False)) for name, column in columns]
    return bool(np.logical_and.reduce(same).any())
