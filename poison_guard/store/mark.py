"""The high-water mark: number and hash of the last event, kept beside the key, so that an older database is noticed.

It is written after each commit, so a process killed in between leaves a database that is ahead of it, which is fine. So
is a power cut that loses its last versions: the first is on disk before it is seen, for later ones nobody waits. It is
in the file in two equal lines, and a write that ends anywhere leaves one of them whole: the one before, or the new one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

from poison_guard.config import Settings
from poison_guard.errors import TamperError
from poison_guard.files import write_atomic
from poison_guard.store import bulk, tables
from poison_guard.store.chain import Head

__all__ = ["mark_fault", "mark_file", "raise_mark", "read_marks", "refuse_lost_store"]

_log = logging.getLogger(__name__)
_MAX_BYTES = 4096
_BYTES = 128
"""Of a line: number and hash have room, and a sector of any disk holds both lines."""


def mark_file(settings: Settings) -> Path | None:
    """Return the file of the mark of a home's store; None where the key comes from the environment.

    It is named by the key file, and by the store where that is not the one beside the key.
    """
    if os.environ.get("POISON_GUARD_KEY"):
        return None
    key = settings.key_file
    beside = f"sqlite:///{key.parent / 'store.db'}"
    if settings.store_url == beside:
        return key.with_name(f"{key.name}.head")
    url = sa.make_url(settings.store_url).set(password=None, query={}).render_as_string()
    return key.with_name(f"{key.name}.{hashlib.sha256(url.encode()).hexdigest()[:12]}.head")


def read_marks(path: Path) -> tuple[Head, ...]:
    """Return the mark, highest first where a write ended half-way and its lines differ; nothing before the first.

    Raises `ValueError` for a file that holds none.
    """
    try:
        with _locked(path.parent, shared=True):
            return _read(path)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ValueError(error.strerror) from None


def _read(path: Path) -> tuple[Head, ...]:
    with path.open("rb") as file:
        lines = file.read(_MAX_BYTES).splitlines()
    found = {head for line in lines if (head := _head(line)) is not None}
    if not found:
        raise ValueError("it does not hold the number and the hash of an event")
    return tuple(sorted(found, key=lambda head: head.seq, reverse=True))


def _head(line: bytes) -> Head | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    seq, digest = (found.get("seq"), found.get("hash")) if isinstance(found, dict) else (None, None)
    return Head(seq, digest) if isinstance(seq, int) and isinstance(digest, str) else None


def mark_fault(path: Path | None, conn: sa.Connection) -> str:
    """Return one sentence where the store is behind its mark, or of another history; empty where it is not."""
    if path is None:
        return ""
    try:
        marks = read_marks(path)
    except ValueError as error:
        return (
            f"the high-water mark {path} cannot be read ({error}); restore it, or remove it to trust the store as it is"
        )
    there: dict[Head, str | None] = {}
    for mark in marks:
        row = bulk.raw(conn, "SELECT hash FROM events WHERE seq = ?", (mark.seq,)).fetchone()
        there[mark] = None if row is None else row[0]
    if not marks or any(mark.seq == 0 or there[mark] == mark.hash for mark in marks):
        return ""
    mark, found = next(iter(there.items()))
    last = conn.execute(sa.select(sa.func.max(tables.events.c.seq))).scalar() or 0
    what = f"ends after event {last}" if found is None else f"has another event {mark.seq}"
    return (
        f"the store {what}, but event {mark.seq} was written before: an older copy of the database was put back; "
        f"restore the newest one, or remove {path} to go on from this one"
    )


def refuse_lost_store(path: Path | None, shown: str) -> None:
    """Raise `TamperError` where a database without tables stands for one that had events."""
    if path is None or not path.exists():
        return
    with suppress(ValueError):
        if all(mark.seq == 0 for mark in read_marks(path)):
            return
    raise TamperError(
        f"the store {shown} is empty, but it had events before: bring the database back, or remove {path} to begin anew"
    )


def raise_mark(path: Path | None, head: Head) -> None:
    """Note the last event after its commit; a mark that is higher stays. A mark that cannot be written is logged."""
    if path is None or head.seq == 0:
        return
    try:
        with _locked(path.parent):
            with suppress(ValueError, FileNotFoundError):
                before, *torn = _read(path)
                if not torn and before.seq >= head.seq:
                    return
            _write(path, head)
    except OSError as error:
        _log.warning("the high-water mark %s was not written: %s", path, error.strerror)


def _write(path: Path, head: Head) -> None:
    """Write the mark, over the one before: a new file in its place would wait for the disk, as the first one does."""
    body = f"{json.dumps({'seq': head.seq, 'hash': head.hash}):{_BYTES - 1}}\n".encode() * 2
    try:
        descriptor = os.open(path, os.O_WRONLY)
    except FileNotFoundError:
        write_atomic(path, body)
        return
    try:
        os.pwrite(descriptor, body, 0)
        os.ftruncate(descriptor, len(body))
    finally:
        os.close(descriptor)


@contextmanager
def _locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock on a folder: none reads half a mark, and of two processes none puts a higher mark back."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(ImportError, OSError):  # a file system without locks: a mark too low is noticed late, not wrongly
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
