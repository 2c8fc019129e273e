"""What several tests of the store compare by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from poison_guard.store import Store, tables


def dump_tables(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table, in an order that does not depend on how it was written."""
    with store.read() as conn:
        return {
            name: sorted((tuple(row) for row in conn.execute(sa.select(table))), key=repr)
            for name, table in tables.METADATA.tables.items()
        }


@pytest.fixture
def dump() -> Callable[[Store], dict[str, list[tuple[Any, ...]]]]:
    """Return a reader of all tables."""
    return dump_tables
