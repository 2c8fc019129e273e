"""The key of a home: what hashes identities in the audit chain, from the environment or a private file."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from poison_guard.config import Settings
from poison_guard.errors import ConfigError, StoreError

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
        raise ConfigError(f"the key in {where} must be at least 64 hexadecimal digits")
    return key


def _write_key(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
    except FileExistsError:
        return
    except OSError as error:
        raise StoreError(f"the key file {path} cannot be written: {error.strerror}") from None
