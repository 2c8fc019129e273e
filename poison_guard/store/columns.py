"""The kinds of columns and indexes that the store's tables are made of.

Every function that takes names returns one column for each. Times are microseconds since 1970 UTC.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.schema import SchemaItem

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)
"""What stored times count."""

METADATA = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Columns = list[sa.Column[Any]]


class UtcTime(sa.types.TypeDecorator[dt.datetime]):
    """An aware UTC time kept as whole microseconds since 1970: the same on every database, and exact."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: sa.Dialect) -> int | None:
        """Return the microseconds of an aware time."""
        return None if value is None else (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> dt.datetime | None:
        """Return the aware UTC time of stored microseconds."""
        return None if value is None else EPOCH + value * MICROSECOND


def table(name: str, *parts: SchemaItem | Iterable[SchemaItem]) -> sa.Table:
    """Return a table of columns, lists of columns, indexes and constraints, in this order."""
    flat = [item for part in parts for item in ([part] if isinstance(part, SchemaItem) else part)]
    return sa.Table(name, METADATA, *flat)


def _columns(
    names: Iterable[str], kind: sa.types.TypeEngine[Any] | type[sa.types.TypeEngine[Any]], **how: Any
) -> Columns:
    return [sa.Column(name, kind, **how) for name in names]


def keys(*names: str) -> Columns:
    """Return columns of text that are the primary key, or part of it."""
    return _columns(names, sa.Text, primary_key=True, autoincrement=False)


def number_keys(*names: str) -> Columns:
    """Return columns of numbers that are the primary key, or part of it."""
    return _columns(names, sa.BigInteger, primary_key=True, autoincrement=False)


def texts(*names: str, default: str | None = None) -> Columns:
    """Return columns of text in which no cell is empty."""
    return _columns(names, sa.Text, nullable=False, server_default=default)


def texts_or_none(*names: str) -> Columns:
    """Return columns of text."""
    return _columns(names, sa.Text)


def counts(*names: str) -> Columns:
    """Return columns of whole numbers, 0 by default."""
    return _columns(names, sa.BigInteger, nullable=False, server_default="0")


def numbers(*names: str) -> Columns:
    """Return columns of sequence numbers of events, or of files and sizes."""
    return _columns(names, sa.BigInteger, nullable=False)


def numbers_or_none(*names: str) -> Columns:
    """Return columns of sequence numbers of events that may not have happened."""
    return _columns(names, sa.BigInteger)


def floats(*names: str, default: str | None = None) -> Columns:
    """Return columns of floating-point numbers."""
    return _columns(names, sa.Float, nullable=False, server_default=default)


def signs(*names: str, default: str | None = None) -> Columns:
    """Return columns of 1, 0 or -1."""
    return _columns(names, sa.SmallInteger, nullable=False, server_default=default)


def flags(*names: str) -> Columns:
    """Return columns of yes and no."""
    return _columns(names, sa.Boolean, nullable=False)


def flags_off(*names: str) -> Columns:
    """Return columns of yes and no, no by default."""
    return _columns(names, sa.Boolean, nullable=False, server_default=sa.false())


def times(*names: str) -> Columns:
    """Return columns of times."""
    return _columns(names, UtcTime, nullable=False)


def times_or_none(*names: str) -> Columns:
    """Return columns of times that may be unknown."""
    return _columns(names, UtcTime)


def indexes(*each: str | tuple[str, ...]) -> list[sa.Index]:
    """Return an index for each column or tuple of columns; its name follows from them."""
    return [sa.Index(None, *([columns] if isinstance(columns, str) else columns)) for columns in each]


def part_index(*columns: str | sa.TextClause, where: str, name: str | None = None, unique: bool = False) -> sa.Index:
    """Return an index over the rows for which the SQL `where` holds; without a `name` it is named as `indexes` are."""
    rows = sa.text(where)
    return sa.Index(name, *columns, unique=unique, sqlite_where=rows, postgresql_where=rows)
