"""What pages share: filters read from a URL and written into one, what was just done, rows of frames as mappings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LISTING", "address", "filters_in", "one_line", "rows_of", "toast_of", "with_preview"]

LISTING = ("page", "size", "sort", "by", "event")
"""Query parameters that say how the queue is listed; all others are filters."""


def address(query: Mapping[str, str], **changes: Any) -> str:
    """Return a query with `changes`; None takes a parameter away."""
    said = {**query, **{name: None if value is None else str(value) for name, value in changes.items()}}
    return urlencode({name: value for name, value in said.items() if value is not None and value != ""})


def filters_in(query: str) -> dict[str, str]:
    """Return the filters of a query string."""
    return {name: value for name, value in parse_qsl(query, max_num_fields=50) if name not in LISTING}


def toast_of(event: str, back: str) -> dict[str, Any] | None:
    """Return what is said of the decision that was just made, by the ``event`` of the URL: its number, or a word."""
    if event.isdecimal() and len(event) < 12:
        return {"text": f"Done, as event {int(event)}.", "event": int(event), "back": back}
    said = _SAID.get(event)
    return {"text": said, "event": None, "back": back} if said else None


_SAID = {
    "approved": "Your approval is stored.",
    "claimed": "They are yours for ten minutes.",
    "none-free": "None of them is free: a colleague has them.",
    "saved": "The view is saved.",
    "kept": "Done.",
    "rule": "The rule holds from now on.",
}


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as mappings, with None for what is missing."""
    return [{key: _present(value) for key, value in row.items()} for row in frame.to_dict("records")]


def _present(value: Any) -> Any:
    if type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.to_pydatetime() if hasattr(value, "to_pydatetime") else value


def with_preview(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of records, with the beginning of each payload on one line."""
    return [{**row, "preview": one_line(row.get("preview"))} for row in rows_of(frame)]


def one_line(preview: str | None) -> str:
    """Return the beginning of a payload on one line."""
    return (preview or "").replace("\n", " · ")
