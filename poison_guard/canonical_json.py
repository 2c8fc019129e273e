"""Canonical JSON for what is signed: written in one way, read in one way, bounded and without repeated keys."""

from __future__ import annotations

import datetime as dt
import errno
import io
import json
import math
import os
import re
import stat
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from poison_guard.errors import ClosedError, TamperError, UsageError
from poison_guard.text import quoted

__all__ = [
    "CLOCK_SKEW",
    "MAX_BYTES",
    "open_regular",
    "parse_time",
    "read_bounded",
    "read_json",
    "require_keys",
    "require_text",
    "to_canonical_json",
    "utc_or_now",
]


MAX_BYTES = 16 * 1024 * 1024
"""Of a manifest or a revocation list: some 70,000 data files."""
CLOCK_SKEW = dt.timedelta(minutes=5)
"""How far the clock of the signer may run ahead of ours."""
_MAX_DEPTH = 32
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)


def to_canonical_json(value: Any) -> bytes:
    """Return `value` as JSON in ASCII, keys sorted, no spaces; times as ISO in UTC, NaN and infinities as null."""
    return json.dumps(_jsonable(value), sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def read_json(body: str | bytes, what: str) -> Any:
    """Parse JSON; `TamperError` naming `what` for repeated keys, NaN, too deep nesting or anything that is not JSON."""
    try:
        text = body.decode("utf-8") if isinstance(body, bytes) else body
        value = json.loads(
            text, object_pairs_hook=lambda pairs: _reject_repeated_keys(pairs, what), parse_constant=_reject_constant
        )
        _check_depth(value)
    except RecursionError:
        raise TamperError(f"{what} is nested too deeply; ask whoever signed it for the file again") from None
    except (ValueError, UnicodeError):
        raise TamperError(f"{what} is not valid JSON; ask whoever signed it for the file again") from None
    return value


def read_bounded(path: Path, what: str) -> bytes:
    """Return the bytes of a regular file; `ClosedError` where it is missing, unreadable, no file or too large."""
    try:
        with open_regular(path) as file:
            body = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a path"
        raise ClosedError(f"{what} {quoted(path)} cannot be read ({why}); name the right file") from None
    if len(body) > MAX_BYTES:
        raise ClosedError(f"{what} {quoted(path)} is larger than {MAX_BYTES // 1024:,} KiB; name the right file")
    return body


def open_regular(path: Path | str, *, folder: int | None = None) -> io.BufferedReader:
    """Open a regular file, below the open `folder` without following a link; `OSError` for anything else, at once."""
    here = 0 if folder is None else os.O_NOFOLLOW
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | here, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a file")
    return os.fdopen(descriptor, "rb")


def require_keys(value: Any, keys: Collection[str], what: str) -> dict[str, Any]:
    """Return `value` when it is a table of exactly these `keys`; else `TamperError` naming `what` and the key."""
    if not isinstance(value, dict):
        raise TamperError(f"{what} is not a table; it is not what poison-guard signs")
    odd = sorted(set(keys) ^ set(value))
    if odd:
        fault = "has an unknown key" if odd[0] in value else "lacks the key"
        raise TamperError(f"{what} {fault} {quoted(odd[0])}; it is not what poison-guard signs")
    return value


def require_text(value: Any, pattern: re.Pattern[str], what: str) -> str:
    """Return `value` when it is text that `pattern` matches as a whole; else `TamperError` naming `what`."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise TamperError(f"{what} is {quoted(value)}; it is not what poison-guard signs")
    return value


def parse_time(value: Any, what: str) -> dt.datetime:
    """Return an ISO time with seconds and zone, in UTC; `TamperError` naming `what` for anything else."""
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            return dt.datetime.fromisoformat(value).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            pass
    raise TamperError(f"{what} is {quoted(value)}, not a time with a zone; it is not what poison-guard signs")


def utc_or_now(when: dt.datetime | None) -> dt.datetime:
    """Return `when` in UTC, the time of day where it is None; `UsageError` for a time without a zone."""
    if when is None:
        return dt.datetime.now(dt.UTC)
    if when.tzinfo is None:
        raise UsageError(f"a time needs a zone, got {when.isoformat()}; use datetime.now(UTC)")
    return when.astimezone(dt.UTC)


def _reject_repeated_keys(pairs: list[tuple[str, Any]], what: str) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise TamperError(f"{what} has the key {quoted(twice)} twice; ask whoever signed it for the file again")
    return table


def _reject_constant(name: str) -> Any:
    raise ValueError(name)


def _check_depth(value: Any, left: int = _MAX_DEPTH) -> None:
    if left == 0:
        raise RecursionError
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        _check_depth(inner, left - 1)


def _jsonable(value: Any) -> Any:
    """Return `value` for JSON; unlike `text.to_jsonable` this leaves a type it does not know, for `json` to refuse."""
    if isinstance(value, dt.datetime):
        return utc_or_now(value).isoformat().replace("+00:00", "Z")
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_jsonable(inner) for inner in value]
    return value
