"""The settings of a home: where store, lake and key are. Secrets come from the environment or a 0600 key file."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from poison_guard.config.tables import check_keys, expect, read_toml
from poison_guard.errors import ConfigError, StoreError

__all__ = ["Settings", "find_path", "open_settings"]

_KEYS = ("store", "lake", "key_file", "threads", "device")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where one home keeps what; `repr` shows no secret."""

    home: Path
    lake_url: str
    store_url_: str
    key_file: Path
    device: str = "auto"
    threads: int = 1
    """torch threads of one process; the default leaves the cores to parallel tasks, whose threads would only fight."""

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the store, password included; never log or show it."""
        return self.store_url_

    def __repr__(self) -> str:
        return f"Settings(home={str(self.home)!r}, lake_url={self.lake_url!r}, device={self.device!r})"

    def key(self) -> bytes:
        """Return the 32-byte key that hashes identities in the audit chain, making it at first use (mode 0600)."""
        text = os.environ.get("POISON_GUARD_KEY")
        if text:
            return _decode(text, "POISON_GUARD_KEY")
        if not self.key_file.exists():
            _write_key(self.key_file)
        if stat.S_IMODE(self.key_file.stat().st_mode) & 0o077:
            raise ConfigError(f"{self.key_file} can be read by others; run `chmod 600 {self.key_file}`")
        return _decode(self.key_file.read_text(encoding="ascii").strip(), str(self.key_file))


def open_settings(home: str | Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of `home`: the environment first, then ``settings.toml`` in it, then defaults inside it."""
    env = os.environ if environ is None else environ
    root = Path(home).expanduser().absolute()
    file = root / "settings.toml"
    table = read_toml(file) if file.is_file() else {}
    check_keys(table, _KEYS, where="the top level", file=str(file))
    text = {k: expect(table, k, int if k == "threads" else str, where="the top level", file=str(file)) for k in _KEYS}
    if text["store"] and urlsplit(text["store"]).password:
        raise ConfigError(
            f"store in {file} holds a password; move the URL to the environment variable POISON_GUARD_STORE"
        )
    return Settings(
        home=root,
        store_url_=env.get("POISON_GUARD_STORE") or text["store"] or f"sqlite:///{root / 'store.db'}",
        lake_url=env.get("POISON_GUARD_LAKE") or text["lake"] or str(root / "lake"),
        key_file=Path(env.get("POISON_GUARD_KEY_FILE") or text["key_file"] or root / "key"),
        device=env.get("POISON_GUARD_DEVICE") or text["device"] or "auto",
        threads=_threads(env.get("POISON_GUARD_THREADS") or text["threads"] or 1),
    )


def find_path(path: str, *, contract_file: Path | None, home: Path) -> str:
    """Resolve a path of a contract: URLs and absolute paths as they are, others beside the contract, else in the home.

    "Beside the contract" holds when the part before the first wildcard exists there.
    """
    if "://" in path or Path(path).is_absolute():
        return path
    if contract_file is not None:
        beside = contract_file.absolute().parent
        fixed = _before_wildcard(path)
        if str(fixed) != "." and (beside / fixed).exists():
            return str(beside / path)
    return str(home / path)


def _threads(value: Any) -> int:
    if not str(value).isdecimal() or not 1 <= int(value) <= 1024:
        raise ConfigError(f"threads must be a whole number from 1 to 1024, got {value!r}; see POISON_GUARD_THREADS")
    return int(value)


def _before_wildcard(path: str) -> Path:
    """Return the folders of `path` that hold no wildcard, or all of it where there is none."""
    parts = Path(path).parts
    wild = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
    return Path(*parts[:wild])


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


def _decode(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) < 32:
        raise ConfigError(f"the key in {where} must be at least 64 hexadecimal digits")
    return key
