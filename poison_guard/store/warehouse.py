"""Read a feed's rows out of a warehouse by SQL: above the last watermark, bounded, and without a way to write."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.errors import ConfigError, DataError, StoreError
from poison_guard.text import shown_url, without_secrets

__all__ = ["read_query", "warehouse_engine", "watermark_of"]

_ONE_READ = re.compile(r"\s*(select|with)\b[^;]*;?\s*", re.IGNORECASE | re.DOTALL)


def read_query(url: str, query: str, *, watermark: str, after: str | None, limit: int) -> pd.DataFrame:
    """Return the rows of `query` whose `watermark` column is above `after`, lowest first, at most `limit`.

    `after` is what `watermark_of` returned for the rows read last, or None for all. Rows without a watermark are not
    read. Where more than `limit` rows wait, those that share the highest watermark are left for the next call, so that
    none is lost. Errors show neither password nor query.
    """
    if not _ONE_READ.fullmatch(query):
        raise ConfigError("query in [data] must be one SELECT (or WITH … SELECT) without a semicolon inside")
    engine = warehouse_engine(url)
    try:
        with engine.connect() as conn:
            _forbid_writing(conn)
            rows = conn.execute(_bounded(conn, query.rstrip().rstrip(";"), watermark, after, limit + 1))
            frame = _rows_frame(rows)
            conn.rollback()
    except sa.exc.DBAPIError as error:
        line = (without_secrets(error.orig, url).splitlines() or [type(error).__name__])[0][:200]
        raise StoreError(f"the query of the warehouse {shown_url(url)} failed: {line}") from None
    finally:
        engine.dispose()
    if watermark not in frame.columns:  # SQLite takes an unknown name for a text
        raise ConfigError(f"watermark in [data] is {watermark!r}, but the query gives {', '.join(frame.columns)}")
    return _without_last_tie(frame, watermark, limit) if len(frame) > limit else frame


def watermark_of(frame: pd.DataFrame, column: str) -> str | None:
    """Return the highest value of a watermark column as text that keeps its type; None for an empty frame."""
    values = frame[column].dropna()
    if values.empty:
        return None
    top = values.max()
    plain = top.item() if hasattr(top, "item") else top
    if isinstance(plain, dt.datetime):
        return json.dumps({"time": plain.isoformat()})
    if isinstance(plain, dt.date):
        return json.dumps({"date": plain.isoformat()})
    return json.dumps(plain)


def _watermark_value(after: str) -> Any:
    try:
        value = json.loads(after)
    except ValueError:
        return after
    if isinstance(value, dict) and "time" in value:
        return dt.datetime.fromisoformat(value["time"])
    return dt.date.fromisoformat(value["date"]) if isinstance(value, dict) else value


def warehouse_engine(url: str) -> sa.Engine:
    """Return an engine for a database of the user's; `ConfigError` where its URL cannot be used."""
    try:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        return sa.create_engine(parsed, poolclass=sa.pool.NullPool)
    except sa.exc.ArgumentError:
        raise ConfigError("the warehouse URL cannot be read; write DIALECT://USER:PASSWORD@HOST/NAME") from None
    except ImportError as error:
        raise ConfigError(
            f"the warehouse {shown_url(url)} needs a driver that is not installed: {error.name}"
        ) from None


def _forbid_writing(conn: sa.Connection) -> None:
    match conn.dialect.name:
        case "sqlite":
            conn.exec_driver_sql("PRAGMA query_only = ON")
        case "postgresql":
            conn.exec_driver_sql("SET TRANSACTION READ ONLY")
        case _:
            pass  # the transaction is rolled back whatever it did


def _bounded(conn: sa.Connection, query: str, watermark: str, after: str | None, limit: int) -> sa.Executable:
    """Return the query as a subquery, with the watermark bound and quoted."""
    column = conn.dialect.identifier_preparer.quote_identifier(watermark)
    above = f"{column} IS NOT NULL" if after is None else f"{column} > :guard_after"
    inner = query.replace("\\", "\\\\").replace(":", "\\:") if ":" in query else query
    text = f"SELECT * FROM ({inner}\n) AS guard_rows WHERE {above} ORDER BY {column} LIMIT :guard_limit"
    bound = {"guard_limit": limit} if after is None else {"guard_limit": limit, "guard_after": _watermark_value(after)}
    return sa.text(text).bindparams(**bound)


def _rows_frame(rows: sa.CursorResult[Any]) -> pd.DataFrame:
    names = list(rows.keys())
    cells = [[float(v) if isinstance(v, decimal.Decimal) else v for v in row] for row in rows]
    return pd.DataFrame(cells, columns=names)


def _without_last_tie(frame: pd.DataFrame, watermark: str, limit: int) -> pd.DataFrame:
    top = frame[watermark].iloc[limit]
    rest = frame[frame[watermark] != top]
    if rest.empty:
        raise DataError(f"more than {limit:,} rows share the {watermark} {top!r}; raise max_rows in [data]")
    return rest.reset_index(drop=True)
