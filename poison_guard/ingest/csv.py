"""Read a CSV object: every cell as text; a row that does not fit the header is listed with its line number."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from poison_guard.ingest.blocks import Blocks
from poison_guard.ingest.cells import BLOCK_CELLS, BLOCK_CHARS, BLOCK_ROWS
from poison_guard.ingest.lines import Lines, LineTooLong, RecordTooLong, open_lines
from poison_guard.ingest.raw_table import NAME_CHARS, BadRows, Limits, Unreadable
from poison_guard.ingest.shapes import column_shape
from poison_guard.text import quoted

if TYPE_CHECKING:
    from _csv import Reader

__all__ = ["delimiter_of", "read_csv"]

_FIELD = r'(?:"(?:[^"]++|"")*+"|[^"{0}\r\n]*+)'
"""A field of RFC 4180, a quoted one tried first: what matched is not tried again. `csv` also takes a quote in a field
that does not begin with one."""
_SEP = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')
_BREAK = re.compile(r"\s*[\r\n]+\s*")
_PREAMBLE_LINES, _HEADER_LINES = 1_000, 20
_TITLE = "; is it the header? Lines above it must begin with #"
_NAMELESS = 2  # columns of which one may be named alone: a separator at the end of each line makes one without a name
_NOT_UTF8 = "it holds bytes that are not UTF-8; `init` finds the encoding to name in [data]"


def read_csv(path: Path, limits: Limits, out: Blocks) -> None:
    """Put the rows of a CSV file (comma, semicolon, tab or bar; RFC 4180 quotes; gzipped or not) into `out`.

    Above the table there may be a line ``sep=;`` (as Excel writes it), blank lines and lines that begin with ``#``.
    A row with another number of fields than the header, or with quotes that do not match, is unreadable; the lines that
    an unclosed quote swallowed are read again. Raises `Unreadable` if the whole file cannot be used.
    """
    csv.field_size_limit(max(csv.field_size_limit(), limits.max_line_chars))
    with open_lines(path, limits) as lines:
        reader, header = _read_header(lines, limits)
        schema = pa.schema([(name, pa.large_string()) for name in header])
        out.shapes.append(column_shape("csv", schema, reader.dialect.delimiter))
        last: tuple[int, list[str]] | None = None
        for numbers, rows in _row_blocks(reader, lines, len(header), out.bad):
            last = numbers[-1], rows[-1]
            try:
                arrays = [pa.array(column, pa.large_string()) for column in zip(*rows, strict=True)]
            except UnicodeEncodeError:
                arrays = _without_bad_bytes(numbers, rows, out.bad)
            out.add(arrays, schema, numbers)
        if last is not None and _holds_totals(last[1]):
            out.notes.append(
                f"its last row, {last[0]:,}, looks like totals and is read as a record; remove it if it is"
            )
        if not out.rows:
            nothing = pa.nulls(0)
            out.add([nothing] * len(header), pa.schema([(name, nothing.type) for name in header]), [])


_TOTALS = frozenset(
    (
        "total", "totals", "grand total", "sum", "toplam", "genel toplam", "summe", "gesamt", "gesamtergebnis",
        "totale", "total general", "somme", "итого", "всего", "合计", "总计", "合計", "総計",
    )
)  # fmt: skip
"""What spreadsheets write before totals, in small letters."""


def _holds_totals(row: Sequence[str]) -> bool:
    """Return whether one cell of a row says that the others, all of them numbers, are totals."""
    filled = [cell.strip() for cell in row if cell.strip()]
    words = [cell for cell in filled if not re.fullmatch(r"[-+0-9.,'%\s]+", cell)]
    return len(filled) > 1 and len(words) == 1 and words[0].rstrip(":").casefold() in _TOTALS


def _read_header(lines: Lines, limits: Limits) -> tuple[Reader, list[str]]:
    """Return a reader of the whole file whose next row is the first record, and the names of the columns."""
    try:
        said = _skip_preamble(lines, limits)
        lines.start()
        text = next(lines, "")
        text += "".join(_rest_of_record(lines, text))
        delimiter = _delimiter(text, limits, said)
        lines.push_back()
        lines.start()
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        first = next(reader, [""])
    except LineTooLong as error:
        raise Unreadable(f"its header cannot be read: {error}") from None
    except (csv.Error, RecordTooLong) as error:
        raise Unreadable(f"its header cannot be read: {str(error) or 'a quote is not closed'}") from None
    if limits.header is not False:
        return reader, _checked_names(first, limits)
    lines.push_back()
    names = list(limits.names) or [f"column_{i}" for i in range(1, len(first) + 1)]
    return csv.reader(lines, delimiter=delimiter, strict=True), _checked_names(names, limits)


def _skip_preamble(lines: Lines, limits: Limits) -> str | None:
    """Pass the lines above the table; return the delimiter that a line ``sep=;`` names, if any.

    Blank lines go, and lines that begin with ``#`` and have another number of fields than the first line that does not.
    """
    lines.start()
    said: str | None = None
    above: list[str] = []
    while len(above) < _PREAMBLE_LINES and (line := next(lines, "")):
        if not above and (match := _SEP.fullmatch(line)):
            said = match[1]
            lines.start()
            continue
        above.append(line)
        if not _may_be_above(line, limits):
            break
        lines.start()
    if not above:
        return said
    rest = _rest_of_record(lines, above[-1])
    delimiter = _delimiter(above[-1] + "".join(rest), limits, said)
    counts = [_count_fields(line, delimiter) for line in above[:-1]]
    counts.append(_count_fields(above[-1] + "".join(rest), delimiter))
    first = counts.index(counts[-1]) if counts[-1] > 1 else len(above) - 1
    lines.push_back([*above[first:], *rest])
    return said


def _may_be_above(line: str, limits: Limits) -> bool:
    """Return whether a line may stand above the table: blank, or a remark that opens no quote."""
    if line.startswith("#"):
        return line.count('"') % 2 == 0
    blank = "\r\n" if limits.header is False else " \t\r\n"  # a record may be empty cells between tabs
    return not line.strip(blank)


def _rest_of_record(lines: Lines, text: str) -> list[str]:
    """Return the lines that belong to the record that `text` begins: those up to the end of its open quote."""
    rest: list[str] = []
    while (text + "".join(rest)).count('"') % 2 and len(rest) < _HEADER_LINES and (more := next(lines, "")):
        rest.append(more)
    return rest


def _count_fields(line: str, delimiter: str) -> int:
    return len(next(csv.reader(line.splitlines(keepends=True), delimiter=delimiter), []))


def _delimiter(header: str, limits: Limits, said: str | None) -> str:
    """Return what parts the fields: the contract's character, unless a header has none of it and some of another one.

    Such a file comes from another program than the feed's, and would be one column.
    """
    if limits.delimiter is None:
        return said or delimiter_of(header)
    bare, other = _QUOTED.sub("", header), delimiter_of(header)
    return other if limits.header is not False and limits.delimiter not in bare and other in bare else limits.delimiter


def delimiter_of(line: str) -> str:
    """Return the delimiter that a line has outside of quotes; a comma where it has none."""
    counts = {d: _QUOTED.sub("", line).count(d) for d in ",;\t|"}
    return max(counts, key=lambda d: (counts[d] > 0, d == ",", counts[d]))


def _checked_names(header: Sequence[str], limits: Limits) -> list[str]:
    """Return the names of the columns; a line break in a name is a blank."""
    names = [_BREAK.sub(" ", name.strip()) or f"column_{i}" for i, name in enumerate(header, 1)]
    given = [name for name, written in zip(names, header, strict=True) if written.strip()]
    if not given:
        raise Unreadable("its first line names no columns")
    if len(given) == 1 and len(names) > _NAMELESS:
        raise Unreadable(
            f"its first line names 1 of its {len(names):,} columns, {quoted(given[0])}; is that a title? "
            "Remove the lines above the header, or begin them with #"
        )
    if len(names) > limits.max_columns:
        raise Unreadable(f"it has {len(names):,} columns, more than max_columns = {limits.max_columns:,}")
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise Unreadable(f"its header names the column {twice[:NAME_CHARS]!r} twice")
    if any(len(n) > NAME_CHARS or not n.isprintable() for n in names):
        raise Unreadable(
            f"its header has a name longer than {NAME_CHARS} characters or with characters not to be shown"
        )
    return names


def _row_blocks(reader: Reader, lines: Lines, width: int, bad: BadRows) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Yield line numbers and rows of `width` fields in bounded blocks; the first line of other rows goes to `bad`.

    A row of several lines must be quoted as RFC 4180 says: else an open quote ends at some quote of an honest row.
    """
    names = f"{width}{_TITLE * (width == 1)}"
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
            reason = f"it has {len(row)} fields where the header has {names}"
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
