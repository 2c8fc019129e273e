"""The gate's step: measure a snapshot (and a candidate model's predictions), judge it, write the verdict down."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json

from poison_guard import __version__
from poison_guard.errors import ClosedError
from poison_guard.gate.check import Verdict
from poison_guard.gate.keys import key_id, signing_key
from poison_guard.gate.verdict import evaluate
from poison_guard.steps.admission import chosen_snapshot, renew_revocations
from poison_guard.steps.measuring import Measured, measure
from poison_guard.steps.opening import Feed
from poison_guard.store.snapshots import Snapshot
from poison_guard.store.verdicts import add_verdict, last_verdict

__all__ = ["Judged", "judge", "judged_before"]

_FRESH = dt.timedelta(days=1)


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """A snapshot's verdict and the number of its event."""

    snapshot: Snapshot
    verdict: Verdict
    verdict_seq: int


def judge(feed: Feed, snapshot_id: str | None, now: dt.datetime, *, candidate: str | None = None) -> Judged:
    """Judge a snapshot and write the verdict down; one that is less than a day old and still fits is given again.

    `candidate` is a file of predictions of the trusted inputs; what is judged then is the snapshot with that model.
    """
    snapshot = chosen_snapshot(feed, snapshot_id)
    if snapshot.revoked_seq is not None:
        raise ClosedError(f"{snapshot.snapshot_id} was revoked ({snapshot.revoked_why}); seal a new snapshot")
    renew_revocations(feed, now)  # trainers elsewhere need a fresh list, whatever the verdict will be
    measured = measure(feed, snapshot, now, candidate=candidate)
    key = _judged_by(feed, measured)
    held = last_verdict(feed.store, snapshot.snapshot_id, candidate=measured.candidate)
    if held is not None and held["verdict"].get("judged_by") == key and now - held["at"] < _FRESH:
        return Judged(snapshot, Verdict.from_json(held["verdict"]), held["seq"])
    verdict = evaluate(measured.measurements, feed.contract.gate)
    told = {**verdict.to_json(), "judged_by": key, "measurements": dict(measured.measurements)}
    seq = add_verdict(
        feed.store,
        feed.contract.name,
        snapshot_id=snapshot.snapshot_id,
        outcome=verdict.outcome.value,
        verdict=told,
        policy_hash=feed.contract.gate.hash,
        candidate=measured.candidate,
        now=now,
    )
    return Judged(snapshot, verdict, seq)


def judged_before(feed: Feed, snapshot_id: str | None) -> Judged:
    """Return the verdict a snapshot was given last; `ClosedError` where it has none."""
    snapshot = chosen_snapshot(feed, snapshot_id)
    held = last_verdict(feed.store, snapshot.snapshot_id)
    if held is None:
        raise ClosedError(f"{snapshot.snapshot_id} was not judged yet; run `poison-guard gate check`")
    return Judged(snapshot, Verdict.from_json(held["verdict"]), held["seq"])


def _judged_by(feed: Feed, measured: Measured) -> str:
    """Return a hash of all that a verdict and its admission follow from: measurements, policy, version and key."""
    signer = key_id(signing_key(feed.settings.home).public_key())
    body = {"m": measured.measurements, "p": feed.contract.gate.hash, "v": __version__, "k": signer}
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()
