"""The frozen values that flow from room to room; frames are pandas, arrays NumPy, never tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from poison_guard.frames import empty_frame

if TYPE_CHECKING:
    import datetime as dt

    import numpy as np
    import pandas as pd

__all__ = [
    "ID_CONFLICT",
    "UNVERIFIED",
    "Action",
    "Batch",
    "Campaign",
    "Check",
    "Decided",
    "Examples",
    "Level",
    "ObjectRef",
    "Outcome",
    "Person",
    "Phase",
    "Place",
    "Reason",
    "SignalEvidence",
    "State",
    "via_of",
]


UNVERIFIED = "unverified"
"""Of a name that whoever gave it may have made up."""

ID_CONFLICT = "id_conflict"
"""Reason code of a record whose id was given before with other content, and kind of a campaign that groups such."""


class Person(str):
    """The name of who acts, with `via`: how it was verified (``session``, ``token``, ``airflow``, ``proxy``).

    Wherever a verb takes `by`, plain text is a name that nothing verified.

    >>> via_of(Person("ann", "session")), via_of("ann")
    ('session', 'unverified')
    """

    via: str

    def __new__(cls, name: str, via: str = UNVERIFIED) -> Person:
        """Return `name` as a person."""
        person = super().__new__(cls, name)
        person.via = via
        return person


def via_of(by: str) -> str:
    """Return how a name was verified."""
    return by.via if isinstance(by, Person) else UNVERIFIED


class Action(StrEnum):
    """What the guard decides for one record."""

    ACCEPT = "accept"
    QUARANTINE = "quarantine"
    REJECT = "reject"


class Outcome(StrEnum):
    """How a check or a verdict ends; only `PASS` opens the gate by itself."""

    PASS = "pass"  # noqa: S105 (an outcome, no password)
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"

    @property
    def severity(self) -> int:
        """Order of the outcomes, 0 = best: PASS, INCONCLUSIVE, FAIL, ERROR."""
        return (Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.FAIL, Outcome.ERROR).index(self)


class Place(StrEnum):
    """Where an ingested record is; each record is in exactly one place (law 1)."""

    STAGED = "staged"
    ACCEPTED = "accepted"
    QUARANTINED = "quarantined"
    REJECTED = "rejected"
    RECALLED = "recalled"


class Level(StrEnum):
    """What a piece of evidence speaks about; each level has its own threshold in the policy."""

    RULE = "rule"
    RECORD = "record"
    SOURCE = "source"
    CAMPAIGN = "campaign"


class Phase(StrEnum):
    """How far a feed's trusted set lets the guard judge (cold start)."""

    COLD = "cold"
    CALIBRATING = "calibrating"
    ENFORCING = "enforcing"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why: a code of `decide.reasons.SENTENCES` with its JSON-able arguments; the sentence is made when shown."""

    code: str
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """One file, query window or frame that records came from."""

    uri: str
    """Path or URL, ``query:NAME`` or ``frame:DIGEST``."""
    digest: str
    """SHA-256 of the content, hex."""
    size: int
    """Bytes; 0 for frames and queries."""
    rows: int = 0
    """Rows read, unreadable ones included."""
    watermark: str | None = None
    """Highest value of the watermark column, for queries."""
    trail: str | None = None
    """What is kept of the rows without ids, so that a later object that continues this one is known (JSON)."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records taken in together.

    `records` has one row per readable record: the frame ``records`` of `frames.FRAMES`. `issues` lists what is
    wrong with single rows (``record_id, code, args``), `unreadable` the rows that could not be read at all
    (``record_id, object, row, code, args, raw``).
    """

    feed: str
    batch_id: str
    received_at: dt.datetime
    objects: tuple[ObjectRef, ...]
    records: pd.DataFrame
    issues: pd.DataFrame
    unreadable: pd.DataFrame
    schema: Mapping[str, str] = field(default_factory=dict)
    """Payload schema: column name to kind (``text``, ``number``, ``time``, ``bool``, ``binary``, ``list``;
    ``empty``: no value)."""
    duplicates: int = 0
    """Rows left out because the batch holds the same id with the same content (or a newer revision) once more."""
    notes: tuple[Reason, ...] = ()
    """What is to be said of its objects: how they were read, what of them makes no record."""


@dataclass(frozen=True, slots=True)
class SignalEvidence:
    """What one signal says of each row of a frame.

    `p` is ``(n,)`` in (0, 1], small = suspicious, 1 where the signal has nothing to say. `reasons` maps row positions
    to a `Reason`; every row with ``p <= 0.05`` has one.
    """

    signal: str
    level: Level
    p: np.ndarray
    reasons: Mapping[int, Reason]


@dataclass(frozen=True, slots=True)
class Campaign:
    """Records and sources that act together; `p` is the chance that honest independent sources look like this."""

    campaign_id: str
    kind: str
    p: float
    strength: float
    """In [0, 1]: how tight the group is (mean similarity or share in step)."""
    record_ids: tuple[str, ...]
    source_ids: tuple[str, ...]
    first_at: dt.datetime | None
    last_at: dt.datetime | None
    reason: Reason
    earlier_ids: tuple[str, ...] = ()
    """Members among the records of earlier batches; none of `record_ids`."""


@dataclass(frozen=True, slots=True)
class State:
    """All that a run may know beyond its batch, read as of one store sequence number (the state version)."""

    feed: str
    version: int
    ledger: pd.DataFrame
    """``source_id, controls_right, controls_wrong, agreed, disagreed, outcomes_right, outcomes_wrong, n, first_seen,
    blocked``: sums up to `version`. `blocked` is a bool set by reviewers."""
    reference: pd.DataFrame
    """Trusted records of the reference split, same columns as `Batch.records`."""
    calibration: pd.DataFrame
    """Trusted records of the calibration split."""
    trusted_hash: str
    """Hash of the frozen trusted set; empty when there is none."""
    controls: pd.DataFrame
    """``item_id, answer``."""
    answers: pd.DataFrame
    """Answers accepted before for items of this batch: ``record_id, item_id, source_id, vote, observed_at, verdict,
    source_since`` (verdict 1: a person said that it is right)."""
    known: pd.DataFrame
    """Ids of this batch already in the store, and trusted ones the feed has not sent (as staged): ``record_id,
    content_hash, place``."""
    schema: Mapping[str, str]
    """Payload schema the feed was last accepted with; empty on the first run."""
    memory: pd.DataFrame = field(default_factory=lambda: empty_frame("memory"))
    """Newest records of earlier batches, bounded: ``place`` and the columns of ``remembered`` as scored."""
    verified: pd.DataFrame = field(default_factory=lambda: empty_frame("verified"))
    """Newest verified answers of the batch's sources, oldest first, bounded a source: ``source_id, at, right``."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A batch with everything decided, not yet stored.

    `decisions`: ``record_id, action, risk, campaign_id, reasons, place``. `evidence`: ``record_id, signal, level, p,
    code, args`` of what was looked at closely. `items`: ``item_id, label, probability, adopted, why``. `sources`:
    ``source_id, n, reliability, lower_bound, p, blocked, controls_right, …`` with the ledger deltas.
    """

    decisions: pd.DataFrame
    evidence: pd.DataFrame
    items: pd.DataFrame
    sources: pd.DataFrame
    campaigns: tuple[Campaign, ...]
    phase: Phase
    notes: tuple[Reason, ...]
    """What the guard says about itself: too few calibration rows, a signal that could not run, drift."""
    measurements: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able facts for the report: calibration curve, counts by level."""
    recalls: pd.DataFrame = field(default_factory=lambda: empty_frame("recalls"))
    """Accepted records of earlier batches whose campaign shows only now: ``record_id, campaign_id``."""
    memory: pd.DataFrame = field(default_factory=lambda: empty_frame("remembered"))
    """What later batches remember of this one: the columns of ``remembered`` as scored."""
    near_controls: pd.DataFrame = field(default_factory=lambda: empty_frame("near_controls"))
    """Free-text answers that say nearly what the item's control says: ``item_id, answer``."""


@dataclass(frozen=True, slots=True)
class Examples:
    """What a model is trained or judged on, one row each, aligned.

    `frame` has ``example_id`` (str), ``label`` (str), ``slice`` (str, the group; empty without one) and ``is_new``
    (bool: not in the snapshot that was admitted last). `inputs` is ``(n, channels, height, width)`` float32 in [0, 1]
    for images, ``(n, d)`` float64 with NaN for missing cells for tables, and ``(n,)`` object of str for texts.
    """

    kind: str
    """``image``, ``table`` or ``text``."""
    frame: pd.DataFrame
    inputs: np.ndarray
    features: tuple[str, ...] = ()
    """Column names of a table."""

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.frame)

    def take(self, rows: np.ndarray) -> Examples:
        """Return the examples at `rows`: positions, or a mask."""
        at = rows.nonzero()[0] if rows.dtype == bool else rows
        frame = self.frame.iloc[at].reset_index(drop=True)
        return Examples(self.kind, frame, self.inputs[at], self.features)


@dataclass(frozen=True, slots=True)
class Check:
    """What one check of a snapshot or a model measured; None stands for what could not be measured."""

    name: str
    outcome: Outcome
    value: float | None = None
    """What was measured, in the unit of `limit`; larger is worse."""
    limit: float | None = None
    """The policy's limit on `value`."""
    n: int = 0
    """Examples, records or trusted examples behind `value`."""
    low: float | None = None
    """Below this the value does not lie, at the error the check may make (one-sided)."""
    high: float | None = None
    """Above this the value does not lie, at 95 % (one-sided): harm beyond it is excluded, harm below it is not."""
    why: str = ""
    """One sentence for people."""
    needs: int | None = None
    """How many of what `n` counts would decide an inconclusive check, or let a passing one exclude its limit."""
    atlas: str = ""
    """MITRE ATLAS id of the attack that the check is about; empty for checks of a promotion."""
    nist: str = ""
    """Class of attack in NIST AI 100-2 (2025)."""
    blocking: bool = True
    """False: the check alerts, and the verdict does not depend on it."""
    records: tuple[str, ...] = ()
    """Ids of the examples that it means, as many as are named; empty where it speaks of the whole."""

    def to_json(self) -> dict[str, Any]:
        """Return the check as a JSON-able dict."""
        shown = {**dataclasses.asdict(self), "outcome": self.outcome.value, "records": list(self.records)}
        return shown if self.records else {name: value for name, value in shown.items() if name != "records"}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Check:
        """Return the check of `to_json`; `TypeError` or `ValueError` for anything else."""
        fields: dict[str, Any] = {
            **value,
            "outcome": Outcome(value["outcome"]),
            "records": tuple(value.get("records", ())),
        }
        return cls(**fields)
