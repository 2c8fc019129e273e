"""Hand the rows of one object from the process that reads it to the process that judges them, block by block.

The reader writes each block of rows as one Arrow stream into a file and forgets it, so that its memory does not grow
with the object; the other side maps the file and joins the blocks. What few bytes may unpack to is bounded here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from poison_guard.ingest.cells import join_tables
from poison_guard.ingest.nested import Reshaper
from poison_guard.ingest.raw_table import HIDDEN, BadRow, BadRows, Flag, Limits, RawTable, Unreadable

__all__ = ["Blocks", "read_blocks"]

_NUMBERS = ""
"""Column of the row numbers in a block; no column of an object has an empty name."""
_FREE_ROWS = 300_000
_FREE_CELLS = 8_000_000
"""Rows and cells that an object of any size may have."""
_ROWS_PER_BYTE, _CELLS_PER_BYTE = 1, 4
"""Rows and cells more for each byte that is stored: honest rows differ, so even compressed they take more."""
_MAX_FLAGS = 1_000_000


@dataclass(slots=True)
class Blocks:
    """Where a reader puts what it reads: blocks of rows, unreadable rows, flags of cells."""

    file: BinaryIO
    limits: Limits
    stored: int
    """Bytes of the object as it is stored."""
    keep: tuple[str, ...] = ()
    """Columns that are kept where rows have too many."""
    sparse: bool = False
    reshaper: Reshaper | None = None
    """What makes records of the rows, where they are nested or joined."""
    bad: BadRows = field(default_factory=BadRows)
    flags: list[tuple[int, str]] = field(default_factory=list)
    """Position and column of each cell that is nested too deep."""
    rows: int = 0
    count: int = 0
    """Blocks written."""
    _chars: int = 0
    """Bytes of the records that were made of rows."""
    _spread: tuple[int, np.ndarray] = (0, np.empty(0, np.int64))
    """Of the last block: the position of its first record, and the row of each."""
    shapes: list[str] = field(default_factory=list)
    """How rows look in the object (`original.Shape`)."""
    notes: list[str] = field(default_factory=list)
    """What is to be said of how the object was read."""
    short_of_memory: bool = False
    """Whether a row was given up because reading it took too much memory."""

    def restart(self) -> None:
        """Forget what was put here: the reader begins again at the first row."""
        self.file.seek(0)
        self.file.truncate()
        self.bad = BadRows()
        self.flags.clear()
        self.rows = self.count = self._chars = 0
        self.reshaper = self.reshaper and self.reshaper.again()
        self.shapes.clear()

    def most_columns(self, rows: int) -> int:
        """Return how many columns an object of so many rows may have."""
        return (_FREE_CELLS + _CELLS_PER_BYTE * self.stored) // max(1, rows)

    def add(self, columns: Sequence[pa.Array], schema: pa.Schema, numbers: Sequence[int] | np.ndarray) -> None:
        """Write a block of rows: its columns, and the 1-based place of each row."""
        if self.reshaper is None:
            self._write(columns, schema, numbers)
            return
        table, places, start = pa.Table.from_arrays(list(columns), schema=schema), np.asarray(numbers), self.rows
        beside = table.select([name for name in table.column_names if name.startswith(HIDDEN)])
        table = table.drop_columns(beside.column_names)
        made = self.reshaper.reshape(table)
        for row, why in made.bad:
            self.bad.add(int(places[row]), why, str(table.slice(row, 1).to_pylist()[0]))
        for piece, rows in made.pieces:
            self._chars += piece.nbytes
            if self._chars > self.limits.max_bytes:
                raise Unreadable(f"the records made of its rows have more than max_bytes = {self.limits.max_bytes:,}")
            hidden = beside.take(pa.array(rows))
            goal = pa.schema([*piece.schema, *hidden.schema])
            self._write([c.combine_chunks() for c in (*piece.columns, *hidden.columns)], goal, places[rows])
        self._spread = (start, np.concatenate([rows for _, rows in made.pieces]))
        self.flags += [(start + position, column) for position, column in made.deep]

    def _write(self, columns: Sequence[pa.Array], schema: pa.Schema, numbers: Sequence[int] | np.ndarray) -> None:
        self.rows += len(numbers)
        if self.rows > self.limits.max_rows:
            raise Unreadable(f"it has more than max_rows = {self.limits.max_rows:,} rows")
        if self.rows > _FREE_ROWS + _ROWS_PER_BYTE * self.stored:
            raise Unreadable(f"its {self.stored:,} bytes unpack to more than {self.rows - len(numbers):,} rows")
        width = sum(not name.startswith(HIDDEN) for name in schema.names)
        if width > self.most_columns(self.rows):
            raise Unreadable(f"its {self.stored:,} bytes unpack to more than {self.rows:,} rows × {width} columns")
        goal = pa.schema([pa.field(_NUMBERS, pa.int64()), *schema])
        block = pa.RecordBatch.from_arrays([pa.array(numbers, pa.int64()), *columns], schema=goal)
        with pa.ipc.new_stream(self.file, goal) as writer:
            writer.write_batch(block)
        self.count += 1

    def flag(self, positions: Sequence[int], column: str) -> None:
        """Note cells that are nested too deep by the positions of their rows among the readable ones."""
        if self.reshaper is not None:
            if column in self.reshaper.exploded:  # its cells are other ones now, and were looked at
                return
            start, rows = self._spread
            positions = (start + np.flatnonzero(np.isin(rows, np.asarray(positions) - start))).tolist()
        self.flags += [(position, column) for position in positions]
        if len(self.flags) > _MAX_FLAGS:
            raise Unreadable(f"more than {_MAX_FLAGS:,} of its cells are nested deeper than max_depth")

    def answer(self) -> dict[str, Any]:
        """Return all but the rows, as values of JSON."""
        return {
            "blocks": self.count,
            "bad": [(b.row, b.reason, b.text, b.digest) for b in self.bad.rows],
            "flags": self.flags,
            "sparse": self.sparse,
            "shapes": self.shapes,
            "unpaired": sum(self.reshaper.unpaired.values()) if self.reshaper is not None else 0,
            "memory": self.short_of_memory,
            "notes": [*self.notes, *(self.reshaper.notes() if self.reshaper is not None else ())],
        }


def read_blocks(path: str, answer: dict[str, Any], limits: Limits) -> RawTable:
    """Return the rows of a file of blocks, mapped into memory, with the rest of a reader's answer."""
    with pa.memory_map(path) as source:
        tables = [pa.ipc.open_stream(source).read_all() for _ in range(answer["blocks"])]
    table = join_tables(tables) if tables else pa.table({_NUMBERS: pa.array([], pa.int64())})
    numbers = table[_NUMBERS].to_numpy()
    beside = [name for name in table.column_names if name.startswith(HIDDEN)]
    hidden = table.select([_NUMBERS, *beside]).rename_columns([f"{HIDDEN}row", *beside]) if beside else None
    table = table.drop_columns([_NUMBERS, *beside])
    args = {column: {"column": column, "limit": limits.max_depth} for _, column in answer["flags"]}
    return RawTable(
        table if table.num_columns else pa.table({}),
        np.array(numbers, np.int64),
        tuple(BadRow(*row) for row in answer["bad"]),
        tuple(Flag(position, "nested_too_deep", args[column]) for position, column in answer["flags"]),
        sparse=answer["sparse"],
        notes=tuple(answer["notes"]),
        shapes=tuple(answer["shapes"]),
        hidden=hidden,
        unpaired=answer["unpaired"],
    )
