"""The batch contract: suites of expectations, the rows that break them, and the drift of the payload schema."""

from __future__ import annotations

from poison_guard.contracts.check import BatchReport, check_batch, failing_rows, raw_view, schema_drift, schema_hash
from poison_guard.contracts.expectation import Expectation
from poison_guard.contracts.suite import Suite, check_suite, load_suite, parse_suite

__all__ = [
    "BatchReport",
    "Expectation",
    "Suite",
    "check_batch",
    "check_suite",
    "failing_rows",
    "load_suite",
    "parse_suite",
    "raw_view",
    "schema_drift",
    "schema_hash",
]
