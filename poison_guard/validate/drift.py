"""Payload schemas: their hash, and whether a new one may pass in place of an old one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from poison_guard.records import Reason

__all__ = ["schema_drift", "schema_hash"]

_UNKNOWN = ("", "empty", "null")
"""Kinds of a column without a single value: they fit every other kind."""


def schema_hash(schema: Mapping[str, str]) -> str:
    """Return the SHA-256 of column names and kinds, hex; the order of columns does not matter.

    >>> schema_hash({"a": "text", "b": "number"}) == schema_hash({"b": "number", "a": "text"})
    True
    """
    body = json.dumps(sorted(schema.items()), ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(body.encode("ascii")).hexdigest()


def schema_drift(old: Mapping[str, str], new: Mapping[str, str]) -> Reason | None:
    """Return why a payload of schema `new` is held in a feed last accepted with `old`; None where it passes.

    Added columns alone pass: earlier records lack them, so they are nullable by nature. A column that is gone or of
    another kind is held; one whose kind ended in ``?`` (JSON, whose rows may lack it) may be gone. On a feed's first
    run (`old` empty) everything passes.

    >>> schema_drift({"a": "text"}, {"a": "text", "b": "number"}) is None
    True
    >>> schema_drift({"a": "text"}, {"a": "number"}).args["changed"]
    ['a (text to number)']
    """
    removed = sorted(name for name in old.keys() - new.keys() if not old[name].endswith("?"))
    before, now = ({name: kind.removesuffix("?") for name, kind in schema.items()} for schema in (old, new))
    changed = [
        f"{name} ({before[name]} to {now[name]})"
        for name in sorted(before.keys() & now.keys())
        if before[name] != now[name] and before[name] not in _UNKNOWN and now[name] not in _UNKNOWN
    ]
    if not old or not (removed or changed):
        return None
    return Reason("schema_drift", {"added": sorted(new.keys() - old.keys()), "removed": removed, "changed": changed})
