"""Suites: read ``expectations/NAME.json`` (Great Expectations 1.x) and check its rules before any data is looked at."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from poison_guard.config import Contract
from poison_guard.config.tables import check_keys
from poison_guard.contracts.expectation import Expectation
from poison_guard.contracts.gx import refusal_of
from poison_guard.errors import ConfigError

__all__ = ["Expectation", "Suite", "check_suite", "fit_to_contract", "load_suite", "parse_suite"]


_MAX_BYTES = 5_000_000
_SUITE_KEYS = ("name", "expectations", "id", "meta", "notes", "suite_parameters")
_EXPECTATION_KEYS = ("type", "kwargs", "meta", "severity", "id", "notes", "description", "rendered_content")
_SEVERITIES = ("critical", "warning", "info")


@dataclass(frozen=True, slots=True)
class Suite:
    """A named list of expectations."""

    name: str
    expectations: tuple[Expectation, ...]
    path: Path | None = None
    outdated: tuple[str, ...] = ()
    """Columns whose proposed rules were left out: the contract gives them another role than when they were made."""


def fit_to_contract(suite: Suite, contract: Contract) -> Suite:
    """Return the suite without the rules that `init` proposed for a role which the contract gives the column no more.

    Rules that a person wrote name no role and stay.
    """
    roles = {(role, column) for role, column in contract.columns.items()}
    roles |= {("features", column) for column in contract.features}
    kept: list[Expectation] = []
    outdated: list[Expectation] = []
    for rule in suite.expectations:
        role, column = rule.meta.get("role"), rule.kwargs.get("column")
        (kept if role is None or (role, column) in roles else outdated).append(rule)
    names = dict.fromkeys(str(rule.kwargs.get("column")) for rule in outdated)
    return replace(suite, expectations=tuple(kept), outdated=tuple(names)) if outdated else suite


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
    """Return the suite of a JSON object as ``ExpectationSuite.to_json_dict()`` writes it; else `ConfigError`."""
    file = str(path or "the suite")
    if not isinstance(table, dict):
        raise ConfigError(f"{file} must hold a JSON object with name and expectations, got {type(table).__name__}")
    check_keys(table, _SUITE_KEYS, where="the top level", file=file)
    name, rules = table.get("name"), table.get("expectations")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"name of {file} must be a non-empty text, got {name!r}")
    if not isinstance(rules, list):
        raise ConfigError(f"expectations of {file} must be a list, got {rules!r}")
    return Suite(name, tuple(_parse_expectation(rule, i, file) for i, rule in enumerate(rules, 1)), path)


def check_suite(suite: Suite) -> None:
    """Check each rule with Great Expectations; `ConfigError` for a wrong one, `MissingExtraError` without it."""
    for number, expectation in enumerate(suite.expectations, 1):
        kwargs = expectation.kwargs
        reason = refusal_of(expectation.type, kwargs)
        low, high = kwargs.get("min_value"), kwargs.get("max_value")
        if isinstance(low, int | float) and isinstance(high, int | float) and not low <= high:
            reason = reason or f"must have a min_value of at most its max_value, got {low} and {high}"
        for pattern in [kwargs.get("regex"), *(kwargs.get("regex_list") or ())]:
            try:
                re.compile(pattern if isinstance(pattern, str) else "")
            except re.error as error:
                reason = reason or f"has a wrong regular expression {pattern!r}: {error}"
        if reason:
            raise ConfigError(f"expectation {number} of {suite.path or 'the suite'} ({expectation.type}) {reason}")


def _parse_expectation(rule: Any, number: int, file: str) -> Expectation:
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


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number; remove the bound")
