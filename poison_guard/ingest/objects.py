"""Find the objects of a feed and name each by the digest of its content, so that it is recognised the next time."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import url_to_fs

from poison_guard.errors import DataError, GuardError, ReadError, UsageError
from poison_guard.ingest.raw_table import Limits, NotRead, Unreadable, is_fault_of_file
from poison_guard.records import ObjectRef
from poison_guard.text import holds_password, shown_url, without_secrets

__all__ = ["ObjectChanged", "find_path", "is_pattern", "local_copy", "refused_link", "resolve_paths"]

_CHUNK_BYTES = 1 << 20
_WILDCARDS = "*?["


def find_path(path: str, *, contract_file: Path | None, home: Path) -> str:
    """Resolve a path of a contract: URLs and absolute paths as they are, others beside the contract, else in the home.

    "Beside the contract" holds when the part before the first wildcard exists there.
    """
    if "://" in path or Path(path).is_absolute():
        return path
    if contract_file is not None:
        beside = contract_file.absolute().parent
        parts = Path(path).parts
        fixed = Path(*itertools.takewhile(lambda part: not set(part) & set(_WILDCARDS), parts))
        if str(fixed) != "." and (beside / fixed).exists():
            return str(beside / path)
    return str(home / path)


class ObjectChanged(Unreadable):
    """The object changed since it was listed: somebody is still writing it."""


def resolve_paths(
    paths: Sequence[str], limits: Limits, *, by_hand: bool, roots: Sequence[Path] = ()
) -> list[ObjectRef]:
    """Return the objects of paths, URLs and patterns, each once, sorted by uri.

    A local file has one uri, whatever path or link leads to it.
    Each digest is the SHA-256 of the whole content, read once as a stream. `by_hand`: a person named the paths, so that
    a pattern without a file is an error. A link that a pattern finds is followed to a file in the pattern's own folder
    or in one of `roots`; of another one the digest is that of where it leads, and `refused_link` says why. Raises
    `DataError` if a path does not exist, is a folder, or is empty, and `ReadError` if it cannot be reached.
    """
    refs: dict[str, ObjectRef] = {}
    resolved = functools.cache(Path.resolve)  # thousands of files that were taken in before may lie in one folder
    for path in paths:
        place, several = path, is_pattern(path)
        try:
            for name, size in _matching_files(path, by_hand=by_hand):
                place = uri = name
                linked = "://" not in name and (file := Path(name)).is_symlink()
                if several and linked and not _is_followed(name, path, roots):
                    digest: str | None = _text_digest(_link_refusal(name))
                else:
                    if linked:
                        uri = os.path.realpath(name)
                    elif "://" not in name:
                        uri = str(resolved(file.parent) / file.name)
                    digest = _digest(uri, size, limits, from_pattern=several)
                if digest:
                    refs[uri] = ObjectRef(uri, digest, size)
        except GuardError:
            raise
        except Exception as error:  # noqa: BLE001  each filesystem of fsspec has errors of its own
            raise _path_error(place, error) from None  # the error may show a secret of the URL
    return [refs[uri] for uri in sorted(refs)]


def refused_link(ref: ObjectRef) -> str | None:
    """Return why an object is a link that is not followed; None if it is no link, or is followed."""
    if "://" in ref.uri or not Path(ref.uri).is_symlink():
        return None
    reason = _link_refusal(ref.uri)
    return reason if ref.digest == _text_digest(reason) else None


def _is_followed(uri: str, pattern: str, roots: Sequence[Path]) -> bool:
    """Return whether a link leads to a file in the pattern's folder or in one of `roots`."""
    before = pattern[: min(pattern.find(c) for c in _WILDCARDS if c in pattern)]
    folder = Path(before).expanduser().absolute()
    own = folder if before.endswith("/") else folder.parent
    target = Path(os.path.realpath(uri))
    return target.is_file() and any(target.is_relative_to(Path(os.path.realpath(root))) for root in (own, *roots))


def _link_refusal(uri: str) -> str:
    return f"it is a link to {os.path.realpath(uri)}, which is no file in the feed's own folders"


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def is_pattern(path: str) -> bool:
    """Return whether a path or URL may name several files."""
    return any(c in path for c in _WILDCARDS) and not ("://" not in path and Path(path).exists())


@contextlib.contextmanager
def local_copy(ref: ObjectRef, limits: Limits) -> Iterator[Path]:
    """Give a local path to the object's content: the file itself, or a copy that is removed at the end.

    Raises `ObjectChanged` at the end if the content is not that of `ref`, whatever came of reading it.
    """
    with contextlib.ExitStack() as stack:
        path = Path(ref.uri)
        if "://" in ref.uri:
            path = stack.enter_context(_temporary_folder()) / "object"
            try:
                _fetch(ref.uri, path, limits)
            except (Unreadable, FileNotFoundError, PermissionError):
                raise
            except Exception as error:  # noqa: BLE001  each filesystem of fsspec has errors of its own
                raise NotRead(_first_line(error, ref.uri)) from None
        try:
            yield path
        finally:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != ref.digest:
                    raise ObjectChanged("it changed while it was being read")


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="poison-guard-", ignore_cleanup_errors=True)
    except OSError as error:
        raise NotRead(error.strerror or str(error)) from None
    with folder as path:
        yield Path(path)


def _fetch(uri: str, copy: Path, limits: Limits) -> None:
    copied = 0
    with fsspec.open(uri, "rb") as source, copy.open("wb") as target:
        while chunk := source.read(_CHUNK_BYTES):
            copied += len(chunk)
            if copied > limits.max_bytes:
                raise Unreadable(f"it is larger than max_bytes = {limits.max_bytes:,}")
            target.write(chunk)


def _matching_files(path: str, *, by_hand: bool) -> Iterator[tuple[str, int]]:
    """Yield uri and size of every file that `path` names."""
    if "://" in path and holds_password(path, tokens=False):  # a signed URL is how object stores are read
        raise UsageError(
            "a URL of data contains a password; remove it and set it in the environment of the URL's filesystem"
        )
    fs, inside = url_to_fs(path if "://" in path else str(Path(path).expanduser().absolute()))
    if is_pattern(path):
        details: dict[str, dict[str, Any]] = fs.glob(inside, detail=True)
        files = {name: info for name, info in details.items() if info["type"] == "file" or info.get("islink")}
        if by_hand and not files:
            raise DataError(f"{shown_url(path)} matches no file; check the pattern")
    else:
        info = fs.info(inside)
        if info["type"] != "file":
            shown = shown_url(path)
            raise DataError(f"{shown} is not a file; name files, or a pattern such as {shown.rstrip('/')}/*.parquet")
        files = {inside: info}
        if info["size"] == 0:
            raise DataError(f"{shown_url(path)} is empty; there is nothing to read")
    local = "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))
    for name, info in files.items():
        yield (name if local else fs.unstrip_protocol(name)), int(info["size"] or 0)


def _digest(uri: str, size: int, limits: Limits, *, from_pattern: bool) -> str | None:
    """Return the SHA-256 of the content; of an object past `max_bytes`, which is refused later, of its start and size.

    One file of a pattern may be unreadable without costing the others: None if it no longer exists, a digest of the
    error if it may not be read.
    """
    state = hashlib.sha256()
    left = limits.max_bytes if size <= limits.max_bytes else _CHUNK_BYTES
    try:
        with fsspec.open(uri, "rb") if "://" in uri else Path(uri).open("rb") as file:
            while left > 0 and (chunk := file.read(min(_CHUNK_BYTES, left))):
                state.update(chunk)
                left -= len(chunk)
    except FileNotFoundError:
        if not from_pattern:
            raise
        return None
    except OSError as error:
        passing = not is_fault_of_file(error) or (error.errno is None and "://" in uri)
        if not from_pattern or (passing and not isinstance(error, PermissionError)):
            raise
        return _text_digest(f"{uri} cannot be read: {error.errno}")
    if size > limits.max_bytes:
        state.update(f"{size} bytes of {uri}".encode())
    return state.hexdigest()


def _path_error(path: str, error: Exception) -> GuardError:
    """Return the error for a path that cannot be listed or opened: wrong, or not to be reached now."""
    match error:
        case FileNotFoundError():
            return DataError(f"{shown_url(path)} does not exist; check the path")
        case PermissionError():
            return DataError(f"{shown_url(path)} may not be read by this user; check its permissions")
        case MemoryError():
            return ReadError.of(shown_url(path), "the machine has no memory left for it")
        case ImportError() | ValueError():
            return DataError(f"{shown_url(path)} cannot be opened: {without_secrets(error, path)}")
        case OSError() if is_fault_of_file(error) and error.errno:
            return DataError(f"{shown_url(path)} cannot be opened: {error.strerror}")
        case _:
            return ReadError.of(shown_url(path), f"it cannot be reached: {_first_line(error, path)}")


def _first_line(error: Exception, uri: str) -> str:
    text = without_secrets(error, uri)
    reason = getattr(error, "strerror", None) or (text.splitlines() or [type(error).__name__])[0]
    return str(reason)[:200]
