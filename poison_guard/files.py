"""Write files so that a reader, or a crash, finds the old file or the new one, and never half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["create_atomic", "temporary_beside", "write_atomic"]


def write_atomic(path: Path, body: bytes | str, *, mode: int = 0o600) -> None:
    """Replace the file `path` by one with `body`, on disk before it is visible; its folder is made if needed.

    Text is written as UTF-8. Raises `OSError`; nothing is left beside `path` then.
    """
    with temporary_beside(path, mode=mode) as temporary:
        _write_synced(temporary, body)
        temporary.replace(path)
    _sync_folder(path.parent)


def create_atomic(path: Path, body: bytes, *, mode: int = 0o600) -> bool:
    """Write the file `path` unless there is one, and return whether it was written; of two processes one wins."""
    with temporary_beside(path, mode=mode) as temporary:
        _write_synced(temporary, body)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    _sync_folder(path.parent)
    return True


@contextmanager
def temporary_beside(path: Path, *, mode: int = 0o600) -> Iterator[Path]:
    """Yield a new empty file in the folder of `path`, with its ending; what is left of it on leaving is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.fchmod(descriptor, mode)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _write_synced(path: Path, body: bytes | str) -> None:
    with path.open("wb") as file:
        file.write(body.encode() if isinstance(body, str) else body)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
