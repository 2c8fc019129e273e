"""Find the records in a JSON text: lines, one array, objects one after another, or a list inside one object.

The text is walked value by value and never held as a whole, whatever its size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poison_guard.ingest.lines import Lines, open_lines
from poison_guard.ingest.raw_table import Limits, Unreadable

__all__ = ["BrokenJson", "Records", "find_records", "records_of"]

_CHUNK_CHARS = 1_000_000
_SPACE = re.compile(r"[ \t\r\n]*")
_WRAPPERS = frozenset(
    [
        "data",
        "records",
        "rows",
        "results",
        "result",
        "items",
        "entries",
        "value",
        "values",
        "documents",
        "docs",
        "objects",
        "list",
        "hits",
        "events",
        "feedback",
        "feedbacks",
        "ratings",
        "scores",
        "traces",
        "observations",
        "annotations",
        "examples",
        "votes",
        "reviews",
        "comments",
        "edges",
        "nodes",
    ]
)
"""Names under which programs put a list of records."""
_TURN = frozenset(("role", "from", "speaker"))
_DEPTH = 4


class BrokenJson(Exception):  # noqa: N818  control flow: the caller reads the text in another way
    """The text is not the JSON that was expected; the message says where."""


@dataclass(frozen=True, slots=True)
class Records:
    """Where the records of a file are."""

    kind: str
    """``lines``, ``array``, ``objects`` (one after another, each over several lines) or ``list``."""
    path: tuple[str, ...] = ()
    """Keys that lead to the list."""
    said: str = ""
    """What to tell of it; empty where there is nothing to tell."""


@dataclass(slots=True)
class _Text:
    """A JSON text from a stream, as far as it was read and not yet passed."""

    lines: Lines
    limits: Limits
    text: str = ""
    at: int = 0
    line: int = 1
    """1-based number of the line at which the text stands."""
    _decoder: json.JSONDecoder = field(default_factory=json.JSONDecoder)

    def _more(self) -> bool:
        if len(self.text) - self.at > self.limits.max_line_chars:
            raise BrokenJson(f"a value at line {self.line:,} is longer than {self.limits.max_line_chars:,} characters")
        more = self.lines.read(max(_CHUNK_CHARS, len(self.text) - self.at))
        self.text, self.at = self.text[self.at :] + more, 0
        return bool(more)

    def _pass(self, end: int) -> None:
        self.line += self.text.count("\n", self.at, end)
        self.at = end

    def peek(self) -> str:
        """Return the next character that is no space; empty at the end."""
        while True:
            self._pass(_SPACE.match(self.text, self.at).end())  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._more():
                return ""

    def take(self, marks: str) -> str:
        """Pass one of `marks` and return it."""
        mark = self.peek()
        if not mark or mark not in marks:
            raise BrokenJson(f"it is not valid JSON at line {self.line:,}: expected {' or '.join(marks)}")
        self.at += 1
        return mark

    def value(self) -> Any:
        """Pass a value and return it."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self.text, self.at)
                if end == len(self.text) and self._more():  # a number may go on
                    continue
            except (RecursionError, MemoryError):
                raise BrokenJson(f"the value at line {self.line:,} is nested too deeply or too large") from None
            except ValueError as error:
                if self._more():
                    continue
                at = self.line + self.text.count("\n", self.at, getattr(error, "pos", self.at))
                why = getattr(error, "msg", "a number has too many digits")
                raise BrokenJson(f"it is not valid JSON at line {at:,}: {why}") from None
            self._pass(end)
            return value

    def elements(self) -> Iterator[Any]:
        """Pass a list and yield its elements."""
        self.take("[")
        if self.peek() == "]":
            self.at += 1
            return
        mark = ","
        while mark == ",":
            yield self.value()
            mark = self.take(",]")

    def members(self) -> Iterator[str]:
        """Pass an object and yield its keys; the caller passes the value of each."""
        self.take("{")
        if self.peek() == "}":
            self.at += 1
            return
        mark = ","
        while mark == ",":
            key = self.value()
            self.take(":")
            yield str(key)
            mark = self.take(",}")


@dataclass(slots=True)
class _Seen:
    """What an object holds."""

    keys: list[str] = field(default_factory=list)
    lists: dict[tuple[str, ...], int] = field(default_factory=dict)
    """Keys that lead to a list of objects, and its length."""
    turns: set[tuple[str, ...]] = field(default_factory=set)
    """Lists whose elements are turns of a conversation."""
    tables: dict[tuple[str, ...], int] = field(default_factory=dict)
    """Keys that lead to a list of lists, and its length."""
    columns: set[tuple[str, int]] = field(default_factory=set)
    """Kinds of the values of the object itself (``list``, ``object``, ``value``) and their lengths."""


def find_records(path: Path, limits: Limits, mapped: Collection[str]) -> Records:
    """Return where the records of a JSON file are; `mapped` are the names of the columns that a contract maps.

    Raises `Unreadable` where it is one object and the list of its records cannot be told.
    """
    with open_lines(path, limits) as lines:
        text = _Text(lines, limits)
        first = text.peek()
        line, _, rest = text.text[text.at :].partition("\n")
        if first == "[":
            inside = line[1:].strip()
            return Records("array" if not inside or inside.startswith("{") else "lines")
        if first != "{" or (_is_object(line) and rest.strip()):
            return Records("lines")
        alone, began, seen = line.strip() == "{", text.line, _Seen()
        try:
            _look(text, (), seen)
            ended, follows = text.line, text.peek()
        except BrokenJson as broken:
            if alone:
                raise Unreadable(f"it is one JSON object over several lines, and {broken}") from None
            return Records("lines")
        if follows:
            return Records("objects" if follows == "{" and ended > began else "lines")
        return _inside(seen, limits.rows, mapped, one_line=_is_object(line))


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError, MemoryError):
        return False


def _look(text: _Text, path: tuple[str, ...], seen: _Seen) -> int:
    """Pass an object and note its lists of objects; return how many keys it has."""
    n = 0
    for key in text.members():
        n += 1
        kind, length = _look_at_value(text, (*path, key), seen)
        if not path:
            seen.keys.append(key)
            seen.columns.add((kind, length))
    return n


def _look_at_value(text: _Text, path: tuple[str, ...], seen: _Seen) -> tuple[str, int]:
    """Pass a value and note its lists of objects; return its kind and length."""
    mark = text.peek()
    if mark == "{" and len(path) < _DEPTH:
        return "object", _look(text, path, seen)
    if mark == "[":
        return "list", _look_at_list(text, path, seen)
    text.value()
    return "value", 0


def _look_at_list(text: _Text, path: tuple[str, ...], seen: _Seen) -> int:
    n, objects, turns, rows = 0, True, True, True
    for element in text.elements():
        n += 1
        objects = objects and isinstance(element, dict)
        rows = rows and isinstance(element, list)
        turns = turns and objects and not _TURN.isdisjoint(element)
    if n > 1 and rows:
        seen.tables[path] = n
    if n and objects:
        seen.lists[path] = n
        if turns:
            seen.turns.add(path)
    return n


def _inside(seen: _Seen, rows: str | None, mapped: Collection[str], *, one_line: bool) -> Records:
    """Return where the records of a file of one object are."""
    named = {".".join(path): path for path in seen.lists}
    listed = ", ".join(f"{name} ({seen.lists[path]:,})" for name, path in named.items())
    if rows is not None:
        if rows not in named:
            raise Unreadable(
                f"it has no list of objects at {rows}, which rows in [data] names; it has {listed or 'none'}"
            )
        return Records("list", named[rows])
    if any(key in mapped for key in seen.keys):
        return Records("lines" if one_line else "objects")
    lists = {path: n for path, n in seen.lists.items() if path not in seen.turns}
    known = [path for path in lists if path[-1].lower() in _WRAPPERS]
    chosen = known if len(known) == 1 else list(lists)
    if len(chosen) == 1:
        name = ".".join(chosen[0])
        return Records("list", chosen[0], f"it is one JSON object; its records are the {lists[chosen[0]]:,} of {name}")
    if len(chosen) > 1:
        raise Unreadable(f"it is one JSON object with several lists: {listed}; rows in [data] says which one to read")
    if (table := _table_of(seen)) is not None:
        raise Unreadable(f"it is one JSON object, and the rows of {table} are lists; {_AS_RECORDS}")
    if len(seen.columns) == 1 and len(seen.keys) > 1 and next(iter(seen.columns))[1] > 1 and not seen.lists:
        columns = "columns" if next(iter(seen.columns))[0] == "list" else "columns, or of records under their ids"
        raise Unreadable(f"it is one JSON object of {columns}; write a list of records (pandas: orient='records')")
    return Records("lines" if one_line else "objects")


def _table_of(seen: _Seen) -> str | None:
    """Return the list of lists of an object that has nothing else to read: pandas' `split`, answers of databases."""
    tables = [".".join(path) for path in seen.tables if path[-1].lower() in _WRAPPERS]
    return tables[0] if len(tables) == 1 and not seen.lists else None


_AS_RECORDS = "write each as an object with the names of its columns (pandas: orient='records')"


def records_of(path: Path, limits: Limits, records: Records) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each record of an array, a list or objects one after another.

    The number is that of the element, or of the line on which an object begins. Raises `BrokenJson` where it ends.
    """
    with open_lines(path, limits) as lines:
        text = _Text(lines, limits)
        if records.kind == "objects":
            while text.peek():
                yield text.line, text.value()
            return
        yield from enumerate(text.elements() if records.kind == "array" else _list_at(text, records.path), 1)
        if text.peek():
            raise BrokenJson(f"text follows its end at line {text.line:,}")


def _list_at(text: _Text, path: tuple[str, ...]) -> Iterator[Any]:
    """Pass an object and yield the elements of the list at `path`."""
    for key in text.members():
        if key != path[0]:
            text.value()
        elif len(path) == 1 and text.peek() == "[":
            yield from text.elements()
        elif len(path) > 1 and text.peek() == "{":
            yield from _list_at(text, path[1:])
        else:
            text.value()
