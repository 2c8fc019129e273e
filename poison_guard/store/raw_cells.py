"""Read rows for the audit as the driver gives them: whatever stands in a cell is a finding, never an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from poison_guard.store.seals import SealedTable, raw_rows
from poison_guard.text import visible

__all__ = ["Rows", "decoded_rows", "each_row", "key_of", "sealed_rows", "shown"]

Rows = Iterator[list[tuple[Any, ...]]]
"""Rows in chunks."""


def sealed_rows(conn: sa.Connection, sealed: SealedTable, since: int) -> Rows:
    """Yield the rows of a sealed table that event `since` or a later one wrote, or none: the event, then the cells."""
    where = f"({sealed.group} >= ? OR {sealed.group} IS NULL)" if since else ""
    return decoded_rows(conn, lambda: raw_rows(conn, sealed, where, (since,) if since else ()))


def each_row(
    conn: sa.Connection, table: sa.Table, *, order: str = "", omit: tuple[str, ...] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table, each as its cells by column."""
    whole = SealedTable(table, group="1", omit=omit)
    where = f"1 = 1 ORDER BY {order}" if order else ""
    for rows in decoded_rows(conn, lambda: raw_rows(conn, whole, where)):
        for _, *cells in rows:
            yield dict(zip(whole.columns, cells, strict=True))


def decoded_rows(conn: sa.Connection, read: Callable[[], Iterable[list[tuple[Any, ...]]]]) -> Rows:
    """Yield the rows that `read` reads; text that is no UTF-8 is decoded all the same, and shows as changed."""
    if conn.dialect.name != "sqlite":
        yield from read()
        return
    raw: Any = conn.connection.dbapi_connection
    before, raw.text_factory = raw.text_factory, _decode
    try:
        yield from read()
    finally:
        raw.text_factory = before


def _decode(cell: bytes) -> str:
    return cell.decode("utf-8", "surrogateescape")


def shown(value: Any) -> str:
    """Return a cell as it may be shown."""
    return visible(str(value), limit=100)


def key_of(sealed: SealedTable, row: Sequence[Any]) -> str:
    """Return what names a row of a sealed table, as it may be shown."""
    values = dict(zip(sealed.columns, row, strict=True))
    return "/".join(shown(values[name]) for name in sealed.key)
