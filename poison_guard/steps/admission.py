"""Admission: the approvals of a snapshot, the signed permission to train on it, and its check as an outsider would.

The verdict that an admission follows from is `steps/gate.py`'s.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from poison_guard import __version__
from poison_guard.errors import ClosedError, InconclusiveError, NotFoundError, SignInError, TamperError, UsageError
from poison_guard.gate.admission import decide_admission, same_person
from poison_guard.gate.keys import PUBLIC_FILE, signing_key
from poison_guard.gate.statement import admission_statement, sign_statement
from poison_guard.gate.verify import verify_manifest
from poison_guard.records import UNVERIFIED, via_of
from poison_guard.results import Result
from poison_guard.review.rules import check_person
from poison_guard.steps.lineage import NAMESPACE, snapshot_dataset, trace
from poison_guard.steps.opening import Feed
from poison_guard.steps.outbox import drain, manifest_path, publish_admission, renew_revocations
from poison_guard.store.admissions import (
    add_admission,
    add_approval,
    check_admission_rows,
    last_verdict,
    list_admissions,
    list_approvals,
)
from poison_guard.store.chain import head_mac, last_event
from poison_guard.store.engine import Store
from poison_guard.store.people import has_users
from poison_guard.store.snapshots import Snapshot, last_snapshot, load_snapshot

__all__ = [
    "Admitted",
    "admit",
    "check_admission",
    "counted_approvals",
    "find_snapshot",
    "record_approval",
    "refuse_revoked",
    "require_verdict",
    "standing_admission",
    "standing_approvals",
]


@dataclass(frozen=True, slots=True)
class Admitted(Result):
    """The signed permission to train on a snapshot."""

    snapshot_id: str
    manifest: Path
    """Where the home keeps it for trainers."""
    digest: str
    """SHA-256 of the manifest."""
    expires: dt.datetime
    seq: int
    """Number of its event."""


def find_snapshot(feed: Feed, snapshot_id: str | None) -> Snapshot:
    """Return the named snapshot of the feed, or its last one; `NotFoundError` where there is none."""
    if snapshot_id is not None:
        snapshot = load_snapshot(feed.store, snapshot_id)
        if snapshot.feed != feed.contract.name:
            raise UsageError(f"{snapshot_id} is a snapshot of {snapshot.feed}, not of {feed.contract.name}")
        return snapshot
    last = last_snapshot(feed.store, feed.contract.name)
    if last is None:
        revoked = last_snapshot(feed.store, feed.contract.name, revoked=True)
        why = f"the last one, {revoked.snapshot_id}, was revoked" if revoked else "none was sealed yet"
        raise NotFoundError(f"{feed.contract.name} has no snapshot: {why}; `poison-guard seal` makes one")
    return last


def record_approval(
    feed: Feed,
    snapshot_id: str | None,
    *,
    by: str,
    reason: str,
    expires: dt.datetime | None,
    now: dt.datetime,
    verdict_seq: int | None = None,
) -> int:
    """Store that a named person approves of a snapshot despite its verdict; return how many approvals it has.

    `verdict_seq` is the verdict that the person saw (None: the last one). `ClosedError` where the snapshot was judged
    again since, for a verdict that nobody can approve (ERROR, or none yet) and for a revoked snapshot; `UsageError`
    where approving a FAIL names no expiry, where nothing is to be approved, or the same person approves twice for
    different reasons.
    """
    name, why = check_person(by, reason)
    if via_of(name) == UNVERIFIED and has_users(feed.store):
        raise SignInError(f"people sign in to this home, and nothing verified that {name} approves: sign in first")
    snapshot = find_snapshot(feed, snapshot_id)
    refuse_revoked(snapshot)
    verdict = require_verdict(feed, snapshot)
    _check_approvable(snapshot.snapshot_id, verdict, verdict_seq, expires)
    standing = standing_approvals(feed, verdict["seq"], now)
    if any((each["by"], each["reason"]) == (name, why) for each in standing):  # a task that was killed, run again
        return len(list_approvals(feed.store, verdict["seq"]))
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


def admit(feed: Feed, snapshot_id: str | None, now: dt.datetime) -> Admitted:
    """Issue the admission of a snapshot, once for each verdict.

    `InconclusiveError` where one named person may still approve, `ClosedError` wherever else the gate is closed; both
    give the reason.
    """
    snapshot = find_snapshot(feed, snapshot_id)
    refuse_revoked(snapshot)
    verdict = require_verdict(feed, snapshot)
    approvals = counted_approvals(feed.store, verdict["seq"])
    decision = decide_admission(verdict["outcome"], approvals, now=now)
    if not decision.admitted:
        kind = InconclusiveError if verdict["outcome"] == "inconclusive" else ClosedError
        raise kind(f"{snapshot.snapshot_id} is not admitted: {decision.why}")
    latest = verdict["at"] + dt.timedelta(days=feed.contract.gate.admission_days)
    expires = min(latest, decision.expires) if decision.expires else latest
    if expires <= now:
        raise ClosedError(f"the verdict on {snapshot.snapshot_id} is stale; run `poison-guard gate check` again")
    admission = _valid_admission(feed, snapshot, verdict["seq"], now)
    published = admission is None
    if admission is None:
        envelope = _envelope(feed, snapshot, verdict, approvals, now, expires)
        add_admission(
            feed.store,
            feed.contract.name,
            snapshot_id=snapshot.snapshot_id,
            verdict_seq=verdict["seq"],
            envelope=envelope,
            digest=hashlib.sha256(envelope.encode()).hexdigest(),
            issued=now,
            expires=expires,
        )
        admission = _valid_admission(feed, snapshot, verdict["seq"], now)
        if admission is None:
            raise ClosedError(_why_not_valid(feed, snapshot, now))
        manifest = (NAMESPACE, f"{feed.contract.name}/manifests/{snapshot.snapshot_id}", admission["digest"])
        facts = {"outcome": verdict["outcome"], "verdict_seq": verdict["seq"], "approvals": len(approvals)}
        ends = {"inputs": [snapshot_dataset(snapshot)], "outputs": [manifest], "ended": now}
        trace(feed, "gate", admission["digest"], **ends, facts=facts)
        published = not drain(feed.store, feed.settings, now).failed
    if not published:  # admitted before, where a file that was lost since is written again, or says why it cannot be
        publish_admission(feed.store, feed.settings, feed.contract.name, snapshot.snapshot_id, now)
    return _admission(feed, admission)


def _admission(feed: Feed, row: Mapping[str, Any]) -> Admitted:
    path = manifest_path(feed.settings, row["snapshot_id"])
    return Admitted(row["snapshot_id"], path, row["digest"], row["expires"], row["seq"])


def check_admission(feed: Feed, snapshot_id: str | None, now: dt.datetime) -> Admitted:
    """Verify the newest admission of a snapshot as an outsider would: signature, expiry, revocations and every part.

    Without an id it is the newest snapshot's. Raises `ClosedError` or `TamperError` with the reason.
    """
    if snapshot_id is None:
        try:
            snapshot_id = find_snapshot(feed, None).snapshot_id
        except NotFoundError as none:
            raise ClosedError(str(none)) from None
    snapshot = load_snapshot(feed.store, snapshot_id)
    refuse_revoked(snapshot)
    admission = standing_admission(feed, snapshot_id)
    rows = {"snapshot_id": snapshot_id, "verdict_seq": admission["verdict_seq"], "admission_seq": admission["seq"]}
    check_admission_rows(feed.store, feed.contract.name, **rows)
    revocations = renew_revocations(feed.store, feed.settings, now)
    with TemporaryDirectory(prefix="poison-guard-") as folder:
        manifest = Path(folder) / "manifest.json"
        manifest.write_text(admission["envelope"], encoding="utf-8")
        signed = verify_manifest(
            manifest,
            public_key=feed.settings.home / PUBLIC_FILE,
            revocations=revocations,
            now=now,
            snapshot_id=snapshot_id,
            feed=feed.contract.name,
        )
    if signed.hash != snapshot.hash or signed.subjects != {part.path: part.sha256 for part in snapshot.parts}:
        raise TamperError(f"the store says that {snapshot_id} is made of other files than were admitted; audit it")
    for path, digest in signed.subjects.items():
        feed.store.lake.read_table(path, lambda schema: schema.names[:1], sha256=digest)
    return _admission(feed, admission)


def standing_admission(feed: Feed, snapshot_id: str) -> dict[str, Any]:
    """Return the admission that follows from the last verdict; one that followed from an earlier verdict is void."""
    verdict = last_verdict(feed.store, snapshot_id)
    admissions = list_admissions(feed.store, feed.contract.name, snapshot_id=snapshot_id, limit=None)
    standing = next((a for a in admissions if verdict is not None and a["verdict_seq"] == verdict["seq"]), None)
    if standing is None:
        later = f" since it was judged again ({verdict['outcome']})" if admissions and verdict is not None else ""
        raise ClosedError(
            f"{snapshot_id} has no admission{later}; `poison-guard gate check` opens the gate, or says why not"
        )
    return standing


def counted_approvals(store: Store, verdict_seq: int) -> list[dict[str, Any]]:
    """Return the approvals of a verdict that count: where people sign in to the home, those of verified names."""
    approvals = list_approvals(store, verdict_seq)
    if not has_users(store):
        return approvals
    return [each for each in approvals if each["via"] != UNVERIFIED]


def standing_approvals(feed: Feed, verdict_seq: int, now: dt.datetime) -> list[dict[str, Any]]:
    """Return the approvals of a verdict that have not expired."""
    approvals = list_approvals(feed.store, verdict_seq)
    return [each for each in approvals if each["expires"] is None or each["expires"] > now]


def require_verdict(feed: Feed, snapshot: Snapshot) -> dict[str, Any]:
    """Return the last verdict on a snapshot; `ClosedError` where it was not judged."""
    verdict = last_verdict(feed.store, snapshot.snapshot_id)
    if verdict is None:
        raise ClosedError(f"{snapshot.snapshot_id} was not judged yet; run `poison-guard gate check`")
    return verdict


def refuse_revoked(snapshot: Snapshot) -> None:
    """Raise `ClosedError` for a snapshot that was revoked."""
    if snapshot.revoked_seq is not None:
        raise ClosedError(f"{snapshot.snapshot_id} was revoked ({snapshot.revoked_why}); seal a new snapshot")


def _why_not_valid(feed: Feed, snapshot: Snapshot, now: dt.datetime) -> str:
    """Return why there is an admission that does not hold: its snapshot was revoked, or a clock was ahead."""
    (last,) = list_admissions(feed.store, feed.contract.name, snapshot_id=snapshot.snapshot_id, limit=1)
    if last["issued"] > now:
        return (
            f"{snapshot.snapshot_id} was admitted in the future, at {last['issued']:%Y-%m-%d %H:%M} UTC: set the clock "
            "right, then run `poison-guard gate check`"
        )
    return f"the admission of {snapshot.snapshot_id} was revoked while it was issued; gate again"


def _valid_admission(feed: Feed, snapshot: Snapshot, verdict_seq: int, now: dt.datetime) -> dict[str, Any] | None:
    """Return the admission issued for this verdict, if it still holds."""
    admissions = list_admissions(feed.store, feed.contract.name, snapshot_id=snapshot.snapshot_id, limit=None)
    newest = next((admission for admission in admissions if admission["verdict_seq"] == verdict_seq), None)
    if newest is None or newest["revoked"] or not newest["issued"] <= now < newest["expires"]:
        return None
    return newest


def _envelope(
    feed: Feed,
    snapshot: Snapshot,
    verdict: dict[str, Any],
    approvals: Sequence[dict[str, Any]],
    issued: dt.datetime,
    expires: dt.datetime,
) -> str:
    with feed.store.read() as conn:
        last = last_event(conn)
    statement = admission_statement(
        feed=feed.contract.name,
        snapshot={
            "id": snapshot.snapshot_id,
            "seq": snapshot.seq,
            "hash": snapshot.hash,
            "counts": dict(snapshot.counts),
        },
        subjects=[(part.path, part.sha256) for part in snapshot.parts],
        policy_hash=feed.contract.policy_hash,
        gate_hash=verdict["policy_hash"],
        verdict={key: verdict["verdict"][key] for key in ("outcome", "checks")},
        approvals=approvals,
        issued=issued,
        expires=expires,
        version=__version__,
        chain=(last.seq, last.hash, head_mac(feed.store.key, last.seq, last.hash)),
    )
    return sign_statement(statement, signing_key(feed.settings.home))
