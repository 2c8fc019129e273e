"""What a home holds, as plain values, and how two homes differ: rows of every table, files, manifests that verify."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["STORE_FILES", "Difference", "Held", "Mask", "differences", "held_postgres", "held_sqlite", "mask_of"]

Rows = list[tuple[Any, ...]]
STORE_FILES = ("store.db", "store.db-wal", "store.db-shm", "store.db-journal")
_TRIES = frozenset((("outbox", "tries"), ("outbox", "due"), ("queue", "entry_id")))
"""What a kill may change: a task that was being done is tried once more, and Postgres gives a number only once."""
_FEED_FOLDERS = ("inbox", "later", "feeds", "quiz")


@dataclass
class Held:
    """What is in a home."""

    tables: dict[str, tuple[tuple[str, ...], Rows]]
    """Columns and rows of each table."""
    files: dict[str, str]
    """SHA-256 by path."""

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        return hashlib.sha256(repr((self.tables, self.files)).encode()).hexdigest()


@dataclass(frozen=True)
class Mask:
    """What differs between two undisturbed runs, because of the clock or a random number, and is not compared."""

    columns: frozenset[tuple[str, str]] = frozenset()
    contents: frozenset[str] = frozenset()
    patterns: frozenset[str] = frozenset()
    """Names, random parts as ``*``, of files that are called otherwise each time; only their number is compared."""


@dataclass
class Difference:
    """How a disturbed home differs from the undisturbed one."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    """Files that are too many; no row of the store names them."""

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.other)


def held_sqlite(home: Path, store: Path | None = None) -> Held:
    """Return what an SQLite home holds; its rows are read from the folder `store`, else from the home."""
    tables: dict[str, tuple[tuple[str, ...], Rows]] = {}
    file = (store or home) / "store.db"
    if file.exists():
        with closing(sqlite3.connect(file, timeout=60)) as conn:
            names = [name for (name,) in conn.execute("select name from sqlite_master where type = 'table'")]
            tables["sqlite_master"] = _rows(conn.execute("select type, name, tbl_name, sql from sqlite_master"))
            for name in sorted(names):
                tables[name] = _rows(conn.execute(f'select * from "{name}"'))
    return Held(tables, _files(home))


def held_postgres(home: Path, url: str) -> Held:
    """Return what a home holds whose store is the Postgres database of a libpq URL."""
    import psycopg

    tables: dict[str, tuple[tuple[str, ...], Rows]] = {}
    with psycopg.connect(url, options="-c lock_timeout=2s") as conn:
        query = "select tablename from pg_tables where schemaname = 'public' order by 1"
        for (name,) in conn.execute(query).fetchall():
            tables[name] = _rows(conn.execute(f'select * from "{name}"'))
    return Held(tables, _files(home))


def _rows(cursor: Any) -> tuple[tuple[str, ...], Rows]:
    columns = tuple(each[0] for each in cursor.description)
    return columns, sorted((tuple(row) for row in cursor.fetchall()), key=repr)


def _files(home: Path) -> dict[str, str]:
    found = {}
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home).as_posix()
        if path.is_file() and name not in STORE_FILES and name.split("/")[0] not in _FEED_FOLDERS:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def mask_of(twins: Iterable[Held]) -> Mask:
    """Return what is not the same in all of several undisturbed runs; their numbers of rows must be."""
    first, *rest = twins
    columns, contents, patterns = set(), set(), set()
    for other in rest:
        for name, (names, rows) in first.tables.items():
            theirs = other.tables[name][1]
            if len(rows) != len(theirs):
                raise ValueError(f"two undisturbed runs differ in the number of rows of {name}")
            for i, column in enumerate(names):
                if Counter(row[i] for row in rows) != Counter(row[i] for row in theirs):
                    columns.add((name, column))
        for path in first.files.keys() & other.files.keys():
            if first.files[path] != other.files[path]:
                contents.add(path)
        patterns |= {_pattern(path) for path in first.files.keys() ^ other.files.keys()}
    return Mask(frozenset(columns), frozenset(contents), frozenset(patterns))


def _pattern(path: str) -> str:
    return re.sub(r"[0-9a-f]{8,}|\.new-[^/]+", "*", path)


def differences(expected: Held, got: Held, mask: Mask) -> Difference:
    """Return what of `expected` is missing in `got`, what is there twice or too much, and what is not the same."""
    told = Difference()
    for name, (columns, rows) in expected.tables.items():
        theirs = got.tables.get(name, (columns, []))[1]
        _compare_rows(name, _masked(name, columns, rows, mask), _masked(name, columns, theirs, mask), told)
    _compare_files(expected.files, got.files, mask, told)
    return told


def _masked(table: str, columns: tuple[str, ...], rows: Rows, mask: Mask) -> Counter[str]:
    keep = [i for i, column in enumerate(columns) if (table, column) not in mask.columns | _TRIES]
    return Counter(repr(tuple(row[i] for i in keep)) for row in rows)


def _compare_rows(name: str, rows: Counter[str], theirs: Counter[str], told: Difference) -> None:
    missing, extra = rows - theirs, theirs - rows
    n, m = missing.total(), extra.total()
    if n > m:
        told.lost.append(f"{name}: {n - m} rows")
    elif m > n:
        told.doubled.append(f"{name}: {m - n} rows")
    if n and m:
        told.other.append(f"{name}: {next(iter(missing))[:300]} is {next(iter(extra))[:300]}")


def _compare_files(files: Mapping[str, str], theirs: Mapping[str, str], mask: Mask, told: Difference) -> None:
    def loose(names: Iterable[str]) -> Counter[str]:
        return Counter(pattern for name in names if (pattern := _pattern(name)) in mask.patterns)

    told.lost += [f"file {pattern}" for pattern in loose(files) - loose(theirs)]
    for name in files:
        if _pattern(name) not in mask.patterns:
            if name not in theirs:
                told.lost.append(f"file {name}")
            elif files[name] != theirs[name] and name not in mask.contents:
                told.other.append(f"file {name}")
    told.strays += [name for name in theirs if name not in files and _pattern(name) not in mask.patterns]
    told.strays += [f"{n} × {pattern}" for pattern, n in (loose(theirs) - loose(files)).items()]
