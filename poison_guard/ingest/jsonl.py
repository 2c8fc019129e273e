"""Read JSON lines (or one JSON array of objects): every line that is no object kept aside with its number."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from poison_guard.ingest.cells import BLOCK_CHARS, BLOCK_ROWS, array_from_values, join_columns, nesting_depth
from poison_guard.ingest.lines import open_lines
from poison_guard.ingest.raw_table import NAME_CHARS, BadRows, Flag, Limits, RawTable, Unreadable

__all__ = ["read_jsonl"]

_COUNTED_NAMES = 100_000
_SURROGATE = "it holds text that is not valid Unicode"


def read_jsonl(path: Path, limits: Limits, keep: Sequence[str] = ()) -> RawTable:
    """Return the rows of a JSON-lines file, or of a file that is one JSON array; gzipped or not.

    Keys that a row lacks are missing. When the rows bring more keys than ``max_columns``, the columns in `keep` and the
    most frequent others stay, and rows with any other key are unreadable: a hostile row cannot widen the table.
    """
    try:
        return _Table(limits, None).read(_objects(path, limits))
    except _TooWide:
        return _Table(limits, _frequent_names(path, limits, keep)).read(_objects(path, limits))


class _TooWide(Exception):  # noqa: N818  control flow between two passes over one file
    pass


class _Table:
    """Columns that grow block by block while rows are read."""

    def __init__(self, limits: Limits, allowed: frozenset[str] | None) -> None:
        self._limits = limits
        self._allowed = allowed
        self._blocks: dict[str, list[pa.Array]] = {}
        self._lists: set[str] = set()
        self._numbers: list[int] = []
        self._flags: list[Flag] = []
        self._bad = BadRows()

    def read(self, rows: Iterable[tuple[int, str, Any]]) -> RawTable:
        block: list[tuple[int, str, dict[str, Any]]] = []
        chars = 0
        for number, text, value in rows:
            why = self._refusal(value)
            if why is not None:
                self._bad.add(number, why, text)
                continue
            block.append((number, text, value))
            chars += len(text)
            if len(block) >= BLOCK_ROWS or chars >= BLOCK_CHARS:
                self._close(block)
                block, chars = block[:0], 0
        self._close(block)
        table = join_columns(self._blocks, self._lists)
        if not self._blocks:
            table = pa.table({})
        return RawTable(
            table, np.array(self._numbers, np.int64), tuple(self._bad.found), tuple(self._flags), sparse=True
        )

    def _refusal(self, value: Any) -> str | None:
        if not isinstance(value, dict):
            return value.why if isinstance(value, _Broken) else "it is no JSON object"
        if value.keys() <= self._blocks.keys():
            return None
        for name in value:
            if self._allowed is not None and name not in self._allowed:
                return f"with it the object would have more than max_columns = {self._limits.max_columns} columns"
            if not name or len(name) > NAME_CHARS or not name.isprintable():
                return f"it has a key that is empty, longer than {NAME_CHARS} characters or not to be shown"
        new = [name for name in value if name not in self._blocks]
        if len(self._blocks) + len(new) > self._limits.max_columns:
            raise _TooWide
        for name in new:
            self._blocks[name] = [pa.nulls(len(self._numbers))]
        return None

    def _close(self, block: list[tuple[int, str, dict[str, Any]]]) -> None:
        try:
            built = self._build([value for _, _, value in block])
        except UnicodeEncodeError:
            block = [row for row in block if self._is_unicode(row)]
            built = self._build([value for _, _, value in block])
        first = len(self._numbers)
        for name, (values, array, nested) in built.items():
            self._blocks[name].append(array)
            if nested:
                self._lists.add(name)
                self._flag_depth(name, values, first)
        self._numbers.extend(number for number, _, _ in block)
        if len(self._numbers) > self._limits.max_rows:
            raise Unreadable(f"it has more than max_rows = {self._limits.max_rows:,} rows")

    def _build(self, values: list[dict[str, Any]]) -> dict[str, tuple[list[Any], pa.Array, bool]]:
        built = {}
        for name in self._blocks:
            column = [v.get(name) for v in values]
            built[name] = (column, *array_from_values(column))
        return built

    def _is_unicode(self, row: tuple[int, str, dict[str, Any]]) -> bool:
        number, text, value = row
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            self._bad.add(number, _SURROGATE, text)
            return False
        return True

    def _flag_depth(self, name: str, values: list[Any], first: int) -> None:
        limit = self._limits.max_depth
        for i, value in enumerate(values):
            if isinstance(value, (dict, list)) and nesting_depth(value, limit) > limit:
                self._flags.append(Flag(first + i, "nested_too_deep", {"column": name, "limit": limit}))


class _Broken:
    """Stands for a line that is no JSON, with the reason."""

    def __init__(self, why: str) -> None:
        self.why = why


def _objects(path: Path, limits: Limits) -> Iterator[tuple[int, str, Any]]:
    """Yield number, text and parsed value of each row: lines, or the elements of one array."""
    with open_lines(path, limits) as lines:
        number, line = 1, next(lines, "")
        if _opens_array(line):
            yield from _elements(line + "".join(_rest(lines)))
            return
        while line:
            yield from _line(number, line)
            number = lines.start()
            line = next(lines, "")


def _line(number: int, line: str) -> Iterator[tuple[int, str, Any]]:
    text = line.strip(" \t\r\n")
    if text:
        yield number, text, _parse(text)


def _opens_array(line: str) -> bool:
    """Whether the first line begins an array of objects that goes on below it, or is one whole."""
    text = line.lstrip()
    return text.startswith("[") and (not text[1:].strip() or text[1:].lstrip().startswith("{"))


def _rest(lines: Any) -> Iterator[str]:
    for line in lines:
        lines.start()
        yield line


def _elements(text: str) -> Iterator[tuple[int, str, Any]]:
    """Rows of one array; where it is not whole, its lines, so that one bad line costs itself alone."""
    value = _parse(text)
    if isinstance(value, _Broken):
        for number, line in enumerate(text.splitlines(), 1):
            yield from _line(number, line)
        return
    for number, element in enumerate(value, 1):
        yield number, json.dumps(element), element


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        return _Broken("it is nested too deeply")
    except ValueError as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else "it has a number of too many digits"
        where = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        return _Broken(f"it is not valid JSON: {why}{where}")


def _frequent_names(path: Path, limits: Limits, keep: Sequence[str]) -> frozenset[str]:
    counts: Counter[str] = Counter()
    for _, _, value in _objects(path, limits):
        if isinstance(value, Mapping):
            counts.update(value)
        if len(counts) > _COUNTED_NAMES:
            counts = Counter({name: n for name, n in counts.items() if n > 1})
    others = sorted((name for name in counts if name not in keep), key=lambda name: (-counts[name], name))
    kept = [name for name in keep if name in counts]
    return frozenset([*kept, *others[: max(0, limits.max_columns - len(kept))]])
