"""The gate's step: measure a snapshot (and a candidate model's predictions), judge it, write the verdict down."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json

from poison_guard import __version__
from poison_guard.errors import ClosedError
from poison_guard.gate.check import Outcome, Verdict
from poison_guard.gate.keys import key_id, signing_key
from poison_guard.gate.verdict import evaluate
from poison_guard.steps.admission import chosen_snapshot, renew_revocations
from poison_guard.steps.measuring import measure
from poison_guard.steps.opening import Feed
from poison_guard.store.admissions import admissions
from poison_guard.store.snapshots import Snapshot, revoke
from poison_guard.store.verdicts import add_verdict, last_verdict

__all__ = ["Judged", "judge", "judged_before"]


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """A snapshot's verdict and the number of its event."""

    snapshot: Snapshot
    verdict: Verdict
    verdict_seq: int


def judge(feed: Feed, snapshot_id: str | None, now: dt.datetime, *, candidate: str | None = None) -> Judged:
    """Judge a snapshot and write the verdict down; a snapshot that was admitted and now fails is revoked.

    Where every check ends as it ended before, the last verdict is given again, so that what people approved stays
    approved. `candidate` is a file of predictions of the trusted inputs: then the snapshot is judged with that model.
    """
    snapshot = chosen_snapshot(feed, snapshot_id)
    if snapshot.revoked_seq is not None:
        raise ClosedError(f"{snapshot.snapshot_id} was revoked ({snapshot.revoked_why}); seal a new snapshot")
    renew_revocations(feed, now)  # trainers elsewhere need a fresh list, whatever the verdict will be
    measured = measure(feed, snapshot, now, candidate=candidate)
    verdict = evaluate(measured.measurements, feed.contract.gate)
    key = _judged_by(feed, verdict)
    held = last_verdict(feed.store, snapshot.snapshot_id, candidate=measured.candidate)
    age = now - held["at"] if held else dt.timedelta.max
    same = held is not None and held["verdict"].get("judged_by") == key
    if held and same and dt.timedelta(0) <= age < _lasts(feed, held["outcome"]):
        return Judged(snapshot, Verdict.from_json(held["verdict"]), held["seq"])
    seq = add_verdict(
        feed.store,
        feed.contract.name,
        snapshot_id=snapshot.snapshot_id,
        outcome=verdict.outcome.value,
        verdict={**verdict.to_json(), "judged_by": key, "measurements": dict(measured.measurements)},
        policy_hash=feed.contract.gate.hash,
        policy=feed.contract.gate,
        candidate=measured.candidate,
        now=now,
    )
    if candidate is None and verdict.outcome is Outcome.FAIL and held and held["outcome"] != Outcome.FAIL:
        snapshot = _closed_again(feed, snapshot, verdict, now)
    return Judged(snapshot, verdict, seq)


def _closed_again(feed: Feed, snapshot: Snapshot, verdict: Verdict, now: dt.datetime) -> Snapshot:
    """Revoke a snapshot that fails after all: a manifest that is out there must not outlive what is known by now."""
    failed = {check.name for check in verdict.checks if check.outcome is Outcome.FAIL}
    if failed <= {"trusted_set"} or not _was_admitted(feed, snapshot, now):
        return snapshot  # what is wrong with the trusted set says nothing new about the snapshot
    why = f"judged again, it fails: {verdict.why[0]}"[:2000]
    revoked = revoke(feed.store, snapshot.snapshot_id, by="poison-guard", reason=why, now=now)
    renew_revocations(feed, now)
    return revoked


def _was_admitted(feed: Feed, snapshot: Snapshot, now: dt.datetime) -> bool:
    every = admissions(feed.store, feed.contract.name, limit=1_000_000)
    return any(each["snapshot_id"] == snapshot.snapshot_id and each["expires"] > now for each in every)


def _lasts(feed: Feed, outcome: str) -> dt.timedelta:
    """Return how long a verdict is given again: a pass for half as long as its admission holds, then it is renewed."""
    whole = dt.timedelta(days=feed.contract.gate.admission_days)
    return whole / 2 if outcome == Outcome.PASS else whole


def judged_before(feed: Feed, snapshot_id: str | None) -> Judged:
    """Return the verdict a snapshot was given last; `ClosedError` where it has none."""
    snapshot = chosen_snapshot(feed, snapshot_id)
    held = last_verdict(feed.store, snapshot.snapshot_id)
    if held is None:
        raise ClosedError(f"{snapshot.snapshot_id} was not judged yet; run `poison-guard gate check`")
    return Judged(snapshot, Verdict.from_json(held["verdict"]), held["seq"])


def _judged_by(feed: Feed, verdict: Verdict) -> str:
    """Return a hash of all that makes a verdict another one: how its checks end, policy, version and signing key."""
    signer = key_id(signing_key(feed.settings.home).public_key())
    ends = [[check.name, check.outcome.value] for check in verdict.checks if check.blocking]
    body = [ends, feed.contract.gate.hash, __version__, signer]
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()
