"""A way to read a column, the doubt between several ways, and the keys of ``[parse]`` that a file proves.

A doubt is a column with two readings that explain its rows equally well (``03/11/2026``, ``3.312``): nobody but its
owner can say which one is meant, so that both are written into the contract as comments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from poison_guard.config import Parse
from poison_guard.text import quoted

__all__ = ["Doubt", "Reading", "Readings", "toml_value"]


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a column."""

    keys: Mapping[str, Any]
    """Keys of ``[parse]`` that say so."""
    evidence: str
    """What an example would be, and how many rows it explains."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A column whose cells have several readings."""

    column: str
    example: str
    readings: tuple[Reading, ...]

    def __str__(self) -> str:
        ways = " or ".join(
            ", ".join(f"{k} = {toml_value(v)}" for k, v in r.keys.items()) or "none" for r in self.readings
        )
        return (
            f"{self.column} ({quoted(self.example)}) can be read in {_ways(len(self.readings))}: [parse] needs {ways}"
        )


def _ways(n: int) -> str:
    return "a way of its own" if n == 1 else f"{n} ways"


@dataclass(frozen=True, slots=True)
class Readings:
    """How the cells of a file are written."""

    keys: Mapping[str, Any] = field(default_factory=dict)
    """Keys of ``[parse]`` that the file itself proves."""
    evidence: Mapping[str, str] = field(default_factory=dict)
    """By key, what proves it."""
    doubts: tuple[Doubt, ...] = ()
    times: frozenset[str] = frozenset()
    """Columns that hold times which are read by a key only."""

    @property
    def parse(self) -> Parse:
        """How the file is read while the doubts stand: each by its first reading."""
        keys: dict[str, Any] = dict(self.keys)
        for doubt in self.doubts:
            for key, value in doubt.readings[0].keys.items():
                keys[key] = [*keys.get(key, []), *value] if key == "time_format" else keys.get(key, value)
        keys["time_format"] = tuple(dict.fromkeys(keys.get("time_format", ())))
        return Parse(**keys)


def toml_value(value: object) -> str:
    """Return a value of ``[parse]`` as TOML: a list of one is its only element."""
    if isinstance(value, list):
        return toml_value(value[0]) if len(value) == 1 else f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"'
