"""Suites: read ``expectations/NAME.json`` (Great Expectations 1.x) and check its rules before any data is looked at."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from poison_guard.config.tables import check_keys
from poison_guard.contracts.expectation import Expectation
from poison_guard.contracts.gx import check_kwargs, expectation_types
from poison_guard.errors import ConfigError

__all__ = ["Expectation", "Suite", "check_suite", "load_suite", "parse_suite"]


_MAX_BYTES = 5_000_000
_SUITE_KEYS = ("name", "expectations", "id", "meta", "notes", "suite_parameters")
_EXPECTATION_KEYS = ("type", "kwargs", "meta", "severity", "id", "notes", "description", "rendered_content")
_SEVERITIES = ("critical", "warning", "info")
_SQL_ONLY = ("like_pattern", "query_results", "other_table", "unexpected_rows")


@dataclass(frozen=True, slots=True)
class Suite:
    """A named list of expectations."""

    name: str
    expectations: tuple[Expectation, ...]
    path: Path | None = None


def load_suite(path: str | Path) -> Suite:
    """Read a suite, without Great Expectations; `ConfigError` names the file and the expectation that is at fault."""
    file = Path(path)
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{file} is larger than {_MAX_BYTES:,} bytes; a suite is a short list of rules")
        table = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise ConfigError(f"{file} does not exist; `poison-guard init DATA` writes a suite for a data file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file} cannot be read as a suite in JSON: {error or 'nested too deeply'}") from None
    return parse_suite(table, path=file)


def parse_suite(table: Any, *, path: Path | None = None) -> Suite:
    """Return the suite of a JSON object in the shape of ``ExpectationSuite.to_json_dict()``; else `ConfigError`."""
    file = str(path or "the suite")
    if not isinstance(table, dict):
        raise ConfigError(f"{file} must hold a JSON object with name and expectations, got {type(table).__name__}")
    check_keys(table, _SUITE_KEYS, where="the top level", file=file)
    name, rules = table.get("name"), table.get("expectations")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"name of {file} must be a non-empty text, got {name!r}")
    if not isinstance(rules, list):
        raise ConfigError(f"expectations of {file} must be a list, got {rules!r}")
    return Suite(name, tuple(_expectation(rule, i, file) for i, rule in enumerate(rules, 1)), path)


def check_suite(suite: Suite) -> None:
    """Check each rule against Great Expectations; `ConfigError` for a wrong one, `MissingExtraError` without it."""
    for number, expectation in enumerate(suite.expectations, 1):
        where = f"expectation {number} of {suite.path or 'the suite'} ({expectation.type})"
        _check_type(expectation.type, where)
        _check_kwargs(expectation, where)


def _expectation(rule: Any, number: int, file: str) -> Expectation:
    where = f"expectation {number} of {file}"
    if not isinstance(rule, dict) or not isinstance(rule.get("type"), str):
        raise ConfigError(f"{where} must be an object with a type, got {str(rule)[:80]!r}")
    check_keys(rule, _EXPECTATION_KEYS, where=f"expectation {number}", file=file)
    type_, kwargs = rule["type"], rule.get("kwargs") or {}
    severity, meta = rule.get("severity") or "critical", rule.get("meta") or {}
    where = f"{where} ({type_})"
    if not isinstance(kwargs, dict) or not isinstance(meta, dict):
        raise ConfigError(f"kwargs and meta of {where} must be objects")
    if severity not in _SEVERITIES:
        raise ConfigError(f"severity of {where} must be one of {', '.join(_SEVERITIES)}, got {severity!r}")
    return Expectation(type_, kwargs, severity, meta)


def _check_type(type_: str, where: str) -> None:
    known = expectation_types()
    if type_ not in known:
        near = get_close_matches(type_, known, n=1, cutoff=0.5)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise ConfigError(f"{where} is no expectation that Great Expectations knows{hint}")
    if any(word in type_ for word in _SQL_ONLY):
        raise ConfigError(f"{where} needs a SQL database; batches are checked as frames, so take another expectation")


def _check_kwargs(expectation: Expectation, where: str) -> None:
    try:
        check_kwargs(expectation.type, expectation.kwargs)
    except (ValueError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines()[1:3]] or [str(error)]
        raise ConfigError(f"kwargs of {where} are wrong: {': '.join(lines)}") from None
    low, high = expectation.kwargs.get("min_value"), expectation.kwargs.get("max_value")
    if isinstance(low, int | float) and isinstance(high, int | float) and not low <= high:
        raise ConfigError(f"min_value of {where} must be at most max_value, got {low} and {high}")
    for pattern in [expectation.kwargs.get("regex"), *(expectation.kwargs.get("regex_list") or ())]:
        _check_pattern(pattern, where)


def _check_pattern(pattern: Any, where: str) -> None:
    if not isinstance(pattern, str):
        return
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"the regular expression {pattern!r} of {where} is wrong: {error}") from None


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON number; leave the bound out")
