"""`Stages`: one feed, opened from its contract, and its stages: what a scheduler calls of a run, the gate and training.

Each stage is safe to run again in another process: it takes ids and returns a small frozen value.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from poison_guard.config import Contract, Settings, find_contract, load_contract, open_settings

if TYPE_CHECKING:
    from poison_guard.steps.admission import Admission
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

_now = partial(dt.datetime.now, dt.UTC)


@dataclass(frozen=True, eq=False)
class Stages:
    """One feed as a scheduler calls it; a `Guard` has these, too."""

    contract: Contract
    settings: Settings

    @classmethod
    def open(cls, feed: str | Path, home: str | Path = "guard-home") -> Self:
        """Read contract and settings; `feed` is a contract file, or a name as `find_contract` looks it up.

        `ConfigError` names the file and the key. The store is opened when used.
        """
        return cls(load_contract(find_contract(feed, home)), open_settings(home))

    @property
    def home(self) -> Path:
        """The folder of store, lake and key."""
        return self.settings.home

    @property
    def contract_path(self) -> Path:
        """The contract's file."""
        return Path(str(self.contract.path))

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

    def stage_admit(self, snapshot_id: str) -> Admission:
        """Sign the admission; `ClosedError` says why not."""
        from poison_guard.steps.admission import admit

        with self._feed(writes=True) as feed:
            return admit(feed, snapshot_id, _now())

    def check_admission(self, snapshot_id: str | None = None) -> Admission:
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

    def _stored_feed(self, *, writes: bool = False) -> AbstractContextManager[Feed]:
        """Open the feed of a home that has a store; `NotFoundError` where there is none: a typo makes no empty one."""
        from poison_guard.steps.opening import refuse_no_store

        refuse_no_store(self.settings)
        return self._feed(writes=writes)

    @contextmanager
    def _feed(self, *, create_store: bool = True, writes: bool = False) -> Iterator[Feed]:
        from poison_guard.steps.opening import open_feed

        with open_feed(self.contract, self.settings, create_store=create_store, writes=writes) as feed:
            yield feed
