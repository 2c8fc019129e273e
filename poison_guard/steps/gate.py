"""Gate: judge a snapshot, admit it where it may pass, take approvals, show how it stands."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from poison_guard.errors import ClosedError, NotFoundError, UsageError
from poison_guard.gate.admission import decide_admission, same_person
from poison_guard.gate.keys import key_id, signing_key
from poison_guard.gate.outcomes import Verdict
from poison_guard.pipeline.content import has_no_label
from poison_guard.records import Outcome
from poison_guard.results import Result, html_table, text_table
from poison_guard.review.rules import check_person
from poison_guard.steps.admission import (
    admit,
    counted_approvals,
    find_snapshot,
    record_approval,
    refuse_revoked,
    require_verdict,
    standing_approvals,
)
from poison_guard.steps.notify import tell_of_gate
from poison_guard.steps.opening import Feed
from poison_guard.steps.outbox import drain, manifest_path, renew_revocations
from poison_guard.steps.status import admission_state
from poison_guard.store.admissions import (
    add_verdict,
    last_verdict,
    list_admissions,
    list_approvals,
)
from poison_guard.store.snapshots import Snapshot, last_snapshot, load_snapshot, revoke_snapshot

__all__ = [
    "GateResult",
    "GateStatus",
    "approve",
    "gate",
    "gate_status",
    "judge_snapshot",
]

_CHECKS_FORMAT = 2
"""Grows when checks or measurements change, so that a verdict of before is not given again."""
_COLUMNS = ("name", "outcome", ">value", ">limit", ">low", ">high", ">n", "why")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GateResult(Result):
    """What `Guard.gate` and `Guard.approve` return."""

    feed: str
    snapshot_id: str
    outcome: str
    """``pass``, ``fail``, ``inconclusive`` or ``error``."""
    admitted: bool
    checks: pd.DataFrame
    """``name, outcome, value, limit, low, high, n, needs, why, blocking, atlas, nist``, one row per check."""
    why: tuple[str, ...]
    """A sentence for each check that keeps the gate closed, and how it can be opened."""
    manifest: Path | None = None
    """The signed admission, where there is one."""
    candidate: str | None = None
    """The file of the candidate's predictions, or their hash, where a candidate was judged with the snapshot."""

    def __str__(self) -> str:
        """Return the checks as a table, then why the gate is closed."""
        title = f"{self.snapshot_id}: {self.outcome}, {'admitted' if self.admitted else 'closed'}"
        return "\n".join([title, text_table(_COLUMNS, self._rows()), *(f"why: {sentence}" for sentence in self.why)])

    def _repr_html_(self) -> str:
        return html_table(_COLUMNS, self._rows())

    def _rows(self) -> list[tuple[object, ...]]:
        columns = [name.removeprefix(">") for name in _COLUMNS]
        return list(self.checks.reindex(columns=columns).itertuples(index=False, name=None))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GateStatus(GateResult):
    """What `Guard.gate_status` returns: the last verdict on a snapshot, its approvals and its admission as of now."""

    examples: int
    """Of the snapshot."""
    judged_at: dt.datetime
    policy_hash: str
    approvals: tuple[Mapping[str, Any], ...]
    """``by, reason, at, expires, seq`` of each, the first one first."""
    state: str
    """How the admission stands, as a phrase."""
    revoked: str | None
    """Why the snapshot was revoked, where it was."""
    expires: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """A snapshot's verdict and the number of its event."""

    snapshot: Snapshot
    verdict: Verdict
    verdict_seq: int


def gate(
    feed: Feed, snapshot_id: str | None, now: dt.datetime, *, candidate: str | None = None, model: str | None = None
) -> GateResult:
    """Judge a snapshot and admit it where it may pass; the last one, sealed first where there is none.

    With a candidate (a file of predictions) or a `model` that can be asked, the snapshot is judged and admitted first;
    what is left to judge then is the model. `UsageError` for both.
    """
    from poison_guard.steps.measure import read_predictions
    from poison_guard.steps.model_scan import open_model
    from poison_guard.steps.seal import seal

    if candidate is not None and model is not None:
        raise UsageError("give a file of predictions or a model to ask, not both")
    if model is not None:
        with open_model(feed, model):
            pass  # one that cannot be asked is refused before anything is judged and signed
    if candidate is not None:
        read_predictions(candidate)  # a file that cannot be used is refused before anything is judged and signed
    if snapshot_id is None and last_snapshot(feed.store, feed.contract.name) is None:
        snapshot_id = seal(feed).snapshot_id
    result = _admit_judged(feed, judge_snapshot(feed, snapshot_id, now), now)
    if candidate is None and model is None:
        return result
    judged = judge_snapshot(feed, result.snapshot_id, now, candidate=candidate, model=model)
    both = dataclasses.replace(_result(feed, judged, None, judged.verdict.why), candidate=candidate or model)
    if not result.admitted:
        return both
    of_model = [check for check in judged.verdict.checks if check.name in ("candidate", "planted_triggers")]
    mine = max(of_model, key=lambda check: check.outcome.severity)
    if mine.outcome is Outcome.PASS:
        return dataclasses.replace(both, outcome="pass", admitted=True, manifest=result.manifest, why=())
    return dataclasses.replace(both, outcome=mine.outcome.value, why=(f"{mine.name}: {mine.why}",))


def approve(
    feed: Feed, snapshot_id: str | None, *, by: str, reason: str, expires: dt.datetime | None, now: dt.datetime
) -> GateResult:
    """Store an approval and admit the snapshot where that is enough.

    Who has approved already, as where the command was killed before it admitted, approves no second time: what is left
    is done, or said.
    """
    name, _ = check_person(by, reason)
    snapshot = find_snapshot(feed, snapshot_id)
    row = require_verdict(feed, snapshot)
    again = any(same_person(name, each["by"]) for each in standing_approvals(feed, row["seq"], now))
    if not again:
        record_approval(feed, snapshot_id, by=by, reason=reason, expires=expires, now=now)
    result = _admit_judged(feed, Judged(snapshot, Verdict.from_json(row["verdict"]), row["seq"]), now)
    if result.admitted or not again:
        return result
    left = f"{name} approved of it already; once what is missing is there, `poison-guard gate check` admits it too"
    return dataclasses.replace(result, why=(*result.why, left))


def _admit_judged(feed: Feed, judged: Judged, now: dt.datetime) -> GateResult:
    """Admit a judged snapshot where it may pass, and give the reasons where it may not."""
    try:
        admission = admit(feed, judged.snapshot.snapshot_id, now)
    except ClosedError as closed:
        return _result(feed, judged, None, (*judged.verdict.why, str(closed)))
    return _result(feed, judged, admission.manifest, judged.verdict.why)


def _result(feed: Feed, judged: Judged, manifest: Path | None, why: tuple[str, ...]) -> GateResult:
    return GateResult(
        feed=feed.contract.name,
        snapshot_id=judged.snapshot.snapshot_id,
        outcome=judged.verdict.outcome.value,
        admitted=manifest is not None,
        checks=_check_rows(judged.verdict),
        why=why,
        manifest=manifest,
    )


def _check_rows(verdict: Verdict) -> pd.DataFrame:
    rows = pd.DataFrame([check.to_json() for check in verdict.checks])
    return rows.astype({"needs": "Int64"}) if len(rows) else rows


def gate_status(feed: Feed, snapshot_id: str | None, now: dt.datetime) -> GateStatus:
    """Return the last verdict on a snapshot (None: the last one, revoked or not) and how its admission stands.

    `NotFoundError` where the feed has no such snapshot, or it was not judged.
    """
    store, name = feed.store, feed.contract.name
    snapshot = last_snapshot(store, name, revoked=True) if snapshot_id is None else load_snapshot(store, snapshot_id)
    if snapshot is None:
        raise NotFoundError(f"{name} has no snapshot yet; `poison-guard seal --feed {name}` makes one")
    if snapshot.feed != name:
        raise NotFoundError(f"snapshot {snapshot_id} is of feed {snapshot.feed}, not of {name}; name it with --feed")
    row = last_verdict(store, snapshot.snapshot_id)
    if row is None:
        raise NotFoundError(f"{snapshot.snapshot_id} was not judged yet; see `poison-guard gate check --feed {name}`")
    verdict, approvals = Verdict.from_json(row["verdict"]), list_approvals(store, row["seq"])
    admission = next(iter(list_admissions(store, name, snapshot_id=snapshot.snapshot_id, limit=1)), None)
    state = admission_state(snapshot, admission, row["seq"], now=now)
    rule = decide_admission(row["outcome"], counted_approvals(store, row["seq"]), now=now)
    closed = () if state["admitted"] or rule.admitted or snapshot.revoked_why else (rule.why,)
    manifest = manifest_path(feed.settings, snapshot.snapshot_id)
    return GateStatus(
        feed=name,
        snapshot_id=snapshot.snapshot_id,
        outcome=row["outcome"],
        admitted=state["admitted"],
        checks=_check_rows(verdict),
        why=(*verdict.why, *closed),
        manifest=manifest if state["admitted"] and manifest.is_file() else None,
        candidate=row["candidate"],
        examples=int(snapshot.counts["examples"]),
        judged_at=row["at"],
        policy_hash=row["policy_hash"],
        approvals=tuple(approvals),
        state=state["admission"],
        revoked=snapshot.revoked_why,
        expires=state["expires"],
    )


def judge_snapshot(
    feed: Feed, snapshot_id: str | None, now: dt.datetime, *, candidate: str | None = None, model: str | None = None
) -> Judged:
    """Judge a snapshot and store the verdict; a snapshot that was admitted and now fails is revoked.

    Where every check ends as it ended before, the last verdict is given again, so that what people approved stays
    approved. `candidate` is a file of predictions of the trusted inputs, `model` one that is asked: then the snapshot
    is judged with that model.
    """
    from poison_guard.gate.verdict import CHECKS, REPLY_CHECKS, evaluate_checks
    from poison_guard.steps.measure import measure

    snapshot = find_snapshot(feed, snapshot_id)
    refuse_revoked(snapshot)
    renew_revocations(feed.store, feed.settings, now)  # trainers elsewhere need a fresh list, whatever the verdict
    measured = measure(feed, snapshot, now, candidate=candidate, model=model)
    checks = REPLY_CHECKS if has_no_label(feed.contract) else CHECKS
    verdict = evaluate_checks(measured.measurements, feed.contract.gate, checks)
    key = _verdict_key(feed, verdict)
    last = last_verdict(feed.store, snapshot.snapshot_id, candidate=measured.candidate)
    if last and last["verdict"].get("judged_by") == key:
        age = now - last["at"]
        if dt.timedelta(0) <= age < _lifetime(feed, last["outcome"]):
            return Judged(snapshot, Verdict.from_json(last["verdict"]), last["seq"])
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
    if measured.candidate is None and verdict.outcome is Outcome.FAIL and last and last["outcome"] != Outcome.FAIL:
        snapshot = _revoke_failed(feed, snapshot, verdict, now)
    tell_of_gate(feed, snapshot.snapshot_id, verdict.outcome.value, now)
    return Judged(snapshot, verdict, seq)


def _revoke_failed(feed: Feed, snapshot: Snapshot, verdict: Verdict, now: dt.datetime) -> Snapshot:
    """Revoke an admitted snapshot that fails when it is judged again, unless only the trusted set is at fault."""
    failed = {check.name for check in verdict.checks if check.outcome is Outcome.FAIL}
    admissions = list_admissions(feed.store, snapshot.feed, snapshot_id=snapshot.snapshot_id, limit=None)
    if failed <= {"trusted_set"} or not any(admission["expires"] > now for admission in admissions):
        return snapshot
    why = f"judged again, it fails: {verdict.why[0]}"[:2000]
    revoked = revoke_snapshot(feed.store, snapshot.snapshot_id, by="poison-guard", reason=why, now=now)
    drain(feed.store, feed.settings, now)
    return revoked


def _lifetime(feed: Feed, outcome: str) -> dt.timedelta:
    """Return how long a verdict is given again: a pass for half as long as its admission holds, then it is renewed."""
    days = dt.timedelta(days=feed.contract.gate.admission_days)
    return days / 2 if outcome == Outcome.PASS else days


def _verdict_key(feed: Feed, verdict: Verdict) -> str:
    """Return a hash of all that makes a verdict another one: how its checks end, policy, format and signing key."""
    signer = key_id(signing_key(feed.settings.home).public_key())
    ends = [[check.name, check.outcome.value] for check in verdict.checks if check.blocking]
    body = [ends, feed.contract.gate.hash, _CHECKS_FORMAT, signer]
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()
