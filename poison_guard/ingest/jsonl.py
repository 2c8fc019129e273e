"""Read a JSON file of records, wherever in it they are; a record that is not an object is listed with its number."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from poison_guard.ingest.blocks import Blocks
from poison_guard.ingest.cells import BLOCK_CELLS, BLOCK_CHARS, BLOCK_ROWS, LIST_METADATA, array_from_values
from poison_guard.ingest.json_text import BrokenJson, Records, find_records, records_of
from poison_guard.ingest.lines import LineTooLong, open_lines
from poison_guard.ingest.raw_table import HIDDEN, NAME_CHARS, Limits, Unreadable, nesting_depth
from poison_guard.ingest.shapes import JsonShapes

__all__ = ["read_jsonl"]

_COUNTED_NAMES = 100_000
_ANY = 256
"""Columns that an object may have whatever its rows are like; more, only where most rows have them."""
_NOT_UNICODE = "it holds text that is not valid Unicode"
_TOO_LARGE = "reading it takes too much memory"


Row = tuple[int, str, dict[str, Any]]
"""Line number, text and object."""


def read_jsonl(path: Path, limits: Limits, out: Blocks) -> None:
    """Put the rows of a JSON file into `out`; gzipped or not.

    It holds an object a line, one array, objects one after another, or one object with a list of records in it.
    Keys that a row lacks are missing. If the rows have more keys than ``max_columns``, or than so many rows of so few
    bytes may have, those of ``out.keep`` and the most frequent others become columns, past `_ANY` only those that at
    least half of the rows have; rows with any other key are unreadable: a hostile row cannot widen the table.
    """
    out.sparse = True
    records = find_records(path, limits, out.keep)
    if records.said:
        out.notes.append(records.said)
    narrow = False
    while True:
        out.restart()
        try:
            names, most = None, limits.max_columns
            if narrow:
                names, most = _frequent_names(path, limits, out, records)
            _TableBuilder(limits, out, names, most).build(_parsed_rows(path, limits, records))
        except BrokenJson as broken:
            if records.kind != "array":
                raise Unreadable(str(broken)) from None
            records = Records("lines")
        except _TooWide:
            narrow = True
        else:
            return


class _TooWide(Exception):  # noqa: N818  control flow between two passes over one file
    pass


@dataclass(slots=True)
class _TableBuilder:
    """Columns that are found while rows are read, and written block by block."""

    limits: Limits
    out: Blocks
    allowed: frozenset[str] | None
    """Names that a column may have; None: any."""
    most: int
    """Columns that the object may have."""
    columns: dict[str, None] = field(default_factory=dict)
    shapes: JsonShapes = field(default_factory=JsonShapes)

    def build(self, rows: Iterable[tuple[int, str, Any]]) -> None:
        block: list[Row] = []
        chars = 0
        for number, text, parsed in rows:
            value = parsed
            if isinstance(value, _Broken) and value.reason == _TOO_LARGE and block:
                self._append(block)  # the rows held may have taken the memory that this one needs
                block.clear()
                chars, value = 0, _parse(text)
            known = type(value) is dict and value.keys() <= self.columns.keys()
            reason = None if known else self._refusal(value)
            if reason is not None:
                self.out.short_of_memory |= reason == _TOO_LARGE
                self.out.bad.add(number, reason, text)
                continue
            block.append((number, text, value))
            chars += len(text)
            if len(block) * len(self.columns) >= BLOCK_CELLS or len(block) >= BLOCK_ROWS or chars >= BLOCK_CHARS:
                self._append(block)
                block = []
                chars = 0
        if block or not self.out.count:
            self._append(block)
        self.out.shapes.extend(self.shapes.texts())

    def _refusal(self, value: Any) -> str | None:
        """Return why a value cannot be a row; make room for its new keys if it can."""
        if not isinstance(value, dict):
            if isinstance(value, _Broken):
                return value.reason
            return "it is not a JSON object" + (" but a list without names" if isinstance(value, list) else "")
        for name in value:
            if not name or len(name) > NAME_CHARS or not name.isprintable():
                return f"it has a key that is empty, longer than {NAME_CHARS} characters or not to be shown"
            if self.allowed is not None and name not in self.allowed:
                return self._one_too_many()
        if self.allowed is None and len(self.columns.keys() | value.keys()) > min(_ANY, self.limits.max_columns):
            raise _TooWide
        self.columns.update(dict.fromkeys(value))
        return None

    def _one_too_many(self) -> str:
        if _ANY <= len(self.allowed or ()) < self.most:
            return f"it has a key that few rows have, in an object of more than {_ANY} columns"
        if self.most == self.limits.max_columns:
            return f"with it the object would have more than max_columns = {self.most:,} columns"
        return f"with it the object would have more than {self.most} columns, too many for so many rows of so few bytes"

    def _append(self, block: list[Row]) -> None:
        if self.allowed is None and len(self.columns) > self.out.most_columns(self.out.rows + len(block)):
            raise _TooWide
        try:
            arrays = {name: array_from_values([value.get(name) for _, _, value in block]) for name in self.columns}
        except UnicodeEncodeError:
            self._append([row for row in block if self._is_unicode(row)])
            return
        except MemoryError:
            self._append_halves(block)
            return
        first, limit = self.out.rows, self.limits.max_depth
        kinds = [(name, array.type, LIST_METADATA if nested else None) for name, (array, nested) in arrays.items()]
        fields = [pa.field(name, kind, metadata=metadata) for name, kind, metadata in kinds]
        shapes = pa.array([self.shapes.add(value, text) for _, text, value in block], pa.int64())
        schema = pa.schema([*fields, pa.field(f"{HIDDEN}shape", pa.int64())])
        columns = [*(array for array, _ in arrays.values()), shapes]
        self.out.add(columns, schema, [number for number, _, _ in block])
        for name in (name for name, (_, nested) in arrays.items() if nested):
            deep = (nesting_depth(value.get(name), limit) > limit for _, _, value in block)
            self.out.flag([first + i for i, is_deep in enumerate(deep) if is_deep], name)

    def _append_halves(self, block: list[Row]) -> None:
        """Write a block that takes too much memory in parts; a row that alone takes too much is unreadable."""
        if len(block) > 1:
            half = len(block) // 2
            self._append(block[:half])
            self._append(block[half:])
            return
        self.out.short_of_memory = True
        for number, text, _ in block:
            self.out.bad.add(number, _TOO_LARGE, text)

    def _is_unicode(self, row: Row) -> bool:
        number, text, value = row
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            self.out.bad.add(number, _NOT_UNICODE, text)
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Broken:
    """Stands for a line that is not JSON, or not to be read."""

    reason: str


def _parsed_rows(path: Path, limits: Limits, records: Records) -> Iterator[tuple[int, str, Any]]:
    """Yield number, text and parsed value of each row."""
    if records.kind != "lines":
        for number, value in records_of(path, limits, records):
            yield number, json.dumps(value), value
        return
    with open_lines(path, limits) as lines:
        while True:
            number = lines.start()
            try:
                line = next(lines, "")
            except LineTooLong as error:
                yield number, lines.record[0], _Broken(str(error))
                continue
            if not line:
                return
            text = line.strip(" \t\r\n")
            if text:
                yield number, text, _parse(text)


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        return _Broken("it is nested too deeply")
    except MemoryError:
        return _Broken(_TOO_LARGE)
    except json.JSONDecodeError as error:
        return _Broken(f"it is not valid JSON: {error.msg} at character {error.pos + 1}")
    except ValueError:
        return _Broken("it is not valid JSON: it has a number of too many digits")


def _frequent_names(path: Path, limits: Limits, out: Blocks, records: Records) -> tuple[frozenset[str], int]:
    """Return the names that become columns, and how many may; each row counts each of its names once."""
    counts: Counter[str] = Counter()
    rows = 0
    for _, _, value in _parsed_rows(path, limits, records):
        if isinstance(value, dict):
            rows += 1
            if len(value) <= limits.max_columns:
                counts.update(value.keys())
        if len(counts) > _COUNTED_NAMES:
            counts = Counter({name: n for name, n in counts.items() if n > 1})
    others = sorted((name for name in counts if name not in out.keep), key=lambda name: (-counts[name], name))
    mapped = [name for name in out.keep if name in counts]
    most = min(limits.max_columns, out.most_columns(rows))
    common = sum(counts[name] >= rows / 2 for name in others)
    free = min(most - len(mapped), max(common, _ANY - len(mapped)))
    return frozenset([*mapped, *others[: max(0, free)]]), most
