"""Turn values of signals into JSON text that any database and browser can hold: finite, bounded, plain types."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["from_json", "to_json"]

_MAX_TEXT = 500
_MAX_ITEMS = 200
_MAX_DEPTH = 8


def to_json(value: Any, *, bounded: bool = True) -> str:
    """Return `value` as JSON: numbers that are not finite become null; with `bounded`, long text and lists are cut."""
    limits = (_MAX_TEXT, _MAX_ITEMS) if bounded else (None, None)
    return json.dumps(_plain(value, *limits, _MAX_DEPTH), sort_keys=True, separators=(",", ":"))


def from_json(text: str) -> Any:
    """Return what `to_json` wrote."""
    return json.loads(text)


def _plain(value: Any, text: int | None, items: int | None, depth: int) -> Any:
    match value:
        case None | bool() | int():
            return value if value is None or isinstance(value, bool) else int(value)
        case str():
            return value if text is None or len(value) <= text else value[:text] + "…"
        case float():
            return float(value) if math.isfinite(value) else None
        case Mapping() | list() | tuple() | set() | frozenset() if depth == 0:
            return "…"
        case Mapping():
            return {str(k): _plain(v, text, items, depth - 1) for k, v in list(value.items())[:items]}
        case set() | frozenset():
            return _plain(sorted(value, key=str), text, items, depth)
        case list() | tuple():
            return [_plain(v, text, items, depth - 1) for v in value[:items]]
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return _plain(value.tolist(), text, items, depth - 1)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return str(value)[:_MAX_TEXT]
