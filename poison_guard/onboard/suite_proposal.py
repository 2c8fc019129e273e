"""Propose a Great Expectations suite from data: bounds around the ids, answers, texts and measurements seen."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pandas as pd

from poison_guard.config import Contract
from poison_guard.contracts.check import check_batch, failing_rows, raw_view
from poison_guard.contracts.suite import parse_suite
from poison_guard.errors import DataError
from poison_guard.ingest.collect import batch_from_frame
from poison_guard.ingest.nested import is_name
from poison_guard.onboard.columns import ColumnProfile, describe_columns

__all__ = ["propose_suite", "suite_for"]


_RECEIVED_AT = dt.datetime(2200, 1, 1, tzinfo=dt.UTC)
"""After all times: the sender's are kept, and no rule depends on when the records were received."""
_MOSTLY = 0.95
"""A batch meets the contract if 95 % of its rows do; rows that fail are held one by one in any case."""
_IDS = ("record_id", "source_id", "author_id", "item_id")
_VOTES = ("answer", "label", "rating")
_TEXTS = ("text", "prompt", "response", "chosen", "rejected")
_SCALES = ((0, 1), (-1, 1), (1, 5), (0, 5), (1, 7), (1, 10), (0, 10), (0, 100))
_SLACK = 4
"""Texts may be four times as long as the longest one seen; measurements may be two spans beyond those seen."""

Rule = dict[str, Any]


def propose_suite(frame: pd.DataFrame, contract: Contract) -> Rule:
    """Return a suite, JSON-able in the shape Great Expectations 1.x reads, that every row of `frame` passes.

    `frame` has one row per record under the user's column names, raw or as records show them. Raises `DataError` if it
    has no rows, or lacks a column that `contract` maps.
    """
    wanted = {*contract.columns.values(), *contract.features}
    missing = sorted({name for name in wanted if is_name(name)} - {str(c) for c in frame.columns})
    if missing or frame.empty:
        fault = f"has no column {', '.join(missing)}" if missing else "has no records"
        raise DataError(f"the data of feed {contract.name} {fault}; a suite is proposed from data its contract fits")
    batch = batch_from_frame(contract, frame, object_uri=None, received_at=_RECEIVED_AT)
    return suite_for(raw_view(batch.records, contract), contract)


def suite_for(view: pd.DataFrame, contract: Contract) -> Rule:
    """Return a suite that the records of `view` (as `raw_view` shows them) pass; each rule says for which role it is.

    `DataError` where the contract maps a column that they lack.
    """
    absent = [name for name in (*contract.columns.values(), *contract.features) if name not in view]
    if absent or view.empty:
        fault = f"have no column {', '.join(sorted(set(absent)))}" if absent else "are none"
        raise DataError(f"the records of feed {contract.name} {fault}; a suite is proposed from data its contract fits")
    described = {c.name: c for c in describe_columns(view)}
    rules = [_rule("expect_table_row_count_to_be_between", {"min_value": 1})]
    done: set[str] = set()
    for role, column in contract.columns.items():
        if column not in done:
            done.add(column)
            rules += _of_role(role, _role_rules(role, described[column], view[column]))
    for column in contract.features:
        if column not in done:
            rules += _of_role("features", _feature_rules(described[column], view[column]))
    suite = {"name": contract.name, "expectations": rules, "meta": {"proposed_from_rows": len(view)}}
    _check(view, suite)
    return suite


def _check(view: pd.DataFrame, suite: Rule) -> None:
    parsed = parse_suite(suite)
    report = check_batch(view, parsed)
    failing = failing_rows(view, parsed, report=report)
    broken = [reason.args for reason in report.failed + report.warnings] + failing["args"].head(1).tolist()
    if broken:
        first = broken[0]
        raise DataError(
            f"no suite could be made that the data of feed {suite['name']} pass: {first['expectation']} on "
            f"{first['column']} fails; write expectations/{suite['name']}.json by hand"
        )


def _of_role(role: str, rules: list[Rule]) -> list[Rule]:
    return [{**rule, "meta": {**rule.get("meta", {}), "role": role}} for rule in rules]


def _role_rules(role: str, c: ColumnProfile, cells: pd.Series) -> list[Rule]:
    rules = [] if c.nulls or role == "source_since" else [_not_null(c)]
    if c.kind == "empty" or c.rows == c.nulls:
        return rules
    if role in _IDS:
        return [*rules, _lengths(c, cells, least=64)]
    if role in _TEXTS:
        return [*rules, _lengths(c, cells, least=1000)]
    if role == "rating":
        return [*rules, _scale(c, cells)]
    if role in _VOTES or role == "group":
        severity = "warning" if role == "group" else "critical"
        return [*rules, _value_set(c, cells, severity) if c.is_closed_list else _lengths(c, cells, least=200)]
    return rules


def _feature_rules(c: ColumnProfile, cells: pd.Series) -> list[Rule]:
    rules = [] if c.nulls else [_not_null(c, "warning")]
    if c.kind == "number":
        rules += _range(c, cells)
    elif c.kind == "text" and c.is_closed_list:
        rules.append(_value_set(c, cells, "warning"))
    return rules


def _not_null(c: ColumnProfile, severity: str = "critical") -> Rule:
    return _rule("expect_column_values_to_not_be_null", {"column": c.name}, severity, "no row lacked it")


def _lengths(c: ColumnProfile, cells: pd.Series, *, least: int) -> Rule:
    longest = int(cells.dropna().astype(str).str.len().max())
    kwargs = {"column": c.name, "min_value": 1, "max_value": max(least, _round_up(_SLACK * longest))}
    return _rule("expect_column_value_lengths_to_be_between", kwargs, seen=f"the longest had {longest:,} characters")


def _value_set(c: ColumnProfile, cells: pd.Series, severity: str) -> Rule:
    counts = cells.dropna().astype(str).value_counts()
    kwargs = {"column": c.name, "value_set": sorted(counts.index.tolist())}
    rare = f"; rarest {str(counts.index[-1])[:40]!r}, {counts.iloc[-1]:,} of {c.rows:,} rows"
    return _rule("expect_column_values_to_be_in_set", kwargs, severity, f"all {len(counts)} values seen{rare}")


def _scale(c: ColumnProfile, cells: pd.Series) -> Rule:
    """Return the bounds of a rating: a common scale that holds all values, or the range seen."""
    numbers = cells.dropna()
    if math.isinf(numbers.abs().max()):
        return _not_null(c, "warning")
    low, high = float(numbers.min()), float(numbers.max())
    fits = [(a, b) for a, b in _SCALES if a <= low and high <= b] if c.integers else []
    a, b = min(fits, key=lambda scale: scale[1] - scale[0]) if fits else (low, high)
    return _rule("expect_column_values_to_be_between", _bounds(c, a, b), seen=f"{low:g} to {high:g}")


def _range(c: ColumnProfile, cells: pd.Series) -> list[Rule]:
    """Return wide bounds: two spans beyond what was seen; a number that was never negative stays so."""
    numbers = cells.dropna()
    if numbers.empty or math.isinf(numbers.abs().max()):
        return []
    low, high = float(numbers.min()), float(numbers.max())
    slack = 2 * max(high - low, abs(high), 1e-9)
    lowest = 0.0 if low >= 0 else _round_out(low - slack)
    kwargs = _bounds(c, lowest, _round_out(high + slack))
    return [_rule("expect_column_values_to_be_between", kwargs, seen=f"{low:g} to {high:g}")]


def _bounds(c: ColumnProfile, low: float, high: float) -> Rule:
    return {"column": c.name, "min_value": _whole_if_exact(low), "max_value": _whole_if_exact(high)}


def _rule(type_: str, kwargs: Rule, severity: str = "critical", seen: str = "") -> Rule:
    mostly: Rule = {} if type_.startswith("expect_table") else {"mostly": _MOSTLY}
    meta = {"meta": {"seen": seen}} if seen else {}
    return {"type": type_, "kwargs": kwargs | mostly, "severity": severity, **meta}


def _round_up(n: int) -> int:
    """Return the next number with one digit and zeros."""
    step = 10 ** (len(str(n)) - 1)
    return -(-n // step) * step


def _round_out(value: float) -> float:
    """Return a value rounded away from zero to two digits."""
    if value == 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return math.copysign(math.ceil(abs(value) / step) * step, value)


def _whole_if_exact(value: float) -> float | int:
    return int(value) if value == int(value) and abs(value) < 2**53 else float(f"{value:.12g}")
