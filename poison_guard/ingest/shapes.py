"""Say how the rows of a file looked: names, order and types of their cells; few shapes a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from poison_guard.ingest.cells import LIST_METADATA

__all__ = ["Cell", "JsonShapes", "Shape", "column_shape"]

MAX_SHAPES = 20_000
"""Shapes of one object; rows past them are shown by their columns in order, a missing cell as null."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a row: its name, type and where the record holds it.

    Types of JSON: ``s`` text, ``i`` ``f`` numbers, ``b`` truth, ``j`` nested, ``n`` null; ``t``: a cell of CSV. Of
    columns that may hold nulls: ``S`` ``I`` ``F`` ``B`` ``J``, ``D`` a time, ``Y`` bytes.
    """

    name: str
    kind: str
    column: str = ""
    """Column of the records frame; empty where the record does not keep the cell."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a row looked in its file."""

    format: str
    """``jsonl``, ``csv``, ``parquet`` or ``frame``."""
    cells: tuple[Cell, ...]
    detail: str = ""
    """Of CSV the delimiter, of Parquet the Arrow schema (base64), of JSON ``ascii`` where letters are escaped."""
    private: tuple[str, ...] = ()
    """Columns of the record that are masked where it is shown."""

    def text(self) -> str:
        """Return the shape as JSON."""
        cells = [[cell.name, cell.kind, cell.column] for cell in self.cells]
        told = [self.format, self.detail, cells, *([self.private] if self.private else [])]
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def read(cls, text: str) -> Shape:
        """Return the shape that `text` says."""
        form, detail, cells, *private = json.loads(text)
        return cls(form, tuple(Cell(*cell) for cell in cells), detail, tuple(private[0]) if private else ())


_JSON_KINDS: Mapping[type, str] = {
    str: "s", bool: "b", int: "i", float: "f", type(None): "n", dict: "j", list: "j", tuple: "j",
}  # fmt: skip


class JsonShapes:
    """The shapes of the objects of one JSON file, numbered by first sight."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], int] = {}
        self._texts: list[str] = []
        self._ascii: bool | None = None

    def add(self, row: Mapping[str, Any], text: str) -> int:
        """Return the number of the shape of a parsed `row`; -1 where there are too many."""
        key = (*row, *map(type, row.values()))
        number = self._known.get(key)
        if number is None:
            if len(self._texts) >= MAX_SHAPES:
                return -1
            if self._ascii is None:
                self._ascii = text.isascii() and "\\u" in text
            cells = tuple(Cell(name, _JSON_KINDS.get(type(value), "s")) for name, value in row.items())
            number = self._known[key] = len(self._texts)
            self._texts.append(Shape("jsonl", cells, "ascii" if self._ascii else "").text())
        return number

    def texts(self) -> list[str]:
        """Return the shapes as JSON, by number."""
        return self._texts


def column_shape(form: str, schema: pa.Schema, detail: str = "") -> str:
    """Return the one shape of all rows of a table of simple types, as JSON."""
    cells = [Cell(field.name, "t" if form == "csv" else _column_kind(field)) for field in schema]
    return Shape(form, tuple(cells), detail).text()


def _column_kind(field: pa.Field) -> str:
    types, kind = pa.types, field.type
    if field.metadata == LIST_METADATA:
        return "J"
    tests = (
        (types.is_boolean, "B"), (types.is_integer, "I"), (types.is_floating, "F"), (types.is_timestamp, "D"),
        (types.is_large_binary, "Y"),
    )  # fmt: skip
    return next((letter for test, letter in tests if test(kind)), "S")
