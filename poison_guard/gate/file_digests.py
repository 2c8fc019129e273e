"""Compare the SHA-256 of the files in a folder with a manifest, without leaving the folder or following a link."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from poison_guard.errors import ClosedError, TamperError
from poison_guard.gate.canonical_json import open_regular
from poison_guard.text import quoted

__all__ = ["check_files", "check_nothing_else"]


_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LINK_ERRORS = (errno.ELOOP, errno.ENOTDIR)


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Hash each of `files` (relative name to SHA-256, hex) in `folder`.

    `ClosedError` for one that is missing, is no regular file or lies behind a symbolic link; `TamperError` for one
    whose content is another.
    """
    try:
        root = os.open(folder, _FOLDER_FLAGS)
    except (OSError, ValueError):
        raise ClosedError(f"there is no data folder {quoted(folder)}; name the one that holds the files") from None
    try:
        for name, digest in files.items():
            if _digest(root, name, folder) != digest:
                raise TamperError(
                    f"{quoted(name)} in {quoted(folder)} is not the file that was admitted; restore it, or seal again"
                )
    finally:
        os.close(root)


def check_nothing_else(folder: Path, files: Collection[str], *, besides: Collection[Path] = ()) -> None:
    """Raise `ClosedError` when `folder` holds anything but `files` and the paths `besides`, hidden files included."""
    allowed = {path.resolve() for path in besides}
    extra = sorted(
        name for name in _all_files(folder) if name not in files and (folder / name).resolve() not in allowed
    )
    if extra:
        more = f" and {len(extra) - 1:,} more" if len(extra) > 1 else ""
        raise ClosedError(
            f"{quoted(folder)} holds {quoted(extra[0])}{more}, which the manifest does not name; "
            "move it out, so that nothing else is trained on"
        )


def _digest(root: int, name: str, folder: Path) -> str:
    """Return the SHA-256 of a file below `root`, opened folder by folder so that no part of the way can be a link."""
    *parents, last = name.split("/")
    at = os.dup(root)
    try:
        for parent in parents:
            inner = os.open(parent, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        with open_regular(last, folder=at) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        why = "missing"
    except OSError as error:
        why = "behind a link" if error.errno in _LINK_ERRORS else f"unreadable: {error.strerror}"
    finally:
        os.close(at)
    raise ClosedError(f"{quoted(name)} in {quoted(folder)} is {why}; copy it again from the lake that was sealed")


def _all_files(folder: Path) -> Iterator[str]:
    for at, folders, files in os.walk(folder, onerror=_raise_unreadable):
        here = Path(at)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in (*files, *links):
            yield (here / name).relative_to(folder).as_posix()


def _raise_unreadable(error: OSError) -> None:
    raise ClosedError(f"{quoted(error.filename)} cannot be looked into: {error.strerror}; make it readable") from None
