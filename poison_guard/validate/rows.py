"""Failing rows: which rows break which critical expectation, fast enough for a million rows."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.validate.comparable import Comparable, comparable
from poison_guard.validate.contract_check import BatchReport
from poison_guard.validate.great import is_row_expectation, run_expectations
from poison_guard.validate.masks import BATCH_ONLY, failing_mask
from poison_guard.validate.phrases import expected_phrase, shown_value
from poison_guard.validate.suite import Suite

__all__ = ["MAX_REASONS", "failing_rows"]

MAX_REASONS = 3
"""Failures told of one row, in the suite's order: a hostile batch must not multiply rows by rules in memory."""
_CHUNK = 100_000
_POSITION = "poison_guard_position"


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
        rule = comparable(frame, expectation)
        if len(rule.columns) < len(expectation.columns):
            continue  # a column that is not there fails the batch
        met = report is not None and report.outcomes[number] and expectation.kwargs.get("mostly", 1) == 1
        failing = failing_mask(rule)
        found = np.flatnonzero(failing) if failing is not None else np.empty(0, int) if met else _by_chunks(frame, rule)
        found = found[told[found] < MAX_REASONS]
        told[found] += 1
        positions.append(found)
        args.extend(_args(frame, rule, found))
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
    wide = whole.assign(**rule.columns, **{_POSITION: np.arange(len(frame))}).reset_index(drop=True)
    wanted = {
        "result_format": "COMPLETE",
        "unexpected_index_column_names": [_POSITION],
        "return_unexpected_index_query": False,
    }
    found: list[int] = []
    for start in range(0, len(frame), _CHUNK):
        chunk = wide.iloc[start : start + _CHUNK]
        (outcome,) = run_expectations(chunk, [rule.expectation], result_format=wanted)
        found.extend(int(row[_POSITION]) for row in outcome.result.get("unexpected_index_list") or ())
    return np.array(found, dtype=np.int64)


def _args(frame: pd.DataFrame, rule: Comparable, found: np.ndarray) -> list[dict[str, Any]]:
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
