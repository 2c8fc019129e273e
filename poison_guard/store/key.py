"""The key of a home: what hashes identities in the audit chain, from the environment or a private file."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from poison_guard.config import Settings
from poison_guard.errors import ConfigError, StoreError
from poison_guard.files import create_atomic

__all__ = ["read_key"]


def read_key(settings: Settings) -> bytes:
    """Return the 32-byte key that hashes identities in the audit chain, making it at first use (mode 0600)."""
    file = settings.key_file
    text, where = os.environ.get("POISON_GUARD_KEY"), "POISON_GUARD_KEY"
    if not text:
        if not file.exists():
            _write_key(file)
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise ConfigError(f"{file} can be read by others; run `chmod 600 {file}`")
        text, where = file.read_text(encoding="ascii").strip(), str(file)
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) < 32:
        torn = "" if where == "POISON_GUARD_KEY" else _TORN
        raise ConfigError(f"the key in {where} must be at least 64 hexadecimal digits{torn}")
    return key


_TORN = (
    "; restore it from a backup, or remove it where it is empty because the first command of this home was killed and "
    "nothing was stored yet"
)


def _write_key(path: Path) -> None:
    """Write a new key, whole or not at all; of two processes that start together one wins, and both read its key."""
    try:
        create_atomic(path, (secrets.token_hex(32) + "\n").encode("ascii"))
    except OSError as error:
        raise StoreError(f"the key file {path} cannot be written: {error.strerror}") from None
