"""Trust: enter vetted records into a feed's trusted set, and review those that look wrong (Label-Trim)."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from poison_guard.config import Contract
from poison_guard.contracts.suite import Suite
from poison_guard.decide.reasons import sentence
from poison_guard.errors import DataError, UsageError
from poison_guard.frames import empty_frame
from poison_guard.ingest.collect import collect_frames, read_controls
from poison_guard.pipeline import prepare, validate_records
from poison_guard.pipeline.labels import fold_labels
from poison_guard.pipeline.proofs import without_proofs
from poison_guard.pipeline.validate import Validation
from poison_guard.records import Batch
from poison_guard.results import Result, TableResult
from poison_guard.review.rules import check_person
from poison_guard.steps.collect import Source, as_paths, current_state
from poison_guard.steps.labels import spellings_of
from poison_guard.steps.opening import Feed, torch_threads
from poison_guard.steps.outbox import drain
from poison_guard.steps.tune import batch_of
from poison_guard.store import add_trusted, count_trusted, load_trusted
from poison_guard.store.trusted import check_may_be_trusted, check_trusted, judge_trusted, load_trusted_verdicts

__all__ = ["Suspects", "TrustResult", "TrustedVerdict", "find_suspects", "judge", "trust"]


@dataclass(frozen=True, slots=True)
class TrustResult(Result):
    """What `Guard.trust` did, or would do."""

    feed: str
    dry_run: bool
    records: int
    """Records that were read."""
    flawed: int
    """Rows that keep the source out, unreadable ones included: none, unless it was a dry run."""
    batch: tuple[str, ...]
    """What keeps the source out as a whole, as sentences."""
    added: int
    already: int
    """Records that were in the set before."""
    reference: int
    calibration: int
    holdout: int
    hash: str | None
    """Hash of the frozen set; None in a dry run."""
    seq: int | None
    """Number of the event; the state version from which the addition counts."""

    @property
    def n(self) -> int:
        """Records in the set."""
        return self.reference + self.calibration + self.holdout

    @property
    def refused(self) -> bool:
        """Whether the source would be refused."""
        return bool(self.flawed or self.batch)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        names = ("records", "flawed", "batch")
        if not self.dry_run:
            names = ("added", "already", "reference", "calibration", "holdout", "hash", "seq")
        facts = Result.to_dict(self)
        trusted = {} if self.dry_run else {"trusted": self.n}
        return {"feed": self.feed, "dry_run": self.dry_run, **trusted, **{name: facts[name] for name in names}}

    def __str__(self) -> str:
        """Return what was entered and what the set holds in two sentences."""
        if self.dry_run:
            verdict = "would be refused" if self.refused else "would be entered"
            return f"{self.records:,} records read, {self.flawed:,} flawed: {verdict}"
        splits = ", ".join(f"{getattr(self, split):,} {split}" for split in ("reference", "calibration", "holdout"))
        return (
            f"entered {self.added:,} records into the trusted set of {self.feed} "
            f"({self.already:,} were in it already)\n"
            f"it holds {self.n:,}: {splits}"
        )


def trust(feed: Feed, source: Source, *, by: str, reason: str, now: dt.datetime, dry_run: bool = False) -> TrustResult:
    """Add every record of `source`; raise `DataError` naming the first row that is not whole, and add nothing then.

    What is judged by must be clean: an unreadable row, a wrong type or a failed expectation refuses the whole source. A
    dry run counts these instead.
    """
    contract = feed.contract
    batch = collect_frames(contract, as_paths(source), home=feed.settings.home, received_at=now)
    batch = dataclasses.replace(batch, records=_spelled(feed, batch))
    validation = _validated(contract, feed.suite, batch)
    if dry_run:
        check_person(by, reason)
        counts = count_trusted(feed.store, contract.name)
        flaws = {
            "flawed": _count_flawed(batch, validation),
            "batch": (*(sentence(r.code, r.args) for r in validation.batch), *_refused(feed, batch)),
        }
        nothing = {"added": 0, "already": 0, "hash": None, "seq": None}
        return TrustResult(contract.name, True, len(batch.records), **flaws, **counts, **nothing)
    _refuse_flaws(batch, validation)
    if not len(batch.records):
        raise DataError(_NONE)
    added = add_trusted(feed.store, contract, batch.records, by=by, reason=reason)
    drain(feed.store, feed.settings, now)
    return TrustResult(contract.name, False, len(batch.records), 0, (), **dataclasses.asdict(added))


def _spelled(feed: Feed, batch: Batch) -> pd.DataFrame:
    """Return the records with their labels spelled as the feed declares them."""
    controls = read_controls(feed.contract, feed.settings.home)
    trusted = load_trusted(feed.store, feed.contract.name).records
    nobody = empty_frame("ledger")
    spellings = spellings_of(
        feed, batch.records, controls=controls, trusted=[trusted], ledger=nobody, received_at=batch.received_at
    )
    return fold_labels(batch.records, spellings)


_NONE = "the trusted set to add holds no readable record"


def _refused(feed: Feed, batch: Batch) -> tuple[str, ...]:
    """Return why the real call would refuse the records for what the feed has seen or trusts, as sentences."""
    if not len(batch.records):
        return (_NONE,)
    try:
        check_may_be_trusted(feed.store, feed.contract, batch.records, from_review=False)
    except DataError as refusal:
        return (str(refusal),)
    return ()


def _validated(contract: Contract, suite: Suite | None, batch: Batch) -> Validation:
    issues = without_proofs(batch.issues)
    return validate_records(contract, suite, batch.records, issues, schema=batch.schema, accepted_schema={})


def _count_flawed(batch: Batch, validation: Validation) -> int:
    return int(validation.failures["record_id"].nunique()) + len(batch.unreadable)


def _refuse_flaws(batch: Batch, validation: Validation) -> None:
    if len(batch.unreadable):
        row = batch.unreadable.iloc[0]
        place = f"{row['object']}, row {row['row']}" if row["row"] else row["object"]
        raise DataError(f"{place}: {sentence(row['code'], row['args'])}; a trusted set is clean")
    if validation.batch:
        raise DataError(f"not to be trusted: {sentence(validation.batch[0].code, validation.batch[0].args)}")
    if len(validation.failures):
        raise DataError(_first_flaw(batch.records, validation.failures))


def _first_flaw(records: pd.DataFrame, failures: pd.DataFrame) -> str:
    flaw = failures.iloc[0]
    row = records.loc[records["record_id"] == flaw["record_id"]].iloc[0]
    more = f" (and {len(failures) - 1:,} more)" if len(failures) > 1 else ""
    return f"{row['object']}, row {row['row']}: {sentence(flaw['code'], flaw['args'])}{more}; a trusted set is clean"


@dataclass(frozen=True, slots=True)
class Suspects(TableResult):
    """Trusted records to look at again, strangest first."""

    feed: str
    suspects: pd.DataFrame
    """The trusted records with all their columns, and ``p, why``."""

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return the columns a person reads (``>NAME``: numbers, to the right) and their rows."""
        features = [name for name in self.suspects if str(name).startswith("feature.")][:_SHOWN_FEATURES]
        columns = ("record", "split", ">p", "why it is strange", *(n.removeprefix("feature.") for n in features))
        names = ("record_id", "split", "p", "why", *features)
        return columns, [tuple(row[name] for name in names) for row in self.suspects.to_dict("records")]


_SHOWN_FEATURES = 5


def find_suspects(feed: Feed, limit: int = 50) -> Suspects:
    """Return at most `limit` trusted records that nobody has looked at again, strangest first, with all their columns.

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
        suspects = prepared.anomaly.suspects(
            records[[f"feature.{name}" for name in contract.features]],
            records["record_id"].map(load_trusted_verdicts(feed.store, contract.name)).fillna(0).to_numpy(int),
            limit,
            groups=groups,
        )
    shown = records.iloc[[row for row, _, _ in suspects]].reset_index(drop=True)
    why = [None if reason is None else sentence(reason.code, reason.args) for _, _, reason in suspects]
    return Suspects(contract.name, shown.assign(p=[p for _, p, _ in suspects], why=pd.Series(why, dtype="object")))


@dataclass(frozen=True, slots=True)
class TrustedVerdict(Result):
    """What a person said of trusted records."""

    feed: str
    wrong: bool
    event: int | None
    """Number of the event; `undo` takes it. None: a dry run, nothing was noted."""
    record_ids: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        event = {"dry_run": self.event is None, "event": self.event}
        return {"feed": self.feed, "wrong": self.wrong, **event, "records": list(self.record_ids)}

    def __str__(self) -> str:
        """Return the verdict in a sentence."""
        n = len(self.record_ids)
        what = f"{n:,} trusted record{'' if n == 1 else 's'} {'wrong' if self.wrong else 'right'}"
        return f"would note {what}" if self.event is None else f"noted {what} (event {self.event})"


def judge(
    feed: Feed,
    record_ids: str | Sequence[str],
    *,
    wrong: bool,
    by: str,
    reason: str,
    now: dt.datetime,
    dry_run: bool = False,
) -> TrustedVerdict:
    """Note in a person's name that trusted records are wrong, or right after all.

    A dry run fails where the real one would, and notes nothing.
    """
    name, why = check_person(by, reason)
    ids = tuple(dict.fromkeys([record_ids] if isinstance(record_ids, str) else record_ids))
    event = None
    if dry_run:
        check_trusted(feed.store, feed.contract.name, ids)
    else:
        event = judge_trusted(feed.store, feed.contract.name, ids, wrong=wrong, by=name, reason=why, at=now)
        drain(feed.store, feed.settings, now)
    return TrustedVerdict(feed.contract.name, wrong, event, ids)
