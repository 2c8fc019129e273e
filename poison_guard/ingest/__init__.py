"""Read batches safely: find objects, read them within bounds, map columns to roles, give ids."""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "Limits": "raw_table",
    "batch_from_frame": "collect",
    "collect_frames": "collect",
    "empty_batch": "collect",
    "payload_schema": "parsing",
    "read_raw": "read",
    "read_table": "read",
}

__all__ = [
    "Limits",
    "batch_from_frame",
    "collect_frames",
    "empty_batch",
    "payload_schema",
    "read_raw",
    "read_table",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
