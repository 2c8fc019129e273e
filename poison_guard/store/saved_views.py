"""Keep the filters of the queue that people saved under a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from poison_guard.store import chain
from poison_guard.store.bulk import from_json, to_json
from poison_guard.store.engine import Store
from poison_guard.store.tables import views

__all__ = ["delete_view", "list_views", "save_view"]


def save_view(store: Store, feed: str, *, name: str, params: Mapping[str, str], **made: Any) -> None:
    """Keep parameters under a name; `made`: ``made_by, at``."""
    with store.write() as conn:
        chain.next_seq(conn)
        conn.execute(sa.delete(views).where(views.c.feed == feed, views.c.name == name))
        conn.execute(sa.insert(views), [{"feed": feed, "name": name, "params": to_json(params), **made}])


def list_views(store: Store, feed: str) -> dict[str, dict[str, str]]:
    """Return the saved views, by name."""
    query = sa.select(views.c.name, views.c.params).where(views.c.feed == feed).order_by(views.c.name)
    with store.read() as conn:
        return {str(name): from_json(params) for name, params in conn.execute(query)}


def delete_view(store: Store, feed: str, name: str) -> bool:
    """Forget a view, and return whether there was one."""
    with store.write() as conn:
        done = conn.execute(sa.delete(views).where(views.c.feed == feed, views.c.name == name))
        return done.rowcount == 1
