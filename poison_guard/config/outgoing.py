"""Contract tables on what leaves a feed: columns that are never stored or never shown, and a place for decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from poison_guard.config.tables import Text, matching
from poison_guard.errors import ConfigError

__all__ = ["Out", "Privacy", "check_outgoing"]


@dataclass(frozen=True, slots=True)
class Privacy:
    """Columns with personal data."""

    drop: tuple[str, ...] = ()
    """Columns that are never stored, and that no decision sees."""
    private: tuple[str, ...] = ()
    """Columns that are stored, masked where a record is shown, and left out of snapshots and exports for training."""


@dataclass(frozen=True, slots=True)
class Out:
    """Where the guard writes what it decided about each record, for the user's own systems."""

    path: Text | None = None
    """Folder (or any fsspec URL) of Parquet files, one for each change."""
    table: Annotated[str, matching(r"[A-Za-z_]\w{0,62}(\.[A-Za-z_]\w{0,62})?", "NAME or SCHEMA.NAME")] | None = None
    """Table of a database, one row per record; it is made where it is missing."""
    url_env: str = "POISON_GUARD_OUT_URL"
    """Environment variable with the database URL of `table` (never written in TOML)."""

    def __bool__(self) -> bool:
        """Whether anything is written."""
        return bool(self.path or self.table)


def check_outgoing(privacy: Privacy, mapped: Mapping[str, str], file: str) -> None:
    """Raise `ConfigError` where a column that is never stored is needed: `mapped` is role to column or path."""
    for name in privacy.drop:
        role = next(
            (r for r, path in mapped.items() if path == name or path.startswith((f"{name}.", f"{name}["))), None
        )
        if role is not None:
            raise ConfigError(
                f"drop in [privacy] of {file} names {name}, which [columns] maps to {role}; unmap it, or use private, "
                "which keeps it and does not show it"
            )
    twice = next((name for name in privacy.private if name in privacy.drop), None)
    if twice is not None:
        raise ConfigError(f"[privacy] of {file} has {twice} in drop and in private; what is dropped needs no masking")
