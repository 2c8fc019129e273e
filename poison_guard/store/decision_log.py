"""Write what was decided about each record to a place of the user's: a table of any database, or Parquet files.

What was written last is read from the place itself, so that a writer that was killed, or comes twice, changes nothing
more. In a table a record has one row; of files the row with the highest `seq` counts.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from poison_guard.errors import StoreError
from poison_guard.files import write_atomic
from poison_guard.store import bulk, tables
from poison_guard.store.engine import Store
from poison_guard.store.reading import load_rows
from poison_guard.store.warehouse import warehouse_engine
from poison_guard.text import shown_url, without_secrets

__all__ = ["DecisionFiles", "DecisionTable", "changed_records", "known_records", "last_change"]

_COLUMNS = ("feed", "record_id", "action", "place", "reasons", "run", "object", "row", "seq")
_ROWS = 500
"""Rows of one statement."""
_NAME = re.compile(r"decisions-(\d{12})\.parquet$")


def changed_records(store: Store, feed: str, since: int) -> pd.DataFrame:
    """Return the decisions of the records that an event after `since` wrote: the columns that are written, by `seq`."""
    c = tables.records.c
    query = (
        sa.select(c.record_id, c.action, c.place, c.reasons, c.run_id, c.changed_seq, c.file_id)
        .where(c.feed == feed, c.changed_seq > since)
        .order_by(c.changed_seq, c.record_id)
    )
    with store.read() as conn:
        rows = bulk.fetch_frame(conn, query)
    if rows.empty:
        return pd.DataFrame({name: [] for name in _COLUMNS})
    origins = [*load_rows(store, rows), pd.DataFrame(columns=["record_id", "object", "row"])]
    places = pd.concat(origins, ignore_index=True).drop_duplicates("record_id")
    rows = rows.merge(places, on="record_id", how="left")
    codes = ["; ".join(json.loads(text)) if isinstance(text, str) else "" for text in rows["reasons"]]
    rows = rows.assign(feed=feed, reasons=codes, row=rows["row"].astype("Int64"))
    return rows.rename(columns={"run_id": "run", "changed_seq": "seq"})[list(_COLUMNS)]


def last_change(store: Store, feed: str) -> int:
    """Return the number of the last event that wrote a record of a feed; 0 for none."""
    c = tables.records.c
    with store.read() as conn:
        return int(conn.execute(sa.select(sa.func.max(c.changed_seq)).where(c.feed == feed)).scalar() or 0)


def known_records(store: Store, feed: str) -> set[str]:
    """Return the ids of all records of a feed."""
    with store.read() as conn:
        return set(conn.execute(sa.select(tables.records.c.record_id).where(tables.records.c.feed == feed)).scalars())


@dataclass(frozen=True)
class DecisionTable:
    """A table of the user's database; `repr` shows no URL."""

    url: str = field(repr=False)
    name: str

    def last(self, feed: str) -> int:
        """Return the number of the last event whose rows are in the table; 0 for none."""
        with _engine(self.url) as engine, engine.begin() as conn:
            table = self._table()
            table.create(conn, checkfirst=True)
            return int(conn.execute(sa.select(sa.func.max(table.c.seq)).where(table.c.feed == feed)).scalar() or 0)

    def write(self, rows: pd.DataFrame) -> None:
        """Put `rows` in the place of earlier ones of the same records; one that is newer there stays."""
        table = self._table()
        records = rows.astype(object).where(rows.notna(), None).to_dict("records")
        with _engine(self.url) as engine, engine.begin() as conn:
            for start in range(0, len(records), _ROWS):
                some = records[start : start + _ROWS]
                among = sa.and_(
                    table.c.feed == some[0]["feed"], table.c.record_id.in_([row["record_id"] for row in some])
                )
                found = conn.execute(sa.select(table.c.record_id, table.c.seq).where(among))
                there = {row.record_id: row.seq for row in found}
                fresh = [row for row in some if there.get(row["record_id"], -1) < row["seq"]]
                if fresh:
                    ids = [row["record_id"] for row in fresh]
                    conn.execute(sa.delete(table).where(among, table.c.record_id.in_(ids)))
                    conn.execute(sa.insert(table), fresh)

    def forget(self, feed: str, known: Collection[str]) -> None:
        """Remove the rows of records that the store does not know any more: they were erased."""
        table = self._table()
        with _engine(self.url) as engine, engine.begin() as conn:
            there = conn.execute(sa.select(table.c.record_id).where(table.c.feed == feed)).scalars().all()
            gone = sorted(set(there) - set(known))
            for start in range(0, len(gone), _ROWS):
                some = table.c.record_id.in_(gone[start : start + _ROWS])
                conn.execute(sa.delete(table).where(table.c.feed == feed, some))

    def _table(self) -> sa.Table:
        schema, _, name = self.name.rpartition(".")
        kinds: dict[str, Any] = {"row": sa.BigInteger, "seq": sa.BigInteger, "object": sa.Text, "reasons": sa.Text}
        columns = [
            sa.Column(column, kinds.get(column, sa.String(300)), primary_key=column in ("feed", "record_id"))
            for column in _COLUMNS
        ]
        return sa.Table(name, sa.MetaData(), *columns, schema=schema or None)


class _engine:  # noqa: N801  a context
    """An engine for one task, with the database's errors in a sentence."""

    def __init__(self, url: str) -> None:
        self._url, self._engine = url, warehouse_engine(url)

    def __enter__(self) -> sa.Engine:
        return self._engine

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._engine.dispose()
        if isinstance(error, sa.exc.SQLAlchemyError):
            cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig else error
            line = (without_secrets(cause, self._url).splitlines() or [type(error).__name__])[0][:200]
            raise StoreError(f"the table of decisions in {shown_url(self._url)} cannot be written: {line}") from None


@dataclass(frozen=True)
class DecisionFiles:
    """A folder of Parquet files at a path or any fsspec URL; `repr` shows no URL."""

    url: str = field(repr=False)

    def last(self, feed: str) -> int:
        """Return the number of the last event whose rows are in a file; 0 for none."""
        return max((int(found[1]) for path in self._files(feed) if (found := _NAME.search(path))), default=0)

    def write(self, rows: pd.DataFrame) -> None:
        """Write `rows` as one file, named by its last event."""
        self._put(f"{rows['feed'].iloc[0]}/decisions-{int(rows['seq'].max()):012d}.parquet", rows)

    def forget(self, feed: str, known: Collection[str]) -> None:
        """Write the files anew without the rows of records that the store does not know any more."""
        system, root = self._system()
        for path in self._files(feed):
            rows = pq.read_table(io.BytesIO(system.cat_file(path))).to_pandas()
            kept = rows[rows["record_id"].isin(set(known))]
            if len(kept) < len(rows):
                self._put(path.removeprefix(f"{root}/"), kept)

    def _put(self, name: str, rows: pd.DataFrame) -> None:
        sink = io.BytesIO()
        kinds = {"row": pa.int64(), "seq": pa.int64()}
        schema = pa.schema([(column, kinds.get(column, pa.string())) for column in _COLUMNS])
        pq.write_table(pa.Table.from_pandas(rows, schema=schema, preserve_index=False), sink, compression="zstd")
        system, root = self._system()
        path = f"{root}/{name}"
        try:
            if "file" in _protocols(system):
                write_atomic(Path(path), sink.getvalue())
            else:
                system.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
                system.pipe_file(path, sink.getvalue())
        except OSError as error:
            line = error.strerror or without_secrets(error, self.url)
            raise StoreError(f"decisions cannot be written to {shown_url(self.url)}: {line}") from None

    def _files(self, feed: str) -> list[str]:
        system, root = self._system()
        try:
            return sorted(path for path in system.find(f"{root}/{feed}") if _NAME.search(path))
        except FileNotFoundError:
            return []
        except OSError as error:
            line = error.strerror or without_secrets(error, self.url)
            raise StoreError(f"the decisions at {shown_url(self.url)} cannot be read: {line}") from None

    def _system(self) -> tuple[Any, str]:
        import fsspec

        try:
            system, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            line = without_secrets(error, self.url)
            raise StoreError(f"path in [out] cannot be opened ({shown_url(self.url)}): {line}") from None
        return system, root.rstrip("/")


def _protocols(system: Any) -> Collection[str]:
    named = system.protocol
    return (named,) if isinstance(named, str) else named
