"""The Assets that one DAG sends and another waits for: a feed's run was stored, a feed's snapshot was admitted."""

from __future__ import annotations

from airflow.sdk import Asset

__all__ = ["admitted_asset", "stored_asset"]


def stored_asset(feed: str) -> Asset:
    """Return the Asset ``guard_<feed>``; an event's extra is ``{feed, guard_run, counts}``."""
    return Asset(f"guard_{feed}", group="poison_guard")


def admitted_asset(feed: str) -> Asset:
    """Return the Asset ``admitted_<feed>``; an event's extra is ``{feed, snapshot_id, digest}``, ids for the store.

    Events wake a trainer and prove nothing: what may be trained on is in the signed manifest that `digest` names.
    """
    return Asset(f"admitted_{feed}", group="poison_guard")
