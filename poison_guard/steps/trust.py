"""Enter vetted records into a feed's trusted set, in the name of a person and with a reason."""

from __future__ import annotations

import datetime as dt

import pandas as pd

from poison_guard.decide.reasons import sentence
from poison_guard.errors import DataError
from poison_guard.ingest import collect_frames
from poison_guard.pipeline import validate_records
from poison_guard.records import Batch
from poison_guard.steps.intake import Source, as_paths
from poison_guard.steps.opening import Feed
from poison_guard.store import TrustedSummary, add_trusted

__all__ = ["trust"]


def trust(feed: Feed, source: Source, *, by: str, reason: str, now: dt.datetime) -> TrustedSummary:
    """Add every record of `source`; raise `DataError` naming the first row that is not whole, and add nothing then.

    What is judged by must be clean: an unreadable row, a wrong type or a failed expectation refuses the whole source.
    """
    contract = feed.contract
    batch = collect_frames(contract, as_paths(source), home=feed.settings.home, received_at=now)
    if not len(batch.records):
        raise DataError("the trusted set to add holds no readable record")
    _refuse_flaws(feed, batch)
    return add_trusted(feed.store, contract, batch.records, by=by, reason=reason)


def _refuse_flaws(feed: Feed, batch: Batch) -> None:
    if len(batch.unreadable):
        row = batch.unreadable.iloc[0]
        raise DataError(
            f"{row['object']}, row {row['row']}: {sentence(row['code'], row['args'])}; a trusted set is clean"
        )
    found = validate_records(
        feed.contract, feed.suite, batch.records, batch.issues, schema=batch.schema, accepted_schema={}
    )
    if found.batch:
        raise DataError(f"not to be trusted: {sentence(found.batch[0].code, found.batch[0].args)}")
    if len(found.failures):
        raise DataError(_first_flaw(batch.records, found.failures))


def _first_flaw(records: pd.DataFrame, failures: pd.DataFrame) -> str:
    flaw = failures.iloc[0]
    row = records.loc[records["record_id"] == flaw["record_id"]].iloc[0]
    more = f" (and {len(failures) - 1:,} more)" if len(failures) > 1 else ""
    return f"{row['object']}, row {row['row']}: {sentence(flaw['code'], flaw['args'])}{more}; a trusted set is clean"
