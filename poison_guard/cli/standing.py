"""Where a feed stands on its way to training: last snapshot, verdict, approvals, admission, champion."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from poison_guard.errors import NotFoundError

if TYPE_CHECKING:
    from poison_guard.store import Store
    from poison_guard.store.snapshots import Snapshot

__all__ = ["admission_state", "gate_facts", "standing"]

_ALL = 1_000_000


def standing(store: Store, feed: str, *, now: dt.datetime) -> dict[str, Any] | None:
    """Return what `status` shows of the last snapshot and the champion; None where nothing was sealed yet.

    Keys: ``snapshot_id, sealed_at, examples, revoked`` (why, or None), ``outcome`` (of the last verdict, or None),
    ``admission`` (sentence), ``admitted, expires, champion`` (model id or None), ``champion_revoked``.
    """
    from poison_guard.store.lineage import root_of
    from poison_guard.store.models import champion
    from poison_guard.store.snapshots import last_snapshot
    from poison_guard.store.verdicts import last_verdict

    snapshot = last_snapshot(store, feed, revoked=True)
    if snapshot is None:
        return None
    verdict = last_verdict(store, snapshot.snapshot_id)
    model = champion(store, feed)
    return {
        "snapshot_id": snapshot.snapshot_id,
        "sealed_at": snapshot.sealed_at,
        "examples": sum(part.rows for part in snapshot.parts),
        "revoked": snapshot.revoked_why,
        "outcome": verdict["outcome"] if verdict else None,
        **admission_state(snapshot, _admission(store, snapshot), verdict["seq"] if verdict else None, now=now),
        "champion": model.model_id if model else None,
        "champion_revoked": bool(model and root_of(store, model.model_id)),
    }


def gate_facts(store: Store, feed: str, snapshot_id: str | None, *, now: dt.datetime) -> dict[str, Any] | None:
    """Return the last verdict on a snapshot with its approvals and admission; None where it was not judged.

    Keys are those that `show_verdict` takes but for ``manifest``, and ``judged_at, candidate, policy_hash, approvals,
    state, revoked, expires``.
    `NotFoundError` where the feed has no such snapshot.
    """
    from poison_guard.gate.admission import decide_admission
    from poison_guard.gate.check import Verdict
    from poison_guard.store.admissions import approvals
    from poison_guard.store.verdicts import last_verdict

    snapshot = _snapshot(store, feed, snapshot_id)
    verdict = last_verdict(store, snapshot.snapshot_id)
    if verdict is None:
        return None
    state = admission_state(snapshot, _admission(store, snapshot), verdict["seq"], now=now)
    whole, given = Verdict.from_json(verdict["verdict"]), approvals(store, verdict["seq"])
    allowed = decide_admission(verdict["outcome"], given, now=now)
    closed = () if state["admitted"] or allowed.admitted or snapshot.revoked_why else (allowed.why,)
    return {
        "snapshot_id": snapshot.snapshot_id,
        "outcome": verdict["outcome"],
        "admitted": state["admitted"],
        "why": [*whole.why, *closed],
        "checks": [check.to_json() for check in whole.checks],
        "judged_at": verdict["at"],
        "candidate": verdict["candidate"],
        "policy_hash": verdict["policy_hash"],
        "approvals": given,
        "state": state["admission"],
        "revoked": snapshot.revoked_why,
        "expires": state["expires"],
    }


def admission_state(
    snapshot: Snapshot, found: Mapping[str, Any] | None, verdict_seq: int | None, *, now: dt.datetime
) -> dict[str, Any]:
    """Return ``admitted`` (by verdict `verdict_seq`, as of `now`), ``expires``, and ``admission``: a phrase.

    A manifest that an earlier verdict gave still verifies until it lapses, which the phrase says.
    """
    if snapshot.revoked_seq is not None:
        return {"admitted": False, "expires": None, "admission": f"revoked: {snapshot.revoked_why}"}
    if found is None:
        return {"admitted": False, "expires": None, "admission": "not admitted"}
    expires, until = found["expires"], f"{found['expires']:%Y-%m-%d %H:%M} UTC"
    if expires <= now:
        return {"admitted": False, "expires": expires, "admission": f"admission lapsed {until}"}
    if found["verdict_seq"] != verdict_seq:
        return {"admitted": False, "expires": expires, "admission": f"admitted by an earlier verdict until {until}"}
    return {"admitted": True, "expires": expires, "admission": f"admitted until {until}"}


def _admission(store: Store, snapshot: Snapshot) -> Mapping[str, Any] | None:
    """Return the newest admission of the snapshot."""
    from poison_guard.store.admissions import admissions

    found = admissions(store, snapshot.feed, limit=_ALL)
    return next((a for a in found if a["snapshot_id"] == snapshot.snapshot_id), None)


def _snapshot(store: Store, feed: str, snapshot_id: str | None) -> Snapshot:
    from poison_guard.store.snapshots import last_snapshot, load_snapshot

    if snapshot_id is None:
        last = last_snapshot(store, feed, revoked=True)
        if last is None:
            raise NotFoundError(f"{feed} has no snapshot yet; poison-guard seal --feed {feed} makes one")
        return last
    snapshot = load_snapshot(store, snapshot_id)
    if snapshot.feed != feed:
        raise NotFoundError(f"snapshot {snapshot_id} is of feed {snapshot.feed}, not of {feed}; name it with --feed")
    return snapshot
