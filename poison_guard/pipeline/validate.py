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
from poison_guard.text import nearest

__all__ = ["Validation", "validate_records"]


@dataclass(frozen=True, slots=True)
class Validation:
    """What is wrong: `failures` a row a reason (``record_id, code, args``), `batch` the reasons that hold all of it."""

    failures: pd.DataFrame
    batch: tuple[Reason, ...] = ()
    warnings: tuple[Reason, ...] = ()
    """Expectations of lower severity that the batch broke, and roles without a value: told, never held for."""

    @property
    def empty(self) -> frozenset[str]:
        """Roles whose column has no value in any record: what needs them judges nothing."""
        return frozenset(str(note.args["role"]) for note in self.warnings if note.code == _EMPTY)


_EMPTY = "role_empty"


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
    warnings = _empty_roles(contract, records)
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
            return Validation(found[0].reset_index(drop=True), (*batch, unchecked), warnings)
        batch.extend(report.failed)
        rows = failing_rows(view, suite, report=report)
        warnings += (*report.warnings, *_outdated(suite, contract))
        ids = records["record_id"].to_numpy(object)[rows["position"].to_numpy(int)]
        found.append(pd.DataFrame({"record_id": ids, "code": rows["code"].to_numpy(), "args": rows["args"].to_numpy()}))
    return Validation(pd.concat([f for f in found if len(f)] or found[:1], ignore_index=True), tuple(batch), warnings)


def _empty_roles(contract: Contract, records: pd.DataFrame) -> tuple[Reason, ...]:
    """Return a note for each role that no record has a value for."""
    columns = {role: [(column, role)] for role, column in contract.columns.items()}
    columns |= {"features": [(name, f"feature.{name}") for name in contract.features]} if contract.features else {}
    others = [name.removeprefix("extra.") for name in records if name.startswith("extra.")]
    lacking = {
        role: [column for column, name in pairs if name in records and records[name].isna().all()]
        for role, pairs in columns.items()
        if len(records)
    }
    return tuple(
        Reason(_EMPTY, {"role": role, "columns": names, "n": len(records), "near": nearest(names[0], others)})
        for role, names in lacking.items()
        if len(names) == len(columns[role])
    )


def _outdated(suite: Suite, contract: Contract) -> tuple[Reason, ...]:
    """Return the note that some rules were made for another contract."""
    if not suite.outdated:
        return ()
    return (Reason("suite_outdated", {"columns": list(suite.outdated), "contract": str(contract.path)}),)
