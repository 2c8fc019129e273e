"""`Stages`: what a scheduler calls of a feed: the stages of a run, of the gate, and of training.

Each stage is safe to run again in another process: it takes ids and returns a small frozen value.
"""

from __future__ import annotations

import datetime as dt
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poison_guard.steps.admission import Admitted
    from poison_guard.steps.opening import Feed
    from poison_guard.steps.promote import Promotion
    from poison_guard.steps.stages import (
        ApproveStage,
        CollectStage,
        CommitStage,
        Due,
        EvaluateStage,
        GateStage,
        RunStage,
        SealStage,
        TrainStage,
    )

__all__ = ["Stages"]


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Stages:
    """What a scheduler calls of one feed; every `Guard` has these, too."""

    def _feed(self, *, create_store: bool = True, writes: bool = False) -> AbstractContextManager[Feed]:
        raise NotImplementedError

    def stage_collect(self) -> CollectStage:
        """Hand over what is new, or the batch of a run that was begun and not committed."""
        from poison_guard.steps.stages import stage_collect

        with self._feed(writes=True) as feed:
            return stage_collect(feed, _now())

    def stage_validate(self, run_id: str) -> RunStage:
        """Check the batch of a run against the accepted schema and the suite."""
        from poison_guard.steps.stages import stage_validate

        with self._feed() as feed:
            return stage_validate(feed, run_id)

    def stage_score(self, run_id: str, partition: int) -> RunStage:
        """Score one partition of the batch of a run."""
        from poison_guard.steps.stages import stage_score

        with self._feed() as feed:
            return stage_score(feed, run_id, partition)

    def stage_decide(self, run_id: str) -> RunStage:
        """Find what only the whole batch shows, then decide every record of a run."""
        from poison_guard.steps.stages import stage_decide

        with self._feed() as feed:
            return stage_decide(feed, run_id)

    def stage_commit(self, run_id: str) -> CommitStage:
        """Store what was decided, once however often this is called."""
        from poison_guard.steps.stages import stage_commit

        with self._feed(writes=True) as feed:
            return stage_commit(feed, run_id)

    def stage_seal(self) -> SealStage:
        """Seal what may be learned from, where a model could learn from the feed."""
        from poison_guard.steps.stages import stage_seal

        with self._feed(writes=True) as feed:
            return stage_seal(feed)

    def stage_gate(self, snapshot_id: str) -> GateStage:
        """Judge a snapshot and store the verdict."""
        from poison_guard.steps.stages import stage_gate

        with self._feed(writes=True) as feed:
            return stage_gate(feed, snapshot_id, _now())

    def stage_approve(
        self,
        snapshot_id: str,
        *,
        by: str,
        reason: str,
        expires: dt.datetime | None = None,
        verdict_seq: int | None = None,
    ) -> ApproveStage:
        """Store one person's approval of the verdict that they saw (None: the last one)."""
        from poison_guard.steps.stages import stage_approve

        words = {"by": by, "reason": reason, "expires": expires, "verdict_seq": verdict_seq}
        with self._feed(writes=True) as feed:
            return stage_approve(feed, snapshot_id, **words, now=_now())

    def stage_admit(self, snapshot_id: str) -> Admitted:
        """Sign the admission; `ClosedError` says why not."""
        from poison_guard.steps.admission import admit

        with self._feed(writes=True) as feed:
            return admit(feed, snapshot_id, _now())

    def check_admission(self, snapshot_id: str | None = None) -> Admitted:
        """Verify the admission of a snapshot (the newest) against key, data and revocations; `ClosedError` if none."""
        from poison_guard.steps.admission import check_admission

        with self._feed(create_store=False, writes=True) as feed:
            return check_admission(feed, snapshot_id, _now())

    def due(self) -> Due:
        """Return the snapshot that is admitted and that no model was trained on yet."""
        from poison_guard.steps.stages import stage_due

        with self._feed() as feed:
            return stage_due(feed, _now())

    def stage_train(self, snapshot_id: str) -> TrainStage:
        """Train on an admitted snapshot; killed and called again, it goes on where it was."""
        from poison_guard.steps.stages import stage_train

        with self._feed(writes=True) as feed:
            return stage_train(feed, snapshot_id, _now())

    def stage_evaluate(self, model_id: str) -> EvaluateStage:
        """Evaluate a model on trusted examples that no training saw."""
        from poison_guard.steps.stages import stage_evaluate

        with self._feed(writes=True) as feed:
            return stage_evaluate(feed, model_id)

    def stage_promote(self, model_id: str) -> Promotion:
        """Make a model the champion if the rule lets it, else refuse it."""
        from poison_guard.steps.promote import promote_model

        with self._feed(writes=True) as feed:
            return promote_model(feed, model_id)
