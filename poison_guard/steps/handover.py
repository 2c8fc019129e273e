"""Hand-over: what the stages of one run give to each other, in memory or as files of the lake under the run's id.

A value that depends on what the guard knows is put under its name and a `Pin`, ``decided@12-92d709b2``: what another
state, contract or suite led to is never mistaken for it. Files are Parquet and JSON (nothing is pickled). Readers of
the lake do not see them, a retry writes them again with the same content, and the run's commit has them removed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from poison_guard.errors import StoreError
from poison_guard.frames import CHECKING, check_frame, check_frames
from poison_guard.pipeline import BatchEvidence, Validation
from poison_guard.records import Batch, Campaign, Decided, ObjectRef, Phase, Reason
from poison_guard.steps.opening import Feed
from poison_guard.store import Lake

__all__ = [
    "Handover",
    "HandoverLostError",
    "LakeHandover",
    "Pin",
    "SharedHandover",
    "get_batch",
    "pin_of",
    "put_batch",
    "split",
    "staging_folder",
]


class HandoverLostError(StoreError):
    """Something that a stage handed over is no longer in the lake; nothing of the run was stored."""


@dataclass(frozen=True, slots=True)
class Pin:
    """What the records of a run are judged by; its text is part of the names of values."""

    version: int
    """The state version that the run reads."""
    rules: str
    """Beginning of the hash of contract, suite and device: a contract edited between two stages is another pin."""

    def __str__(self) -> str:
        """Return ``VERSION-RULES``."""
        return f"{self.version}-{self.rules}"


def pin_of(feed: Feed, version: int) -> Pin:
    """Return the pin of a run of `feed` that reads the state `version`."""
    contract = feed.contract
    rules = (
        (contract.name, contract.kind, contract.mode, contract.namespace, contract.controls, contract.policy_hash),
        (sorted(contract.columns.items()), contract.features, dataclasses.astuple(contract.data), contract.parse),
        None if feed.suite is None else feed.suite.expectations,
        feed.settings.device,  # models are fitted, calibrated and asked on one kind of device: another one begins anew
    )
    return Pin(version, hashlib.sha256(repr(rules).encode()).hexdigest()[:8])


@dataclass(eq=False, repr=False)
class Handover:
    """Values of one run in memory."""

    cache: dict[str, Any] = field(default_factory=dict, init=False)
    """What one process computes once and never hands over: the pinned state, fitted models, the whole batch."""
    run_id: str | None = field(default=None, init=False)
    """The run whose values other processes can read; None where they are in memory alone."""
    _values: dict[str, Any] = field(default_factory=dict, init=False)

    def put(self, name: str, value: Any) -> None:
        """Keep a frame, a mapping of JSON values, or a value that flows between rooms."""
        if CHECKING:
            _check(name, value)
        self._values[name] = value

    def get(self, name: str) -> Any:
        """Return what was put; `KeyError` where nothing was."""
        return self._values[name]

    def has(self, name: str) -> bool:
        """Return whether something was put under the name."""
        return name in self._values


def staging_folder(run_id: str) -> str:
    """Return where the hand-over of a run lies in the lake, from its first stage until its commit."""
    return f"staging/{run_id}"


class LakeHandover(Handover):
    """Values of one run as files, so that another process can go on."""

    def __init__(self, lake: Lake, run_id: str) -> None:
        super().__init__()
        self.run_id = run_id
        self._lake = lake
        self._folder = staging_folder(run_id)

    def put(self, name: str, value: Any) -> None:
        """Write the frames of a value, and then the file that says what it is."""
        if CHECKING:
            _check(name, value)
        kind, facts, frames = _pack(value)
        for part, frame in frames.items():
            self._lake.write_frame(_json_texts(frame), self._path(f"{name}.{part}"))
        document = json.dumps({"kind": kind, "facts": facts, "frames": sorted(frames)}, default=str)
        self._lake.write_frame(pd.DataFrame({"json": [document]}), self._path(name))

    def get(self, name: str) -> Any:
        """Read a value back; `HandoverLostError` where a file of it is missing."""
        document = self._document(name)
        frames = {part: self._read(f"{name}.{part}") for part in document["frames"]}
        return _UNPACK[document["kind"]](document["facts"], frames)

    def has(self, name: str) -> bool:
        """Return whether the value is there as a whole."""
        return self._lake.exists(self._path(name)) and all(
            self._lake.exists(self._path(f"{name}.{part}")) for part in self._document(name)["frames"]
        )

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}.parquet"

    def _document(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._read(name)["json"].iloc[0])
        return document

    def _read(self, name: str) -> pd.DataFrame:
        try:
            return self._lake.read_frame(self._path(name))
        except StoreError:
            if self._lake.exists(self._path(name)):
                raise
        raise HandoverLostError(
            f"{self._path(name)}, which a stage of the run {self.run_id} wrote, is missing from the lake; nothing of "
            "the run was stored: start it again from its first stage, which makes anew what is missing"
        )


_OWN = ("validation@", "evidence@", "decided@")
"""Beginnings of the names of what no other process needs to score partitions."""


class SharedHandover(LakeHandover):
    """Values of a run that this process leads and others score for: in memory, and as files what they need."""

    def put(self, name: str, value: Any) -> None:
        """Keep a value, and write it where those that score need it; partitions of records are only written."""
        if not name.startswith("records-"):
            Handover.put(self, name, value)
        if not name.startswith(_OWN):
            super().put(name, value)

    def get(self, name: str) -> Any:
        """Return a value of this process, else of the lake."""
        return Handover.get(self, name) if Handover.has(self, name) else super().get(name)

    def has(self, name: str) -> bool:
        """Return whether this process or the lake has the value."""
        return Handover.has(self, name) or super().has(name)


def split(records: pd.DataFrame, rows: int) -> list[pd.DataFrame]:
    """Return `records` cut into partitions of at most `rows`; at least one, so that an empty batch flows too."""
    starts = range(0, max(1, len(records)), rows)
    return [records.iloc[start : start + rows].reset_index(drop=True) for start in starts]


def put_batch(handover: Handover, batch: Batch, controls: pd.DataFrame, *, partition_rows: int) -> int:
    """Hand over a batch, partition by partition, and the controls of its feed; return the number of partitions."""
    partitions = split(batch.records, partition_rows)
    for number, part in enumerate(partitions):
        handover.put(f"records-{number:05d}", part)
    handover.put("controls", controls)
    handover.put("batch", dataclasses.replace(batch, records=batch.records.iloc[:0]))
    handover.put("partitions", {"n": len(partitions)})  # last: then the batch is there as a whole
    handover.cache["batch"] = batch
    return len(partitions)


def get_batch(handover: Handover) -> Batch:
    """Return the batch that was handed over, with all its records."""
    if "batch" not in handover.cache:
        parts = [handover.get(f"records-{number:05d}") for number in range(handover.get("partitions")["n"])]
        records = pd.concat(parts, ignore_index=True)
        handover.cache["batch"] = dataclasses.replace(handover.get("batch"), records=records)
    batch: Batch = handover.cache["batch"]
    return batch


def _check(name: str, value: Any) -> None:
    check_frames(value)
    for frame in ("scored", "newcomers"):
        if name.startswith(frame):
            check_frame(frame, value)


def _json_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` with columns of dicts or lists as JSON text."""
    texts = {
        column: [value if isinstance(value, str) else json.dumps(value, default=str) for value in frame[column]]
        for column in ("args", "reasons")
        if column in frame
    }
    return frame.assign(**texts)


def _from_json(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    values = [json.loads(text) for text in frame[column]]
    return frame.assign(**{column: pd.Series(values, dtype=object, index=frame.index)})


def _pack(value: Any) -> tuple[str, Any, dict[str, pd.DataFrame]]:
    """Return the kind of a value, its facts as JSON, and its frames."""
    match value:
        case pd.DataFrame():
            return "frame", None, {"frame": value}
        case Batch():
            facts: dict[str, Any] = {name: getattr(value, name) for name in ("feed", "batch_id", "duplicates")}
            facts |= {"received_at": value.received_at.isoformat(), "schema": dict(value.schema)}
            facts["notes"] = _reasons(value.notes)
            facts["objects"] = [dataclasses.astuple(ref) for ref in value.objects]
            return "batch", facts, {name: getattr(value, name) for name in ("records", "issues", "unreadable")}
        case Validation():
            return (
                "validation",
                {name: _reasons(getattr(value, name)) for name in ("batch", "warnings")},
                {"failures": value.failures},
            )
        case BatchEvidence():
            facts = {
                "campaigns": [_campaign_facts(campaign) for campaign in value.campaigns],
                "crashes": {signal: [why.code, dict(why.args)] for signal, why in value.crashes.items()},
                "canonical": [[item, answer, text] for (item, answer), text in value.canonical.items()],
                "compared": sorted(value.compared),
            }
            return "evidence", facts, {name: getattr(value, name) for name in _EVIDENCE}
        case Decided():
            facts = {
                "campaigns": [_campaign_facts(campaign) for campaign in value.campaigns],
                "phase": value.phase.value,
                "notes": _reasons(value.notes),
                "measurements": value.measurements,
            }
            return "decided", facts, {name: getattr(value, name) for name in _DECIDED}
    return "json", value, {}


_EVIDENCE = ("sources", "conflicts", "votes", "accepted", "recent")
_DECIDED = ("decisions", "evidence", "items", "sources", "recalls", "memory", "near_controls")


def _batch(facts: Mapping[str, Any], frames: Mapping[str, pd.DataFrame]) -> Batch:
    return Batch(
        feed=facts["feed"],
        batch_id=facts["batch_id"],
        received_at=pd.Timestamp(facts["received_at"]).to_pydatetime(),
        objects=tuple(ObjectRef(*ref) for ref in facts["objects"]),
        records=frames["records"],
        issues=_from_json(frames["issues"], "args"),
        unreadable=_from_json(frames["unreadable"], "args"),
        schema=facts["schema"],
        duplicates=facts["duplicates"],
        notes=tuple(Reason(*note) for note in facts["notes"]),
    )


def _validation(facts: Mapping[str, Any], frames: Mapping[str, pd.DataFrame]) -> Validation:
    reasons = {name: tuple(Reason(*pair) for pair in facts[name]) for name in ("batch", "warnings")}
    return Validation(_from_json(frames["failures"], "args"), **reasons)


def _evidence(facts: Mapping[str, Any], frames: Mapping[str, pd.DataFrame]) -> BatchEvidence:
    return BatchEvidence(
        **{**frames, "sources": _from_json(frames["sources"], "args")},
        campaigns=tuple(_campaign(campaign) for campaign in facts["campaigns"]),
        crashes={signal: Reason(*why) for signal, why in facts["crashes"].items()},
        canonical={(item, answer): text for item, answer, text in facts["canonical"]},
        compared=frozenset(facts["compared"]),
    )


def _decided(facts: Mapping[str, Any], frames: Mapping[str, pd.DataFrame]) -> Decided:
    return Decided(
        **{**frames, "decisions": _from_json(frames["decisions"], "reasons")},
        campaigns=tuple(_campaign(campaign) for campaign in facts["campaigns"]),
        phase=Phase(facts["phase"]),
        notes=tuple(Reason(*note) for note in facts["notes"]),
        measurements=facts["measurements"],
    )


_UNPACK: Mapping[str, Callable[[Any, dict[str, pd.DataFrame]], Any]] = {
    "frame": lambda facts, frames: frames["frame"],
    "json": lambda facts, frames: facts,
    "batch": _batch,
    "validation": _validation,
    "evidence": _evidence,
    "decided": _decided,
}


def _reasons(reasons: tuple[Reason, ...]) -> list[list[Any]]:
    return [[reason.code, dict(reason.args)] for reason in reasons]


def _campaign_facts(campaign: Campaign) -> dict[str, Any]:
    facts = {name: getattr(campaign, name) for name in Campaign.__slots__ if name != "reason"}
    return facts | {"reason": [campaign.reason.code, dict(campaign.reason.args)]}


def _campaign(facts: Mapping[str, Any]) -> Campaign:
    values: dict[str, Any] = dict(facts)
    values |= {name: facts[name] and pd.Timestamp(facts[name]).to_pydatetime() for name in ("first_at", "last_at")}
    values |= {name: tuple(facts[name]) for name in ("record_ids", "source_ids", "earlier_ids")}
    return Campaign(**values | {"reason": Reason(*facts["reason"])})
