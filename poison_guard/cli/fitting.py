"""Check a file against a contract and its expectations without storing anything."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poison_guard.config import Contract
    from poison_guard.validate import Suite

__all__ = ["count_flaws"]


def count_flaws(contract: Contract, suite: Suite | None, data: str, home: Path) -> tuple[int, int, tuple[str, ...]]:
    """Return ``(records, flawed rows, reasons that would hold the whole batch)``; unreadable rows count as flawed."""
    from poison_guard.decide.reasons import sentence
    from poison_guard.ingest import collect_frames
    from poison_guard.pipeline import validate_records

    batch = collect_frames(contract, [data], home=home, received_at=dt.datetime.now(dt.UTC))
    found = validate_records(contract, suite, batch.records, batch.issues, schema=batch.schema, accepted_schema={})
    flawed = int(found.failures["record_id"].nunique()) + len(batch.unreadable)
    return len(batch.records), flawed, tuple(sentence(r.code, r.args) for r in found.batch)
