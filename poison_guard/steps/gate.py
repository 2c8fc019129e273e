"""Gate: judge a snapshot, approve and admit it, and verify an admission against the data."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from poison_guard import __version__
from poison_guard.errors import ClosedError, InconclusiveError, NotFoundError, TamperError, UsageError
from poison_guard.gate.admission import decide_admission, same_person
from poison_guard.gate.keys import key_id, signing_key
from poison_guard.gate.outcomes import Outcome, Verdict
from poison_guard.gate.revocations import REVOCATIONS_FILE, write_revocations
from poison_guard.gate.statement import admission_statement, sign_statement
from poison_guard.gate.verdict import evaluate_checks
from poison_guard.gate.verify import verify_manifest
from poison_guard.review.rules import check_person
from poison_guard.steps.measure import measure
from poison_guard.steps.opening import Feed
from poison_guard.store.admissions import (
    add_admission,
    add_approval,
    add_verdict,
    check_admission_rows,
    last_verdict,
    list_admissions,
    list_approvals,
    revoked_snapshots,
)
from poison_guard.store.snapshots import Snapshot, last_snapshot, load_snapshot, revoke_snapshot

__all__ = [
    "Judged",
    "admit",
    "approve",
    "check_admission",
    "chosen_snapshot",
    "judge",
    "judged_before",
    "manifest_path",
    "renew_revocations",
    "standing_admission",
]


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
    verdict = evaluate_checks(measured.measurements, feed.contract.gate)
    key = _verdict_key(feed, verdict)
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
    revoked = revoke_snapshot(feed.store, snapshot.snapshot_id, by="poison-guard", reason=why, now=now)
    renew_revocations(feed, now)
    return revoked


def _was_admitted(feed: Feed, snapshot: Snapshot, now: dt.datetime) -> bool:
    every = list_admissions(feed.store, feed.contract.name, limit=1_000_000)
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


def _verdict_key(feed: Feed, verdict: Verdict) -> str:
    """Return a hash of all that makes a verdict another one: how its checks end, policy, version and signing key."""
    signer = key_id(signing_key(feed.settings.home).public_key())
    ends = [[check.name, check.outcome.value] for check in verdict.checks if check.blocking]
    body = [ends, feed.contract.gate.hash, __version__, signer]
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()


_ALL = 1_000_000


def chosen_snapshot(feed: Feed, snapshot_id: str | None) -> Snapshot:
    """Return the named snapshot of the feed, or its last one; `NotFoundError` where there is none."""
    if snapshot_id is not None:
        found = load_snapshot(feed.store, snapshot_id)
        if found.feed != feed.contract.name:
            raise UsageError(f"{snapshot_id} is a snapshot of {found.feed}, not of {feed.contract.name}")
        return found
    last = last_snapshot(feed.store, feed.contract.name)
    if last is None:
        raise NotFoundError(f"{feed.contract.name} has no snapshot yet; `poison-guard seal` makes one")
    return last


def approve(
    feed: Feed,
    snapshot_id: str | None,
    *,
    by: str,
    reason: str,
    expires: dt.datetime | None,
    now: dt.datetime,
    verdict_seq: int | None = None,
) -> int:
    """Write down that a named person lets a snapshot pass its verdict; return how many approvals hold.

    `verdict_seq` is the verdict that the person saw (None: the last one). `ClosedError` where the snapshot was judged
    again since, for a verdict that nobody can approve (ERROR, or none yet) and for a revoked snapshot; `UsageError`
    where approving a FAIL names no expiry, where nothing is to be approved, or the same person approves twice.
    """
    name, why = check_person(by, reason)
    snapshot = chosen_snapshot(feed, snapshot_id)
    _refuse_revoked(snapshot)
    verdict = _verdict(feed, snapshot)
    _check_approvable(snapshot.snapshot_id, verdict, verdict_seq, expires)
    add_approval(
        feed.store,
        feed.contract.name,
        snapshot_id=snapshot.snapshot_id,
        verdict_seq=verdict["seq"],
        by=name,
        reason=why,
        expires=expires,
        same=same_person,
        now=now,
    )
    return len(list_approvals(feed.store, verdict["seq"]))


def _check_approvable(snapshot_id: str, verdict: dict[str, Any], seen: int | None, expires: dt.datetime | None) -> None:
    if seen is not None and verdict["seq"] != seen:
        raise ClosedError(
            f"{snapshot_id} was judged again since verdict {seen} was shown; look at verdict {verdict['seq']} "
            f"({verdict['outcome']}) and approve that"
        )
    if verdict["outcome"] == "error":
        raise ClosedError(f"the gate could not measure {snapshot_id}; mend that, approval cannot stand in for it")
    if verdict["outcome"] == "pass":
        raise UsageError(f"{snapshot_id} passed the gate; there is nothing to approve")
    if verdict["outcome"] == "fail" and expires is None:
        raise UsageError("approving a failed gate needs an expiry (`--expires DAYS`): say how long it holds")


def admit(feed: Feed, snapshot_id: str | None, now: dt.datetime) -> dict[str, Any]:
    """Issue the admission of a snapshot, once for each verdict; return ``snapshot_id, manifest, digest, expires``.

    `InconclusiveError` where one named person may still approve, `ClosedError` wherever else the gate is closed; both
    give the reason.
    """
    snapshot = chosen_snapshot(feed, snapshot_id)
    _refuse_revoked(snapshot)
    verdict = _verdict(feed, snapshot)
    given = list_approvals(feed.store, verdict["seq"])
    decision = decide_admission(verdict["outcome"], given, now=now)
    if not decision.admitted:
        kind = InconclusiveError if verdict["outcome"] == "inconclusive" else ClosedError
        raise kind(f"{snapshot.snapshot_id} is not admitted: {decision.why}")
    latest = verdict["at"] + dt.timedelta(days=feed.contract.gate.admission_days)
    expires = min(latest, decision.expires) if decision.expires else latest
    if expires <= now:
        raise ClosedError(f"the verdict on {snapshot.snapshot_id} is stale; run `poison-guard gate check` again")
    made = _standing(feed, snapshot, verdict["seq"], now)
    if made is None:
        envelope = _envelope(feed, snapshot, verdict, given, now, expires)
        digest = hashlib.sha256(envelope.encode()).hexdigest()
        add_admission(
            feed.store,
            feed.contract.name,
            snapshot_id=snapshot.snapshot_id,
            verdict_seq=verdict["seq"],
            envelope=envelope,
            digest=digest,
            issued=now,
            expires=expires,
        )
        made = _standing(feed, snapshot, verdict["seq"], now)
        if made is None:
            raise ClosedError(f"the admission of {snapshot.snapshot_id} was revoked while it was issued; gate again")
    path = _write(feed, snapshot.snapshot_id, made["envelope"])
    renew_revocations(feed, now)
    return {
        "snapshot_id": snapshot.snapshot_id,
        "manifest": str(path),
        "digest": made["digest"],
        "expires": made["expires"].isoformat(),
    }


def check_admission(feed: Feed, snapshot_id: str, now: dt.datetime) -> dict[str, Any]:
    """Verify the newest admission of a snapshot as an outsider would: signature, expiry, revocations and every part.

    Raises `ClosedError` or `TamperError` with the reason; returns ``snapshot_id, digest, seq``.
    """
    snapshot = load_snapshot(feed.store, snapshot_id)
    _refuse_revoked(snapshot)
    held = standing_admission(feed, snapshot_id)
    rows = {"snapshot_id": snapshot_id, "verdict_seq": held["verdict_seq"], "admission_seq": held["seq"]}
    check_admission_rows(feed.store, feed.contract.name, **rows)
    revocations = renew_revocations(feed, now)
    with TemporaryDirectory(prefix="poison-guard-") as folder:
        manifest = Path(folder) / "manifest.json"
        manifest.write_text(held["envelope"], encoding="utf-8")
        signed = verify_manifest(
            manifest,
            public_key=feed.settings.home / "signing.pub",
            revocations=revocations,
            now=now,
            snapshot_id=snapshot_id,
            feed=feed.contract.name,
        )
    if signed.hash != snapshot.hash or signed.subjects != {part.path: part.sha256 for part in snapshot.parts}:
        raise TamperError(f"the store says that {snapshot_id} is made of other files than were admitted; audit it")
    for path, digest in signed.subjects.items():
        feed.store.lake.read_frame(path, columns=["example_id"], sha256=digest)
    return {"snapshot_id": snapshot_id, "digest": held["digest"], "seq": held["seq"]}


def standing_admission(feed: Feed, snapshot_id: str) -> dict[str, Any]:
    """Return the admission that follows from the last verdict; one that followed from an earlier verdict is void."""
    verdict = last_verdict(feed.store, snapshot_id)
    found = [a for a in list_admissions(feed.store, feed.contract.name, limit=_ALL) if a["snapshot_id"] == snapshot_id]
    held = next((a for a in found if verdict is not None and a["verdict_seq"] == verdict["seq"]), None)
    if held is None:
        later = f" since it was judged again ({verdict['outcome']})" if found and verdict is not None else ""
        raise ClosedError(
            f"{snapshot_id} has no admission{later}; `poison-guard gate check` opens the gate, or says why not"
        )
    return held


def renew_revocations(feed: Feed, now: dt.datetime) -> Path:
    """Write the home's signed list of revoked snapshots anew, so that verifiers find a fresh one; return its path."""
    home = feed.settings.home
    write_revocations(home / REVOCATIONS_FILE, revoked_snapshots(feed.store), signing_key(home), issued=now)
    return home / REVOCATIONS_FILE


def manifest_path(feed: Feed, snapshot_id: str) -> Path:
    """Return where the manifest of a snapshot lies in the home."""
    return feed.settings.home / "manifests" / f"{snapshot_id}.json"


def _verdict(feed: Feed, snapshot: Snapshot) -> dict[str, Any]:
    verdict = last_verdict(feed.store, snapshot.snapshot_id)
    if verdict is None:
        raise ClosedError(f"{snapshot.snapshot_id} was not judged yet; run `poison-guard gate check`")
    return verdict


def _refuse_revoked(snapshot: Snapshot) -> None:
    if snapshot.revoked_seq is not None:
        raise ClosedError(f"{snapshot.snapshot_id} was revoked ({snapshot.revoked_why}); seal a new snapshot")


def _standing(feed: Feed, snapshot: Snapshot, verdict_seq: int, now: dt.datetime) -> dict[str, Any] | None:
    """Return the admission issued for this verdict, if it still holds."""
    for held in list_admissions(feed.store, feed.contract.name, limit=_ALL):
        if held["verdict_seq"] == verdict_seq and held["snapshot_id"] == snapshot.snapshot_id:
            holds = not held["revoked"] and held["issued"] <= now < held["expires"]
            return held if holds else None
    return None


def _envelope(
    feed: Feed,
    snapshot: Snapshot,
    verdict: dict[str, Any],
    given: Sequence[dict[str, Any]],
    issued: dt.datetime,
    expires: dt.datetime,
) -> str:
    statement = admission_statement(
        feed=feed.contract.name,
        snapshot={
            "id": snapshot.snapshot_id,
            "seq": snapshot.seq,
            "hash": snapshot.hash,
            "counts": dict(snapshot.counts),
        },
        subjects=[(part.path, part.sha256) for part in snapshot.parts],
        policy_hash=feed.contract.policy.hash,
        gate_hash=verdict["policy_hash"],
        verdict={key: verdict["verdict"][key] for key in ("outcome", "checks")},
        approvals=given,
        issued=issued,
        expires=expires,
        version=__version__,
    )
    return sign_statement(statement, signing_key(feed.settings.home))


def _write(feed: Feed, snapshot_id: str, envelope: str) -> Path:
    path = manifest_path(feed, snapshot_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(envelope, encoding="utf-8")
    temporary.replace(path)
    return path
