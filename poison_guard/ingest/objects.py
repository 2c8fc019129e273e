"""Find the objects of a feed and name each by the digest of its content, so that one taken in before is recognised."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec
from fsspec.core import url_to_fs

from poison_guard.config import Contract
from poison_guard.config.settings import find_path
from poison_guard.errors import DataError, GuardError, UsageError
from poison_guard.ingest.raw_table import Limits, Unreadable
from poison_guard.records import ObjectRef

__all__ = ["is_one_object", "list_objects", "local_copy", "resolve_paths"]

_CHUNK_BYTES = 1 << 20
_WILDCARDS = "*?["


def list_objects(contract: Contract, source: Sequence[str] | str | None, *, home: str | Path) -> list[ObjectRef]:
    """Return the objects that `source` names (paths, URLs, patterns; None: the contract's ``data.path``), by uri.

    Each digest is the SHA-256 of the whole content, read once as a stream. `DataError` where a path named by hand does
    not exist, is a folder or is empty; a pattern of the contract that matches nothing yet gives no objects.
    """
    limits = Limits.of(contract)
    if source is None:
        if contract.data.path is None:
            raise UsageError(f"feed {contract.name} reads a query, not files; name files or set path in [data]")
        return resolve_paths(
            [find_path(contract.data.path, contract_file=contract.path, home=Path(home))], limits, given=False
        )
    return resolve_paths([source] if isinstance(source, str) else [str(s) for s in source], limits, given=True)


def is_one_object(contract: Contract, source: Sequence[str] | str | None) -> bool:
    """Whether `source` is one object named without a pattern, so that its faults are the caller's to hear."""
    paths = [contract.data.path or ""] if source is None else [source] if isinstance(source, str) else list(source)
    return len(paths) == 1 and not _is_pattern(str(paths[0]))


def resolve_paths(paths: Sequence[str], limits: Limits, *, given: bool) -> list[ObjectRef]:
    """Return the objects of paths, URLs and patterns, each once, sorted by uri; `given`: a person named them."""
    found: dict[str, ObjectRef] = {}
    for path in paths:
        with _path_errors(path):
            for uri, size in _matching_files(path, given=given):
                digest = _digest(uri, size, limits) if not _is_pattern(path) else _digest_or_none(uri, size, limits)
                found |= {uri: ObjectRef(uri, digest, size)} if digest else {}
    return [found[uri] for uri in sorted(found)]


@contextlib.contextmanager
def local_copy(ref: ObjectRef, limits: Limits) -> Iterator[Path]:
    """Give a local path with the object's content: the file itself, or a copy that lives as long as the context."""
    if "://" not in ref.uri:
        yield Path(ref.uri)
        return
    with tempfile.TemporaryDirectory(prefix="poison-guard-") as folder:
        copy = Path(folder) / "object"
        taken = 0
        with fsspec.open(ref.uri, "rb") as source, copy.open("wb") as target:
            while chunk := source.read(_CHUNK_BYTES):
                taken += len(chunk)
                if taken > limits.max_bytes:
                    raise Unreadable(f"it is larger than max_bytes = {limits.max_bytes:,}")
                target.write(chunk)
        yield copy


def _is_pattern(path: str) -> bool:
    return any(c in path for c in _WILDCARDS) and not ("://" not in path and Path(path).exists())


def _matching_files(path: str, *, given: bool) -> Iterator[tuple[str, int]]:
    """Yield uri and size of every file that `path` names."""
    if urlsplit(path).password:
        raise UsageError(
            "a URL of data holds a password; leave it out and give it by the environment of its filesystem"
        )
    fs, inside = url_to_fs(path if "://" in path else str(Path(path).expanduser().absolute()))
    if _is_pattern(path):
        details: dict[str, dict[str, Any]] = fs.glob(inside, detail=True)
        files = {name: info for name, info in details.items() if info["type"] == "file"}
        if given and not files:
            raise DataError(f"{path} matches no file; check the pattern")
    else:
        info = fs.info(inside)
        if info["type"] != "file":
            raise DataError(f"{path} is not a file; name files, or a pattern such as {path.rstrip('/')}/*.parquet")
        files = {inside: info}
        if info["size"] == 0:
            raise DataError(f"{path} is empty; there is nothing to read")
    local = "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))
    for name, info in files.items():
        yield (name if local else fs.unstrip_protocol(name)), int(info["size"] or 0)


def _digest_or_none(uri: str, size: int, limits: Limits) -> str | None:
    """Digest of one object among many; None where it is gone by now, a name where it may not be read."""
    try:
        return _digest(uri, size, limits)
    except FileNotFoundError:
        return None
    except OSError as error:
        return hashlib.sha256(f"{uri} cannot be read: {error.errno}".encode()).hexdigest()


def _digest(uri: str, size: int, limits: Limits) -> str:
    """SHA-256 of the content; of an object past `max_bytes`, which is refused anyway, only of its start and size."""
    state = hashlib.sha256()
    left = limits.max_bytes if size <= limits.max_bytes else _CHUNK_BYTES
    with fsspec.open(uri, "rb") as file:
        while left > 0 and (chunk := file.read(min(_CHUNK_BYTES, left))):
            state.update(chunk)
            left -= len(chunk)
    if size > limits.max_bytes:
        state.update(f"{size} bytes of {uri}".encode())
    return state.hexdigest()


@contextlib.contextmanager
def _path_errors(path: str) -> Iterator[None]:
    """Say in one sentence why a path cannot be listed or opened."""
    try:
        yield
    except GuardError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the path") from None
    except PermissionError:
        raise DataError(f"{path} may not be read by this user; check its permissions") from None
    except (ImportError, ValueError) as error:
        raise DataError(f"{path} cannot be opened: {error}") from None
    except Exception as error:  # each filesystem of fsspec has errors of its own
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} cannot be reached: {reason[:200]}") from error
