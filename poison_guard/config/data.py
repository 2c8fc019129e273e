"""The table ``[data]`` of a contract: where records come from, and how and under which bounds they are read."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from poison_guard.config.tables import Rule, Text, in_range, matching
from poison_guard.errors import ConfigError

__all__ = ["Data", "Identity", "Join", "check_data"]


class Identity(StrEnum):
    """What makes two rows without an id one record: nothing (`row`), or equal content (`content`)."""

    ROW = "row"
    CONTENT = "content"


_Count = Annotated[int, in_range(1)]
_NO_TEXT = frozenset(("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem", "utf_7"))


def is_text_encoding(name: str) -> bool:
    """Return whether `name` is an encoding that a text file may have."""
    try:
        found = codecs.lookup(name)
        return "".encode(name) is not None and found.name.replace("-", "_") not in _NO_TEXT
    except (LookupError, ValueError, TypeError, UnicodeError):
        return False


@dataclass(frozen=True, slots=True)
class Join:
    """A second file whose rows belong to those of the feed, by a key."""

    path: str
    """Its files, as in `path` of the feed."""
    key: Text
    """Column (or path) of the feed's rows with the key."""
    to: Text
    """Column (or path) of the second file with the same key."""
    name: Annotated[str, matching(r"[A-Za-z_]\w{0,47}", "a word of letters, digits and _")] = "joined"
    """Word before the second file's columns: `joined.user_id` is its column `user_id`."""


@dataclass(frozen=True, slots=True)
class Data:
    """Where records come from, and the bounds they are read under."""

    path: str | None = None
    """Files of records (csv, jsonl, parquet; gz of the first two): a path with wildcards, or an fsspec URL."""
    query: str | None = None
    """A SELECT to read records by, in place of files."""
    watermark: str | None = None
    """Column of `query` that only grows; rows above the highest value taken in are read."""
    url_env: str = "POISON_GUARD_SOURCE_URL"
    """Environment variable with the database URL of `query` (never written in TOML)."""
    encoding: Annotated[str, Rule("a text encoding such as cp1252", is_text_encoding)] | None = None
    """Encoding of text files; without it UTF-8 (or UTF-16 with a byte order mark)."""
    delimiter: Annotated[str, matching(r"[^\w\s\"]|\t", "one character that parts fields, such as ;")] | None = None
    """Character between the fields of a CSV file; without it the one of ``, ; TAB |`` that the header has most of.

    A file whose header has none of it and some of another one is read by that one: another program wrote it."""
    header: bool | None = None
    """Whether the first row of a CSV file names its columns; where false they are ``column_1``, ``column_2`` …"""
    format: Text | None = None
    """Known format of the files (`poison-guard formats` lists them): `init` writes it, `export` can write it again."""
    explode: Text | None = None
    """List whose elements are judgements, such as ``annotations[]``: a row becomes a record for each of them. Several
    lists that belong together, element by element, are written with commas between."""
    join: Join | None = None
    """A second file with more about each row, such as the traces that scores are about."""
    revisions: bool = False
    """Whether the same id with other content from the same source (author where there is none) is a revision; else what
    came second is held as a conflict."""
    identity: Identity = Identity.ROW
    """Of rows without an id: each is one record (`row`), or all rows of equal content are one record (`content`)."""
    names: tuple[str, ...] = ()
    """Names of the columns of a CSV file without a header; without them ``column_1``, ``column_2`` …"""
    rows: Text | None = None
    """Where a JSON file holds its records: the keys that lead to the list, joined by dots (`response.items`)."""
    max_bytes: _Count = 2_000_000_000
    """Bytes of one file, unpacked."""
    max_rows: _Count = 20_000_000
    """Rows of one file."""
    max_columns: _Count = 4_096
    """Columns of one file."""
    max_cell_chars: _Count = 100_000
    """Characters of one cell."""
    max_depth: _Count = 8
    """Levels of nesting in one cell."""
    max_explode: _Count = 100_000
    """Records that `explode` may make of one row."""
    partition_rows: _Count = 100_000
    """Records that are scored in one piece."""
    copy: bool = True
    """Whether the guard keeps a copy of each record. Without, it keeps ids, hash, file and row, and reads the file
    again where a record's content is needed: the file must stay as it is."""


def _in_list(path: str, explode: str) -> bool:
    """Whether a path leads through a list that `explode` names."""
    roots = [re.split(r"[.\[*]", part.strip())[0] for part in explode.split(",")]
    return any(root and root in path for root in roots)


def check_data(data: Data, columns: Mapping[str, str], file: str) -> None:
    """Raise `ConfigError` where keys of ``[data]`` are not right together, or not with ``[columns]``."""
    record_id = columns.get("record_id")
    if data.path and data.query:
        raise ConfigError(f"[data] of {file} has both path and query; keep one")
    if data.query and not data.watermark:
        raise ConfigError(f"query in [data] of {file} needs watermark, the name of a column that only grows")
    if data.query and not data.copy:
        raise ConfigError(f"copy = false in [data] of {file} needs files that can be read again; a query gives none")
    if data.names and data.header is not False:
        raise ConfigError(f"names in [data] of {file} are for files without a header; set header = false, too")
    if data.identity is Identity.CONTENT and record_id:
        raise ConfigError(f'identity = "content" in [data] of {file} is for records without an id; record_id is mapped')
    if data.explode and record_id and "#" not in record_id and not _in_list(record_id, data.explode):
        raise ConfigError(
            f"record_id in [columns] of {file} is {record_id!r}, the same for all records that explode makes of a row; "
            f'write "{record_id} + #" (# is the position in the row), or a path below {data.explode}'
        )
