"""The one door to Great Expectations: imported late, quiet, offline, in memory."""

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

if TYPE_CHECKING:
    import pandas as pd

    from poison_guard.contracts.expectation import Expectation

__all__ = [
    "ExpectationOutcome",
    "check_kwargs",
    "expectation_types",
    "is_installed",
    "is_row_expectation",
    "run_expectations",
]


_POSITION_COLUMN = "poison_guard_position"


@dataclass(frozen=True, slots=True)
class ExpectationOutcome:
    """What Great Expectations says of one expectation; `error` is the first line of what it raised while computing."""

    success: bool
    result: dict[str, Any]
    error: str | None = None


def is_installed() -> bool:
    """Return whether Great Expectations can be imported, without importing it."""
    return importlib.util.find_spec("great_expectations") is not None


def run_expectations(
    frame: pd.DataFrame, expectations: Sequence[Expectation], *, result_format: dict[str, Any]
) -> list[ExpectationOutcome]:
    """Return one `ExpectationOutcome` an expectation, in the order given; one that cannot be computed did not succeed.

    The engine is handed the frame itself: a batch of a data source would be fingerprinted twice first, which takes
    six times as long as the check of a million rows.
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
        found = validator.graph_validate(rules, runtime_configuration={"result_format": result_format})
    # Great Expectations puts failures first: the tag in `meta` says which expectation each result belongs to.
    outcomes = {r.expectation_config.meta[_POSITION_COLUMN]: _outcome(r) for r in found}
    return [outcomes.get(i, ExpectationOutcome(False, {}, "was not run")) for i in range(len(rules))]


def expectation_types() -> tuple[str, ...]:
    """Return the names of all expectations that Great Expectations knows, ``expect_column_to_exist`` and so on."""
    _great_expectations()
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    return tuple(list_registered_expectation_implementations())


def check_kwargs(type_: str, kwargs: Mapping[str, Any]) -> None:
    """Raise a `ValueError` or `TypeError` (pydantic's are among them) where `kwargs` do not fit the expectation."""
    with _quiet():
        _expectation_class(type_)(**kwargs)


def is_row_expectation(type_: str) -> bool:
    """Whether the expectation judges rows one by one (column map, column pair map and multicolumn map expectations)."""
    _great_expectations()
    from great_expectations.expectations.expectation import (
        ColumnMapExpectation,
        ColumnPairMapExpectation,
        MulticolumnMapExpectation,
    )

    bases = (ColumnMapExpectation, ColumnPairMapExpectation, MulticolumnMapExpectation)
    return issubclass(_expectation_class(type_), bases)


def _expectation_class(type_: str) -> type:
    _great_expectations()
    from great_expectations.expectations.registry import get_expectation_impl

    return get_expectation_impl(type_)


def _outcome(result: Any) -> ExpectationOutcome:
    info = result.exception_info or {}
    raised = [i for i in (info, *info.values()) if isinstance(i, dict) and i.get("raised_exception") is True]
    error = str(raised[0].get("exception_message") or "failed").strip().splitlines()[0] if raised else None
    return ExpectationOutcome(bool(result.success) and not raised, dict(result.result or {}), error)


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
    """Silence its deprecation warnings and its log lines, which quote cells of the data."""
    log = logging.getLogger("great_expectations")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
