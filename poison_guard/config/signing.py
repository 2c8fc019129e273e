"""The table ``[signature]`` of a contract: what senders sign, and the keys that it is checked by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from poison_guard.config.tables import Rule, in_range
from poison_guard.errors import ConfigError

__all__ = ["Signature", "check_signature", "keys_file", "max_age"]

_PROOF_ROLES = ("source_id", "nonce", "sent_at")
"""Roles that say who sent a record and when: unsigned, whoever copies a signature could change them."""


@dataclass(frozen=True, slots=True)
class Signature:
    """How the records of a feed are signed."""

    signed: Annotated[tuple[str, ...], Rule("a list of columns, one at least", bool)]
    """Columns that a signature covers."""
    keys: Annotated[str, Rule("str, and not empty", bool)]
    """File of the keys, TOML or JSON: a path beside the contract, or an absolute one."""
    max_age_days: Annotated[float, in_range(0, 3650, above=True)] | None = None
    """Days from `sent_at` after which a record is stale; None: `lateness_days` of the policy."""


def check_signature(
    signature: Signature | None, columns: Mapping[str, str], required: tuple[str, ...] | None, file: str
) -> None:
    """Raise `ConfigError` where ``[signature]`` and ``[columns]`` do not fit each other."""
    roles = [role for role in ("signature", "nonce", "sent_at") if role in columns]
    if signature is None:
        if roles or "signature" in (required or ()):
            named = roles[0] if roles else "required"
            raise ConfigError(f"{named} in {file} needs the table [signature] with signed and keys")
        return
    if "signature" not in columns:
        raise ConfigError(f"[signature] of {file} needs the column of the signatures: signature = … in [columns]")
    for role in _PROOF_ROLES:
        if role in columns and columns[role] not in signature.signed:
            raise ConfigError(
                f"signed in [signature] of {file} lacks {columns[role]}, the column of {role}: whoever copies a "
                "signature could change it; have it signed, too"
            )
    if columns["signature"] in signature.signed:
        raise ConfigError(f"signed in [signature] of {file} names the column of the signatures itself; leave it out")


def keys_file(signature: Signature, contract_file: Path | None) -> Path:
    """Return the path of the keys: beside the contract where it is not absolute."""
    folder = Path() if contract_file is None else contract_file.absolute().parent
    return folder / signature.keys


def max_age(contract: Any) -> float:
    """Return the days from `sent_at` after which a signed record of a feed is stale."""
    own = contract.signature.max_age_days if contract.signature else None
    return float(own or contract.policy.lateness_days)
