"""Read TOML tables strictly: an unknown key names the nearest known one, and each number has a range."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from poison_guard.errors import ConfigError

__all__ = ["Range", "number_in"]


MAX_BYTES = 1_000_000


def read_toml(path: Path) -> dict[str, Any]:
    """Return the parsed file; `ConfigError` names the file and, for bad syntax, the line."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_BYTES:,} bytes; a contract is a short text")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist; `poison-guard init DATA` writes a contract for a data file"
        ) from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; name the contract file in it") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error or 'nested too deeply'}") from None


def check_keys(table: Mapping[str, Any], known: Collection[str], *, where: str, file: str) -> None:
    """Raise `ConfigError` at the first key of `table` that is not `known`, naming the nearest one."""
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"; did you mean `{near[0]}`?" if near else f"; known: {', '.join(sorted(known))}"
            raise ConfigError(f"unknown key `{key}` in {where} of {file}{hint}")


def expect(table: Mapping[str, Any], key: str, kind: type | tuple[type, ...], *, where: str, file: str) -> Any:
    """Return ``table[key]`` or None where absent; `ConfigError` when it is of another type."""
    value = table.get(key)
    if value is None:
        return None
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join(k.__name__ for k in kinds)
        raise ConfigError(f"`{key}` in {where} of {file} must be {names}, got {value!r}")
    return value


Range = tuple[float, float, bool]
"""Low end, high end, and whether the low end is allowed; the high end is."""


def number_in(key: str, value: Any, allowed: Range, *, whole: bool, file: str) -> float | int:
    """Return `value` if it is a finite number in the range (an int where `whole`); `ConfigError` names key and file."""
    low, high, closed = allowed
    inside = (
        isinstance(value, int if whole else (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and (low <= value if closed else low < value)
        and value <= high
    )
    if not inside:
        bracket = "[" if closed else "("
        raise ConfigError(f"{key} must be in {bracket}{low:g}, {high:g}], got {value} in {file}")
    return value
