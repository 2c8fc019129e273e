"""Check a batch against its contract: the payload schema, the GX suite as a whole, and its single rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from poison_guard.config import Contract
from poison_guard.contracts.check import check_batch, failing_rows, raw_view, schema_drift
from poison_guard.contracts.suite import Suite
from poison_guard.errors import MissingExtraError
from poison_guard.records import Reason

__all__ = ["Validation", "validate_records"]


@dataclass(frozen=True, slots=True)
class Validation:
    """What is wrong: `failures` a row a reason (``record_id, code, args``), `batch` the reasons that hold all of it."""

    failures: pd.DataFrame
    batch: tuple[Reason, ...] = ()
    warnings: tuple[Reason, ...] = ()
    """Expectations of lower severity that the batch broke: told, never held for."""


def validate_records(
    contract: Contract,
    suite: Suite | None,
    records: pd.DataFrame,
    issues: pd.DataFrame,
    *,
    schema: Mapping[str, str],
    accepted_schema: Mapping[str, str],
) -> Validation:
    """Return the failures of the rows and of the batch.

    `issues` are what ingest found in single rows. An empty `schema` (records staged before) has nothing to drift. A
    batch-wide failure (drifted schema, broken suite) holds every record of the batch, because whoever wrote the
    expectations meant all of it; so does a suite that cannot be checked because Great Expectations is not installed.
    """
    batch: list[Reason] = []
    warnings: tuple[Reason, ...] = ()
    drift = schema_drift(accepted_schema, schema) if accepted_schema and schema else None
    if drift is not None:
        batch.append(drift)
    found = [issues[["record_id", "code", "args"]]]
    if suite is not None and len(records):
        view = raw_view(records, contract)
        try:
            report = check_batch(view, suite)
        except MissingExtraError as error:
            unchecked = Reason("signal_missing", {"signal": "validation", "why": str(error)})
            return Validation(found[0].reset_index(drop=True), (*batch, unchecked))
        batch.extend(report.failed)
        rows = failing_rows(view, suite, report=report)
        warnings = (*report.warnings, *_outdated(suite, contract))
        ids = records["record_id"].to_numpy(object)[rows["position"].to_numpy(int)]
        found.append(pd.DataFrame({"record_id": ids, "code": rows["code"].to_numpy(), "args": rows["args"].to_numpy()}))
    return Validation(pd.concat([f for f in found if len(f)] or found[:1], ignore_index=True), tuple(batch), warnings)


def _outdated(suite: Suite, contract: Contract) -> tuple[Reason, ...]:
    """Return the note that some rules were made for another contract."""
    if not suite.outdated:
        return ()
    return (Reason("suite_outdated", {"columns": list(suite.outdated), "contract": str(contract.path)}),)
