"""Bring nested rows to the columns that a contract names: join, explode, look up paths.

A list that holds judgements makes several records of one row. Each is that row with one element where the list was, so
that nothing is lost, a path reads a record as it reads a row, and an exported record can be read again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from poison_guard.config import Contract
from poison_guard.config.data import Data
from poison_guard.ingest.arrow_paths import reached_columns
from poison_guard.ingest.cells import LIST_METADATA, array_from_values, join_tables
from poison_guard.ingest.explode import Unfit, elements, exploded_columns, row_chars, within_bound
from poison_guard.ingest.join import Joined, key_texts
from poison_guard.ingest.nested_values import opened
from poison_guard.ingest.paths import (
    Deep,
    Each,
    Expression,
    Key,
    PathError,
    Row,
    Star,
    parse_path,
)
from poison_guard.ingest.raw_table import BadRows, Flag, Limits, RawTable, Unreadable, nesting_depth

__all__ = [
    "Reshaped",
    "Reshaper",
    "Shape",
    "has_root",
    "is_name",
    "name_fault",
    "path_fault",
    "path_roots",
    "reshape_rows",
    "rows_of",
]

_TEXT_ROLES = ("text", "prompt", "response", "chosen", "rejected")
_PIECE_CHARS = 16_000_000
"""Characters of the records that are written in one piece."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How the rows of a feed are nested, as its contract says; plain values, which the reading process is sent."""

    columns: tuple[tuple[str, bool], ...]
    """Paths that roles name, and whether the role holds text."""
    explode: str = ""
    join: tuple[str, str, str] = ("", "", "")
    """Name, key and partner's key of a second file."""

    @classmethod
    def of(cls, contract: Contract) -> Shape | None:
        """Return the shape of a contract; None if its roles name columns only, and nothing is joined or exploded."""
        texts = {contract.columns.get(role) for role in _TEXT_ROLES}
        names = dict.fromkeys([*contract.columns.values(), *contract.features])
        columns = tuple((name, name in texts) for name in names if not is_name(name))
        data = contract.data
        join = (data.join.name, data.join.key, data.join.to) if data.join else ("", "", "")
        return cls(columns, data.explode or "", join) if columns or data.explode or data.join else None

    def sent(self) -> dict[str, Any]:
        """Return it as values of JSON."""
        return asdict(self)

    @classmethod
    def received(cls, values: Mapping[str, Any]) -> Shape:
        """Return what `sent` was made of."""
        columns = tuple((str(name), bool(text)) for name, text in values["columns"])
        return cls(columns, values["explode"], tuple(values["join"]))

    def joined_columns(self) -> frozenset[str]:
        """Return the columns of the second file that paths and its key name."""
        wanted = set(path_roots(self.join[2]))
        for text in (*(name for name, _ in self.columns), self.join[1]):
            for path in _parsed(text).paths():
                keys = path.leading_keys()
                if keys[:1] == [self.join[0]]:
                    wanted |= {".".join(keys[1 : n + 1]) for n in range(1, len(keys))}
        return frozenset(wanted)

    def joined_by(self, parts: Sequence[RawTable]) -> Joined:
        """Return the rows of the second file, read in `parts`, by their key; only the columns that are asked for."""
        name, key, to = self.join
        wanted = self.joined_columns()
        table = join_tables([part.table.select([c for c in part.table.column_names if c in wanted]) for part in parts])
        expression = _parsed(to)
        known = dict.fromkeys(table.column_names)
        if all(path.root(known) is None for path in expression.paths()):
            raise Unreadable(f"it has no {to}, which to in [data.join] names")
        keys = key_texts([expression.value(row) for row in _Rows(table, [1] * table.num_rows)])
        numbers = np.concatenate([part.row_numbers for part in parts])
        return Joined.of(table, numbers, keys, name, f"{key} = {to}")


def path_fault(data: Data) -> tuple[str, str] | None:
    """Return the key of ``[data]`` whose path cannot be read, and why; None where all can."""
    texts = [("explode", text.strip()) for text in (data.explode or "").split(",") if text.strip()]
    texts += [(f"join.{key}", str(getattr(data.join, key))) for key in ("key", "to") if data.join is not None]
    for key, text in texts:
        try:
            path = parse_path(text)
        except PathError as error:
            return key, f"{text!r} is no path: {error}"
        if key == "explode" and (path.op != "path" or not any(isinstance(s, (Each, Star, Deep)) for s in path.steps)):
            return key, f'{text!r} names no list; write "{text}[]" for its elements'
    return None


def name_fault(text: str) -> str:
    """Return why a text is no path; "" if it is one."""
    try:
        parse_path(text)
    except PathError as error:
        return str(error)
    return ""


def rows_of(table: pa.Table) -> list[Row]:
    """Return the rows of a table of simple types, as paths look at them."""
    return list(_Rows(table, [1] * table.num_rows))


_NAME = re.compile(r"[\w-]+")


def path_roots(text: str) -> list[str]:
    """Return the first keys of the paths in a text; a name that is no path is its own."""
    if _NAME.fullmatch(text):
        return [text]
    found = [path.steps[0] for path in _parsed(text).paths()]
    return [text, *(step.name for step in found if isinstance(step, Key))]


def is_name(text: str) -> bool:
    """Return whether a text names a column, and no path."""
    return _NAME.fullmatch(text) is not None or _parsed(text).is_name


def has_root(text: str, names: Sequence[str], contract: Contract) -> bool:
    """Return whether a path begins with a column of a file, or of the file that it is joined with."""
    join = contract.data.join
    known = dict.fromkeys(names)
    return _parsed(text).is_there(known) or (join is not None and join.name in path_roots(text))


def reshape_rows(raw: RawTable, shape: Shape, limits: Limits, joined: Joined | None) -> RawTable:
    """Return the records that `shape` makes of the rows of a frame."""
    reshaper = Reshaper(shape, limits, joined)
    made = reshaper.reshape(raw.table)
    bad = BadRows(list(raw.bad))
    for row, why in made.bad:
        bad.add(int(raw.row_numbers[row]), why, str(raw.table.slice(row, 1).to_pylist()[0]))
    rows = np.concatenate([rows for _, rows in made.pieces])
    flags = [Flag(int(at), flag.code, flag.args) for flag in raw.flags if flag.args["column"] not in reshaper.exploded
             for at in np.flatnonzero(rows == flag.position)]  # fmt: skip
    flags += [Flag(at, "nested_too_deep", {"column": column, "limit": limits.max_depth}) for at, column in made.deep]
    table = join_tables([piece for piece, _ in made.pieces])
    notes = (*raw.notes, *reshaper.notes())
    return replace(raw, table=table, row_numbers=raw.row_numbers[rows], bad=bad.rows, flags=flags, notes=notes)


def _parsed(text: str) -> Expression:
    """Return the expression of a text; a text that is none is the name of a column."""
    try:
        return parse_path(text)
    except PathError:
        return Expression("path", (Key(text),))


@dataclass(slots=True)
class Reshaped:
    """Rows of one block after `Reshaper`, in pieces of bounded size."""

    pieces: list[tuple[pa.Table, np.ndarray]]
    """Table, and ``(n,)`` int64: the row of the block that each record was made of."""
    bad: list[tuple[int, str]] = field(default_factory=list)
    """Row of the block, and why it cannot be used."""
    deep: list[tuple[int, str]] = field(default_factory=list)
    """Record and column of each exploded cell that is nested too deep."""


@dataclass(slots=True)
class Reshaper:
    """Reshapes the blocks of one object, and counts what is to be said about it."""

    shape: Shape
    limits: Limits
    joined: Joined | None = None
    empty: int = 0
    """Rows whose exploded list holds nothing."""
    unpaired: dict[bool, int] = field(default_factory=dict)
    """Rows without a partner: several that differ, none."""
    _first: dict[bool, str | None] = field(default_factory=dict)
    _columns: list[tuple[str, bool, Expression]] = field(default_factory=list)

    exploded: dict[str, int] = field(default_factory=dict)
    """Columns whose lists were exploded: how many containers lie around an element."""

    def __post_init__(self) -> None:
        """Parse the paths once."""
        self._columns = [(name, text, _parsed(name)) for name, text in self.shape.columns]

    def again(self) -> Reshaper:
        """Return one that has seen no rows yet."""
        return Reshaper(self.shape, self.limits, self.joined)

    def reached(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """Return the columns of paths that kernels can look up in a batch of lists and structs."""
        roots = {keys[0] for text in self.shape.explode.split(",") if (keys := _parsed(text.strip()).leading_keys())}
        return reached_columns(batch, self._columns, frozenset(roots))

    def reshape(self, table: pa.Table) -> Reshaped:
        """Return the records of a block of rows in simple types, with a column for each path that is no column."""
        if not table.num_rows:
            return Reshaped([(table, np.empty(0, np.int64))])
        if self.joined is not None:
            table = self.with_partners(table)
        if not self.shape.explode:
            rows = _Rows(table, [1] * table.num_rows)
            return Reshaped([(self._with_paths(table, rows), np.arange(table.num_rows))])
        return self._exploded(table)

    def notes(self) -> tuple[str, ...]:
        """Return what the object's reader is to be told, in sentences without its name."""
        said = []
        if self.empty:
            said.append(f"{self.empty:,} of its rows hold nothing in {self.shape.explode} and make no record")
        for several, n in self.unpaired.items():
            assert self.joined is not None  # noqa: S101  only `with_partners` counts
            note = self.joined.note(self._first[several], several=several)
            said.append(f"{n:,} of its rows have {note}")
        return tuple(said)

    def with_partners(self, table: pa.Table) -> pa.Table:
        """Return a table with the columns of the second file, missing where a row has no partner there."""
        assert self.joined is not None  # noqa: S101  asked by `reshape`
        expression, rows = _parsed(self.shape.join[1]), _Rows(table, [1] * table.num_rows)
        keys = key_texts([expression.value(row) for row in rows])
        partners = self.joined.partners(keys)
        for several, mark in ((False, -1), (True, -2)):
            lone = np.flatnonzero(partners == mark)
            if len(lone):
                self._first.setdefault(several, keys[lone[0]])
                self.unpaired[several] = self.unpaired.get(several, 0) + len(lone)
        beside = self.joined.take(partners)
        fields = [f for f in beside.schema if f.name not in table.column_names]
        for f in fields:
            table = table.append_column(f, beside[f.name])
        return table

    def _with_paths(self, table: pa.Table, rows: _Rows) -> pa.Table:
        """Append a column for each path that finds something; the columns of the joined file are no record's own."""
        fresh = [(n, t, e) for n, t, e in self._columns if n not in table.column_names]
        kept = [name for name in table.column_names if self.joined is None or not self._is_joined(name)]
        columns = [table[name] for name in kept]
        fields = [table.schema.field(name) for name in kept]
        for name, text, expression in fresh:
            array, nested = array_from_values([expression.value(row, text=text) for row in rows])
            fields.append(pa.field(name, array.type, metadata=LIST_METADATA if nested else None))
            columns.append(array)
        return pa.Table.from_arrays(columns, schema=pa.schema(fields))

    def _is_joined(self, name: str) -> bool:
        return name.startswith(f"{self.shape.join[0]}.") and name not in {column for column, _ in self.shape.columns}

    def _exploded(self, table: pa.Table) -> Reshaped:
        """Return the records of rows whose lists hold judgements."""
        out = Reshaped([])
        paths = {text.strip(): _parsed(text.strip()) for text in self.shape.explode.split(",")}
        rows = _Rows(table, [1] * table.num_rows)
        for path in paths.values():
            self.exploded |= dict.fromkeys(exploded_columns(path, table.column_names), len(path.steps))
        fixed = row_chars(table.select([name for name in table.column_names if name not in self.exploded]))
        piece = _Piece()
        for i, row in enumerate(rows):
            try:
                parts = elements(paths, row, self.limits.max_explode)
                size = within_bound(parts, int(fixed[i]), self.shape.explode)
            except Unfit as refusal:
                out.bad.append((i, str(refusal)))
                continue
            if piece.chars + size > _PIECE_CHARS and piece.origin:
                self._write(out, table, piece)
                piece = _Piece()
            self.empty += not piece.add(i, parts, size)
        if piece.origin or not out.pieces:
            self._write(out, table, piece)
        return out

    def _write(self, out: Reshaped, table: pa.Table, piece: _Piece) -> None:
        index = np.array(piece.origin, np.int64)
        spread = table.take(pa.array(index))
        done = sum(len(places) for _, places in out.pieces)
        for name, values in piece.cells.items():
            array, nested = array_from_values(values)
            field_ = pa.field(name, array.type, metadata=LIST_METADATA if nested else None)
            spread = spread.set_column(spread.column_names.index(name), field_, array)
            limit = self.limits.max_depth + self.exploded[name]
            out.deep += [(done + i, name) for i, value in enumerate(values) if nesting_depth(value, limit) > limit]
        out.pieces.append((self._with_paths(spread, _Rows(spread, piece.positions, piece.cells)), index))


@dataclass(slots=True)
class _Piece:
    """Records that are written together."""

    origin: list[int] = field(default_factory=list)
    """Row of each."""
    positions: list[int] = field(default_factory=list)
    """Its position in the row, from 1."""
    cells: dict[str, list[Any]] = field(default_factory=dict)
    """Of the columns that were exploded."""
    chars: int = 0

    def add(self, row: int, parts: Mapping[str, list[Any]], chars: int) -> int:
        """Add the records of a row; return how many they are."""
        n = len(next(iter(parts.values()), ()))
        for name in self.cells.keys() | parts.keys():
            cells = self.cells.setdefault(name, [None] * len(self.origin))
            cells += parts.get(name, [None] * n)
        self.origin += [row] * n
        self.positions += range(1, n + 1)
        self.chars += chars
        return n


class _Rows:
    """The rows of a table of simple types, as paths look at them; nested cells are parsed once."""

    def __init__(self, table: pa.Table, positions: Sequence[int], known: Mapping[str, Sequence[Any]] | None = None):
        self.names = dict.fromkeys(table.column_names)
        self._table, self._positions, self._cells = table, positions, dict(known or {})

    def __iter__(self) -> Iterator[_RowAt]:
        return (_RowAt(self, i, position) for i, position in enumerate(self._positions))

    def cells(self, name: str) -> Sequence[Any]:
        """Return the cells of a column as Python values."""
        if name not in self._cells:
            column = self._table[name]
            values = column.to_pylist()
            nested = self._table.schema.field(name).metadata == LIST_METADATA
            self._cells[name] = [opened(value) for value in values] if nested else values
        return self._cells[name]


@dataclass(frozen=True, slots=True)
class _RowAt:
    rows: _Rows
    at: int
    position: int

    @property
    def names(self) -> Mapping[str, Any]:
        return self.rows.names

    def cell(self, name: str) -> Any:
        return self.rows.cells(name)[self.at]
