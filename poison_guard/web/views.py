"""Addresses of the queue: filters read from a URL and written into one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

__all__ = ["LISTING", "address", "filters_in"]

LISTING = ("page", "size", "sort", "by", "event")
"""Query parameters that say how the queue is listed; all others are filters."""


def address(query: Mapping[str, str], **changes: Any) -> str:
    """Return a query with `changes`; None takes a parameter away."""
    said = {**query, **{name: None if value is None else str(value) for name, value in changes.items()}}
    return urlencode({name: value for name, value in said.items() if value is not None and value != ""})


def filters_in(query: str) -> dict[str, str]:
    """Return the filters of a query string."""
    return {name: value for name, value in parse_qsl(query, max_num_fields=50) if name not in LISTING}
