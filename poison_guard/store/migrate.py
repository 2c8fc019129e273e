"""Bring a store to this version's tables; Alembic is only imported when there is something to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from poison_guard.errors import StoreError

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["HEAD", "alembic_config", "is_current", "migrate"]

HEAD = "0004"
"""Newest revision in ``migrations/versions``; a test holds the two together."""

_SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = 0x706F69736F6E  # any number all writers agree on


def is_current(conn: sa.Connection) -> bool:
    """Whether the store has this version's tables."""
    return _revision(conn) == HEAD


def migrate(conn: sa.Connection) -> None:
    """Upgrade the store inside the transaction of `conn`; `StoreError` when a newer version wrote it."""
    if conn.dialect.name == "postgresql":
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    if is_current(conn):
        return
    from alembic import command
    from alembic.util import CommandError

    config = alembic_config()
    config.attributes["connection"] = conn
    try:
        command.upgrade(config, "head")
    except CommandError:
        raise StoreError(
            "the store was made by a newer version of poison-guard (its tables are at "
            f"{_revision(conn)}, this version knows {HEAD}); upgrade poison-guard"
        ) from None


def alembic_config() -> Config:
    """Return Alembic's configuration with the migrations shipped in this package."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


def _revision(conn: sa.Connection) -> str | None:
    if not sa.inspect(conn).has_table("alembic_version"):
        return None
    return conn.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
