"""The Parquet lake on fsspec, and the manifest of its files that count.

Files are added, named by their content, and visible from the moment their manifest row is committed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import os
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from poison_guard.errors import StoreError, TamperError, UsageError
from poison_guard.files import private_folder
from poison_guard.store import bulk, nested, tables
from poison_guard.text import without_secrets

__all__ = ["Lake", "LakeFile", "add_files", "file_rows"]


_OWNER_FILE = "STORE"
"""File of the lake that names the store it belongs to: two homes cannot use one lake."""


@dataclass(frozen=True, slots=True)
class LakeFile:
    """One written file."""

    path: str
    """Relative to the lake."""
    rows: int
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True)
class Lake:
    """A folder of Parquet files at a path or any fsspec URL; `repr` does not show the URL, which may hold a secret."""

    url: str = field(repr=False)
    _files: Any = field(init=False, repr=False, compare=False)
    """The fsspec file system."""
    _at: str = field(init=False, repr=False, compare=False)
    """The lake's folder in it."""

    def __post_init__(self) -> None:
        import fsspec

        try:
            system, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            scheme = self.url.split("://", 1)[0]
            raise StoreError(f"the lake cannot be opened as a `{scheme}` URL: {self._error_line(error)}") from None
        object.__setattr__(self, "_files", system)
        object.__setattr__(self, "_at", root.rstrip("/"))

    def write_frame(self, frame: pd.DataFrame, path: str) -> LakeFile:
        """Write `frame` as zstd Parquet at `path`, replacing what was there."""
        body = _parquet_bytes(frame)
        return self._put(path, body, len(frame), hashlib.sha256(body).hexdigest())

    def add_frame(self, frame: pd.DataFrame, folder: str) -> LakeFile:
        """Write `frame` into `folder` under a name made of its content, so that no later writer can change the file."""
        body = _parquet_bytes(frame)
        digest = hashlib.sha256(body).hexdigest()
        return self._put(f"{folder}/{digest[:24]}.parquet", body, len(frame), digest)

    def add_table(self, table: pa.Table, folder: str) -> LakeFile:
        """Write an Arrow table into `folder` under a name made of its content."""
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd")
        body = sink.getvalue()
        digest = hashlib.sha256(body).hexdigest()
        return self._put(f"{folder}/{digest[:24]}.parquet", body, table.num_rows, digest)

    def add_filtered(self, path: str, keep: Sequence[bool] | np.ndarray) -> LakeFile:
        """Write the rows of a file that `keep` tells into its folder, under the name of their content."""
        try:
            table = pq.read_table(io.BytesIO(self._files.cat_file(self._full(path))))
        except OSError as error:
            raise self._trouble(path, "read", error) from None
        rows = _encoded_anew(table.filter(pa.array(np.asarray(keep, dtype=bool))))
        sink = io.BytesIO()
        pq.write_table(rows, sink, compression="zstd")
        body = sink.getvalue()
        digest = hashlib.sha256(body).hexdigest()
        folder = str(PurePosixPath(path).parent)
        return self._put(f"{folder}/{digest[:24]}.parquet", body, rows.num_rows, digest)

    def read_frame(
        self,
        path: str,
        *,
        columns: Sequence[str] | None = None,
        record_ids: Collection[str] | None = None,
        sha256: str | None = None,
    ) -> pd.DataFrame:
        """Return a written frame, the rows of `record_ids` alone where they are named.

        `TamperError` when its content is not that of `sha256`.
        """
        return self.read_table(path, lambda _: columns, record_ids=record_ids, sha256=sha256).to_pandas()

    def read_table(
        self,
        path: str,
        pick: Callable[[pa.Schema], Sequence[str] | None] = lambda _: None,
        *,
        record_ids: Collection[str] | None = None,
        sha256: str | None = None,
    ) -> pa.Table:
        """Return the columns of a written file that `pick` names, all where it returns None; else as `read_frame`."""
        try:
            body = self._files.cat_file(self._full(path))
        except FileNotFoundError:
            raise StoreError(f"{path} is missing from the lake; restore it from a backup") from None
        except OSError as error:
            raise self._trouble(path, "read", error) from None
        if sha256 is not None and hashlib.sha256(body).hexdigest() != sha256:
            raise TamperError(f"{path} in the lake is not the file that was written; restore it from a backup")
        try:
            file = pq.ParquetFile(io.BytesIO(body))
            picked = pick(file.schema_arrow)
            columns = None if picked is None else list(picked)
            table = file.read(columns=columns) if record_ids is None else _rows_of(file, record_ids, columns)
        except pa.ArrowException as error:
            raise StoreError(f"{path} in the lake cannot be read: {self._error_line(error)}") from None
        return nested.as_text(table)

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder at `path`."""
        try:
            return bool(self._files.exists(self._full(path)))
        except OSError as error:
            raise self._trouble(path, "read", error) from None

    def sha256(self, path: str) -> str | None:
        """Return the SHA-256 of a file, read in pieces; None where there is none, empty where it cannot be read."""
        digest = hashlib.sha256()
        try:
            with self._files.open(self._full(path), "rb") as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
        except FileNotFoundError:
            return None
        except OSError:
            return ""
        return digest.hexdigest()

    def remove(self, folder: str) -> None:
        """Remove a folder of files that no manifest lists; one that is gone already is fine."""
        try:
            self._files.rm(self._full(folder), recursive=True)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._trouble(folder, "removed", error) from None

    def list(self, folder: str = "") -> tuple[str, ...]:
        """Return the paths of all files below `folder`, sorted."""
        try:
            found = self._files.find(self._full(folder) if folder else self._at)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._trouble(folder, "read", error) from None
        return tuple(sorted(str(PurePosixPath(path).relative_to(self._at)) for path in found))

    def unlisted(self, listed: Container[str], before: dt.datetime) -> tuple[tuple[str, int], ...]:
        """Return path and bytes of the files that are not `listed` and were last written before a time, sorted.

        Files of a system that does not say when are left out.
        """
        found = []
        for path in self.list():
            if path != _OWNER_FILE and path not in listed:
                try:
                    at = self._files.modified(self._full(path))
                    if (at if at.tzinfo else at.replace(tzinfo=dt.UTC)) < before:
                        found.append((path, int(self._files.size(self._full(path)) or 0)))
                except (OSError, NotImplementedError):
                    continue
        return tuple(found)

    def _full(self, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or ".." in parts or path.startswith("/") or "://" in path:
            raise UsageError(f"a path in the lake must be relative and stay inside it, got {path!r}")
        return f"{self._at}/{path}"

    def _put(self, path: str, body: bytes, rows: int, digest: str) -> LakeFile:
        full, files = self._full(path), self._files
        try:
            same = files.exists(full) and files.size(full) == len(body) and files.cat_file(full) == body
            if not same:  # a run that was killed and runs again leaves the file as it is
                self._write(full, body)
        except OSError as error:
            raise self._trouble(path, "written", error) from None
        return LakeFile(path, rows, len(body), digest)

    @property
    def local(self) -> bool:
        """Whether it is a folder of this machine."""
        from fsspec.implementations.local import LocalFileSystem

        return isinstance(self._files, LocalFileSystem)

    def owner(self) -> str | None:
        """Return the id of the store that the lake belongs to; None where it belongs to none yet."""
        try:
            body = self._files.cat_file(self._full(_OWNER_FILE))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._trouble(_OWNER_FILE, "read", error) from None
        line = str(body, "utf-8", "replace")
        return line.strip() if line.endswith("\n") else None  # a command was killed while it wrote it

    def claim(self, owner: str) -> None:
        """Write down the id of the store that the lake belongs to."""
        try:
            self._write(self._full(_OWNER_FILE), f"{owner}\n".encode())
        except OSError as error:
            raise self._trouble(_OWNER_FILE, "written", error) from None

    def _write(self, full: str, body: bytes) -> None:
        """Write a file, in folders that are made where they are missing.

        A local one is for this user alone, and durable, with its folders, before the database says that it is there.
        """
        if not self.local:
            self._files.makedirs(full.rsplit("/", 1)[0], exist_ok=True)
            with self._files.open(full, "wb") as file:
                file.write(body)
            return
        private_folder(Path(full).parent)
        with open(full, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        folder = PurePosixPath(full).parent
        while folder.is_relative_to(self._at):
            entry = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(entry)
            finally:
                os.close(entry)
            folder = folder.parent

    def _trouble(self, path: str, verb: str, error: OSError) -> StoreError:
        return StoreError(
            f"{path or 'the lake'} in the lake cannot be {verb}: {error.strerror or self._error_line(error)}"
        )

    def _error_line(self, error: BaseException) -> str:
        return (without_secrets(error, self.url).splitlines() or [type(error).__name__])[0][:200]


_GROUP_ROWS = 20_000
"""Rows of one group in a file: what is read where one of its records is asked for."""


def _rows_of(file: pq.ParquetFile, record_ids: Collection[str], columns: list[str] | None) -> pa.Table:
    """Return the rows of some records; only the groups that hold one of them are read."""
    wanted, parts = pa.array(list(record_ids), pa.string()), list[pa.Table]()
    for group in range(file.num_row_groups):
        ids = file.read_row_group(group, columns=["record_id"])["record_id"]
        mine = pc.is_in(ids.cast(pa.string()), value_set=wanted)
        if pc.any(mine).as_py():
            parts.append(file.read_row_group(group, columns=columns).filter(mine))
    return pa.concat_tables(parts) if parts else file.read_row_groups([], columns=columns)


def _parquet_bytes(frame: pd.DataFrame) -> bytes:
    """Return the frame as Parquet bytes: the same frame gives the same bytes."""
    odd = {
        name: frame[name].astype("category").cat.remove_unused_categories()
        if name == "shape"
        else _storable(frame[name])
        for name in frame.columns
        if frame[name].dtype == object or name == "shape"
    }
    table = pa.Table.from_pandas(frame.assign(**odd) if odd else frame, preserve_index=False)
    if any(pa.types.is_list(column.type) for column in table.schema):
        table = table.replace_schema_metadata(None)  # pandas cannot read back what it notes of lists
    sink = io.BytesIO()
    pq.write_table(nested.as_nested(table), sink, compression="zstd", row_group_size=_GROUP_ROWS)
    return sink.getvalue()


def _encoded_anew(table: pa.Table) -> pa.Table:
    """Return `table` with dictionaries of the values that it holds, and of no others."""
    for i, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):
            cells = table.column(i).combine_chunks().dictionary_decode().dictionary_encode().cast(column.type)
            table = table.set_column(i, column, cells)
    return table


def _storable(column: pd.Series) -> pd.Series:
    """Return an object column as bytes where all values are, else as text (JSON for lists and dicts)."""
    kinds = set(map(type, column.dropna().tolist()))
    if len(kinds) <= 1 and all(issubclass(kind, bytes | str) for kind in kinds):
        return column
    return column.map(_storable_cell, na_action="ignore")


def _storable_cell(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else json.dumps(value, default=str, sort_keys=True)


def add_files(
    conn: sa.Connection, feed: str, files: Sequence[tuple[str, LakeFile]], *, run_id: str | None, seq: int
) -> int:
    """Make ``(lane, file)`` visible and return the id of the first; the others follow it.

    Ids are counted up under the chain's lock, so that a rolled-back commit leaves no gap.
    """
    last = conn.execute(sa.select(sa.func.max(tables.manifests.c.file_id))).scalar() or 0
    rows = [
        {
            "file_id": last + 1 + i,
            "feed": feed,
            "run_id": run_id,
            "lane": lane,
            "path": file.path,
            "rows": file.rows,
            "size": file.size,
            "sha256": file.sha256,
            "seq": seq,
        }
        for i, (lane, file) in enumerate(files)
    ]
    if rows:
        conn.execute(sa.insert(tables.manifests), rows)
    return int(last) + 1


def file_rows(conn: sa.Connection, file_ids: Iterable[int]) -> pd.DataFrame:
    """Return ``file_id, lane, path, rows, sha256`` of the given files, in the order they were written."""
    c = tables.manifests.c
    wanted = [int(i) for i in file_ids]
    query = sa.select(c.file_id, c.lane, c.path, c.rows, c.sha256).where(c.file_id.in_(wanted)).order_by(c.file_id)
    return bulk.fetch_frame(conn, query)
