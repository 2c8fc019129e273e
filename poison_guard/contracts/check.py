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
from poison_guard.contracts.comparable import Comparable, make_comparable
from poison_guard.contracts.expectation import expected_phrase, shown_value
from poison_guard.contracts.gx import ExpectationOutcome, is_row_expectation, run_expectations
from poison_guard.contracts.masks import BATCH_ONLY, MASKS, failing_mask
from poison_guard.contracts.suite import Suite, check_suite
from poison_guard.records import Reason

__all__ = ["MAX_REASONS", "BatchReport", "check_batch", "failing_rows", "raw_view", "schema_drift", "schema_hash"]


def raw_view(records: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return the columns of `records` (`Batch.records`, any row labels) named as in the user's data, rows as they are.

    ``feature.NAME`` and ``extra.NAME`` become NAME, a role the column its contract maps it to; bookkeeping
    (``content_hash``, ``object``, ``row``, ``received_at``, a derived ``record_id``) is left out. Where one column
    plays several parts, its feature (typed as a number) is shown, else its first role. No cell is copied.
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
        if before[name] != now[name] and before[name] not in _UNKNOWN_KINDS and now[name] not in _UNKNOWN_KINDS
    ]
    if not old or not (removed or changed):
        return None
    return Reason("schema_drift", {"added": sorted(new.keys() - old.keys()), "removed": removed, "changed": changed})


@dataclass(frozen=True, slots=True)
class BatchReport:
    """Whether a batch keeps its contract.

    `failed` holds a ``batch_contract`` reason for each critical expectation that failed; `warnings` for the others.
    `outcomes` says for each expectation of the suite, in its order, whether the batch as a whole met it.
    """

    success: bool
    failed: tuple[Reason, ...]
    expectations_run: int
    warnings: tuple[Reason, ...] = ()
    outcomes: tuple[bool, ...] = ()


def check_batch(frame: pd.DataFrame, suite: Suite) -> BatchReport:
    """Return the verdict on `frame` (the raw view, one row a record) of every expectation of `suite`.

    A row expectation is met when a share of at least its ``mostly`` of the non-null rows meets it. An expectation that
    cannot be computed, say for want of its column, is not met. `ConfigError` where the suite itself is wrong,
    `MissingExtraError` where Great Expectations is not installed.
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
        (failed if rules[i].expectation.holds else warned).append(reason)
    return BatchReport(not failed, tuple(failed), len(rules), tuple(warned), tuple(o.success for o in outcomes))


def _run_grouped(
    frame: pd.DataFrame, rules: Sequence[Comparable], result_format: dict[str, str]
) -> list[ExpectationOutcome]:
    """Run the expectations in groups that read the same columns.

    Great Expectations copies every row of every column it is given, for each rule: narrow frames keep that small.
    """
    groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for i, rule in enumerate(rules):
        groups.setdefault(tuple((c, str(cells.dtype)) for c, cells in rule.columns.items()), []).append(i)
    outcomes: list[ExpectationOutcome] = [ExpectationOutcome(False, {})] * len(rules)
    for positions in groups.values():
        columns = rules[positions[0]].columns
        whole = not columns or any("row_condition" in rules[i].expectation.kwargs for i in positions)
        part = frame if whole else pd.DataFrame(dict(columns), index=frame.index, copy=False)
        found = run_expectations(part, [rules[i].expectation for i in positions], result_format=result_format)
        for i, outcome in zip(positions, found, strict=True):
            outcomes[i] = outcome
    return outcomes


def _contract_reason(rule: Comparable, outcome: ExpectationOutcome) -> Reason:
    expectation = rule.expectation
    lacking = [str(c) for c in expectation.columns if c not in rule.columns]
    if lacking:
        observed = f"the batch has no column {', '.join(lacking)}"
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
            "column": expectation.column or "the table",
            "observed": observed,
            "expected": expected_phrase(expectation) + share,
        },
    )


def _failing_share(failing: int, rows: int) -> str:
    return f"{failing:,} of {rows:,} rows fail"


MAX_REASONS = 3
"""Failures told of one row, in the suite's order: a hostile batch must not multiply rows by rules in memory."""
_CHUNK_ROWS = 100_000
_POSITION_COLUMN = "poison_guard_position"


def failing_rows(frame: pd.DataFrame, suite: Suite, *, report: BatchReport | None = None) -> pd.DataFrame:
    """Return ``position, code, args``: one row a failure, by position in `frame` (0-based), then in the suite's order.

    Rows that fail are listed whatever ``mostly`` says, which governs the batch only; ``warning`` and ``info``
    expectations hold no row. With the batch's `report`, expectations that all rows met are not run a second time where
    there is no mask for them.
    """
    positions: list[np.ndarray] = []
    args: list[Any] = []
    told = np.zeros(len(frame), dtype=np.uint8)
    for number, expectation in enumerate(suite.expectations):
        if not expectation.holds or expectation.type in BATCH_ONLY or not is_row_expectation(expectation.type):
            continue
        rule = make_comparable(frame, expectation)
        if len(rule.columns) < len(expectation.columns):
            continue  # a column that is not there fails the batch
        met = report is not None and report.outcomes[number] and expectation.kwargs.get("mostly", 1) == 1
        failing = failing_mask(rule)
        found = np.flatnonzero(failing) if failing is not None else np.empty(0, int) if met else _by_chunks(frame, rule)
        found = found[told[found] < MAX_REASONS]
        told[found] += 1
        positions.append(found)
        args.extend(_reason_args(frame, rule, found))
    position = np.concatenate(positions) if positions else np.empty(0, dtype=np.int64)
    order = np.argsort(position, kind="stable")
    told_args = np.empty(len(args), dtype=object)
    told_args[:] = args
    return pd.DataFrame(
        {"position": position[order].astype(np.int64), "code": "expectation", "args": told_args[order]},
    ).astype({"code": "str"})


def _by_chunks(frame: pd.DataFrame, rule: Comparable) -> np.ndarray:
    """Positions that fail, asked of Great Expectations itself in chunks of 100,000 rows (its lists cost memory)."""
    whole = frame if "row_condition" in rule.expectation.kwargs else frame[[]]
    wide = whole.assign(**rule.columns, **{_POSITION_COLUMN: np.arange(len(frame))}).reset_index(drop=True)
    wanted = {
        "result_format": "COMPLETE",
        "unexpected_index_column_names": [_POSITION_COLUMN],
        "return_unexpected_index_query": False,
    }
    found: list[int] = []
    for start in range(0, len(frame), _CHUNK_ROWS):
        chunk = wide.iloc[start : start + _CHUNK_ROWS]
        (outcome,) = run_expectations(chunk, [rule.expectation], result_format=wanted)
        found.extend(int(row[_POSITION_COLUMN]) for row in outcome.result.get("unexpected_index_list") or ())
    return np.array(found, dtype=np.int64)


def _reason_args(frame: pd.DataFrame, rule: Comparable, found: np.ndarray) -> list[dict[str, Any]]:
    """Arguments of the failures; rows with equal cells share one dict."""
    expectation = rule.expectation
    fixed = {"expectation": expectation.type, "column": expectation.column, "expected": expected_phrase(expectation)}
    cells = [frame[c].iloc[found].tolist() for c in expectation.columns]
    shared: dict[Hashable, dict[str, Any]] = {}
    args: list[dict[str, Any]] = []
    for row in zip(*cells, strict=True):
        values = [shown_value(value) for value in row]
        value = values[0] if len(values) == 1 else ", ".join(map(str, values))
        args.append(shared.setdefault((type(value), value), {**fixed, "value": value}))
    return args
