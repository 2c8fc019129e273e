"""Shows broken feed contracts as an import error; a file of its own, so that no DAG of `guard.py` falls with them."""

from __future__ import annotations

from pathlib import Path

from poison_guard.airflow.feeds import read_feeds
from poison_guard.errors import ConfigError

_broken = read_feeds(Path(__file__).parent).broken
if _broken:
    raise ConfigError("\n".join(_broken))
