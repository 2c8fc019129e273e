"""Move many rows at once, as a database can keep them: frames into and out of tables, bounded keys, finite JSON."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pandas.api.extensions import ExtensionArray

from poison_guard.errors import UsageError
from poison_guard.text import to_jsonable

__all__ = [
    "FEW",
    "MAX_KEY",
    "Query",
    "among",
    "as_table",
    "bindable",
    "bounded_key",
    "bounded_keys",
    "fetch_frame",
    "from_json",
    "insert_frame",
    "insert_missing",
    "insert_rows",
    "is_one_of",
    "quoted",
    "raw",
    "raw_each",
    "select_many",
    "to_json",
    "together",
]


MAX_KEY = 256
"""Characters; database indexes take no longer keys."""
_TEXT = pd.StringDtype("pyarrow", na_value=np.nan)
_UTC = pd.DatetimeTZDtype("us", "UTC")


def bounded_key(name: str) -> str:
    """Return `name` if it can be kept as it is, else its beginning and a hash of the whole.

    >>> bounded_key("user-7")
    'user-7'
    """
    if not isinstance(name, str):
        raise UsageError(f"an id is text, got {name!r}")
    if len(name) <= MAX_KEY and "\0" not in name:
        return name
    mark = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{name[: MAX_KEY - 33]}~{mark}".replace("\0", "␀")


def bounded_keys(names: pd.Series) -> pd.Series:
    """Return a column of names with those that cannot be kept replaced by `bounded_key`; the rest is untouched."""
    text = names.astype("str")
    cells = text.array.__arrow_array__()
    odd = pc.or_(pc.greater(pc.utf8_length(cells), MAX_KEY), pc.match_substring(cells, "\0"))
    if not pc.any(odd, min_count=0).as_py():
        return names if names.isna().all() else text
    at = np.asarray(pc.fill_null(odd, False))
    return text.where(~at, text[at].map(bounded_key))


_BOUNDS = {"max_text": 500, "max_items": 200, "max_depth": 8}


def to_json(value: Any, *, bounded: bool = True) -> str:
    """Return `value` as JSON: numbers that are not finite become null; with `bounded`, long text and lists are cut."""
    return json.dumps(to_jsonable(value, **_BOUNDS if bounded else {}), sort_keys=True, separators=(",", ":"))


def from_json(text: str) -> Any:
    """Return what `to_json` wrote."""
    return json.loads(text)


Query = sa.Select[*tuple[Any, ...]]
"""A SELECT of any columns."""

_CHUNK = 50_000
FEW = 100
"""Rows up to which INSERT is no slower than COPY."""


def insert_frame(conn: sa.Connection, table: sa.Table, frame: pd.DataFrame) -> None:
    """Insert the columns of `frame` that `table` has; missing values become NULL, times whole microseconds."""
    if frame.empty:
        return
    names = [column.name for column in table.columns if column.name in frame.columns]
    values = [bindable(frame[name]) for name in names]
    for start in range(0, len(frame), _CHUNK):
        insert_rows(conn, table, names, list(zip(*(v[start : start + _CHUNK] for v in values), strict=True)))


def insert_rows(
    conn: sa.Connection, table: sa.Table, names: Sequence[str], rows: Sequence[tuple[Any, ...]], *, then: str = ""
) -> None:
    """Insert rows of the columns `names`, as the driver takes them: times are whole microseconds, see `bindable`.

    `then`: SQL of what is done with rows that are there already.
    """
    if not rows:
        return
    into = f"{table.name} ({quoted(names)})"
    if _is_together(conn):
        those, values = as_table(conn, {name: table.c[name].type for name in names}, rows)
        raw(conn, f"INSERT INTO {into} SELECT * FROM {those} {then}", values)
        return
    if conn.dialect.name == "postgresql" and len(rows) > FEW and not then:
        with conn.connection.cursor().copy(f"COPY {into} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        return
    marks = ", ".join("?" * len(names))
    raw_many(conn, f"INSERT INTO {into} VALUES ({marks}) {then}", rows)


def quoted(names: Iterable[str]) -> str:
    """Return names of our columns as SQL: one of them is a word of its own."""
    return ", ".join(f'"{name}"' for name in names)


def raw(conn: sa.Connection, statement: str, values: Sequence[Any] = ()) -> Any:
    """Run our own SQL, with ``?`` for the `values`, and return the driver's cursor: for what is run a decision.

    A statement of SQLAlchemy costs some 0.15 ms to build and to look up, four times what SQLite needs for it.
    """
    cursor = conn.connection.cursor()
    cursor.execute(_as_driver(conn, statement), tuple(values))
    return cursor


def raw_many(conn: sa.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run our own SQL once for each row of values."""
    if len(rows) == 1:
        raw(conn, statement, rows[0])
        return
    conn.connection.cursor().executemany(_as_driver(conn, statement), rows)


def raw_each(conn: sa.Connection, queries: Sequence[tuple[str, Sequence[Any]]]) -> list[list[tuple[Any, ...]]]:
    """Return the rows of several queries of our own (SQL and its values), asked together."""
    with together(conn):
        cursors = [raw(conn, query, values) for query, values in queries]
        return [cursor.fetchall() for cursor in cursors]


def together(conn: sa.Connection) -> AbstractContextManager[object]:
    """Let a Postgres server do what `raw` asks without an answer to each; it is waited for where rows are fetched.

    For our own SQL of few rows alone: SQLAlchemy and COPY need each answer at once. Errors come at the end at the
    latest.
    """
    driver: Any = conn.connection.driver_connection
    return driver.pipeline() if conn.dialect.name == "postgresql" else nullcontext()


def _is_together(conn: sa.Connection) -> bool:
    """Return whether `together` holds: then a Postgres server is told of many rows in one statement, as COPY cannot."""
    if conn.dialect.name != "postgresql":
        return False
    from psycopg.pq import PipelineStatus

    driver: Any = conn.connection.driver_connection
    return bool(driver.pgconn.pipeline_status != PipelineStatus.OFF)


def as_table(
    conn: sa.Connection, columns: Mapping[str, sa.types.TypeEngine[Any]], rows: Sequence[tuple[Any, ...]]
) -> tuple[str, list[Any]]:
    """Return the SQL of a table ``v`` of `rows`, and what to bind for its ``?``, whatever their number."""
    if conn.dialect.name != "postgresql":
        names = ", ".join(f"value ->> {k} AS {name}" for k, name in enumerate(columns))
        return f"(SELECT {names} FROM json_each(?)) AS v", [json.dumps(rows)]
    cells = [list(each) for each in zip(*rows, strict=True)]
    arrays = ", ".join(f"?::{kind.compile(conn.dialect)}[]" for kind in columns.values())
    return f"unnest({arrays}) AS v ({quoted(columns)})", cells


def _as_driver(conn: sa.Connection, statement: str) -> str:
    return statement.replace("?", "%s") if conn.dialect.name == "postgresql" else statement


def among(conn: sa.Connection, values: Sequence[Any]) -> tuple[str, Any]:
    """Return the SQL that a column is among `values`, and what to bind for its one ``?``, whatever their number."""
    if conn.dialect.name == "postgresql":
        return "= ANY(?)", list(values)
    if len(values) == 1:
        return "= ?", values[0]
    return "IN (SELECT value FROM json_each(?))", json.dumps(list(values))


def insert_missing(conn: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert `rows`, leaving those whose primary key is there already as they are."""
    if not rows:
        return
    if conn.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert
    conn.execute(insert(table).on_conflict_do_nothing(), list(rows))


def is_one_of(conn: sa.Connection, column: sa.ColumnElement[Any], values: Sequence[str]) -> sa.ColumnElement[bool]:
    """Return the condition that `column` is among `values`, bound as one parameter whatever their number."""
    if conn.dialect.name == "postgresql":
        return column == sa.any_(sa.bindparam(None, list(values), type_=sa.ARRAY(sa.Text)))
    each = sa.func.json_each(json.dumps(list(values))).table_valued("value")
    return column.in_(sa.select(each.c.value))


def select_many(
    conn: sa.Connection, query: Query, column: sa.ColumnElement[Any], values: Iterable[str]
) -> pd.DataFrame:
    """Return the rows of `query` whose `column` is among `values`, looked up in chunks, each value once."""
    wanted = list(dict.fromkeys(values.tolist() if isinstance(values, pd.Series) else values))
    parts = [
        fetch_frame(conn, query.where(is_one_of(conn, column, wanted[start : start + _CHUNK])))
        for start in range(0, max(len(wanted), 1), _CHUNK)
    ]
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


def fetch_frame(conn: sa.Connection, query: Query) -> pd.DataFrame:
    """Return the rows of `query`: text as `str`, times as UTC, numbers and booleans as NumPy has them."""
    result = conn.execute(query)
    rows = result.cursor.fetchall()  # as the database gives them: thousands of rows of SQLAlchemy's own cost twice that
    result.close()
    cells: Iterator[tuple[Any, ...]] = zip(*rows, strict=True) if rows else itertools.repeat(())
    columns = {
        column.name: _array_of(each, column.type) for column, each in zip(query.selected_columns, cells, strict=False)
    }
    return pd.DataFrame(columns, copy=False)


def _array_of(cells: Sequence[Any], kind: sa.types.TypeEngine[Any]) -> np.ndarray | ExtensionArray:
    """Return a column as pandas keeps it, without a `Series` of it: most frames are of few rows."""
    from poison_guard.store.columns import UtcTime

    match kind:
        case UtcTime():
            return _UTC.__from_arrow__(pa.array(cells, pa.timestamp("us", tz="UTC")))
        case sa.Boolean():
            return np.array(cells, dtype=bool)
        case sa.Float():
            return np.array(cells, dtype="float64")
        case sa.Integer():
            return pd.array(cells, dtype="Int64") if None in cells else np.array(cells, dtype="int64")
        case _:
            return _TEXT.__from_arrow__(pa.array(cells, pa.large_string()))


def bindable(column: pd.Series) -> list[Any]:
    """Return the cells of a column as the driver takes them: missing ones as None, times as whole microseconds."""
    if column.dtype == "str":
        return pa.array(column, pa.large_string()).to_numpy(zero_copy_only=False).tolist()  # type: ignore[no-any-return]
    values = column.astype("datetime64[us, UTC]").astype("int64") if column.dtype.kind == "M" else column
    missing = column.isna().to_numpy()
    if column.dtype.kind in "iufbM" and not missing.any():
        return np.asarray(values).tolist()
    cells = values.astype(object).to_numpy(copy=True)
    cells[missing] = None
    return cells.tolist()
