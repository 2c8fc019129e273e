"""Write files so that a reader, or a crash, finds the old file or the new one, and never half of one."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poison_guard.errors import StoreError, UsageError
from poison_guard.text import to_jsonable

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FRAME_ENDINGS",
    "armed",
    "check_ending",
    "create_atomic",
    "defused",
    "is_temporary",
    "private_folder",
    "temporary_beside",
    "write_atomic",
    "write_frame",
    "write_text",
]


def write_atomic(path: Path, body: bytes | str, *, mode: int | None = 0o600) -> None:
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
def temporary_beside(path: Path, *, mode: int | None = 0o600) -> Iterator[Path]:
    """Yield a new empty file in the folder of `path`, with its ending; what is left of it on leaving is removed.

    So is what processes left that were killed while they wrote the same file, an hour ago or longer.
    `mode` None: what the process's umask leaves. Otherwise missing folders are made for this user alone.
    """
    if mode is None:
        path.parent.mkdir(parents=True, exist_ok=True)
    else:
        private_folder(path.parent)
    _remove_old(path)
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode)
    if mode is not None:
        os.fchmod(descriptor, mode)
    os.close(descriptor)
    try:
        yield temporary
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


_TEMPORARY = re.compile(r"\..+-[0-9a-f]{8}(\.\w+)?")
_OLD_SECONDS = 3600


def is_temporary(name: str) -> bool:
    """Whether a file is called as `temporary_beside` calls one."""
    return _TEMPORARY.fullmatch(name) is not None


def _remove_old(path: Path) -> None:
    start, size = f".{path.stem}-", len(path.stem) + len(path.suffix) + 10
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            mine = entry.name.startswith(start) and entry.name.endswith(path.suffix) and len(entry.name) == size
            if mine and is_temporary(entry.name) and time.time() - entry.stat().st_mtime > _OLD_SECONDS:
                Path(entry.path).unlink()


def private_folder(path: Path) -> None:
    """Make a folder and the missing ones above it, for this user alone (mode 0700); one that is there stays."""
    for folder in reversed([folder for folder in (path, *path.parents) if not folder.exists()]):
        folder.mkdir(mode=0o700, exist_ok=True)


def write_text(text: str, path: Path, *, mode: int | None = 0o600) -> None:
    """Write a text file for the user, whom alone it is for by default; `StoreError` says why it cannot be written."""
    with _named_errors(path):
        write_atomic(path, text.encode(errors="backslashreplace"), mode=mode)


FRAME_ENDINGS = (".parquet", ".csv", ".jsonl")


def check_ending(path: Path) -> None:
    """Raise `UsageError` unless `path` ends in a format that a frame can be written in, or is ``-``, stdout."""
    if str(path) != "-" and path.suffix.lower() not in FRAME_ENDINGS:
        *most, last = FRAME_ENDINGS
        raise UsageError(f"{path} must end in {', '.join(most)} or {last}, which says its format")


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame for the user alone (mode 0600), in the format that the ending of `path` names.

    CSV cells that a spreadsheet takes for a formula are defused. ``-`` is stdout, in JSON Lines. `StoreError` says why
    the file cannot be written.
    """
    check_ending(path)
    if str(path) == "-":
        sys.stdout.writelines(_json_lines(frame, ensure_ascii=True))
        return
    with _named_errors(path), temporary_beside(path) as temporary:
        match path.suffix.lower():
            case ".parquet":
                _with_text_for_mappings(frame).to_parquet(temporary, index=False)
            case ".csv":
                _defuse_frame(frame).to_csv(temporary, index=False)
            case _:
                text = "".join(_json_lines(frame, ensure_ascii=False))
                temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)


def _json_lines(frame: pd.DataFrame, *, ensure_ascii: bool) -> Iterator[str]:
    for row in frame.to_dict("records"):
        yield json.dumps(to_jsonable(row), ensure_ascii=ensure_ascii) + "\n"


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters that spreadsheets take for a formula (OWASP, CSV Injection), full-width forms included."""


def defused(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula: text that could be one gets a leading ``'``."""
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return f"'{value}"
    return value


def armed(value: str) -> str:
    """Return a cell as it was before `defused`."""
    return value[1:] if value.startswith("'") and defused(value[1:]) != value[1:] else value


def _defuse_frame(frame: pd.DataFrame) -> pd.DataFrame:
    safe = frame.copy()
    for name in safe.columns:
        if safe[name].dtype.kind not in "biufcmM":
            safe[name] = [defused(_nested_as_text(value)) for value in safe[name].astype(object)]
    return safe.rename(columns=defused)


def _with_text_for_mappings(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with mappings as JSON text, which every Parquet reader understands."""
    nested = [name for name in frame.columns if any(isinstance(value, dict) for value in frame[name].head(100))]
    return frame.assign(**{name: [_nested_as_text(value) for value in frame[name]] for name in nested})


_NESTED = (list, tuple, dict)


def _nested_as_text(value: Any) -> Any:
    return json.dumps(to_jsonable(value), ensure_ascii=False) if isinstance(value, _NESTED) else value


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from None


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
