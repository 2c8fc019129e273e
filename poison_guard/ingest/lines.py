"""Read the lines of a text object: decompressed, decoded, bounded, with push-back of the lines of a broken record."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from poison_guard.ingest.raw_table import RAW_CHARS, Limits, Unreadable

__all__ = ["LineTooLong", "Lines", "RecordTooLong", "open_lines"]

_RECORD_LINES = 200
"""Lines that one quoted record may span; if there are more, its quote was never closed."""
_RECORD_CHARS = 1_000_000
"""Characters after which a record may not continue on another line."""
_UTF8_SIGNS = 8
"""Characters beyond ASCII from which on valid UTF-8 is read so, although the contract names another encoding."""


class RecordTooLong(Exception):  # noqa: N818  a signal from `Lines` to its reader, never seen outside
    """A record spans more lines than a record may."""


class LineTooLong(RecordTooLong):
    """A record is one line of too many characters; the message says so."""


class _LongLine(str):
    """The first characters of a line that is longer than a line may be; its rest was skipped."""

    __slots__ = ()


@dataclass(slots=True)
class Lines:
    """Iterator over lines with their line ends; it remembers the lines of the record that is being read."""

    stream: IO[str]
    limits: Limits
    number: int = 0
    """1-based number of the last line returned."""
    record: list[str] = field(default_factory=list)
    """Lines since `start`."""
    chars: int = 0
    """Characters read."""
    _pushed_back: deque[str] = field(default_factory=deque)
    _chars_pushed_back: int = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        record = self.record
        if record and (len(record) >= _RECORD_LINES or sum(map(len, record)) > _RECORD_CHARS):
            raise RecordTooLong
        line = self._pushed_back.popleft() if self._pushed_back else self._read_line()
        if type(line) is _LongLine and record:
            self._pushed_back.appendleft(line)
            raise RecordTooLong
        self.number += 1
        record.append(line)
        if type(line) is _LongLine:
            raise LineTooLong(f"it is longer than {self.limits.max_line_chars:,} characters")
        return line

    def _read_line(self) -> str:
        limit = self.limits.max_line_chars
        line = self.stream.readline(limit)
        self.chars += len(line)
        if 0 < len(line) < limit and self.chars <= self.limits.max_bytes:
            return line
        if not self._count(line):
            raise StopIteration
        piece = line
        while len(piece) == limit and not piece.endswith(("\n", "\r")):
            piece = self.read(limit, line=True)
        return _LongLine(line[:RAW_CHARS])

    def read(self, chars: int, *, line: bool = False) -> str:
        """Return the next characters of the file, whatever lines they are; with `line`, to the end of this one."""
        text = self.stream.readline(chars) if line else self.stream.read(chars)
        self.chars += len(text)
        return self._count(text)

    def _count(self, text: str) -> str:
        if self.chars > self.limits.max_bytes:
            raise Unreadable(f"it unpacks to more than max_bytes = {self.limits.max_bytes:,}")
        return text

    def start(self) -> int:
        """Begin a record; return the number of its first line."""
        self.record.clear()
        return self.number + 1

    def push_back(self, lines: Sequence[str] | None = None) -> None:
        """Push back `lines`, the last that were returned; None: those of the record."""
        back = list(self.record if lines is None else lines)
        self._pushed_back.extendleft(reversed(back))
        self.number -= len(back)
        self.record.clear()

    def push_back_rest(self) -> str:
        """Push back all lines of the record except its first, which is returned: the others may be good records."""
        first, *rest = self.record or [""]
        self._chars_pushed_back += sum(map(len, rest))
        if self._chars_pushed_back > self.limits.max_bytes:
            raise Unreadable("its quotes do not match")
        self._pushed_back.extendleft(reversed(rest))
        self.number -= len(rest)
        return first


@contextlib.contextmanager
def open_lines(path: Path, limits: Limits) -> Iterator[Lines]:
    """Open a text file, gzipped or not; bytes that are not of its encoding (UTF-8) become lone surrogates.

    A file with a byte order mark, or one that is UTF-8 beyond doubt, is read so whatever encoding the contract names:
    an export, or a sender who changed to UTF-8.

    Raises `Unreadable` if the archive is broken or unpacks past the bounds, or the object is empty.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            plain = io.BufferedReader(gzip.GzipFile(fileobj=file)) if zipped else file
            mark = plain.peek(4)[:4]
            if not mark:
                raise Unreadable("it is empty")
            named = _marked(mark) or ("utf-8" if _is_unicode(plain.peek(1)) else limits.encoding) or "utf-8"
            encoding = "utf-8-sig" if codecs.lookup(named).name == "utf-8" else named
            with io.TextIOWrapper(plain, encoding, errors="surrogateescape", newline="") as stream:
                yield Lines(stream, limits)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Unreadable(f"its compressed data is damaged or cut short ({error})") from None
    except UnicodeError:
        known = f"{limits.encoding}, which encoding in [data] names," if limits.encoding else "UTF-8 or UTF-16"
        raise Unreadable(f"it is no {known} text") from None


def _marked(head: bytes) -> str | None:
    """Return the encoding that a byte order mark says, whatever the contract says; None without one."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8" if head.startswith(codecs.BOM_UTF8) else None


def _is_unicode(head: bytes) -> bool:
    """Return whether the first bytes of a file are UTF-8 beyond chance: texts of another encoding are none of it."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return sum(not character.isascii() for character in text) >= _UTF8_SIGNS
