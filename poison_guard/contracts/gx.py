"""The only importer of Great Expectations: imported on first use, quiet, offline, in memory."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poison_guard.errors import MissingExtraError
from poison_guard.text import nearest

if TYPE_CHECKING:
    import pandas as pd

    from poison_guard.contracts.expectation import Expectation

__all__ = [
    "ExpectationOutcome",
    "is_installed",
    "is_row_expectation",
    "refusal_of",
    "run_expectations",
]


_POSITION_COLUMN = "poison_guard_position"
_SQL_ONLY = ("like_pattern", "query_results", "other_table", "unexpected_rows")
"""Words in the names of expectations that need a database."""


@dataclass(frozen=True, slots=True)
class ExpectationOutcome:
    """The result of one expectation; `error` is the first line of the exception raised while it was computed."""

    success: bool
    result: dict[str, Any]
    error: str | None = None


def is_installed() -> bool:
    """Return whether Great Expectations can be imported, without importing it."""
    return importlib.util.find_spec("great_expectations") is not None


def run_expectations(
    frame: pd.DataFrame, expectations: Sequence[Expectation], *, result_format: dict[str, Any]
) -> list[ExpectationOutcome]:
    """Return one `ExpectationOutcome` per expectation, in their order; one that cannot be computed is no success.

    The engine gets the frame itself: a batch of a data source would first be fingerprinted twice, which takes six times
    as long as the check of a million rows.
    """
    context = _context()
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.validator.validator import Validator

    rules = [
        ExpectationConfiguration(type=e.type, kwargs=dict(e.kwargs), meta={_POSITION_COLUMN: i})
        for i, e in enumerate(expectations)
    ]
    with _quiet():
        engine = PandasExecutionEngine(batch_data_dict={"batch": frame})
        validator = Validator(execution_engine=engine, data_context=context)
        results = validator.graph_validate(rules, runtime_configuration={"result_format": result_format})
    outcomes: dict[int, ExpectationOutcome] = {}
    for result in results:
        info = result.exception_info or {}
        raised = [i for i in (info, *info.values()) if isinstance(i, dict) and i.get("raised_exception") is True]
        error = str(raised[0].get("exception_message") or "failed").strip().splitlines()[0] if raised else None
        # Great Expectations puts failures first: the tag in `meta` names the expectation of each result.
        position = result.expectation_config.meta[_POSITION_COLUMN]
        outcomes[position] = ExpectationOutcome(bool(result.success) and not raised, dict(result.result or {}), error)
    return [outcomes.get(i, ExpectationOutcome(False, {}, "was not run")) for i in range(len(rules))]


def refusal_of(type_: str, kwargs: Mapping[str, Any]) -> str | None:
    """Return why Great Expectations cannot run an expectation on a frame; None if it can."""
    _great_expectations()
    from great_expectations.expectations.registry import (
        get_expectation_impl,
        list_registered_expectation_implementations,
    )

    types = list_registered_expectation_implementations()
    if type_ not in types:
        near = nearest(type_, types)
        return "is not an expectation of Great Expectations" + (f"; did you mean `{near}`?" if near else "")
    if any(word in type_ for word in _SQL_ONLY):
        return "needs a SQL database; batches are checked as frames, so choose another expectation"
    try:
        with _quiet():
            get_expectation_impl(type_)(**kwargs)
    except (ValueError, TypeError) as error:  # pydantic's errors are among them
        lines = [line.strip() for line in str(error).splitlines()[1:3]] or [str(error)]
        return f"has wrong kwargs: {': '.join(lines)}"
    return None


def is_row_expectation(type_: str) -> bool:
    """Return whether the expectation judges rows one by one."""
    _great_expectations()
    from great_expectations.expectations.expectation import (
        ColumnMapExpectation,
        ColumnPairMapExpectation,
        MulticolumnMapExpectation,
    )
    from great_expectations.expectations.registry import get_expectation_impl

    bases = (ColumnMapExpectation, ColumnPairMapExpectation, MulticolumnMapExpectation)
    return issubclass(get_expectation_impl(type_), bases)


@functools.cache
def _great_expectations() -> Any:
    if not is_installed():
        raise MissingExtraError.of("Great Expectations", "gx")
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read at import; nothing about a feed may leave the machine
    with _quiet():
        import great_expectations

    return great_expectations


@functools.cache
def _context() -> Any:
    gx = _great_expectations()
    with _quiet():
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}
    return context


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence its deprecation warnings, and its log lines, which quote cells of the data."""
    log = logging.getLogger("great_expectations")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
