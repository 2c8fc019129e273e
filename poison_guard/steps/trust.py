"""Trust: enter vetted records into a feed's trusted set, and review those that look wrong (Label-Trim)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pandas as pd

from poison_guard.decide.reasons import sentence
from poison_guard.errors import DataError, UsageError
from poison_guard.ingest import collect_frames
from poison_guard.pipeline import prepare, validate_records
from poison_guard.records import Batch
from poison_guard.review.rules import check_person
from poison_guard.steps.collect import Source, as_paths, current_state
from poison_guard.steps.opening import Feed, torch_threads
from poison_guard.steps.tune import batch_of
from poison_guard.store import TrustedSummary, add_trusted, load_trusted
from poison_guard.store.trusted import check_trusted, judge_trusted, load_trusted_verdicts

__all__ = ["find_suspects", "judge", "trust"]


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


def find_suspects(feed: Feed, n: int) -> pd.DataFrame:
    """Return at most `n` trusted records that nobody has looked at again, strangest first, with all their columns.

    ``p`` is how a record ranks among the calibration rows, ``why`` the sentence. Wrong records among those that the
    guard judges by hide attacks like them; labels of the strangest are the cheapest way to find them. Ask for some, say
    what they are, and ask again: with the worst gone, others show. `UsageError` where no model ranks records.
    """
    contract = feed.contract
    trusted = load_trusted(feed.store, contract.name)
    records = trusted.records[trusted.records["split"] != "holdout"].reset_index(drop=True)
    if "anomaly" not in contract.signals or records.empty:
        raise UsageError(
            f"{contract.name} has no trusted records with features to rank; name features in its contract and enter"
            " vetted records with `poison-guard trust`"
        )
    batch = batch_of(contract, records)
    with torch_threads(feed):
        state = current_state(feed, batch, remember=False)
        prepared = prepare(contract, state, batch.records, device=feed.settings.device, threads=feed.settings.threads)
        if prepared.anomaly is None or not prepared.anomaly.supervised:
            raise UsageError(
                f"the trusted records of {contract.name} are too few to rank; enter more with `poison-guard trust`"
            )
        groups = records["group"] if contract.has("group") else None
        found = prepared.anomaly.suspects(
            records[[f"feature.{name}" for name in contract.features]],
            records["record_id"].map(load_trusted_verdicts(feed.store, contract.name)).fillna(0).to_numpy(int),
            n,
            groups=groups,
        )
    shown = records.iloc[[row for row, _, _ in found]].reset_index(drop=True)
    why = [None if reason is None else sentence(reason.code, reason.args) for _, _, reason in found]
    return shown.assign(p=[p for _, p, _ in found], why=pd.Series(why, dtype="object"))


def judge(
    feed: Feed, record_ids: Sequence[str], *, wrong: bool, by: str, reason: str, now: dt.datetime, dry_run: bool = False
) -> int | None:
    """Note in a person's name that trusted records are wrong, or right after all; return the event's number.

    A dry run fails where the real one would, and notes nothing.
    """
    name, why = check_person(by, reason)
    if dry_run:
        check_trusted(feed.store, feed.contract.name, record_ids)
        return None
    return judge_trusted(feed.store, feed.contract.name, record_ids, wrong=wrong, by=name, reason=why, at=now)
