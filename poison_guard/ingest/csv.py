"""Read a CSV object: every cell as text; a row that does not fit the header is listed with its line number."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from poison_guard.ingest.blocks import Blocks
from poison_guard.ingest.cells import BLOCK_CELLS, BLOCK_CHARS, BLOCK_ROWS
from poison_guard.ingest.lines import Lines, LineTooLong, RecordTooLong, open_lines
from poison_guard.ingest.raw_table import NAME_CHARS, BadRows, Limits, Unreadable

if TYPE_CHECKING:
    from _csv import Reader

__all__ = ["read_csv"]

_FIELD = r'(?:"(?:[^"]++|"")*+"|[^"{0}\r\n]*+)'
"""A field of RFC 4180, a quoted one tried first: what matched is not tried again. `csv` also takes a quote in a field
that does not begin with one."""
_NOT_UTF8 = "it holds bytes that are not UTF-8; encoding in [data] names another encoding, and `init` finds it"


def read_csv(path: Path, limits: Limits, out: Blocks) -> None:
    """Put the rows of a CSV file (comma, semicolon, tab or bar; RFC 4180 quotes; gzipped or not) into `out`.

    A row with another number of fields than the header, or with quotes that do not match, is unreadable; the lines that
    an unclosed quote swallowed are read again. Raises `Unreadable` if the whole file cannot be used.
    """
    csv.field_size_limit(max(csv.field_size_limit(), limits.max_line_chars))
    with open_lines(path, limits) as lines:
        reader, header = _read_header(lines, limits)
        schema = pa.schema([(name, pa.large_string()) for name in header])
        for numbers, rows in _row_blocks(reader, lines, len(header), out.bad):
            try:
                arrays = [pa.array(column, pa.large_string()) for column in zip(*rows, strict=True)]
            except UnicodeEncodeError:
                arrays = _without_bad_bytes(numbers, rows, out.bad)
            out.add(arrays, schema, numbers)
        if not out.rows:
            nothing = pa.nulls(0)
            out.add([nothing] * len(header), pa.schema([(name, nothing.type) for name in header]), [])


def _read_header(lines: Lines, limits: Limits) -> tuple[Reader, list[str]]:
    """Return a reader of the whole file whose next row is the first below the header, and the header's names."""
    lines.start()
    try:
        first = next(lines, "")
    except LineTooLong as error:
        raise Unreadable(f"its header cannot be read: {error}") from None
    lines.push_back_rest()
    counts = {d: first.count(d) for d in ",;\t|"}
    delimiter = limits.delimiter or max(counts, key=lambda d: (counts[d] > 0, d == ",", counts[d]))
    try:
        header = next(csv.reader([first], delimiter=delimiter, strict=True), [""])
    except csv.Error as error:
        raise Unreadable(f"its header cannot be read: {error}") from None
    has_names = limits.header is not False
    names = [(has_names and name.strip()) or f"column_{i}" for i, name in enumerate(header, 1)]
    if not any(name.strip() for name in header):
        raise Unreadable("its first line names no columns")
    if len(names) > limits.max_columns:
        raise Unreadable(f"it has {len(names):,} columns, more than max_columns = {limits.max_columns}")
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise Unreadable(f"its header names the column {twice[:NAME_CHARS]!r} twice")
    if any(len(n) > NAME_CHARS or not n.isprintable() for n in names):
        raise Unreadable(
            f"its header has a name longer than {NAME_CHARS} characters or with characters not to be shown"
        )
    if not has_names:
        lines.unread(first)
    return csv.reader(lines, delimiter=delimiter, strict=True), names


def _row_blocks(reader: Reader, lines: Lines, width: int, bad: BadRows) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Yield line numbers and rows of `width` fields in bounded blocks; the first line of other rows goes to `bad`.

    A row of several lines must be quoted as RFC 4180 says: else an open quote ends at some quote of an honest row.
    """
    field = _FIELD.format(re.escape(reader.dialect.delimiter))
    well_formed = re.compile(rf"{field}(?:{re.escape(reader.dialect.delimiter)}{field})*+[\r\n]*+")
    numbers: list[int] = []
    rows: list[list[str]] = []
    most, read = min(BLOCK_ROWS, BLOCK_CELLS // width), lines.chars
    while True:
        number = lines.start()
        try:
            row = next(reader, None)
            if len(lines.record) > 1 and not well_formed.fullmatch("".join(lines.record)):
                raise csv.Error("a quote is not closed")
        except (csv.Error, RecordTooLong) as error:
            bad.add(number, str(error) or "a quote is not closed", lines.push_back_rest().rstrip("\r\n"))
            continue
        if row and len(row) == width:
            numbers.append(number)
            rows.append(row)
            if len(rows) < most and lines.chars - read < BLOCK_CHARS:
                continue
        elif row:
            reason = f"it has {len(row)} fields where the header has {width}"
            bad.add(number, reason, lines.push_back_rest().rstrip("\r\n"))
            continue
        elif row is not None:  # a blank line
            continue
        if rows:
            yield numbers, rows
        if row is None:
            return
        numbers = []
        rows = []
        read = lines.chars


def _without_bad_bytes(numbers: list[int], rows: list[list[str]], bad: BadRows) -> list[pa.Array]:
    """Move the rows that are not Unicode text from `rows` and `numbers` to `bad`; return the columns of the others."""
    good: list[tuple[int, list[str]]] = []
    for number, row in zip(numbers, rows, strict=True):
        text = ",".join(row)
        if text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text):
            good.append((number, row))
        else:
            bad.add(number, _NOT_UTF8, text)
    numbers[:] = [number for number, _ in good]
    columns = zip(*(row for _, row in good), strict=True) if good else ((),) * len(rows[0])
    return [pa.array(column, pa.large_string()) for column in columns]
