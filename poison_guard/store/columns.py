"""What the tables are made of: kinds of columns, times as whole microseconds, names of constraints."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa

__all__ = ["METADATA", "Moment", "instant", "key", "number", "present", "text", "whole"]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICRO = dt.timedelta(microseconds=1)


class Moment(sa.types.TypeDecorator[dt.datetime]):
    """An aware UTC time kept as whole microseconds since 1970: the same on every database, and exact."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: sa.Dialect) -> int | None:
        """Return the microseconds of an aware time."""
        return None if value is None else (value - _EPOCH) // _MICRO

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> dt.datetime | None:
        """Return the aware UTC time of stored microseconds."""
        return None if value is None else _EPOCH + value * _MICRO


METADATA = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def key(name: str, kind: type[sa.types.TypeEngine[Any]] = sa.Text) -> sa.Column[Any]:
    """Return a column of the primary key."""
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def text(name: str, *, null: bool = True) -> sa.Column[Any]:
    """Return a column of text."""
    return sa.Column(name, sa.Text, nullable=null)


def whole(name: str) -> sa.Column[Any]:
    """Return a column of whole numbers, 0 by default."""
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def number(name: str = "seq", *, null: bool = False) -> sa.Column[Any]:
    """Return a column of sequence numbers of events."""
    return sa.Column(name, sa.BigInteger, nullable=null)


def instant(name: str, *, null: bool = True) -> sa.Column[Any]:
    """Return a column of times (`Moment`)."""
    return sa.Column(name, Moment, nullable=null)


def present(name: str, table: str, column: str) -> sa.Index:
    """Return an index over the rows that have `column`; most records are in no campaign."""
    present = sa.text(f"{column} IS NOT NULL")
    return sa.Index(f"ix_{table}_feed_{column}", "feed", name, sqlite_where=present, postgresql_where=present)
