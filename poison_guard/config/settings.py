"""The settings of a home: where store, lake and key are. Secrets come from the environment or a 0600 key file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlencode

from poison_guard.config.tables import in_range, matching, read_toml, values_of
from poison_guard.errors import ConfigError
from poison_guard.text import holds_password, shown_url

__all__ = ["Settings", "open_settings"]


@dataclass(frozen=True, slots=True)
class _SettingsFile:
    """The keys of ``settings.toml``; each has an environment variable ``POISON_GUARD_KEY`` that comes first."""

    store: str | None = None
    """SQLAlchemy URL of the store, without a password; None: the SQLite file ``store.db`` in the home."""
    lake: str | None = None
    """Path or fsspec URL of the lake; None: the folder ``lake`` in the home."""
    key_file: str | None = None
    """File of the key of the audit chain (mode 0600); None: the file ``key`` in the home."""
    webhook: Annotated[str, matching(r"https?://\S+", "an http or https URL")] | None = None
    """URL that is told, signed, of held campaigns, closed gates and aged queues; None: nobody is."""
    pages: Annotated[str, matching(r"https?://\S+", "an http or https URL")] | None = None
    """URL where people open `poison-guard serve`, or Airflow's ``…/poison-guard``; messages then link to it."""
    lineage: str | None = None
    """URL of an OpenLineage server, or file that a line of JSON is added to for each event; None: nobody is told."""
    metrics: Annotated[str, matching(r".+\.prom", "a path that ends in .prom")] | None = None
    """File that each run brings up to date for the textfile collector of Prometheus."""
    device: Annotated[str, matching(r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda or cuda:N")] | None = None
    """None: ``auto``, which takes a GPU where there is one."""
    threads: Annotated[int, in_range(1, 1024)] = 1
    """torch threads of one process; with 1, parallel tasks do not oversubscribe the CPU."""
    engine: Annotated[str, matching(r"local|airflow|ray", "local, airflow or ray")] = "local"
    """Who scores the parts of a batch: processes of this machine, Airflow's mapped tasks, or Ray's tasks."""
    workers: Annotated[int, in_range(1, 1024)] = 1
    """Processes that ``local`` scores in, and CPUs of a Ray that is started here; with 1, ``local`` takes no other."""


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
    webhook: str | None = None
    """Where held campaigns, closed gates and aged queues are told of; may hold a token: never show it whole."""
    pages: str | None = None
    """Where people open the pages; None: links to them are left out."""
    lineage: str | None = None
    """Where OpenLineage events go, a URL or a file; may hold a token: never show it whole."""
    metrics: Path | None = None
    """File for the textfile collector of Prometheus."""
    engine: str = "local"
    """Who scores the parts of a batch: ``local``, ``airflow`` or ``ray``."""
    workers: int = 1
    """Processes that the engine ``local`` scores in."""

    def page(self, feed: str, part: str, **query: str) -> str | None:
        """Return the address of a page of a feed; None where nobody said where the pages are."""
        if self.pages is None:
            return None
        asked = f"?{urlencode(query)}" if query else ""
        return f"{self.pages.rstrip('/')}/feeds/{quote(feed, safe='')}/{part}{asked}"

    def __repr__(self) -> str:
        return f"Settings(home={str(self.home)!r}, lake_url={shown_url(self.lake_url)!r}, device={self.device!r})"


def open_settings(home: str | Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of `home`: the environment first, then ``settings.toml`` in it, then defaults inside it."""
    env = os.environ if environ is None else environ
    root = Path(home).expanduser().absolute()
    file = root / "settings.toml"
    table = read_toml(file) if file.is_file() else {}
    values = values_of(_SettingsFile, table, where="the top level", file=str(file))
    for name in ("store", "lake"):
        if name in values and holds_password(values[name]):
            raise ConfigError(
                f"{name} in {file} holds a password; move the URL to the environment variable "
                f"POISON_GUARD_{name.upper()}"
            )
    named = {f.name: env.get(f"POISON_GUARD_{f.name.upper()}") or None for f in fields(_SettingsFile)}
    whole = ("threads", "workers")
    typed = {key: int(text) if key in whole and text and text.isdecimal() else text for key, text in named.items()}
    values |= values_of(_SettingsFile, typed, where="POISON_GUARD_*", file="the environment")
    return Settings(
        home=root,
        store_url=values.get("store") or f"sqlite:///{root / 'store.db'}",
        lake_url=values.get("lake") or str(root / "lake"),
        key_file=Path(values.get("key_file") or root / "key"),
        device=values.get("device") or "auto",
        threads=values.get("threads", 1),
        webhook=values.get("webhook"),
        pages=values.get("pages"),
        lineage=values.get("lineage"),
        metrics=Path(values["metrics"]).expanduser() if values.get("metrics") else None,
        engine=values.get("engine", "local"),
        workers=values.get("workers", 1),
    )
