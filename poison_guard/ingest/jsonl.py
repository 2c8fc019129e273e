"""Read JSON lines (or one JSON array of objects); a line that is not an object is listed with its number."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from poison_guard.ingest.cells import BLOCK_CHARS, BLOCK_ROWS, array_from_values, join_columns
from poison_guard.ingest.lines import Lines, open_lines
from poison_guard.ingest.raw_table import NAME_CHARS, BadRows, Flag, Limits, RawTable, Unreadable, nesting_flags

__all__ = ["read_jsonl"]

_COUNTED_NAMES = 100_000
_NOT_UNICODE = "it holds text that is not valid Unicode"


Row = tuple[int, str, dict[str, Any]]
"""Line number, text and object."""


def read_jsonl(path: Path, limits: Limits, columns: Sequence[str] = ()) -> RawTable:
    """Return the rows of a JSON-lines file, or of a file that is one JSON array; gzipped or not.

    Keys that a row lacks are missing. If the rows have more keys than ``max_columns``, `columns` and the most frequent
    other keys become columns, and rows with any other key are unreadable: a hostile row cannot widen the table.
    """
    try:
        return _TableBuilder(limits, None).build(_parsed_rows(path, limits))
    except _TooWide:
        return _TableBuilder(limits, _frequent_names(path, limits, columns)).build(_parsed_rows(path, limits))


class _TooWide(Exception):  # noqa: N818  control flow between two passes over one file
    pass


@dataclass(slots=True)
class _TableBuilder:
    """Columns that grow block by block while rows are read."""

    limits: Limits
    allowed: frozenset[str] | None
    """Names that a column may have; None: any."""
    columns: dict[str, list[pa.Array]] = field(default_factory=dict)
    list_columns: set[str] = field(default_factory=set)
    row_numbers: list[int] = field(default_factory=list)
    flags: list[Flag] = field(default_factory=list)
    bad: BadRows = field(default_factory=BadRows)

    def build(self, rows: Iterable[tuple[int, str, Any]]) -> RawTable:
        block: list[Row] = []
        chars = 0
        for number, text, value in rows:
            reason = self._refusal(value)
            if reason is not None:
                self.bad.add(number, reason, text)
                continue
            block.append((number, text, value))
            chars += len(text)
            if len(block) >= BLOCK_ROWS or chars >= BLOCK_CHARS:
                self._append(block)
                block = []
                chars = 0
        self._append(block)
        table = join_columns(self.columns, self.list_columns) if self.columns else pa.table({})
        numbers = np.array(self.row_numbers, np.int64)
        return RawTable(table, numbers, tuple(self.bad.rows), tuple(self.flags), sparse=True)

    def _refusal(self, value: Any) -> str | None:
        """Return why a value cannot be a row; make room for its new keys if it can."""
        if not isinstance(value, dict):
            return value.reason if isinstance(value, _Broken) else "it is not a JSON object"
        if value.keys() <= self.columns.keys():
            return None
        for name in value:
            if self.allowed is not None and name not in self.allowed:
                return f"with it the object would have more than max_columns = {self.limits.max_columns} columns"
            if not name or len(name) > NAME_CHARS or not name.isprintable():
                return f"it has a key that is empty, longer than {NAME_CHARS} characters or not to be shown"
        new = [name for name in value if name not in self.columns]
        if len(self.columns) + len(new) > self.limits.max_columns:
            raise _TooWide
        for name in new:
            self.columns[name] = [pa.nulls(len(self.row_numbers))]
        return None

    def _append(self, block: list[Row]) -> None:
        try:
            arrays = self._arrays(block)
        except UnicodeEncodeError:
            block = [row for row in block if self._is_unicode(row)]
            arrays = self._arrays(block)
        first, limit = len(self.row_numbers), self.limits.max_depth
        for name, (array, nested) in arrays.items():
            self.columns[name].append(array)
            if nested:
                self.list_columns.add(name)
                self.flags += nesting_flags(name, [value.get(name) for _, _, value in block], limit, first)
        self.row_numbers.extend(number for number, _, _ in block)
        if len(self.row_numbers) > self.limits.max_rows:
            raise Unreadable(f"it has more than max_rows = {self.limits.max_rows:,} rows")

    def _arrays(self, block: Sequence[Row]) -> dict[str, tuple[pa.Array, bool]]:
        return {name: array_from_values([value.get(name) for _, _, value in block]) for name in self.columns}

    def _is_unicode(self, row: Row) -> bool:
        number, text, value = row
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            self.bad.add(number, _NOT_UNICODE, text)
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Broken:
    """Stands for a line that is not JSON."""

    reason: str


def _parsed_rows(path: Path, limits: Limits) -> Iterator[tuple[int, str, Any]]:
    """Yield number, text and parsed value of each row: lines, or the elements of one array."""
    with open_lines(path, limits) as lines:
        number, line = 1, next(lines, "")
        start = line.lstrip()
        if start.startswith("[") and (not start[1:].strip() or start[1:].lstrip().startswith("{")):
            yield from _array_elements(line + "".join(_other_lines(lines)))
            return
        while line:
            yield from _parsed_line(number, line)
            number = lines.start()
            line = next(lines, "")


def _parsed_line(number: int, line: str) -> Iterator[tuple[int, str, Any]]:
    text = line.strip(" \t\r\n")
    if text:
        yield number, text, _parse(text)


def _other_lines(lines: Lines) -> Iterator[str]:
    for line in lines:
        lines.start()
        yield line


def _array_elements(text: str) -> Iterator[tuple[int, str, Any]]:
    """Yield the elements of one array; if it is broken, its lines, so that a bad line costs only itself."""
    value = _parse(text)
    if isinstance(value, _Broken):
        for number, line in enumerate(text.splitlines(), 1):
            yield from _parsed_line(number, line)
        return
    for number, element in enumerate(value, 1):
        yield number, json.dumps(element), element


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        return _Broken("it is nested too deeply")
    except json.JSONDecodeError as error:
        return _Broken(f"it is not valid JSON: {error.msg} at character {error.pos + 1}")
    except ValueError:
        return _Broken("it is not valid JSON: it has a number of too many digits")


def _frequent_names(path: Path, limits: Limits, columns: Sequence[str]) -> frozenset[str]:
    counts: Counter[str] = Counter()
    for _, _, value in _parsed_rows(path, limits):
        if isinstance(value, Mapping):
            counts.update(value)
        if len(counts) > _COUNTED_NAMES:
            counts = Counter({name: n for name, n in counts.items() if n > 1})
    others = sorted((name for name in counts if name not in columns), key=lambda name: (-counts[name], name))
    mapped = [name for name in columns if name in counts]
    return frozenset([*mapped, *others[: max(0, limits.max_columns - len(mapped))]])
