"""Read TOML tables strictly into dataclasses: the annotations of the fields say which keys and values are allowed.

An unknown key names the nearest known one; a value that breaks its rule is named with the rule, the key and the place.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from poison_guard.errors import ConfigError
from poison_guard.text import nearest

__all__ = [
    "Rule",
    "Text",
    "check_keys",
    "in_range",
    "matching",
    "one_of",
    "parse",
    "read_toml",
    "values_of",
]

MAX_BYTES = 1_000_000
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Rule:
    """What a field's values must be: in words, as a test, and, where only some names are allowed, these."""

    phrase: str
    allows: Callable[[Any], bool]
    names: tuple[str, ...] = ()


def in_range(low: float, high: float = math.inf, *, above: bool = False) -> Rule:
    """Return the rule for finite numbers from `low` to `high`, without `low` itself where they must lie `above` it."""
    bounds = f"in {'(' if above else '['}{low:.10g}, {high:.10g}]"
    return Rule(
        bounds if high < math.inf else f"{'above' if above else 'at least'} {low:.10g}",
        lambda value: (low < value if above else low <= value) and value <= high and value < math.inf,
    )


def matching(regex: str, phrase: str) -> Rule:
    """Return the rule for texts that match a regular expression as a whole."""
    return Rule(phrase, lambda value: re.fullmatch(regex, value, re.DOTALL) is not None)


def one_of(names: Iterable[str]) -> Rule:
    """Return the rule for a name of a fixed list; of a field that lists texts, each one is such a name."""
    known = tuple(names)
    return Rule(f"one of {', '.join(known)}", known.__contains__, known)


Text = Annotated[str, matching(".+", "str, and not empty")]


def read_toml(path: Path) -> dict[str, Any]:
    """Return the parsed file; `ConfigError` names the file and, for bad syntax, the line."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_BYTES:,} bytes; contracts and settings are short texts")
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


def parse(cls: type[_T], table: Mapping[str, Any], *, where: str, file: str) -> _T:
    """Return the dataclass `cls` made of a table; see `values_of`."""
    return cls(**values_of(cls, table, where=where, file=file))


def values_of(cls: type, table: Mapping[str, Any], *, where: str, file: str) -> dict[str, Any]:
    """Return the checked values of `table` by the fields of the dataclass `cls`, in the table's order.

    A field that is a dataclass is a table itself, an enum is written by its value, and a tuple is a list of texts, each
    kept once. An empty table is as good as none. `ConfigError` names the key, the rule, the value and the place.
    """
    fields = _fields(cls)
    check_keys(table, fields, where=where, file=file)
    tables = {key for key, (kind, *_) in fields.items() if kind is dict or dataclasses.is_dataclass(kind)}
    present = {key: value for key, value in table.items() if value is not None and (value != {} or key not in tables)}
    for key, (_, rule, required) in fields.items():
        if required and key not in present:
            raise ConfigError(f"{where} of {file} needs {key}{f': {rule.phrase}' if rule else ''}")
    return {key: _value(key, value, *fields[key][:2], where, file) for key, value in present.items()}


def check_keys(table: Iterable[str], known: Collection[str], *, where: str, file: str) -> None:
    """Raise `ConfigError` at the first key of `table` that is not `known`, naming the nearest one."""
    for key in table:
        if key not in known:
            near = nearest(key, known)
            hint = f"; did you mean `{near}`?" if near else f"; known: {', '.join(sorted(known))}"
            raise ConfigError(f"unknown key `{key}` in {where} of {file}{hint}")


@functools.cache
def _fields(cls: type) -> dict[str, tuple[type, Rule | None, bool]]:
    """Return ``name: (type, rule, required)`` of a dataclass, from its annotations."""
    hints = get_type_hints(cls, include_extras=True)
    found: dict[str, tuple[type, Rule | None, bool]] = {}
    for field in dataclasses.fields(cls):
        some = [hint for hint in get_args(hints[field.name]) if hint is not NoneType]
        hint = some[0] if NoneType in get_args(hints[field.name]) else hints[field.name]
        kind, *rules = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        kind = get_origin(kind) or kind
        rule = one_of(kind) if issubclass(kind, StrEnum) else next(iter(rules), None)
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        found[field.name] = (kind, rule, required)
    return found


def _value(key: str, value: Any, kind: type, rule: Rule | None, where: str, file: str) -> Any:
    """Return one checked value as its field takes it."""
    if dataclasses.is_dataclass(kind):
        if isinstance(value, dict):
            return kind(**values_of(kind, value, where=f"[{key}]", file=file))
        expected = "a table"
    elif kind is tuple:
        if isinstance(value, list) and all(isinstance(text, str) and text for text in value):
            if rule and rule.names:
                check_keys(value, rule.names, where=f"{key} in {where}", file=file)
            if not rule or all(map(rule.allows, value)):
                return tuple(dict.fromkeys(value))
        expected = rule.phrase if rule and not rule.names else "a list of non-empty strings"
    else:
        accepted = (int, float) if kind is float else str if issubclass(kind, str) else kind
        if (
            isinstance(value, accepted)
            and isinstance(value, bool) is (kind is bool)
            and (not rule or rule.allows(value))
        ):
            return kind(value) if issubclass(kind, StrEnum) else value
        expected = f"{rule.phrase if rule else kind.__name__}{', a whole number' if kind is int else ''}"
    raise ConfigError(f"{key} must be {expected}, got {value!r} in {where} of {file}")
