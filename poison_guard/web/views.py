"""Addresses of the queue: filters read from a URL and written into one, and the views that a person saved."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import Request, Response

__all__ = ["LISTING", "add_view", "address", "filters_in", "saved_views"]

LISTING = ("page", "size", "sort", "by")
"""Query parameters that say how the queue is listed; all others are filters."""
_COOKIE, _MOST_VIEWS, _MOST_CHARS = "pg_views_{}", 12, 300


def address(query: Mapping[str, str], **changes: Any) -> str:
    """Return a query with `changes`; None takes a parameter away."""
    said = {**query, **{name: None if value is None else str(value) for name, value in changes.items()}}
    return urlencode({name: value for name, value in said.items() if value is not None and value != ""})


def filters_in(query: str) -> dict[str, str]:
    """Return the filters of a query string."""
    return {name: value for name, value in parse_qsl(query, max_num_fields=50) if name not in LISTING}


def saved_views(request: Request, feed: str) -> Sequence[tuple[str, str]]:
    """Return the views of a feed that this person saved, ``(name, query)``; they are kept in a cookie.

    Whatever else is in the cookie is left out.
    """
    try:
        held = json.loads(request.cookies.get(_COOKIE.format(feed), "[]"))
        pairs = [(str(name)[:40], urlencode(parse_qsl(str(query)))) for name, query in held]
    except (ValueError, TypeError):
        return ()
    return tuple(pairs[:_MOST_VIEWS])


def add_view(request: Request, response: Response, feed: str, name: str, query: str) -> None:
    """Save a view under a name; one of that name is replaced, and without a query taken away."""
    kept = [(n, q) for n, q in saved_views(request, feed) if n != name]
    views = ([(name[:40], query[:_MOST_CHARS])] if query else []) + kept
    root = request.scope.get("root_path", "") or "/"
    held = json.dumps(views[:_MOST_VIEWS], separators=(",", ":"))
    secure = request.url.scheme == "https"
    response.set_cookie(
        _COOKIE.format(feed), held, max_age=31_536_000, path=root, httponly=True, samesite="strict", secure=secure
    )
