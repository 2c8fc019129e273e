"""The second half as people call it: seal, gate, approve, retrain, roll back, recall, with what each one shows."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from poison_guard.errors import ClosedError, UsageError
from poison_guard.gate.outcomes import Outcome
from poison_guard.steps import gate as gating
from poison_guard.steps import retrain as retraining
from poison_guard.steps import seal as sealing
from poison_guard.steps.examples import load_trusted_examples
from poison_guard.steps.gate import Judged, judge, judged_before
from poison_guard.steps.measure import read_predictions
from poison_guard.steps.opening import Feed
from poison_guard.steps.recall import revoked_by
from poison_guard.steps.review import recall as review_recall
from poison_guard.store.models import champion, find_revoked_ancestor, list_models
from poison_guard.store.snapshots import last_snapshot

__all__ = [
    "GateResult",
    "RecallResult",
    "RetrainResult",
    "SealResult",
    "approve",
    "candidate_inputs",
    "gate",
    "recall",
    "retrain",
    "rollback",
    "seal",
]


@dataclasses.dataclass(frozen=True, slots=True)
class SealResult:
    """What `Guard.seal` returns."""

    snapshot_id: str
    new: bool
    """False: nothing changed since the last one, which this is."""
    counts: Mapping[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class GateResult:
    """What `Guard.gate` and `Guard.approve` return."""

    outcome: str
    """``pass``, ``fail``, ``inconclusive`` or ``error``."""
    admitted: bool
    checks: pd.DataFrame
    """``name, outcome, value, limit, low, high, n, needs, why, blocking, atlas, nist``, one row a check."""
    snapshot_id: str
    manifest: Path | None
    """The signed admission, where there is one."""
    why: tuple[str, ...]
    """A sentence for each check that keeps the gate closed, and how it can be opened."""


@dataclasses.dataclass(frozen=True, slots=True)
class RetrainResult:
    """What `Guard.retrain` and `Guard.rollback` return."""

    model_id: str
    promoted: bool
    why: str
    metrics: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class RecallResult:
    """What `Guard.recall` returns: the decision, what it revoked, and what ate it."""

    seq: int
    """Number of its event; `undo` takes it."""
    verb: str
    record_ids: tuple[str, ...]
    places: Mapping[str, int]
    """How many of the records came from where."""
    revoked: tuple[str, ...]
    """Snapshots that held one of them."""
    models: tuple[str, ...]
    """Models trained on those snapshots."""
    champion: str | None
    """The champion, where it is among `models`."""
    rollback_to: str | None
    """The newest earlier champion whose snapshot still stands: what `rollback` can go to."""


def seal(feed: Feed) -> SealResult:
    """Seal what is accepted now."""
    sealed = sealing.seal(feed)
    return SealResult(sealed.snapshot.snapshot_id, sealed.new, dict(sealed.snapshot.counts))


def gate(feed: Feed, snapshot_id: str | None, now: dt.datetime, *, candidate: str | None = None) -> GateResult:
    """Judge a snapshot and admit it where it may pass; the last one, sealed first where there is none.

    With a candidate the snapshot is judged and admitted first; what is left to judge then is the candidate.
    """
    if candidate is not None:
        read_predictions(candidate)  # wrong usage is told before anything is judged and signed
    if snapshot_id is None and last_snapshot(feed.store, feed.contract.name) is None:
        sealing.seal(feed)
    result = _admitted(feed, judge(feed, snapshot_id, now), now)
    if candidate is None:
        return result
    return _with_candidate(result, judge(feed, result.snapshot_id, now, candidate=candidate))


def approve(
    feed: Feed, snapshot_id: str | None, *, by: str, reason: str, expires: dt.datetime | None, now: dt.datetime
) -> GateResult:
    """Write an approval down and admit the snapshot where that is enough."""
    gating.approve(feed, snapshot_id, by=by, reason=reason, expires=expires, now=now)
    return _admitted(feed, judged_before(feed, snapshot_id), now)


def candidate_inputs(feed: Feed) -> pd.DataFrame:
    """Return the held-out trusted examples as a candidate's user sees them: ``example_id`` and content, no labels."""
    held = load_trusted_examples(feed).held_out()
    ids = held.frame[["example_id"]]
    if held.kind == "table":
        return pd.concat([ids, pd.DataFrame(held.inputs, columns=list(held.features))], axis=1)
    cells = list(held.inputs) if held.kind == "text" else [image.tolist() for image in held.inputs]
    return ids.assign(**{held.kind: pd.Series(cells, dtype=object)})


def retrain(feed: Feed, now: dt.datetime, *, measure_only: bool, from_scratch: bool = False) -> RetrainResult:
    """Train on what is due, evaluate and promote; with `measure_only` on the last snapshot, never promoted.

    `from_scratch` trains on the newest snapshot whose admission holds, whatever was trained on it, and starts from
    nothing. `UsageError` for both.
    """
    if measure_only and from_scratch:
        raise UsageError("a model is trained from scratch to be promoted, or measured only; choose one")
    name = feed.contract.name
    if measure_only:
        model = retraining.measure_model(feed, gating.chosen_snapshot(feed, None).snapshot_id, now)
        metrics = retraining.evaluate_model(feed, model.model_id)
        return RetrainResult(model.model_id, False, "trained for measurement; it can never be promoted", metrics)
    left = retraining.unfinished(feed)
    snapshot_id = retraining.admitted_now(feed, now) if from_scratch else retraining.due(feed, now)
    if snapshot_id is not None:
        left = retraining.train_model(feed, snapshot_id, now, from_scratch=from_scratch)
    if left is None:
        return _nothing_due(feed, name)
    metrics = retraining.evaluate_model(feed, left.model_id)
    decision = retraining.promote_model(feed, left.model_id)
    return RetrainResult(left.model_id, decision["promoted"], decision["why"], metrics)


def _nothing_due(feed: Feed, name: str) -> RetrainResult:
    """Return the standing champion where nothing new is admitted; `ClosedError` where there is none to stand by."""
    refused = next((m for m in list_models(feed.store, name) if m.admission_seq is not None), None)
    best = champion(feed.store, name)
    if refused is not None and refused.status == "refused":
        raise ClosedError(
            f"{refused.model_id} was refused, and nothing has changed since: add trusted examples, mend [retrain] or "
            f"seal new data. {refused.why}"
        )
    if best is None:
        raise ClosedError(
            f"nothing of {name} is admitted that a model could learn from; `poison-guard gate check` opens the gate, "
            "or says why not"
        )
    root = find_revoked_ancestor(feed.store, best.model_id)
    if root is not None:
        raise ClosedError(
            f"the champion {best.model_id} learned from {root[1]}, which was revoked ({root[2]}), and nothing new is "
            "admitted; roll back, or seal and judge again"
        )
    retraining.load_trained(feed, best)
    return RetrainResult(best.model_id, True, "nothing new is admitted; it is the champion already", best.metrics)


def rollback(feed: Feed, *, to: str, by: str, reason: str, force: bool) -> RetrainResult:
    """Make an earlier champion the champion again."""
    model = retraining.rollback(feed, to=to, by=by, reason=reason, force=force)
    return RetrainResult(model.model_id, True, f"rolled back by {by}: {reason}", model.metrics)


def recall(
    feed: Feed,
    *,
    campaign_id: str | None,
    source_id: str | None,
    record_ids: Sequence[str] | None,
    by: str,
    reason: str,
    now: dt.datetime,
    observed: bool = False,
) -> RecallResult:
    """Take records back, and say which snapshots that revoked and which models learned from them."""
    done = review_recall(
        feed.store,
        feed.contract,
        campaign_id=campaign_id,
        source_id=source_id,
        record_ids=record_ids,
        by=by,
        reason=reason,
        now=now,
        observed=observed,
    )
    lost = revoked_by(feed.store, feed.contract.name, done.seq)
    gating.renew_revocations(feed, now)
    return RecallResult(
        **dataclasses.asdict(done),
        revoked=lost.revoked,
        models=tuple(model.model_id for model in lost.models),
        champion=lost.champion,
        rollback_to=lost.rollback_to,
    )


def _admitted(feed: Feed, judged: Judged, now: dt.datetime) -> GateResult:
    """Admit a judged snapshot where it may pass, and say what keeps it out where not."""
    try:
        made = gating.admit(feed, judged.snapshot.snapshot_id, now)
    except ClosedError as closed:
        return _shown(judged, None, (*judged.verdict.why, str(closed)))
    return _shown(judged, Path(made["manifest"]), judged.verdict.why)


def _with_candidate(result: GateResult, judged: Judged) -> GateResult:
    shown = _shown(judged, None, judged.verdict.why)
    if not result.admitted:
        return shown
    mine = next(check for check in judged.verdict.checks if check.name == "candidate")
    if mine.outcome is Outcome.PASS:
        return dataclasses.replace(shown, outcome="pass", admitted=True, manifest=result.manifest, why=())
    return dataclasses.replace(shown, outcome=mine.outcome.value, why=(f"{mine.name}: {mine.why}",))


def _shown(judged: Judged, manifest: Path | None, why: tuple[str, ...]) -> GateResult:
    checks = pd.DataFrame([dataclasses.asdict(check) for check in judged.verdict.checks])
    return GateResult(
        outcome=judged.verdict.outcome.value,
        admitted=manifest is not None,
        checks=checks.assign(outcome=checks["outcome"].astype("str")) if len(checks) else checks,
        snapshot_id=judged.snapshot.snapshot_id,
        manifest=manifest,
        why=why,
    )
