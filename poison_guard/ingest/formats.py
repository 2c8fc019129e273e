"""The formats that objects may have: a new one is an entry here and a file of its own, `NAME.py` with `read_NAME`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from poison_guard.ingest.raw_table import Unreadable

__all__ = ["FORMATS", "format_of"]


@dataclass(frozen=True, slots=True)
class Format:
    """A format by the name people know, the endings of its files, and the bytes that they begin with, if any."""

    name: str
    endings: tuple[str, ...]
    starts: tuple[bytes, ...] = ()


FORMATS = {
    "csv": Format("CSV", (".csv", ".tsv", ".txt")),
    "jsonl": Format("JSON", (".jsonl", ".ndjson", ".json"), (b"{", b"[")),
    "parquet": Format("Parquet", (".parquet", ".pq"), (b"PAR1",)),
}


def format_of(path: Path, uri: str) -> str:
    """Return the format of a local file: that of its name in `uri`, or of its first bytes if the name has none."""
    name = PurePosixPath(uri.partition("?")[0]).name.lower().removesuffix(".gz")
    suffix = PurePosixPath(name).suffix
    found = next((key for key, known in FORMATS.items() if suffix in known.endings), None)
    if found is None:
        with path.open("rb") as file:
            head = file.read(64).lstrip()
        found = next((key for key, known in FORMATS.items() if known.starts and head.startswith(known.starts)), None)
    if found is None:
        raise Unreadable("it is neither csv, jsonl nor parquet by its name or its first bytes")
    return found
