"""The table ``[columns]`` of a contract: which column has which role, and which roles one column may have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import make_dataclass
from typing import Any

from poison_guard.config.tables import Text
from poison_guard.errors import ConfigError

__all__ = ["ROLES", "Columns", "check_columns"]

ROLES = (
    "record_id",
    "source_id",
    "author_id",
    "item_id",
    "answer",
    "label",
    "rating",
    "reward",
    "observed_at",
    "source_since",
    "text",
    "prompt",
    "response",
    "chosen",
    "rejected",
    "image",
    "group",
    "signature",
    "nonce",
    "sent_at",
    "device",
    "place",
    "client_version",
    "sequence",
)
"""Roles one column can play; `features` is the one role that lists several."""

Columns = make_dataclass("Columns", [*((role, Text | None, None) for role in ROLES), ("features", tuple[str, ...], ())])
"""The keys of the table."""

_TOGETHER = frozenset(
    frozenset(pair)
    for pair in (
        ("item_id", "text"), ("item_id", "prompt"), ("item_id", "response"), ("item_id", "image"),
        ("record_id", "nonce"), ("observed_at", "sent_at"),
        ("group", "device"), ("group", "place"), ("group", "client_version"), ("group", "features"),
        ("rating", "features"), ("reward", "features"), ("sequence", "features"),
    )
)  # fmt: skip
"""Roles that one column may have: an item without an id is its text or picture, a record's id is used once as a
nonce is, a record may be sent when it is made, records may be calibrated apart by what they came from, and a number may
be strange as a feature whatever else it says."""


def check_columns(columns: Mapping[str, Any], file: str) -> None:
    """Raise `ConfigError` where a role names several columns, or one column has roles that it cannot have together."""
    roles: dict[str, list[str]] = {}
    for role, named in columns.items():
        several = isinstance(named, list)
        if several and role in ROLES:
            raise ConfigError(
                f"{role} in [columns] of {file} names {len(named)} columns ({', '.join(map(str, named))}), and a role "
                "has one: keep one, or write them as one column in your data"
            )
        for name in map(str, named if several else [named]):
            for other in roles.setdefault(name, []):
                _check_pair(other, role, name, file)
            roles[name].append(role)


def _check_pair(one: str, other: str, name: str, file: str) -> None:
    if one == other:
        raise ConfigError(f"{one} in [columns] of {file} names a column twice: {name}")
    if frozenset((one, other)) not in _TOGETHER:
        raise ConfigError(
            f"{one} and {other} in [columns] of {file} are both {name}, and one column cannot be both: keep the role "
            "that its values have, and remove the other"
        )
