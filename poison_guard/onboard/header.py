"""Notice a CSV file without a header: its first row looks like the rows below it."""

from __future__ import annotations

import re

import pandas as pd
import pyarrow as pa

__all__ = ["header_doubt"]

_TYPED = {
    "a number": re.compile(r"[+-]?(?:[0-9]+(?:[.,][0-9]+)*|[.][0-9]+)(?:[eE][+-]?[0-9]+)?"),
    "a time": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9:.,+Z -]+)?|[0-9]{1,2}[/.][0-9]{1,2}[/.][0-9]{2,4}.*"),
    "an id": re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{24,64}"),
    "an address": re.compile(r"[^@\s]+@[^@\s]+\.[a-z]+|https?://\S+|[0-9]{1,3}(?:\.[0-9]{1,3}){3}"),
}
_SHARE = 0.9
_SHOWN = 3


def header_doubt(table: pa.Table) -> str | None:
    """Return why the names of the columns look like a record, in words; None where they look like names.

    `table` holds the cells of a CSV file as text. A name speaks against a header if it is a number, a time, an id or an
    address as nine in ten cells below it are, or if it stands in its column again. A column of such cells below another
    name shows that there is a header, and so does a row that is the header once more.
    """
    found: list[str] = []
    again = []
    for name in table.column_names:
        cells = pd.Series(table[name].to_pandas(), dtype=object).dropna().astype(str).str.strip()
        cells = cells[cells != ""].head(1_000)
        kind = next((kind for kind, regex in _TYPED.items() if _share(cells, regex) >= _SHARE), None)
        if kind is not None and _TYPED[kind].fullmatch(name):
            found.append(f"{name!r} is {kind} like the cells below it")
        elif kind is not None:
            return None
        elif (cells == name).any():
            again.append(name)
    if again and _repeats_header(table):
        return None
    found += [f"{name!r} stands in its column again" for name in again]
    return "; ".join(found[:_SHOWN]) if found else None


def _share(cells: pd.Series, regex: re.Pattern[str]) -> float:
    return float(cells.map(lambda cell: regex.fullmatch(cell) is not None).mean()) if len(cells) else 0.0


def _repeats_header(table: pa.Table) -> bool:
    """Return whether a row holds the names of all columns: files with headers put one behind the other."""
    rows = table.to_pandas().astype(str)
    return bool((rows == pd.Series(table.column_names, index=rows.columns)).all(axis=1).any())
