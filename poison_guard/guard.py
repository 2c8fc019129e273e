"""`Guard` and `Home`: every verb once. The only door of command line, Airflow and pages to the steps."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poison_guard.config import Contract, Settings, find_contract, load_contract, open_settings

if TYPE_CHECKING:
    import pandas as pd

    from poison_guard.steps.collect import OutcomesRead, Source
    from poison_guard.steps.facing import GateResult, RecallResult, RetrainResult, SealResult
    from poison_guard.steps.opening import Feed
    from poison_guard.steps.results import ScanResult
    from poison_guard.store import TrustedSummary

__all__ = ["Guard"]


class Guard:
    """The guard of one feed. Each verb opens the store, names its step, and closes the store.

    >>> guard = Guard.open("feeds/captcha.toml", home="guard-home")  # doctest: +SKIP
    >>> guard.scan("answers.parquet").decisions  # doctest: +SKIP
    """

    def __init__(self, contract: Contract, settings: Settings) -> None:
        self.contract = contract
        self.settings = settings

    @classmethod
    def open(cls, feed: str | Path, home: str | Path = "guard-home") -> Guard:
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

    # -- records ----------------------------------------------------------------------------------------------------

    def scan(self, source: Source = None) -> ScanResult:
        """Decide records (frame, path, paths; None: the contract's ``[data]``) and store nothing."""
        from poison_guard.steps.run import scan

        with self._feed(create_store=False) as feed:
            return scan(feed, source, _now())

    def ingest(self, source: Source = None) -> ScanResult:
        """Decide and store records; without `source`, what is new at the contract's ``[data]``. Twice equals once."""
        from poison_guard.steps.run import ingest

        with self._feed() as feed:
            return ingest(feed, source, _now())

    def trust(self, source: Source, *, by: str, reason: str) -> TrustedSummary:
        """Add vetted records (frame or path) to the trusted set; `DataError` where one of them is not whole."""
        from poison_guard.steps.trust import trust

        with self._feed() as feed:
            return trust(feed, source, by=by, reason=reason, now=_now())

    def outcomes(self) -> OutcomesRead:
        """Read new files of outcomes into the ledger; `ingest` does so first, by itself."""
        from poison_guard.steps.collect import read_outcomes

        with self._feed() as feed:
            return read_outcomes(feed, _now())

    def recall(
        self,
        *,
        by: str,
        reason: str,
        campaign_id: str | None = None,
        source_id: str | None = None,
        record_ids: str | Sequence[str] | None = None,
        observed: bool = False,
    ) -> RecallResult:
        """Take accepted records back to quarantine: of a campaign, of a source, by id, or `observed` (name one).

        `observed` are those that the guard would have held but accepted in observe mode. Every snapshot that holds one
        of the records is revoked; the result names these snapshots and the models trained on them.
        """
        from poison_guard.steps.facing import recall

        with self._feed() as feed:
            return recall(
                feed,
                campaign_id=campaign_id,
                source_id=source_id,
                record_ids=[record_ids] if isinstance(record_ids, str) else record_ids,
                observed=observed,
                by=by,
                reason=reason,
                now=_now(),
            )

    # -- training ---------------------------------------------------------------------------------------------------

    def seal(self) -> SealResult:
        """Seal a snapshot of all that is accepted now; the last one again where nothing changed."""
        from poison_guard.steps.facing import seal

        with self._feed() as feed:
            return seal(feed)

    def gate(self, candidate: str | Path | None = None, *, snapshot_id: str | None = None) -> GateResult:
        """Judge a snapshot (the last one; sealed first where there is none) and admit it where it passes.

        `candidate`: a file of predictions (``example_id, label``) of `candidate_inputs` by any model, judged with it.
        """
        from poison_guard.steps.facing import gate

        with self._feed() as feed:
            return gate(feed, snapshot_id, _now(), candidate=None if candidate is None else str(candidate))

    def approve(
        self, *, by: str, reason: str, expires: dt.datetime | None = None, snapshot_id: str | None = None
    ) -> GateResult:
        """Approve a snapshot that did not pass, in the name of a person, and admit it where that is enough."""
        from poison_guard.steps.facing import approve

        with self._feed() as feed:
            return approve(feed, snapshot_id, by=by, reason=reason, expires=expires, now=_now())

    def candidate_inputs(self) -> pd.DataFrame:
        """Return the trusted examples a candidate has to predict: ``example_id`` and content, without labels."""
        from poison_guard.steps.facing import candidate_inputs

        with self._feed(create_store=False) as feed:
            return candidate_inputs(feed)

    def retrain(self, *, measure_only: bool = False, from_scratch: bool = False) -> RetrainResult:
        """Train on the newest admitted snapshot, evaluate, and promote by rule; `ClosedError` without an admission.

        With `measure_only` the last snapshot is trained on without one; that model can never be promoted. With
        `from_scratch` training does not start from the champion.
        """
        from poison_guard.steps.facing import retrain

        with self._feed() as feed:
            return retrain(feed, _now(), measure_only=measure_only, from_scratch=from_scratch)

    def rollback(self, *, to: str, by: str, reason: str, force: bool = False) -> RetrainResult:
        """Make an earlier champion the champion again; `force` even where its snapshot was revoked."""
        from poison_guard.steps.facing import rollback

        with self._feed() as feed:
            return rollback(feed, to=to, by=by, reason=reason, force=force)

    # -- stages: what a scheduler calls, ids in and plain values out, each safe to run again --------------------------

    def stage_collect(self) -> dict[str, Any]:
        """Hand over what is new; return ``{"run_id": str | None, "partitions": [0, 1, …]}``, None where nothing is."""
        from poison_guard.steps.run import stage_collect

        with self._feed() as feed:
            run_id, partitions = stage_collect(feed, _now())
            return {"run_id": run_id, "partitions": list(range(partitions))}

    def stage_validate(self, run_id: str) -> None:
        """Check the batch of a run against the accepted schema and the suite."""
        from poison_guard.steps.run import stage_validate

        with self._feed() as feed:
            stage_validate(feed, run_id)

    def stage_score(self, run_id: str, partition: int) -> None:
        """Score one partition of the batch of a run."""
        from poison_guard.steps.run import stage_score

        with self._feed() as feed:
            stage_score(feed, run_id, partition)

    def stage_decide(self, run_id: str) -> None:
        """Find what only the whole batch shows, then decide every record of a run."""
        from poison_guard.steps.run import stage_decide

        with self._feed() as feed:
            stage_decide(feed, run_id)

    def stage_commit(self, run_id: str) -> dict[str, int]:
        """Store what was decided, once however often this is called; return the run's counts."""
        from poison_guard.steps.run import stage_commit

        with self._feed() as feed:
            return stage_commit(feed, run_id)

    @contextmanager
    def _feed(self, *, create_store: bool = True) -> Iterator[Feed]:
        from poison_guard.steps.opening import open_feed

        with open_feed(self.contract, self.settings, create_store=create_store) as feed:
            yield feed


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
