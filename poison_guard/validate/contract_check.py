"""The batch contract: one verdict on a whole batch through Great Expectations, without listing rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from poison_guard.records import Reason
from poison_guard.validate.comparable import Comparable, comparable
from poison_guard.validate.great import Outcome, run_expectations
from poison_guard.validate.masks import MASKS, failing_mask
from poison_guard.validate.phrases import expected_phrase, shown_value
from poison_guard.validate.suite import Suite

__all__ = ["BatchReport", "check_batch"]


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
    cannot be computed, say for want of its column, is not met.
    """
    rules = [comparable(frame, expectation) for expectation in suite.expectations]
    outcomes = _run(frame, rules, {"result_format": "BOOLEAN_ONLY"})
    broken = [i for i, outcome in enumerate(outcomes) if not outcome.success]
    unexplained = [i for i in broken if outcomes[i].error is None and rules[i].expectation.type not in MASKS]
    observed = _run(frame, [rules[i] for i in unexplained], {"result_format": "BASIC"})
    details = dict(zip(unexplained, observed, strict=True))
    failed: list[Reason] = []
    warned: list[Reason] = []
    for i in broken:
        reason = _reason(rules[i], details.get(i, outcomes[i]))
        (failed if rules[i].expectation.holds else warned).append(reason)
    return BatchReport(not failed, tuple(failed), len(rules), tuple(warned), tuple(o.success for o in outcomes))


def _run(frame: pd.DataFrame, rules: Sequence[Comparable], result_format: dict[str, str]) -> list[Outcome]:
    """Run the expectations in groups that read the same columns.

    Great Expectations copies every row of every column it is given, for each rule: narrow frames keep that small.
    """
    groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for i, rule in enumerate(rules):
        groups.setdefault(tuple((c, str(cells.dtype)) for c, cells in rule.columns.items()), []).append(i)
    outcomes: list[Outcome] = [Outcome(False, {})] * len(rules)
    for positions in groups.values():
        columns = rules[positions[0]].columns
        whole = not columns or any("row_condition" in rules[i].expectation.kwargs for i in positions)
        part = frame if whole else pd.DataFrame(dict(columns), index=frame.index, copy=False)
        found = run_expectations(part, [rules[i].expectation for i in positions], result_format=result_format)
        for i, outcome in zip(positions, found, strict=True):
            outcomes[i] = outcome
    return outcomes


def _reason(rule: Comparable, outcome: Outcome) -> Reason:
    expectation = rule.expectation
    lacking = [str(c) for c in expectation.columns if c not in rule.columns]
    if lacking:
        observed = f"the batch has no column {', '.join(lacking)}"
    elif outcome.error is not None:
        observed = f"it could not be computed: {shown_value(outcome.error)}"
    elif "observed_value" in outcome.result:
        observed = shown_value(outcome.result["observed_value"])
    elif "unexpected_count" in outcome.result:
        observed = _share(outcome.result["unexpected_count"], outcome.result["element_count"])
    else:
        failing = failing_mask(rule)
        observed = "too many rows fail" if failing is None else _share(failing.sum(), len(failing))
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


def _share(failing: int, rows: int) -> str:
    return f"{failing:,} of {rows:,} rows fail"
