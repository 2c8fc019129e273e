"""Batch contracts and row rules: Great Expectations suites, failing rows, schema drift, and proposals from data."""

from poison_guard.validate.contract_check import BatchReport, check_batch
from poison_guard.validate.drift import schema_drift, schema_hash
from poison_guard.validate.propose_contract import propose_contract
from poison_guard.validate.propose_suite import propose_suite
from poison_guard.validate.rows import failing_rows
from poison_guard.validate.suite import Expectation, Suite, load_suite, parse_suite
from poison_guard.validate.view import raw_view

__all__ = [
    "BatchReport",
    "Expectation",
    "Suite",
    "check_batch",
    "failing_rows",
    "load_suite",
    "parse_suite",
    "propose_contract",
    "propose_suite",
    "raw_view",
    "schema_drift",
    "schema_hash",
]
