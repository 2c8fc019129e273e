"""Describe the columns of a file: kind, nulls, distinct values and range of each; and notice a header that is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from poison_guard.ingest.collect import series_to_array
from poison_guard.ingest.numbers import are_names
from poison_guard.ingest.parsing import column_kind, parse_numbers
from poison_guard.text import visible

__all__ = ["ColumnProfile", "blank_as_missing", "describe_columns", "epoch_unit", "header_doubt", "snake_case"]


_NUMBERED = 20
"""Rows from which on numbers of which none is twice and none left out do not come about by chance."""
_EPOCHS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_EPOCH_RANGE = (946_684_800.0, 4_102_444_800.0)
"""Seconds from 2000-01-01 to 2100-01-01."""


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column of a raw frame, described."""

    name: str
    snake_name: str
    """The name in snake case: ``createdAtMillis`` is ``created_at_millis``."""
    kind: str
    """Kind in the payload schema: ``number``, ``time``, ``bool``, ``text``, ``list``, ``binary`` or ``empty``."""
    rows: int
    nulls: int
    distinct: int
    integers: bool = False
    """Numbers without a fraction."""
    epoch: str | None = None
    """Unit (s, ms, us, ns) when all numbers are times between 2000 and 2100 in it."""
    low: float = 0.0
    high: float = 0.0
    chars: float = 0.0
    """Mean length of the cells, for text."""
    words: bool = True
    """Whether half of the cells hold a blank or a letter beyond ASCII: hashes and addresses do not."""

    @property
    def unique(self) -> bool:
        """Whether no two rows share a value, and every row has one."""
        return self.rows > 0 and self.nulls == 0 and self.distinct == self.rows

    @property
    def constant(self) -> bool:
        """Whether all rows have the same value."""
        return self.distinct <= 1

    @property
    def counts_up(self) -> bool:
        """Whether the values number the rows: whole numbers, none of them twice and none left out."""
        every = self.high - self.low + 1 == self.distinct == self.rows - self.nulls
        return self.integers and every and self.distinct >= _NUMBERED

    @property
    def may_be_id(self) -> bool:
        """Whether the values can name something: short text or whole numbers."""
        return (self.kind == "text" and self.chars <= 80) or (self.kind == "number" and self.integers)

    @property
    def is_closed_list(self) -> bool:
        """Whether the values look like a closed list: at most 20, each on five rows on average."""
        return 1 <= self.distinct <= 20 and self.rows - self.nulls >= 5 * self.distinct and self.chars <= 60


def describe_columns(frame: pd.DataFrame) -> list[ColumnProfile]:
    """Return one `ColumnProfile` per column of `frame`, in its order."""
    return [_describe(str(name), blank_as_missing(frame[name])) for name in frame.columns]


def blank_as_missing(cells: pd.Series) -> pd.Series:
    """Return the cells with empty text as missing, which is what it means in CSV."""
    if pd.api.types.is_string_dtype(cells.dtype) and cells.dtype != object:
        return cells.mask(cells.str.strip() == "")
    return cells


def epoch_unit(numbers: np.ndarray) -> str | None:
    """Return the unit in which all (finite) numbers are times between 2000 and 2100; None if there is no such unit.

    >>> epoch_unit(np.array([1763385772090.0]))
    'ms'
    """
    if numbers.size == 0:
        return None
    low, high = _EPOCH_RANGE
    return next((u for u, k in _EPOCHS.items() if numbers.min() >= low * k and numbers.max() <= high * k), None)


def snake_case(name: str) -> str:
    """Return a column name in snake case.

    >>> snake_case("createdAtMillis"), snake_case("COMMENT_ID"), snake_case("userID"), snake_case("Model version")
    ('created_at_millis', 'comment_id', 'user_id', 'model_version')
    """
    parted = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name[:200])
    return re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_")


def _describe(name: str, cells: pd.Series) -> ColumnProfile:
    present = cells.dropna()
    array, nested, _ = series_to_array(present)
    kind = column_kind(array, nested=nested)
    if kind == "number" and pa.types.is_large_string(array.type) and are_names(array):
        kind = "text"
    keys = present.map(lambda cell: str(cell)[:1000]) if kind in ("list", "binary") else present
    facts: dict[str, Any] = {}
    if kind == "number":
        facts = _number_facts(array)
    elif kind in ("text", "list"):
        text = keys.astype(str)
        facts = {
            "chars": float(text.str.len().mean()),
            "words": bool(text.str.contains(r"[\s\u0080-\U0010ffff]").mean() >= 0.5),
        }
    return ColumnProfile(
        name=name, snake_name=snake_case(name), kind=kind, rows=len(cells), nulls=int(cells.isna().sum()),
        distinct=int(keys.nunique()), **facts,
    )  # fmt: skip


def _number_facts(array: pa.Array) -> dict[str, Any]:
    parsed = parse_numbers(array)
    numbers = parsed.values[np.isfinite(parsed.values)]  # noqa: PD011  a NumPy array
    if numbers.size == 0:
        return {}
    return {
        "integers": bool((numbers == np.floor(numbers)).all()),
        "epoch": epoch_unit(numbers),
        "low": float(numbers.min()),
        "high": float(numbers.max()),
    }


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
