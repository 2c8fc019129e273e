"""Read a CSV object: every cell as text, every row that does not fit the header kept aside with its line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from poison_guard.ingest.cells import BLOCK_CHARS, BLOCK_ROWS, join_columns
from poison_guard.ingest.lines import Lines, RecordTooLong, open_lines
from poison_guard.ingest.raw_table import NAME_CHARS, BadRows, Limits, RawTable, Unreadable

__all__ = ["read_csv"]

_UNICODE = "it holds bytes that are not UTF-8"


def read_csv(path: Path, limits: Limits) -> RawTable:
    """Return the rows of a CSV file (comma, semicolon, tab or bar; RFC 4180 quotes; gzipped or not).

    A row with another number of fields than the header, or with quotes that do not match, is unreadable; the lines that
    an unclosed quote swallowed are read again. Raises `Unreadable` when the whole file cannot be used.
    """
    csv.field_size_limit(max(csv.field_size_limit(), limits.max_line_chars))
    with open_lines(path, limits) as lines:
        bad = BadRows()
        reader, header = _open(lines, limits)
        blocks: dict[str, list[pa.Array]] = {name: [] for name in header}
        numbers: list[np.ndarray] = []
        for rows, places in _blocks(_rows(reader, lines, len(header), bad), limits):
            good, kept = _as_columns(rows, places, bad)
            numbers.append(np.array(kept, np.int64))
            for name, array in zip(header, good, strict=True):
                blocks[name].append(array)
        places_read = np.concatenate(numbers) if numbers else np.empty(0, np.int64)
        return RawTable(join_columns(blocks), places_read, tuple(bad.found))


def _open(lines: Lines, limits: Limits) -> tuple[Iterator[list[str]], list[str]]:
    """Return the reader behind the header and the header's names."""
    lines.start()
    first = next(lines, "")
    lines.keep_first()
    counts = {d: first.count(d) for d in ",;\t|"}
    delimiter = max(counts, key=lambda d: (counts[d] > 0, d == ",", counts[d]))
    try:
        header = next(csv.reader([first], delimiter=delimiter, strict=True), [""])
    except csv.Error as error:
        raise Unreadable(f"its header cannot be read: {error}") from None
    names = [name.strip() or f"column_{i}" for i, name in enumerate(header, 1)]
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
    return csv.reader(lines, delimiter=delimiter, strict=True), names


def _rows(reader: Iterator[list[str]], lines: Lines, width: int, bad: BadRows) -> Iterator[tuple[int, list[str]]]:
    while True:
        number = lines.start()
        try:
            row = next(reader)
        except StopIteration:
            return
        except (csv.Error, RecordTooLong) as error:
            why = str(error) or "a quote is not closed"
        else:
            if len(row) == width:
                yield number, row
                continue
            if not row:
                continue
            why = f"it has {len(row)} fields where the header has {width}"
        bad.add(number, why, lines.keep_first().rstrip("\r\n"))


def _blocks(rows: Iterator[tuple[int, list[str]]], limits: Limits) -> Iterator[tuple[list[list[str]], list[int]]]:
    block: list[list[str]] = []
    numbers: list[int] = []
    chars = total = 0
    for number, row in rows:
        block.append(row)
        numbers.append(number)
        chars += sum(map(len, row))
        if len(block) >= BLOCK_ROWS or chars >= BLOCK_CHARS:
            total += len(block)
            if total > limits.max_rows:
                raise Unreadable(f"it has more than max_rows = {limits.max_rows:,} rows")
            yield block, numbers
            block, numbers, chars = block[:0], numbers[:0], 0
    if block:
        if total + len(block) > limits.max_rows:
            raise Unreadable(f"it has more than max_rows = {limits.max_rows:,} rows")
        yield block, numbers


def _as_columns(rows: list[list[str]], numbers: list[int], bad: BadRows) -> tuple[list[pa.Array], list[int]]:
    try:
        return [pa.array(column, pa.large_string()) for column in zip(*rows, strict=True)], numbers
    except UnicodeEncodeError:
        pass
    good: list[list[str]] = []
    kept: list[int] = []
    for number, row in zip(numbers, rows, strict=True):
        text = ",".join(row)
        if text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text):
            good.append(row)
            kept.append(number)
        else:
            bad.add(number, _UNICODE, text)
    columns = zip(*good, strict=True) if good else ((),) * len(rows[0])
    return [pa.array(column, pa.large_string()) for column in columns], kept
