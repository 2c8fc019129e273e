"""The one place where the store looks at the clock; everything else is given the time."""

from __future__ import annotations

import datetime as dt

from poison_guard.errors import UsageError

__all__ = ["moment"]


def moment(now: dt.datetime | None) -> dt.datetime:
    """Return `now` in UTC, or the time of day where it is None; `UsageError` for a time without a zone."""
    if now is None:
        return dt.datetime.now(dt.UTC)
    if now.tzinfo is None:
        raise UsageError(f"times need a zone, got {now.isoformat()}")
    return now.astimezone(dt.UTC)
