"""Stages: what a scheduler calls, each in a process of its own: ids in, small frozen values out, safe to run again.

A stage does what the verb of one process does, cut where a task may die. What a stage returns fits into a message
between tasks: `to_dict` gives it as JSON holds it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from poison_guard.config import Mode
from poison_guard.errors import NotFoundError, UsageError
from poison_guard.results import Result
from poison_guard.steps.cost import measured, spent, usage
from poison_guard.steps.handover import Handover, HandoverLostError, LakeHandover, Pin, pin_of, put_batch
from poison_guard.steps.opening import Feed
from poison_guard.steps.run import collect, finish, judge, look_after, read_outcomes, score, validate
from poison_guard.store import Run, find_open_run, load_run

__all__ = [
    "ApproveStage",
    "CollectStage",
    "CommitStage",
    "Due",
    "EvaluateStage",
    "GateStage",
    "RunStage",
    "SealStage",
    "TrainStage",
    "stage_approve",
    "stage_collect",
    "stage_commit",
    "stage_decide",
    "stage_due",
    "stage_evaluate",
    "stage_gate",
    "stage_score",
    "stage_seal",
    "stage_train",
    "stage_validate",
]


@dataclass(frozen=True, slots=True)
class CollectStage(Result):
    """A batch that was handed over."""

    run_id: str | None
    """None where nothing is new."""
    partitions: tuple[int, ...] = ()
    """Numbers of the parts to score, each by itself."""


@dataclass(frozen=True, slots=True)
class RunStage(Result):
    """A stage of a run between collecting and committing."""

    run_id: str
    done: bool
    """False: the run was committed before, and there was nothing to do."""


@dataclass(frozen=True, slots=True)
class CommitStage(Result):
    """A run that is stored."""

    run_id: str
    counts: Mapping[str, int]


def stage_collect(feed: Feed, now: dt.datetime) -> CollectStage:
    """Hand over what is new, or the batch of a run that was begun and not committed."""
    before = usage()
    begun = find_open_run(feed.store, feed.contract.name)
    if begun is not None and (n := _handed_over(LakeHandover(feed.store.lake, begun.run_id))):
        return CollectStage(begun.run_id, tuple(range(n)))
    read_outcomes(feed, now)
    run, batch, controls = collect(feed, None, now) or (None, None, None)
    if run is None or batch is None or controls is None:
        look_after(feed)
        return CollectStage(None)
    handover = LakeHandover(feed.store.lake, run.run_id)
    n = put_batch(handover, batch, controls, partition_rows=feed.contract.data.partition_rows)
    handover.put("cost-collect", spent(before))
    return CollectStage(run.run_id, tuple(range(n)))


def _handed_over(handover: Handover) -> int:
    """Return the number of partitions of a batch that was handed over; 0 where something of it is missing."""
    n = int(handover.get("partitions")["n"]) if handover.has("partitions") else 0
    names = ["batch", "controls", *(f"records-{part:05d}" for part in range(n))]
    return n if all(map(handover.has, names)) else 0


def stage_validate(feed: Feed, run_id: str) -> RunStage:
    """Check the batch of a run."""
    handover = LakeHandover(feed.store.lake, run_id)

    def check(pin: Pin) -> None:
        with measured(handover, "validate"):
            validate(feed, handover, pin)

    return _unless_committed(feed, run_id, check)


def stage_score(feed: Feed, run_id: str, partition: int, handover: Handover | None = None) -> RunStage:
    """Score one partition of the batch of a run; `handover` keeps the models from one partition to the next."""
    values = handover or LakeHandover(feed.store.lake, run_id)

    def score_one(pin: Pin) -> None:
        n = int(values.get("partitions")["n"])
        if not 0 <= partition < n:
            raise UsageError(f"the run {run_id} has the partitions 0 to {n - 1}, not {partition}")
        with measured(values, f"score-{partition:05d}"):
            score(feed, values, pin, partition)

    return _unless_committed(feed, run_id, score_one)


def stage_decide(feed: Feed, run_id: str) -> RunStage:
    """Find what only the whole batch shows, then decide every record of a run."""
    handover = LakeHandover(feed.store.lake, run_id)
    return _unless_committed(feed, run_id, lambda pin: judge(feed, handover, pin))


def stage_commit(feed: Feed, run_id: str) -> CommitStage:
    """Store what was decided, once however often this is called."""
    run = _run_of(feed, run_id)
    if run.status == "committed":
        return CommitStage(run_id, dict(run.counts))
    return CommitStage(run_id, dict(finish(feed, LakeHandover(feed.store.lake, run_id), run, engine="airflow")))


def _unless_committed(feed: Feed, run_id: str, stage: Callable[[Pin], object]) -> RunStage:
    """Do a stage of a run by its pin; nothing where the run is committed, or was by another engine meanwhile."""
    run = _run_of(feed, run_id)
    if run.status == "committed":
        return RunStage(run_id, False)
    try:
        stage(pin_of(feed, run.state_version))
    except HandoverLostError:
        if _run_of(feed, run_id).status != "committed":
            raise
        return RunStage(run_id, False)
    return RunStage(run_id, True)


def _run_of(feed: Feed, run_id: str) -> Run:
    """Return a run of this feed; `NotFoundError` for one of another feed: its contract is another."""
    run = load_run(feed.store, run_id)
    if run.feed != feed.contract.name:
        raise NotFoundError(f"the run {run_id} is of the feed {run.feed}, not of {feed.contract.name}")
    return run


@dataclass(frozen=True, slots=True)
class SealStage(Result):
    """A snapshot to judge."""

    snapshot_id: str | None
    """None where nothing can be sealed yet."""
    new: bool = False
    judged: bool = False
    """False for a snapshot without a verdict: it is new, or a crash came between sealing and judging."""
    counts: Mapping[str, int] = field(default_factory=dict)
    lacks: str | None = None
    """What the contract does not map that a model needs to learn from the feed: nothing is ever sealed for one."""
    unjudged: str | None = None
    """Why nothing could judge what a feed that observes accepted last: nobody trains on that by schedule."""


@dataclass(frozen=True, slots=True)
class GateStage(Result):
    """A verdict."""

    snapshot_id: str
    outcome: str
    """``pass``, ``fail``, ``inconclusive`` or ``error``."""
    verdict_seq: int
    why: tuple[str, ...]
    """A sentence for each check that did not pass."""


@dataclass(frozen=True, slots=True)
class ApproveStage(Result):
    """An approval that is stored."""

    snapshot_id: str
    approvals: int
    """How many the verdict has."""


@dataclass(frozen=True, slots=True)
class Due(Result):
    """What is to be learned from."""

    snapshot_id: str | None
    """The snapshot that is admitted and no model was trained on yet; None where nothing is due."""


@dataclass(frozen=True, slots=True)
class TrainStage(Result):
    """A model that is trained."""

    model_id: str


@dataclass(frozen=True, slots=True)
class EvaluateStage(Result):
    """What a model does on trusted examples that no training saw."""

    model_id: str
    metrics: Mapping[str, Any]
    """Without the single predictions."""


def stage_seal(feed: Feed) -> SealStage:
    """Seal what may be learned from, where a model could learn from the feed and something judged what it accepted."""
    from poison_guard.steps.coverage import why_unjudged
    from poison_guard.steps.examples import what_a_model_lacks
    from poison_guard.steps.seal import NothingToSealError, seal
    from poison_guard.store.admissions import last_verdict

    if (lacks := what_a_model_lacks(feed.contract)) is not None:
        return SealStage(None, lacks=lacks)
    if feed.contract.mode is Mode.OBSERVE and (unjudged := why_unjudged(feed)) is not None:
        return SealStage(None, unjudged=unjudged)
    try:
        sealed = seal(feed)
    except NothingToSealError:
        return SealStage(None)
    judged = last_verdict(feed.store, sealed.snapshot_id) is not None
    return SealStage(sealed.snapshot_id, sealed.new, judged, sealed.counts)


def stage_gate(feed: Feed, snapshot_id: str, now: dt.datetime) -> GateStage:
    """Judge a snapshot and store the verdict."""
    from poison_guard.steps.gate import judge_snapshot

    judged = judge_snapshot(feed, snapshot_id, now)
    return GateStage(
        judged.snapshot.snapshot_id, judged.verdict.outcome.value, judged.verdict_seq, tuple(judged.verdict.why)
    )


def stage_approve(feed: Feed, snapshot_id: str, **approval: Any) -> ApproveStage:
    """Store one person's approval (see `record_approval`) of the verdict that they saw."""
    from poison_guard.steps.admission import record_approval

    return ApproveStage(snapshot_id, record_approval(feed, snapshot_id, **approval))


def stage_due(feed: Feed, now: dt.datetime) -> Due:
    """Return what is due."""
    from poison_guard.steps.retrain import due

    return Due(due(feed, now))


def stage_train(feed: Feed, snapshot_id: str, now: dt.datetime) -> TrainStage:
    """Train on an admitted snapshot."""
    from poison_guard.steps.retrain import train_model

    return TrainStage(train_model(feed, snapshot_id, now).model_id)


def stage_evaluate(feed: Feed, model_id: str) -> EvaluateStage:
    """Evaluate a model on trusted examples that no training saw."""
    from poison_guard.steps.promote import evaluate_model

    metrics = evaluate_model(feed, model_id)
    return EvaluateStage(model_id, {key: value for key, value in metrics.items() if key != "predictions"})
