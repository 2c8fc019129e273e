"""Read the physical lines of a text object: decompressed, decoded, bounded, with push-back for rows that go wrong."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from poison_guard.ingest.raw_table import Limits, Unreadable

__all__ = ["Lines", "RecordTooLong", "open_lines"]

_RECORD_LINES = 200
"""Physical lines one quoted record may span; more is taken for a quote that was never closed."""
_RECORD_CHARS = 1_000_000
"""Characters after which a record may not go on to yet another line."""


class RecordTooLong(Exception):  # noqa: N818  a signal between `Lines` and its reader, never seen outside
    """A record spans more lines than a record may."""


class Lines:
    """Iterator over lines, each with its line end, that remembers the lines of the record being read.

    `number` is the 1-based number of the last line given out; `taken` holds the lines since `start`.
    """

    def __init__(self, stream: IO[str], limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._again: deque[str] = deque()
        self._chars = 0
        self._given_back = 0
        self.number = 0
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self.taken) >= _RECORD_LINES or (self.taken and sum(map(len, self.taken)) > _RECORD_CHARS):
            raise RecordTooLong
        line = self._again.popleft() if self._again else self._read()
        self.number += 1
        self.taken.append(line)
        return line

    def start(self) -> int:
        """Begin a record; return the number of its first line."""
        self.taken.clear()
        return self.number + 1

    def keep_first(self) -> str:
        """Give back all lines of the record but its first, which is returned: the others may be good records."""
        first, *rest = self.taken or [""]
        self._given_back += sum(map(len, rest))
        if self._given_back > self._limits.max_bytes:
            raise Unreadable("its quotes do not match")
        self._again.extendleft(reversed(rest))
        self.number -= len(rest)
        return first

    def _read(self) -> str:
        line = self._stream.readline(self._limits.max_line_chars)
        if not line:
            raise StopIteration
        self._chars += len(line)
        if len(line) >= self._limits.max_line_chars:
            raise Unreadable(f"line {self.number + 1} is longer than {self._limits.max_line_chars:,} characters")
        if self._chars > self._limits.max_bytes:
            raise Unreadable(f"it unpacks to more than max_bytes = {self._limits.max_bytes:,}")
        return line


@contextlib.contextmanager
def open_lines(path: Path, limits: Limits) -> Iterator[Lines]:
    """Open a text file, gzipped or not; bytes that are no UTF-8 come out as lone surrogates.

    Raises `Unreadable` for a broken archive, one that unpacks past the bounds, or an empty object.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            plain = io.BufferedReader(gzip.GzipFile(fileobj=file)) if zipped else file
            mark = plain.peek(4)[:4]
            if not mark:
                raise Unreadable("it is empty")
            wide = mark.startswith((b"\xff\xfe", b"\xfe\xff"))
            encoding = "utf-16" if wide else "utf-8-sig"
            with io.TextIOWrapper(plain, encoding, errors="surrogateescape", newline="") as stream:
                yield Lines(stream, limits)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Unreadable(f"its compressed data is damaged or cut short ({error})") from None
    except UnicodeError:
        raise Unreadable("it is neither UTF-8 nor UTF-16 text") from None
