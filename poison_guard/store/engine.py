"""Open the store: one database, one lake, one key; every failure is one sentence without a password."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa

from poison_guard.config import Settings
from poison_guard.errors import BusyError, ConfigError, StoreError, TamperError
from poison_guard.store import tables
from poison_guard.store.chain import seal_head
from poison_guard.store.lake import Lake
from poison_guard.store.migrate import is_current, migrate

__all__ = ["Store", "open_store", "sqlite_file"]

_WAIT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Store:
    """An open store; a context manager that lets go of its connections at the end."""

    engine: sa.Engine = field(repr=False)
    lake: Lake
    key: bytes = field(repr=False)

    @property
    def shown(self) -> str:
        """Where the database is, without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Yield a connection that only reads."""
        with _told(self.engine, self.shown), self.engine.connect() as conn:
            yield conn

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Yield a connection in one transaction: all of it is stored at the end, or none of it."""
        with _told(self.engine, self.shown), self.engine.connect() as conn:
            writer = conn.execution_options(guard_writes=True)
            with writer.begin():
                yield writer

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_store(settings: Settings) -> Store:
    """Open the store of a home, making and migrating it as needed; `StoreError` says what cannot be reached."""
    engine = _engine(settings.store_url)
    store = Store(engine=engine, lake=Lake(settings.lake_url), key=settings.key())
    try:
        with store.read() as conn:
            ready = is_current(conn)
            if ready:
                _check_key(conn, store.key, settings)
        if not ready:
            with store.write() as conn:
                migrate(conn)
    except BaseException:
        store.close()
        raise
    return store


def _check_key(conn: sa.Connection, key: bytes, settings: Settings) -> None:
    """Refuse a key that the chain was not written with: what it would seal could never be verified again."""
    head = conn.execute(sa.select(tables.chain.c.seq, tables.chain.c.hash, tables.chain.c.mac)).first()
    if head is not None and head.seq and not hmac.compare_digest(seal_head(key, head.seq, head.hash), head.mac):
        raise TamperError(
            f"the key in {settings.key_file} (or POISON_GUARD_KEY) is not the one this store was written with, or the "
            "head of its audit chain was changed; restore the key from a backup"
        )


def _engine(text: str) -> sa.Engine:
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise ConfigError("the store URL cannot be read; write sqlite:///PATH or postgresql://USER@HOST/NAME") from None
    match url.get_backend_name():
        case "sqlite":
            return _sqlite(url)
        case "postgresql" | "postgres":
            return _postgres(url)
        case other:
            raise ConfigError(f"the store must be sqlite or postgresql, got {other!r}")


def _sqlite(url: sa.URL) -> sa.Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigError("the store needs a file: write sqlite:///PATH")
    folder = _file_of(url.database).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the folder {folder} of the store cannot be made: {error.strerror}") from None
    engine = sa.create_engine(url, connect_args={"timeout": _WAIT_SECONDS, "isolation_level": None})
    sa.event.listen(engine, "connect", _set_pragmas)
    sa.event.listen(engine, "begin", _begin)
    return engine


def sqlite_file(text: str) -> Path | None:
    """Return the file of an SQLite URL, also of one written as a URI (``file:PATH?mode=ro``); None for other stores."""
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        return None  # opening it says what is wrong
    return _file_of(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def _file_of(database: str) -> Path:
    return Path(database.removeprefix("file:").partition("?")[0] if database.startswith("file:") else database)


def _set_pragmas(connection: Any, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-65536", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(conn: sa.Connection) -> None:
    """Take SQLite's write lock at the start of a writing transaction, so that it never fails half-way for a reader."""
    writes = conn.get_execution_options().get("guard_writes", False)
    conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgres(url: sa.URL) -> sa.Engine:
    try:
        return sa.create_engine(
            url.set(drivername="postgresql+psycopg"), connect_args={"connect_timeout": 10}, pool_pre_ping=True
        )
    except ImportError:
        raise StoreError(
            "a Postgres store needs psycopg; install it with `pip install 'poison-guard[postgres]'`"
        ) from None


@contextmanager
def _told(engine: sa.Engine, shown: str) -> Iterator[None]:
    """Turn what the database driver raises into one sentence."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _sentence(error.orig or error, shown) from None
    except engine.dialect.loaded_dbapi.Error as error:
        raise _sentence(error, shown) from None
    except sa.exc.TimeoutError:
        raise BusyError(f"the store {shown} has no free connection; try again") from None


_SENTENCES = {
    "database or disk is full": "the disk is full; free some space and run the command again",
    "readonly database": "it is read-only; allow writing to the file and its folder",
    "unable to open database file": "the file cannot be opened; check that its folder exists and can be written",
    "file is not a database": "the file is not an SQLite database; name another store",
    "disk I/O error": "the disk reports an error; check it and its free space",
}


def _sentence(error: BaseException, shown: str) -> StoreError:
    text = str(error)
    if "database is locked" in text:
        return BusyError(f"the store {shown} was locked by another process for {_WAIT_SECONDS} s; try again")
    for part, sentence in _SENTENCES.items():
        if part in text:
            return StoreError(f"the store {shown} cannot be used: {sentence}")
    line = (text.splitlines() or [type(error).__name__])[0][:300]
    return StoreError(f"the store {shown} cannot be used: {line}")
