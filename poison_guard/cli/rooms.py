"""Open what a command needs: the store of a home that exists already, without making one by looking."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from poison_guard.config import open_settings
from poison_guard.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from poison_guard.config import Settings
    from poison_guard.store import Store

__all__ = ["feed_of_record", "known_feed", "opened_store", "sqlite_file"]


@contextmanager
def opened_store(home: Path) -> Iterator[Store]:
    """Open the store of `home`; `NotFoundError` where there is none yet, so that a typo makes no empty store."""
    settings = open_settings(home)
    file = sqlite_file(settings)
    if file is not None and not file.exists():
        raise NotFoundError(
            f"there is no store in {home} yet; `poison-guard run --feed FEED.toml` makes one, or name --home"
        )
    from poison_guard.store import open_store

    with open_store(settings) as store:
        yield store


def sqlite_file(settings: Settings) -> Path | None:
    """Return the file of a SQLite store; None for a database server."""
    from poison_guard.store import engine

    file = engine.sqlite_file(settings.store_url)
    return None if file is None else file.absolute()


def known_feed(store: Store, name: str) -> str:
    """Return `name` if the store has that feed; `NotFoundError` names those it has."""
    from poison_guard.store.reading import list_feeds

    feeds = list_feeds(store)
    if name not in feeds:
        raise NotFoundError(f"the store has no feed {name!r}; it has {', '.join(feeds) or 'none yet'}")
    return name


def feed_of_record(store: Store, record_id: str) -> str:
    """Return the one feed that has a record of that id; `NotFoundError` for none, `UsageError` for several."""
    from poison_guard.store.reading import find_records, list_feeds

    holders = [name for name in list_feeds(store) if len(find_records(store, name, record_ids=[record_id], limit=1))]
    if not holders:
        raise NotFoundError(f"no feed has a record {record_id!r}")
    if len(holders) > 1:
        raise UsageError(f"several feeds have a record {record_id!r}: {', '.join(holders)}; name one with --feed")
    return holders[0]
