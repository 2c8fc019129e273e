"""The formats that objects may have: a new one is an entry here and a file of its own, `NAME.py` with `read_NAME`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from poison_guard.ingest.raw_table import Unreadable

__all__ = ["FORMATS", "format_of", "is_csv"]


@dataclass(frozen=True, slots=True)
class Format:
    """A format by the name people know, the endings of its files, and the bytes that they begin with, if any."""

    name: str
    endings: tuple[str, ...]
    starts: tuple[bytes, ...] = ()


FORMATS = {
    "csv": Format("CSV", (".csv", ".tsv", ".tab", ".psv", ".txt")),
    "jsonl": Format("JSON", (".jsonl", ".ndjson", ".json"), (b"{", b"[")),
    "parquet": Format("Parquet", (".parquet", ".pq"), (b"PAR1",)),
}


_UNPACK = "unpack it first"
_WRITE = "write it as csv, jsonl or parquet"
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer and not the data", "fetch the data with `git lfs pull`"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", _UNPACK),
    (b"BZh", "compressed with bzip2", _UNPACK),
    (b"\xfd7zXZ\0", "compressed with xz", _UNPACK),
    (b"7z\xbc\xaf", "a 7-Zip archive", _UNPACK),
    (b"PK\x03\x04", "an Excel workbook or another ZIP archive", "save the sheet as CSV, or unpack it"),
    (b"\xd0\xcf\x11\xe0", "a document of old Excel or Word", "save the sheet as CSV"),
    (b"ARROW1\0\0", "an Arrow or Feather file", _WRITE),
    (b"Obj\x01", "an Avro file", _WRITE),
    (b"SQLite format 3\0", "an SQLite database", "name a query in [data], or write the table as csv, jsonl or parquet"),
    (b"\x93NUMPY", "a NumPy array", _WRITE),
    (b"\x80\x04\x95", "a Python pickle, which is never opened", _WRITE),
    (b"\x80\x05\x95", "a Python pickle, which is never opened", _WRITE),
    (b"\x89HDF\r\n", "an HDF5 file", _WRITE),
    (b"%PDF-", "a PDF", _WRITE),
    (b"<!DOCTYPE", "an HTML page, perhaps of a login", "fetch the data itself"),
    (b"<!doctype", "an HTML page, perhaps of a login", "fetch the data itself"),
    (b"<html", "an HTML page, perhaps of a login", "fetch the data itself"),
    (b"<?xml", "an XML document", _WRITE),
)
"""First bytes of what people name by mistake, what it is, and what to do; none begins a table of text."""
_BY_NAME = {
    ".orc": ("an ORC file", _WRITE),
    ".zst": ("compressed with Zstandard", _UNPACK),
    ".bz2": ("compressed with bzip2", _UNPACK),
    ".xz": ("compressed with xz", _UNPACK),
    ".xlsx": ("an Excel workbook", "save the sheet as CSV"),
    ".xls": ("an Excel workbook", "save the sheet as CSV"),
}


def _refuse_others(head: bytes, suffix: str) -> None:
    """Raise `Unreadable` for a file that is known and not read."""
    other = next((facts for start, *facts in _OTHERS if head.startswith(start)), None)
    what, remedy = other or _BY_NAME.get(suffix, ("", ""))
    if what:
        raise Unreadable(f"it is {what}; {remedy}")


def is_csv(uri: str) -> bool:
    """Return whether a path or URL names CSV files."""
    name = PurePosixPath(uri.partition("?")[0]).name.lower().removesuffix(".gz")
    return PurePosixPath(name).suffix in FORMATS["csv"].endings


def format_of(path: Path, uri: str) -> str:
    """Return the format of a local file: that of its name in `uri`, or of its first bytes if the name has none.

    Raises `Unreadable` for what is known not to be read, whatever its name: the reason says what it is.
    """
    name = PurePosixPath(uri.partition("?")[0]).name.lower().removesuffix(".gz")
    suffix = PurePosixPath(name).suffix
    with path.open("rb") as file:
        head = file.read(64).lstrip(b" \t\r\n")
    _refuse_others(head, suffix)
    found = next((key for key, known in FORMATS.items() if suffix in known.endings), None)
    if found is None:
        found = next((key for key, known in FORMATS.items() if known.starts and head.startswith(known.starts)), None)
    if found is None:
        raise Unreadable(
            "it is neither csv, jsonl nor parquet by its name or its first bytes; if it is one, let its name end so"
        )
    return found
