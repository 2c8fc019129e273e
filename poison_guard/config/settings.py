"""The settings of a home: where store, lake and key are. Secrets come from the environment or a 0600 key file."""

from __future__ import annotations

import itertools
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from poison_guard.config.tables import in_range, read_toml, values_of
from poison_guard.errors import ConfigError, StoreError

__all__ = ["Settings", "find_path", "open_settings"]


@dataclass(frozen=True, slots=True)
class _SettingsFile:
    """The keys of ``settings.toml``; each has an environment variable ``POISON_GUARD_KEY`` that comes first."""

    store: str | None = None
    """SQLAlchemy URL of the store, without a password; None: the SQLite file ``store.db`` in the home."""
    lake: str | None = None
    """Path or fsspec URL of the lake; None: the folder ``lake`` in the home."""
    key_file: str | None = None
    """File of the key of the audit chain (mode 0600); None: the file ``key`` in the home."""
    device: str | None = None
    """``cpu``, ``cuda`` or ``auto``; None: ``auto``, which takes a GPU where there is one."""
    threads: Annotated[int, in_range(1, 1024)] = 1
    """torch threads of one process; with 1, parallel tasks do not oversubscribe the CPU."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where one home keeps what; `repr` shows no secret."""

    home: Path
    lake_url: str
    store_url: str
    """SQLAlchemy URL of the store, password included; never log or show it."""
    key_file: Path
    device: str = "auto"
    threads: int = 1
    """torch threads of one process; with 1, parallel tasks do not oversubscribe the CPU."""

    def __repr__(self) -> str:
        return f"Settings(home={str(self.home)!r}, lake_url={self.lake_url!r}, device={self.device!r})"

    def key(self) -> bytes:
        """Return the 32-byte key that hashes identities in the audit chain, making it at first use (mode 0600)."""
        text, where = os.environ.get("POISON_GUARD_KEY"), "POISON_GUARD_KEY"
        if not text:
            if not self.key_file.exists():
                _write_key(self.key_file)
            if stat.S_IMODE(self.key_file.stat().st_mode) & 0o077:
                raise ConfigError(f"{self.key_file} can be read by others; run `chmod 600 {self.key_file}`")
            text, where = self.key_file.read_text(encoding="ascii").strip(), str(self.key_file)
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if len(key) < 32:
            raise ConfigError(f"the key in {where} must be at least 64 hexadecimal digits")
        return key


def open_settings(home: str | Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of `home`: the environment first, then ``settings.toml`` in it, then defaults inside it."""
    env = os.environ if environ is None else environ
    root = Path(home).expanduser().absolute()
    file = root / "settings.toml"
    table = read_toml(file) if file.is_file() else {}
    values = values_of(_SettingsFile, table, where="the top level", file=str(file))
    if urlsplit(values.get("store", "")).password:
        raise ConfigError(
            f"store in {file} holds a password; move the URL to the environment variable POISON_GUARD_STORE"
        )
    named = {f.name: env.get(f"POISON_GUARD_{f.name.upper()}") or None for f in fields(_SettingsFile)}
    typed = {key: int(text) if key == "threads" and text and text.isdecimal() else text for key, text in named.items()}
    values |= values_of(_SettingsFile, typed, where="POISON_GUARD_*", file="the environment")
    return Settings(
        home=root,
        store_url=values.get("store") or f"sqlite:///{root / 'store.db'}",
        lake_url=values.get("lake") or str(root / "lake"),
        key_file=Path(values.get("key_file") or root / "key"),
        device=values.get("device") or "auto",
        threads=values.get("threads", 1),
    )


def find_path(path: str, *, contract_file: Path | None, home: Path) -> str:
    """Resolve a path of a contract: URLs and absolute paths as they are, others beside the contract, else in the home.

    "Beside the contract" holds when the part before the first wildcard exists there.
    """
    if "://" in path or Path(path).is_absolute():
        return path
    if contract_file is not None:
        beside = contract_file.absolute().parent
        parts = Path(path).parts
        fixed = Path(*itertools.takewhile(lambda part: not set(part) & set("*?["), parts))
        if str(fixed) != "." and (beside / fixed).exists():
            return str(beside / path)
    return str(home / path)


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
