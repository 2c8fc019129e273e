"""`Guard` and `Home`: every verb once. The only door of command line, Airflow and pages to the steps."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poison_guard.config import Contract, Settings, find_contract, load_contract, open_settings
from poison_guard.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from poison_guard.steps.audit import HeadResult
    from poison_guard.steps.collect import OutcomesRead, Source
    from poison_guard.steps.doctor import DoctorResult
    from poison_guard.steps.erase import EraseResult
    from poison_guard.steps.export import ExportResult
    from poison_guard.steps.gate import GateResult, GateStatus
    from poison_guard.steps.look import Campaigns, Queue, RecordFacts
    from poison_guard.steps.opening import Feed
    from poison_guard.steps.promote import RollbackResult
    from poison_guard.steps.propose import ProposalResult
    from poison_guard.steps.report import ReportResult
    from poison_guard.steps.results import ScanResult
    from poison_guard.steps.retrain import ModelList, RetrainResult
    from poison_guard.steps.review import Claim, ReviewResult
    from poison_guard.steps.seal import SealResult
    from poison_guard.steps.sources import BlockResult, Sources
    from poison_guard.steps.status import FeedsResult, StatusResult
    from poison_guard.steps.trust import Suspects, TrustedVerdict, TrustResult
    from poison_guard.steps.tune import TuneResult
    from poison_guard.steps.verify import Verified
    from poison_guard.store import AuditResult, Store

__all__ = ["Guard", "Home", "propose", "verify"]


@dataclass(frozen=True, eq=False)
class Guard:
    """The guard of one feed. Each verb opens the store, names its step, and closes the store.

    >>> guard = Guard.open("feeds/captcha.toml", home="guard-home")  # doctest: +SKIP
    >>> guard.scan("answers.parquet").decisions  # doctest: +SKIP
    """

    contract: Contract
    settings: Settings

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

        with self._feed(writes=True) as feed:
            return ingest(feed, source, _now())

    def trust(self, source: Source, *, by: str, reason: str, dry_run: bool = False) -> TrustResult:
        """Add vetted records (frame or path) to the trusted set; `DataError` where one of them is flawed.

        A dry run counts the flaws and enters nothing.
        """
        from poison_guard.steps.trust import trust

        with self._feed(create_store=not dry_run, writes=not dry_run) as feed:
            return trust(feed, source, by=by, reason=reason, now=_now(), dry_run=dry_run)

    def suspects(self, limit: int = 50) -> Suspects:
        """Return the trusted records to look at again, strangest first; those that were looked at are left out."""
        from poison_guard.steps.trust import find_suspects

        with self._stored_feed() as feed:
            return find_suspects(feed, limit)

    def judge_trusted(
        self, record_ids: str | Sequence[str], *, wrong: bool, by: str, reason: str, dry_run: bool = False
    ) -> TrustedVerdict:
        """Note in a person's name that trusted records are wrong, and are judged by no more; or right after all."""
        from poison_guard.steps.trust import judge

        with self._stored_feed(writes=not dry_run) as feed:
            return judge(feed, record_ids, wrong=wrong, by=by, reason=reason, now=_now(), dry_run=dry_run)

    def outcomes(self) -> OutcomesRead:
        """Read new files of outcomes into the ledger; `ingest` does so first, by itself."""
        from poison_guard.steps.collect import read_outcomes

        with self._feed(writes=True) as feed:
            return read_outcomes(feed, _now())

    # -- review -----------------------------------------------------------------------------------------------------

    def queue(
        self,
        *,
        limit: int | None = None,
        campaign_id: str | None = None,
        source_id: str | None = None,
        kind: str | None = None,
        expired: bool = False,
        groups: str | None = None,
        decided: bool = False,
    ) -> Queue:
        """Return what waits for review, riskiest first, at most `limit` entries (None: the policy's `review_budget`).

        `kind` is ``held``, ``audit`` or ``recalled``; `expired` adds the entries that nobody read in time. With
        `groups` (``campaign`` or ``source``) a row is a group, the largest first; with `decided` a decision, the last
        first.
        """
        from poison_guard.steps.look import list_queue

        with self._stored_feed() as feed:
            return list_queue(
                feed,
                groups=groups,
                decided=decided,
                limit=limit,
                campaign_id=campaign_id,
                source_id=source_id,
                kind=kind,
                expired=expired,
                now=_now(),
            )

    def bootstrap(self, n: int) -> Queue:
        """Draw `n` staged records to vet for a first trusted set: every group alike, each source once before twice."""
        from poison_guard.steps.look import bootstrap

        with self._stored_feed() as feed:
            return bootstrap(feed, n)

    def campaigns(self, *, limit: int | None = None) -> Campaigns:
        """Return the campaigns that were found, largest first, with where their records are."""
        from poison_guard.steps.look import campaigns

        with self._stored_feed() as feed:
            return campaigns(feed, limit=limit)

    def explain(self, record_id: str) -> RecordFacts:
        """Return all that is known of a record: payload, decision, evidence, campaign, source, history, queue entry."""
        from poison_guard.steps.look import show

        with self._stored_feed() as feed:
            return show(feed.store, feed.contract.name, record_id)

    show = explain
    """What a reviewer needs to know of a record is all that is known of it."""

    def claim(
        self,
        *,
        by: str,
        limit: int = 1,
        record_ids: str | Sequence[str] | None = None,
        lease_seconds: float = 600,
    ) -> Claim:
        """Hold the riskiest free entries of the queue, or those of `record_ids`, for one reviewer.

        Nobody else can decide them for `lease_seconds`; `release` and `reject` take the claim's token.
        """
        from poison_guard.steps.review import claim

        with self._stored_feed(writes=True) as feed:
            return claim(feed, by=by, limit=limit, record_ids=record_ids, lease_seconds=lease_seconds, now=_now())

    def unclaim(self, token: str) -> int:
        """Give the entries of a claim back to the queue; return how many there were."""
        from poison_guard.steps.review import unclaim

        with self._stored_feed(writes=True) as feed:
            return unclaim(feed, token)

    def release(
        self,
        *,
        by: str,
        reason: str,
        record_ids: str | Sequence[str] | None = None,
        campaign_id: str | None = None,
        source_id: str | None = None,
        run_id: str | None = None,
        right: bool = True,
        trust: bool = False,
        token: str | None = None,
        overrule: bool = False,
        dry_run: bool = False,
    ) -> ReviewResult:
        """Accept held records: by id, of a campaign, a source or a run (name one). They speak for their sources.

        With `right` false they are accepted without saying that they are right; with `trust` they enter the trusted
        set. `BusyError` when another reviewer claimed one of them, or decided it otherwise and you do not `overrule`
        that; then nothing changes. Of a campaign, a source or a run, what was decided before is left as it is.
        """
        from poison_guard.steps.review import release

        with self._stored_feed(writes=not dry_run) as feed:
            return release(
                feed,
                record_ids=record_ids,
                campaign_id=campaign_id,
                source_id=source_id,
                run_id=run_id,
                right=right,
                trust=trust,
                token=token,
                overrule=overrule,
                by=by,
                reason=reason,
                dry_run=dry_run,
                now=_now(),
            )

    def reject(
        self,
        *,
        by: str,
        reason: str,
        record_ids: str | Sequence[str] | None = None,
        campaign_id: str | None = None,
        source_id: str | None = None,
        run_id: str | None = None,
        token: str | None = None,
        overrule: bool = False,
        dry_run: bool = False,
    ) -> ReviewResult:
        """Reject held records: by id, of a campaign, a source or a run (name one). They speak against their sources.

        What a colleague released is not rejected unless you `overrule` that, as in `release`.
        """
        from poison_guard.steps.review import reject

        with self._stored_feed(writes=not dry_run) as feed:
            return reject(
                feed,
                record_ids=record_ids,
                campaign_id=campaign_id,
                source_id=source_id,
                run_id=run_id,
                token=token,
                overrule=overrule,
                by=by,
                reason=reason,
                dry_run=dry_run,
                now=_now(),
            )

    def erase(self, source_id: str, *, by: str, reason: str, dry_run: bool = False) -> EraseResult:
        """Destroy what a source sent or wrote: payloads and names go from store and lake, tombstones stay.

        The snapshots that held its records are revoked; the result's `revocation` names them and the models trained on
        them. The same again changes nothing, and finishes what a killed one left.
        """
        from poison_guard.steps.erase import erase

        with self._stored_feed(writes=not dry_run) as feed:
            return erase(feed, source_id, by=by, reason=reason, dry_run=dry_run, now=_now())

    def recall(
        self,
        *,
        by: str,
        reason: str,
        record_ids: str | Sequence[str] | None = None,
        campaign_id: str | None = None,
        source_id: str | None = None,
        run_id: str | None = None,
        observed: bool = False,
        dry_run: bool = False,
    ) -> ReviewResult:
        """Take accepted records back to the queue: by id, of a campaign, a source or a run, or `observed` (name one).

        `observed` are those that the guard would have held but accepted in observe mode. Every snapshot that holds one
        of the records is revoked; the result's `revocation` names these snapshots and the models trained on them.
        """
        from poison_guard.steps.review import recall

        with self._stored_feed(writes=not dry_run) as feed:
            return recall(
                feed,
                record_ids=record_ids,
                campaign_id=campaign_id,
                source_id=source_id,
                run_id=run_id,
                observed=observed,
                by=by,
                reason=reason,
                dry_run=dry_run,
                now=_now(),
            )

    def undo(self, event: int, *, by: str, reason: str, dry_run: bool = False) -> ReviewResult:
        """Take decision `event` back: every record returns to where it was. Undoing an undo makes it again."""
        from poison_guard.steps.review import undo

        with self._stored_feed(writes=not dry_run) as feed:
            return undo(feed, event, by=by, reason=reason, dry_run=dry_run, now=_now())

    def sources(self, *, limit: int | None = None, blocked: bool = False) -> Sources:
        """Return the feed's sources, alarming and least reliable first; with `blocked` only blocked ones."""
        from poison_guard.steps.sources import list_sources

        with self._stored_feed() as feed:
            return list_sources(feed, limit=limit, blocked=blocked)

    def block(self, source_id: str, *, by: str, reason: str, dry_run: bool = False) -> BlockResult:
        """Hold whatever a source sends from now on; what it sent before stays where it is."""
        from poison_guard.steps.sources import block

        with self._stored_feed(writes=not dry_run) as feed:
            return block(feed, source_id, by=by, reason=reason, dry_run=dry_run, now=_now())

    def unblock(self, source_id: str, *, by: str, reason: str, dry_run: bool = False) -> BlockResult:
        """Take a block back."""
        from poison_guard.steps.sources import unblock

        with self._stored_feed(writes=not dry_run) as feed:
            return unblock(feed, source_id, by=by, reason=reason, dry_run=dry_run, now=_now())

    # -- training ---------------------------------------------------------------------------------------------------

    def seal(self) -> SealResult:
        """Seal a snapshot of all that is accepted now; the last one again where nothing changed."""
        from poison_guard.steps.seal import seal

        with self._stored_feed(writes=True) as feed:
            return seal(feed)

    def gate(self, candidate: str | Path | None = None, *, snapshot_id: str | None = None) -> GateResult:
        """Judge a snapshot (the last one; sealed first where there is none) and admit it where it passes.

        `candidate`: a file of predictions (``example_id, label``) of `candidate_inputs` by any model, judged with it.
        """
        from poison_guard.steps.gate import gate

        with self._stored_feed(writes=True) as feed:
            return gate(feed, snapshot_id, _now(), candidate=None if candidate is None else str(candidate))

    def gate_status(self, snapshot_id: str | None = None) -> GateStatus:
        """Return the last verdict on a snapshot (the last one), its approvals and its admission as of now."""
        from poison_guard.steps.gate import gate_status

        with self._stored_feed() as feed:
            return gate_status(feed, snapshot_id, _now())

    def approve(
        self, *, by: str, reason: str, expires: dt.datetime | None = None, snapshot_id: str | None = None
    ) -> GateResult:
        """Approve a snapshot that did not pass, in the name of a person, and admit it where that is enough."""
        from poison_guard.steps.gate import approve

        with self._stored_feed(writes=True) as feed:
            return approve(feed, snapshot_id, by=by, reason=reason, expires=expires, now=_now())

    def candidate_inputs(self) -> pd.DataFrame:
        """Return the trusted examples a candidate has to predict: ``example_id`` and content, without labels."""
        from poison_guard.steps.examples import candidate_inputs

        with self._stored_feed() as feed:
            return candidate_inputs(feed)

    def retrain(self, *, measure_only: bool = False, from_scratch: bool = False) -> RetrainResult:
        """Train on the newest admitted snapshot, evaluate, and promote by rule; `ClosedError` without an admission.

        With `measure_only` the last snapshot is trained on without one; that model can never be promoted. With
        `from_scratch` training does not start from the champion.
        """
        from poison_guard.steps.retrain import retrain

        with self._stored_feed(writes=True) as feed:
            return retrain(feed, _now(), measure_only=measure_only, from_scratch=from_scratch)

    def models(self) -> ModelList:
        """List the models of the feed, the newest first: the champion, earlier ones, refused ones, measurements."""
        from poison_guard.steps.retrain import models

        with self._stored_feed() as feed:
            return models(feed)

    def rollback(self, *, to: str, by: str, reason: str, force: bool = False, dry_run: bool = False) -> RollbackResult:
        """Make an earlier champion the champion again; `force` even where its snapshot was revoked."""
        from poison_guard.steps.promote import rollback

        with self._stored_feed(writes=not dry_run) as feed:
            return rollback(feed, to=to, by=by, reason=reason, force=force, dry_run=dry_run)

    # -- stages: what a scheduler calls, ids in and plain values out, each safe to run again --------------------------

    def stage_collect(self) -> dict[str, Any]:
        """Hand over what is new; return ``{"run_id": str | None, "partitions": [0, 1, …]}``, None where nothing is."""
        from poison_guard.steps.run import stage_collect

        with self._feed(writes=True) as feed:
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

        with self._feed(writes=True) as feed:
            return stage_commit(feed, run_id)

    def what_a_model_lacks(self) -> str | None:
        """Return what the contract does not map that a model needs to learn from the feed; None for nothing."""
        from poison_guard.steps.examples import what_a_model_lacks

        return what_a_model_lacks(self.contract)

    def stage_seal(self) -> dict[str, Any]:
        """Seal; return ``snapshot_id, new, judged, counts``, without an id where nothing is accepted yet."""
        from poison_guard.steps.seal import stage_seal

        with self._feed(writes=True) as feed:
            return stage_seal(feed)

    def newest_snapshot(self) -> str | None:
        """Return the id of the newest snapshot that is not revoked."""
        from poison_guard.steps.admission import newest_snapshot

        with self._feed(create_store=False) as feed:
            return newest_snapshot(feed)

    def stage_gate(self, snapshot_id: str) -> dict[str, Any]:
        """Judge a snapshot; return ``outcome, verdict_seq, why``: a sentence for each check that did not pass."""
        from poison_guard.steps.gate import stage_gate

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
    ) -> int:
        """Store one person's approval of the verdict they saw (None: the last one); return how many it has."""
        from poison_guard.steps.admission import record_approval

        with self._feed(writes=True) as feed:
            return record_approval(
                feed, snapshot_id, by=by, reason=reason, expires=expires, verdict_seq=verdict_seq, now=_now()
            )

    def stage_admit(self, snapshot_id: str) -> dict[str, Any]:
        """Sign the admission; return ``snapshot_id, manifest, digest, expires``. `ClosedError` says why not."""
        from poison_guard.steps.admission import admit

        with self._feed(writes=True) as feed:
            return admit(feed, snapshot_id, _now())

    def check_admission(self, snapshot_id: str) -> dict[str, Any]:
        """Verify an admission against key, revocations and data; return ``snapshot_id, digest, seq``."""
        from poison_guard.steps.admission import check_admission

        with self._feed(writes=True) as feed:
            return check_admission(feed, snapshot_id, _now())

    def due(self) -> str | None:
        """Return the snapshot that is admitted and no model was trained on yet; None where nothing is due."""
        from poison_guard.steps.retrain import due

        with self._feed() as feed:
            return due(feed, _now())

    def stage_train(self, snapshot_id: str) -> str:
        """Train on an admitted snapshot; return the model's id."""
        from poison_guard.steps.retrain import train_model

        with self._feed(writes=True) as feed:
            return train_model(feed, snapshot_id, _now()).model_id

    def stage_evaluate(self, model_id: str) -> dict[str, Any]:
        """Evaluate a model on trusted examples no training saw; return its metrics without single predictions."""
        from poison_guard.steps.promote import evaluate_model

        with self._feed(writes=True) as feed:
            metrics = evaluate_model(feed, model_id)
            return {key: value for key, value in metrics.items() if key != "predictions"}

    def stage_promote(self, model_id: str) -> dict[str, Any]:
        """Make a model the champion if the rule lets it, else refuse it; return ``promoted, why, checks``."""
        from poison_guard.steps.promote import promote_model

        with self._feed(writes=True) as feed:
            return promote_model(feed, model_id)

    # -- looking ----------------------------------------------------------------------------------------------------

    def export(
        self, out: str | Path | None = None, *, places: Sequence[str] = ("accepted",), decisions: bool = False
    ) -> ExportResult:
        """Return the payloads (or the decisions) of the records in `places`, and write them to the file `out`.

        The ending of `out` says the format: ``.parquet``, ``.csv`` or ``.jsonl``.
        """
        from poison_guard.steps.export import export
        from poison_guard.steps.status import open_home

        with open_home(self.settings) as store:
            file = None if out is None else Path(out)
            return export(store, self.contract.name, file, places=places, decisions=decisions)

    def report(self, run_id: str | None = None) -> ReportResult:
        """Return the facts of a run of this feed; of the last committed one without `run_id`."""
        from poison_guard.steps.report import report
        from poison_guard.steps.status import open_home

        with open_home(self.settings) as store:
            return report(store, self.contract.name, run_id)

    def tune(
        self,
        *,
        rates: Sequence[float] = (0.002, 0.005, 0.01, 0.02, 0.05),
        alphas: Sequence[float] = (0.0001, 0.01),
        minutes: float = 1.0,
        per_day: float | None = None,
        seed: int = 0,
    ) -> TuneResult:
        """Try thresholds on the trusted records, and on attacks made of them; nothing is changed.

        `rates` are values of ``false_quarantine_rate``, `alphas` of ``source_alpha`` and ``campaign_alpha``; a record
        takes a person `minutes`, and `per_day` records come (None: as the feed's runs say).
        """
        from poison_guard.steps.tune import tune

        with self._stored_feed() as feed:
            return tune(feed, rates=rates, alphas=alphas, minutes=minutes, per_day=per_day, seed=seed)

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


class Home:
    """All feeds of one home.

    >>> Home.open("guard-home").status()  # doctest: +SKIP
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @classmethod
    def open(cls, home: str | Path = "guard-home") -> Home:
        """Read the settings of a home; the store is opened when used, and never made."""
        return cls(open_settings(home))

    @property
    def home(self) -> Path:
        """The folder of store, lake and key."""
        return self.settings.home

    def feeds(self) -> FeedsResult:
        """Return the names of the feeds that the store knows."""
        from poison_guard.steps.status import list_known_feeds

        with self._store() as store:
            return list_known_feeds(store, self.home)

    def status(self, feed: str | Path | None = None) -> StatusResult:
        """Return phase, places, queue, snapshot and champion of each feed, or of `feed` (a contract or a name)."""
        from poison_guard.steps.status import status

        with self._store() as store:
            name = self._known(store, feed)
            return status(store, self.home, name, lambda each: self._contract(feed or each), _now())

    def doctor(self, feeds: Sequence[str | Path] = ()) -> DoctorResult:
        """Check the installation, this home and the contracts of `feeds`; without, those of its and ``./feeds``."""
        from poison_guard.steps.doctor import doctor

        folders = (self.home / "feeds", Path("feeds"))
        named = [find_contract(feed, self.home) for feed in feeds]
        return doctor(self.settings, named or [file for folder in folders for file in sorted(folder.glob("*.toml"))])

    def audit(self, *, last_runs: int | None = None, anchors: Sequence[str | Path] = ()) -> AuditResult:
        """Recompute the audit chain, all rows that training rests on and all lake files; name the first that differs.

        `last_runs`: only the rows and files written since that many runs ago. `anchors` are heads of the chain that
        were kept elsewhere: ``SEQ:HASH``, a file with what `audit head` printed, or a manifest.
        """
        from poison_guard.steps.audit import audit

        with self._store() as store:
            return audit(store, self.settings, last_runs=last_runs, anchors=anchors)

    def audit_head(self) -> HeadResult:
        """Return the head of the audit chain, to keep elsewhere."""
        from poison_guard.steps.audit import head

        with self._store() as store:
            return head(store, _now())

    def report(self, run_id: str | None = None, *, feed: str | Path | None = None) -> ReportResult:
        """Return the facts of a run of any feed; of the last committed one, of `feed` if given, without `run_id`."""
        from poison_guard.steps.report import report

        with self._store() as store:
            return report(store, self._known(store, feed), run_id)

    def explain(self, record_id: str, *, feed: str | Path | None = None) -> RecordFacts:
        """Return all that is known of a record of any feed; `UsageError` where several feeds have one of that id."""
        from poison_guard.steps.look import feed_of_record, show

        with self._store() as store:
            return show(store, self._known(store, feed) or feed_of_record(store, record_id), record_id)

    def feed_of_record(self, record_id: str) -> str:
        """Return the name of the one feed that has a record of that id."""
        from poison_guard.steps.look import feed_of_record

        with self._store() as store:
            return feed_of_record(store, record_id)

    @contextmanager
    def _store(self) -> Iterator[Store]:
        from poison_guard.steps.status import open_home

        with open_home(self.settings) as store:
            yield store

    def _known(self, store: Store, feed: str | Path | None) -> str | None:
        """Return the name of a feed that has a contract or that the store knows; `NotFoundError` names the nearest."""
        from poison_guard.steps.status import require_feed

        if feed is None:
            return None
        name = self._name(feed)
        if self._contract(feed) is None:
            require_feed(store, name, self.home)
        return name

    def _name(self, feed: str | Path) -> str:
        """Return the name of a feed, given as contract file or as the bare name that it has in the store."""
        contract = self._contract(feed)
        if contract is None and Path(feed).name == str(feed) and not Path(feed).suffix:
            return str(feed)
        return contract.name if contract else load_contract(feed).name

    def _contract(self, feed: str | Path) -> Contract | None:
        """Return the contract of a feed; None where there is no such file."""
        try:
            file = find_contract(feed, self.home)
        except ConfigError:
            return None
        return load_contract(file) if file.is_file() else None


def propose(
    data: str | Path,
    *,
    name: str | None = None,
    out: str | Path = ".",
    force: bool = False,
    dry_run: bool = False,
    home: str | Path = "guard-home",
) -> ProposalResult:
    """Look at a data file (csv, jsonl or parquet), and write a contract and expectations that the file itself passes.

    They are written to ``feeds/NAME.toml`` and ``expectations/NAME.json`` in the folder `out`, unless `dry_run`.
    """
    from poison_guard.steps.propose import propose

    settings = open_settings(home)
    return propose(str(data), name=name, out=Path(out), force=force, dry_run=dry_run, settings=settings, now=_now())


def verify(
    manifest: str | Path,
    *,
    home: str | Path = "guard-home",
    key: str | Path | None = None,
    revocations: str | Path | None = None,
    data: str | Path | None = None,
    no_data: bool = False,
    snapshot_id: str | None = None,
    feed: str | Path | None = None,
) -> Verified:
    """Verify that a manifest admits its data for training, now; `ClosedError` or `TamperError` says why it does not.

    Public key, revocation list and data are those of `home` where none are named; `no_data` compares no data. Manifests
    of another snapshot or `feed` (a contract or a name) than those named are refused. `poison_guard.gate.verify` does
    the same without a home.
    """
    from poison_guard.steps.verify import verify

    opened = Home.open(home)
    return verify(
        Path(manifest),
        opened.settings,
        key=key,
        revocations=revocations,
        data=data,
        no_data=no_data,
        snapshot_id=snapshot_id,
        feed=None if feed is None else opened._name(feed),
    )


_now = partial(dt.datetime.now, dt.UTC)


_RESULTS = {
    "AuditResult": "store",
    "BlockResult": "steps.sources",
    "Campaigns": "steps.look",
    "Claim": "steps.review",
    "DoctorResult": "steps.doctor",
    "ExportResult": "steps.export",
    "FeedStatus": "steps.status",
    "FeedsResult": "steps.status",
    "GateResult": "steps.gate",
    "GateStatus": "steps.gate",
    "Line": "steps.tune",
    "ModelFacts": "steps.retrain",
    "ModelList": "steps.retrain",
    "ProposalResult": "steps.propose",
    "Queue": "steps.look",
    "RecordFacts": "steps.look",
    "ReportResult": "steps.report",
    "RetrainResult": "steps.retrain",
    "ReviewResult": "steps.review",
    "RollbackResult": "steps.promote",
    "RunStatus": "steps.status",
    "ScanResult": "steps.results",
    "SealResult": "steps.seal",
    "Sources": "steps.sources",
    "StatusResult": "steps.status",
    "Suspects": "steps.trust",
    "TrainingStatus": "steps.status",
    "TrustResult": "steps.trust",
    "TrustedVerdict": "steps.trust",
    "TuneResult": "steps.tune",
    "Verified": "steps.verify",
}
"""What verbs return, by the module that defines it: shells name these types without knowing the rooms."""


def __getattr__(name: str) -> Any:
    if name not in _RESULTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"poison_guard.{_RESULTS[name]}"), name)
