"""Check a batch against its contract: payload schema, whole batch, and the rows that break a critical expectation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.contracts.expectation import expected_phrase, shown_value
from poison_guard.contracts.gx import ExpectationOutcome, is_row_expectation, run_expectations
from poison_guard.contracts.masks import BATCH_ONLY, MASKS, Comparable, failing_mask, make_comparable
from poison_guard.contracts.suite import Suite, check_suite
from poison_guard.records import Reason

__all__ = ["MAX_REASONS", "BatchReport", "check_batch", "failing_rows", "raw_view", "schema_drift", "schema_hash"]


def raw_view(records: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return the columns of `records` (`Batch.records`, any row labels) under the names of the user's data.

    ``feature.NAME`` and ``extra.NAME`` become NAME, a role becomes the column that the contract maps to it; bookkeeping
    (``content_hash``, ``object``, ``row``, ``received_at``, a derived ``record_id``) is left out. Of a column that is
    both, the feature (a number) is used, of one with several roles the first. No cell is copied.
    """
    source: dict[str, str] = {}
    for role, name in contract.columns.items():
        if role in records.columns:
            source.setdefault(name, role)
    for column in records.columns:
        part, _, name = str(column).partition(".")
        if part == "feature":
            source[name] = column
        elif part == "extra":
            source.setdefault(name, column)
    return pd.DataFrame({name: records[column] for name, column in source.items()}, index=records.index, copy=False)


_UNKNOWN_KINDS = ("", "empty", "null")
"""Kinds of a column without a value: they agree with every other kind."""


def schema_hash(schema: Mapping[str, str]) -> str:
    """Return the SHA-256 of column names and kinds, hex; the order of columns does not matter.

    >>> schema_hash({"a": "text", "b": "number"}) == schema_hash({"b": "number", "a": "text"})
    True
    """
    body = json.dumps(sorted(schema.items()), ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(body.encode("ascii")).hexdigest()


def schema_drift(old: Mapping[str, str], new: Mapping[str, str]) -> Reason | None:
    """Return why a payload of schema `new` is held in a feed last accepted with `old`; None if it passes.

    Added columns alone pass: earlier records lack them, so they are nullable. A payload without a column of `old`, or
    with one of another kind, is held; a column whose kind ends in ``?`` (JSON, whose rows may lack it) may be missing.
    On a feed's first run (`old` is empty) everything passes.

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
        if before[name] != now[name] and before[name] not in _UNKNOWN_KINDS and now[name] not in _UNKNOWN_KINDS
    ]
    if not old or not (removed or changed):
        return None
    return Reason("schema_drift", {"added": sorted(new.keys() - old.keys()), "removed": removed, "changed": changed})


@dataclass(frozen=True, slots=True)
class BatchReport:
    """Whether a batch meets its contract.

    `failed` holds a ``batch_contract`` reason for each critical expectation that failed, `warnings` for the others.
    `outcomes` is, for each expectation of the suite in its order, whether the batch as a whole met it.
    """

    success: bool
    failed: tuple[Reason, ...]
    warnings: tuple[Reason, ...] = ()
    outcomes: tuple[bool, ...] = ()


def check_batch(frame: pd.DataFrame, suite: Suite) -> BatchReport:
    """Return whether `frame` (the raw view, one row per record) meets every expectation of `suite`.

    A row expectation is met if at least its ``mostly`` share of the non-null rows meets it. An expectation that cannot
    be computed, for example because its column is missing, is not met. Raises `ConfigError` if the suite itself is
    wrong, `MissingExtraError` if Great Expectations is not installed.
    """
    check_suite(suite)
    rules = [make_comparable(frame, expectation) for expectation in suite.expectations]
    outcomes = _run_grouped(frame, rules, {"result_format": "BOOLEAN_ONLY"})
    broken = [i for i, outcome in enumerate(outcomes) if not outcome.success]
    unexplained = [i for i in broken if outcomes[i].error is None and rules[i].expectation.type not in MASKS]
    observed = _run_grouped(frame, [rules[i] for i in unexplained], {"result_format": "BASIC"})
    details = dict(zip(unexplained, observed, strict=True))
    failed: list[Reason] = []
    warned: list[Reason] = []
    for i in broken:
        reason = _contract_reason(rules[i], details.get(i, outcomes[i]))
        (failed if rules[i].expectation.severity == "critical" else warned).append(reason)
    return BatchReport(not failed, tuple(failed), tuple(warned), tuple(o.success for o in outcomes))


def _run_grouped(
    frame: pd.DataFrame, rules: Sequence[Comparable], result_format: dict[str, str]
) -> list[ExpectationOutcome]:
    """Run the expectations in groups that read the same columns.

    Great Expectations copies the frame it is given for each rule: narrow frames keep that small.
    """
    groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for i, rule in enumerate(rules):
        groups.setdefault(tuple((c, str(cells.dtype)) for c, cells in rule.columns.items()), []).append(i)
    outcomes: list[ExpectationOutcome] = [ExpectationOutcome(False, {})] * len(rules)
    for positions in groups.values():
        columns = rules[positions[0]].columns
        all_columns = not columns or any("row_condition" in rules[i].expectation.kwargs for i in positions)
        part = frame if all_columns else pd.DataFrame(dict(columns), index=frame.index, copy=False)
        results = run_expectations(part, [rules[i].expectation for i in positions], result_format=result_format)
        for i, outcome in zip(positions, results, strict=True):
            outcomes[i] = outcome
    return outcomes


def _contract_reason(rule: Comparable, outcome: ExpectationOutcome) -> Reason:
    expectation = rule.expectation
    missing = [str(c) for c in expectation.columns if c not in rule.columns]
    if missing:
        observed = f"the batch has no column {', '.join(missing)}"
    elif outcome.error is not None:
        observed = f"it could not be computed: {shown_value(outcome.error)}"
    elif "observed_value" in outcome.result:
        observed = shown_value(outcome.result["observed_value"])
    elif "unexpected_count" in outcome.result:
        observed = _failing_share(outcome.result["unexpected_count"], outcome.result["element_count"])
    else:
        failing = failing_mask(rule)
        observed = "too many rows fail" if failing is None else _failing_share(failing.sum(), len(failing))
    mostly = expectation.kwargs.get("mostly", 1)
    share = f" in at least {mostly:.1%} of rows" if isinstance(mostly, int | float) and mostly < 1 else ""
    return Reason(
        "batch_contract",
        {
            "expectation": expectation.type,
            "column": ", ".join(map(str, expectation.columns)) or "the table",
            "observed": observed,
            "expected": expected_phrase(expectation) + share,
        },
    )


def _failing_share(failing: int, rows: int) -> str:
    return f"{failing:,} of {rows:,} rows fail"


MAX_REASONS = 3
"""Failures listed per row, in the suite's order: a hostile batch must not multiply rows by rules in memory."""
_CHUNK_ROWS = 100_000
_POSITION_COLUMN = "poison_guard_position"


def failing_rows(frame: pd.DataFrame, suite: Suite, *, report: BatchReport | None = None) -> pd.DataFrame:
    """Return ``position, code, args``: one row per failure, by position in `frame` (0-based), then in suite order.

    Rows that fail are listed whatever ``mostly`` is, which is about the batch; ``warning`` and ``info`` expectations
    hold no row. With the batch's `report`, an expectation without a mask that all rows met is not run a second time.
    """
    positions: list[np.ndarray] = []
    args: list[Any] = []
    counts = np.zeros(len(frame), dtype=np.uint8)
    for number, expectation in enumerate(suite.expectations):
        by_row = expectation.type in MASKS or (expectation.columns and is_row_expectation(expectation.type))
        if expectation.severity != "critical" or expectation.type in BATCH_ONLY or not by_row:
            continue
        rule = make_comparable(frame, expectation)
        if len(rule.columns) < len(expectation.columns):
            continue  # a missing column fails the whole batch
        met = report is not None and report.outcomes[number] and expectation.kwargs.get("mostly", 1) == 1
        failing = failing_mask(rule)
        if failing is not None:
            rows = np.flatnonzero(failing)
        else:
            rows = np.empty(0, np.int64) if met else _failing_by_chunks(frame, rule)
        rows = rows[counts[rows] < MAX_REASONS]
        counts[rows] += 1
        positions.append(rows)
        args.extend(_reason_args(frame, rule, rows))
    position = np.concatenate(positions) if positions else np.empty(0, dtype=np.int64)
    order = np.argsort(position, kind="stable")
    row_args = np.empty(len(args), dtype=object)
    row_args[:] = args
    return pd.DataFrame(
        {"position": position[order].astype(np.int64), "code": "expectation", "args": row_args[order]},
    ).astype({"code": "str"})


def _failing_by_chunks(frame: pd.DataFrame, rule: Comparable) -> np.ndarray:
    """Return the positions that fail by Great Expectations itself, in chunks of rows (its lists cost memory)."""
    others = frame if "row_condition" in rule.expectation.kwargs else frame[[]]
    wide = others.assign(**rule.columns, **{_POSITION_COLUMN: np.arange(len(frame))}).reset_index(drop=True)
    result_format = {
        "result_format": "COMPLETE",
        "unexpected_index_column_names": [_POSITION_COLUMN],
        "return_unexpected_index_query": False,
    }
    positions: list[int] = []
    for start in range(0, len(frame), _CHUNK_ROWS):
        chunk = wide.iloc[start : start + _CHUNK_ROWS]
        (outcome,) = run_expectations(chunk, [rule.expectation], result_format=result_format)
        positions.extend(int(row[_POSITION_COLUMN]) for row in outcome.result.get("unexpected_index_list") or ())
    return np.array(positions, dtype=np.int64)


def _reason_args(frame: pd.DataFrame, rule: Comparable, rows: np.ndarray) -> list[dict[str, Any]]:
    """Return the arguments of the failures; rows with equal cells share one dict."""
    expectation = rule.expectation
    column = ", ".join(map(str, expectation.columns))
    fixed = {"expectation": expectation.type, "column": column, "expected": expected_phrase(expectation)}
    cells = [frame[c].iloc[rows].tolist() for c in expectation.columns]
    shared: dict[Hashable, dict[str, Any]] = {}
    args: list[dict[str, Any]] = []
    for row in zip(*cells, strict=True):
        values = [shown_value(value) for value in row]
        value = values[0] if len(values) == 1 else ", ".join(map(str, values))
        args.append(shared.setdefault((type(value), value), {**fixed, "value": value}))
    return args
