"""Open the store: one database, one lake, one key, one clock.

Opening makes the tables of a new store and refuses those of another format. No clock is read here: everything gets the
time. Every failure is one sentence without a password; Alembic is imported only where tables have to be made.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from poison_guard.config import Settings
from poison_guard.errors import (
    ConfigError,
    GuardError,
    MissingExtraError,
    StoreError,
    TamperError,
)
from poison_guard.files import private_folder
from poison_guard.store import tables
from poison_guard.store.chain import Head, head_mac, last_event
from poison_guard.store.key import read_key
from poison_guard.store.lake import Lake
from poison_guard.store.mark import mark_fault, mark_file, raise_mark, refuse_lost_store
from poison_guard.store.turns import Turns
from poison_guard.store.writing import Writing
from poison_guard.text import shown_url, without_secrets

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["Store", "alembic_config", "claim_lake", "keep_open", "open_store", "refuse_lost", "sqlite_file"]


_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 0x706F69736F6E  # any number all writers agree on


def alembic_config(conn: sa.Connection) -> Config:
    """Return Alembic's configuration with the migrations shipped in this package, to run on `conn`."""
    from alembic.config import Config

    config = Config(attributes={"connection": conn})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


_WAIT_SECONDS = 60
_SQLITE: dict[str, Any] = {"timeout": _WAIT_SECONDS, "isolation_level": None}
_NO_LIMIT = -1
"""Of connections: each thread of a server has its own, and one that waited for another's might wait for itself."""


@dataclass(frozen=True, slots=True)
class Store:
    """An open store: its database, its lake and the key of its home."""

    engine: sa.Engine = field(repr=False)
    lake: Lake
    key: bytes = field(repr=False)
    mark: Path | None = None
    """File of the high-water mark beside the key; None where the key comes from the environment."""
    turns: Turns = field(default_factory=Turns, repr=False)
    """Who waits to decide, in this process."""

    @property
    def shown(self) -> str:
        """Where the database is, without any part of its URL that may be a secret."""
        return shown_url(_url_text(self))

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Yield a connection that only reads."""
        with _driver_errors(self), self.engine.connect() as conn:
            yield conn

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Yield a connection in one transaction: all of it is stored at the end, or none of it.

        `TamperError` where the database is behind the high-water mark: an older copy is not written on. The mark is
        raised after the commit.
        """
        with _driver_errors(self), self.engine.connect() as conn:
            writing = Writing(self.key)
            writer = conn.execution_options(guard_writes=True, guard_writing=writing)
            with writer.begin():
                if self.mark is not None and (fault := mark_fault(self.mark, writer)):
                    raise TamperError(fault)
                yield writer
        if writing.head is not None:
            raise_mark(self.mark, Head(writing.head.seq, writing.head.hash))

    def renew_mark(self) -> None:
        """Raise the mark to the last event, where a process was killed between a commit and that; or refuse as `write`.

        A command that writes only if there is something new calls this first, so that it does both in any case.
        """
        if self.mark is None:
            return
        with self.read() as conn:
            if fault := mark_fault(self.mark, conn):
                raise TamperError(fault)
            last = last_event(conn)
        raise_mark(self.mark, last)


@contextmanager
def open_store(settings: Settings) -> Iterator[Store]:
    """Open the store of a home, making it as needed, and let go of its connections at the end, unless they are kept.

    `StoreError` says what cannot be reached, or read.
    """
    kept = settings.store_url in _KEPT
    store = _kept_store(settings) if kept else _open(settings)
    try:
        yield store
    finally:
        if not kept:
            store.engine.dispose()


def _open(settings: Settings) -> Store:
    engine = _make_engine(settings.store_url)
    try:
        store = Store(engine, Lake(settings.lake_url), read_key(settings), mark_file(settings))
        if not _has_tables(store, settings):
            _make_store(store, settings)
    except BaseException:
        engine.dispose()
        raise
    return store


_KEPT: dict[str, tuple[Any, Store] | None] = {}
"""The URL of the one store that this process keeps open: the store with what it was opened as, once it is."""
_KEEPING = threading.Lock()


def keep_open(settings: Settings) -> None:
    """Let this process keep a store open between uses, as a server should: to open it costs more than most of these.

    Only the last one that was asked for is kept.
    """
    with _KEEPING:
        for url in _KEPT.keys() - {settings.store_url}:
            _let_go(url)
        _KEPT.setdefault(settings.store_url, None)


def _kept_store(settings: Settings) -> Store:
    """Return the store that is kept, opened anew where its file or its key is another one by now."""
    with _KEEPING:
        kept = _KEPT.get(settings.store_url)
        if kept is None or kept[0] != _identity(settings):
            _let_go(settings.store_url)
            store = _open(settings)
            kept = _KEPT[settings.store_url] = (_identity(settings), store)
        return kept[1]


def _let_go(url: str) -> None:
    kept = _KEPT.pop(url, None)
    if kept is not None:  # connections that a parent process opened stay its own
        kept[1].engine.dispose(close=kept[0][0] == os.getpid())


def _identity(settings: Settings) -> tuple[Any, ...]:
    file = sqlite_file(settings.store_url)
    place: tuple[int, int] | None = None
    if file is not None:
        with suppress(FileNotFoundError):
            found = file.stat()
            place = (found.st_dev, found.st_ino)
    return os.getpid(), place, settings.lake_url, read_key(settings)


def _has_tables(store: Store, settings: Settings) -> bool:
    file = sqlite_file(settings.store_url)
    if file is not None and not file.exists():
        return False  # to look into it would make it
    with store.read() as conn:
        return _is_ready(conn, store, settings)


def _make_store(store: Store, settings: Settings) -> None:
    """Make the tables of a store, unless the home had one before; another process may do so meanwhile."""
    try:
        refuse_lost(settings)
    except GuardError:
        if _has_tables(store, settings):
            return
        raise
    make_private(sqlite_file(settings.store_url))
    with store.write() as conn:
        _make_tables(conn, store, settings)
    claim_lake(store)


def refuse_lost(settings: Settings) -> None:
    """Raise where there is no store, but a home shows that it had one: a disk that is not mounted looks like that."""
    shown, lake = shown_url(settings.store_url), Lake(settings.lake_url)
    refuse_lost_store(mark_file(settings), shown)
    left = ""
    if lake.owner() or (lake.local and lake.list()):
        left = f"the lake {shown_url(settings.lake_url)} holds what a store wrote"
    elif any((settings.home / "manifests").glob("[!.]*.json")):
        left = f"{settings.home / 'manifests'} holds what was admitted"
    if left:
        raise StoreError(
            f"there is no store at {shown}, but {left}: bring the database back (is its disk mounted?), or begin anew "
            "with another home and another lake"
        )


def claim_lake(store: Store) -> None:
    """Write the store's id into its lake, once; `StoreError` where the lake belongs to another store."""
    with store.read() as conn:
        own = conn.execute(sa.select(tables.store_format.c.id)).scalar_one()
    owner = store.lake.owner()
    if owner is None:
        store.lake.claim(own)
    elif owner != own:
        raise StoreError(
            f"the lake {shown_url(store.lake.url)} belongs to another store than {store.shown}; give each home a lake "
            "of its own (POISON_GUARD_LAKE), or the store that wrote it (POISON_GUARD_STORE)"
        )


def make_private(file: Path | None) -> None:
    """Make the empty file of a new SQLite store, for this user alone; SQLite gives its other files the same mode."""
    if file is not None:
        with suppress(OSError):  # what is there stays; where it cannot be made, SQLite says why
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _make_tables(conn: sa.Connection, store: Store, settings: Settings) -> None:
    """Make the tables, unless another process has made them meanwhile."""
    if conn.dialect.name == "postgresql":
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
    if not _is_ready(conn, store, settings):
        from alembic import command

        command.upgrade(alembic_config(conn), "head")


def _is_ready(conn: sa.Connection, store: Store, settings: Settings) -> bool:
    """Whether the store has its tables; refuse those of another version, and those written with another key.

    What another key would seal could never be verified again.
    """
    names = sa.inspect(conn).get_table_names()
    number = 0
    if "store" in names:
        number = conn.execute(sa.select(sa.func.max(tables.store_format.c.format))).scalar() or 0
    elif "alembic_version" not in names and "events" not in names:
        return False
    if number != tables.STORE_FORMAT:
        age = "a newer" if isinstance(number, int) and number > tables.STORE_FORMAT else "an older"
        raise StoreError(
            f"the store {store.shown} was made by {age} poison-guard (format {number}, this one reads "
            f"{tables.STORE_FORMAT}), and no store is taken along before 0.1 is released: start a new home and keep "
            "the old folder"
        )
    head = conn.execute(sa.select(tables.chain.c.seq, tables.chain.c.hash, tables.chain.c.mac)).first()
    if head is not None and head.seq and head_mac(store.key, head.seq, head.hash) != head.mac:
        raise TamperError(
            f"the key in {settings.key_file} (or POISON_GUARD_KEY) is not the one this store was written with, or the "
            "head of its audit chain was changed; restore the key from a backup"
        )
    return True


def _make_engine(text: str) -> sa.Engine:
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise ConfigError("the store URL cannot be read; write sqlite:///PATH or postgresql://USER@HOST/NAME") from None
    match url.get_backend_name():
        case "sqlite":
            return _sqlite_engine(url, sqlite_file(text))
        case "postgresql" | "postgres":
            return _writing_engine(url, os.getpid())
        case other:
            raise ConfigError(f"the store must be sqlite or postgresql, got {other!r}")


def _sqlite_engine(url: sa.URL, file: Path | None) -> sa.Engine:
    if file is None or url.database == ":memory:":
        raise ConfigError("the store needs a file: write sqlite:///PATH")
    folder = file.parent
    try:
        private_folder(folder)
    except OSError as error:
        raise StoreError(f"the folder {folder} of the store cannot be made: {error.strerror}") from None
    if not file.is_file() or (os.access(folder, os.W_OK) and os.access(file, os.W_OK)):
        return _writing_engine(url, os.getpid())
    uri = _read_only_uri(file)
    read = functools.partial(sqlite3.connect, uri, uri=True, check_same_thread=False, **_SQLITE)
    engine = sa.create_engine(url, creator=read, max_overflow=_NO_LIMIT)
    sa.event.listen(engine, "begin", _begin_transaction)
    return engine


@functools.lru_cache(maxsize=16)
def _writing_engine(url: sa.URL, _process: int) -> sa.Engine:
    """Return the engine of a URL, one a process: it has compiled what it was asked before, and no page again."""
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, connect_args=_SQLITE, max_overflow=_NO_LIMIT)
        sa.event.listen(engine, "connect", _set_pragmas)
        sa.event.listen(engine, "begin", _begin_transaction)
        return engine
    try:
        options: dict[str, Any] = {"connect_args": {"connect_timeout": 10}, "pool_pre_ping": True}
        return sa.create_engine(url.set(drivername="postgresql+psycopg"), max_overflow=_NO_LIMIT, **options)
    except ImportError:
        raise MissingExtraError.of("psycopg, which a Postgres store needs,", "postgres") from None


def _read_only_uri(file: Path) -> str:
    """Return how SQLite opens a file that this user may only read.

    Its write-ahead log is read where there is one; otherwise SQLite would make one, unless it is told that nobody
    writes.
    """
    log = file.with_name(f"{file.name}-wal")
    nobody_writes = not log.is_file() or log.stat().st_size == 0
    return f"file:{urllib.parse.quote(str(file.absolute()))}?mode=ro" + ("&immutable=1" if nobody_writes else "")


def sqlite_file(text: str) -> Path | None:
    """Return the file of an SQLite URL, also of one written as a URI (``file:PATH?mode=ro``); None for other stores."""
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        return None  # opening it says what is wrong
    name = url.database
    if url.get_backend_name() != "sqlite" or not name:
        return None
    return Path(name.removeprefix("file:").partition("?")[0] if name.startswith("file:") else name)


def _set_pragmas(connection: Any, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-65536", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_transaction(conn: sa.Connection) -> None:
    """Take SQLite's write lock at the start of a writing transaction, so that it never fails half-way for a reader."""
    writes = conn.get_execution_options().get("guard_writes", False)
    conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _driver_errors(store: Store) -> Iterator[None]:
    """Turn what the database driver raises into one sentence."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _store_error(error.orig or error, store) from None
    except store.engine.dialect.loaded_dbapi.Error as error:
        raise _store_error(error, store) from None
    except sa.exc.TimeoutError:
        raise StoreError(f"the store {store.shown} has no free connection; try again") from None


_SENTENCE_BY_ERROR = {
    "database or disk is full": "the disk is full; free some space and run the command again",
    "readonly database": "it is read-only; allow writing to the file and its folder",
    "unable to open database file": "the file cannot be opened; check that its folder exists and can be written",
    "file is not a database": "the file is not an SQLite database; name another store",
    "disk I/O error": "the disk reports an error; check it and its free space",
}


def _url_text(store: Store) -> str:
    return store.engine.url.render_as_string(hide_password=False)


def _store_error(error: BaseException, store: Store) -> StoreError:
    text, shown = without_secrets(error, _url_text(store)), store.shown
    if "database is locked" in text:
        return StoreError(f"the store {shown} was locked by another process for {_WAIT_SECONDS} s; try again")
    for part, sentence in _SENTENCE_BY_ERROR.items():
        if part in text:
            return StoreError(f"the store {shown} cannot be used: {sentence}")
    line = (text.splitlines() or [type(error).__name__])[0][:300]
    return StoreError(f"the store {shown} cannot be used: {line}")
