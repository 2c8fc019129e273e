"""Read tables of numbers into frozen values: each key has a range, and what is outside names it."""

from __future__ import annotations

import math
from typing import Any

from poison_guard.errors import ConfigError

__all__ = ["Range", "number_in"]

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
