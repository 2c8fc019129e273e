"""Approve, admit and verify: from a verdict to a signed manifest, and from a manifest back to the data."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from poison_guard import __version__
from poison_guard.errors import ClosedError, InconclusiveError, NotFoundError, TamperError, UsageError
from poison_guard.gate.admission import decide_admission, same_person
from poison_guard.gate.keys import signing_key
from poison_guard.gate.revocations import FILE, write_revocations
from poison_guard.gate.statement import admission_statement, sign_statement
from poison_guard.gate.verify import verify_manifest
from poison_guard.review.people import check_person
from poison_guard.steps.opening import Feed
from poison_guard.store.admissions import add_admission, add_approval, admissions, approvals, check_rows, revoked
from poison_guard.store.snapshots import Snapshot, last_snapshot, load_snapshot
from poison_guard.store.verdicts import last_verdict

_ALL = 1_000_000

__all__ = [
    "admit",
    "approve",
    "check_admission",
    "chosen_snapshot",
    "manifest_path",
    "renew_revocations",
    "standing_admission",
]


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
    return len(approvals(feed.store, verdict["seq"]))


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
    given = approvals(feed.store, verdict["seq"])
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
    check_rows(feed.store, feed.contract.name, **rows)
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
    found = [a for a in admissions(feed.store, feed.contract.name, limit=_ALL) if a["snapshot_id"] == snapshot_id]
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
    write_revocations(home / FILE, revoked(feed.store), signing_key(home), issued=now)
    return home / FILE


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
    for held in admissions(feed.store, feed.contract.name, limit=_ALL):
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
