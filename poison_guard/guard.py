"""`Guard`: every verb of one feed, once. With `home.py` the only door of command line, Airflow and pages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from poison_guard.config import Contract, Settings, find_contract, load_contract, open_settings
from poison_guard.home import Home, formats, keep_open, propose, verify
from poison_guard.reviewing import Reviewing
from poison_guard.stages import Stages

if TYPE_CHECKING:
    from poison_guard.review.filters import QueueFilter
    from poison_guard.review.rules import Which
    from poison_guard.steps.ask import AskResult
    from poison_guard.steps.claims import Claim, Unclaimed
    from poison_guard.steps.collect import OutcomesRead, Source
    from poison_guard.steps.compare import Comparison, ItemContent
    from poison_guard.steps.coverage import CoverageResult
    from poison_guard.steps.erase import EraseResult
    from poison_guard.steps.evaluate import EvaluationResult
    from poison_guard.steps.examples import CandidateInputs
    from poison_guard.steps.export import ExportResult
    from poison_guard.steps.gate import GateResult, GateStatus
    from poison_guard.steps.look import Campaigns, Listed, RecordFacts
    from poison_guard.steps.opening import Feed
    from poison_guard.steps.predict import InspectResult, PredictResult
    from poison_guard.steps.promote import RollbackResult
    from poison_guard.steps.propose import ProposalResult
    from poison_guard.steps.report import ReportResult
    from poison_guard.steps.results import ScanResult
    from poison_guard.steps.retrain import ModelList, RetrainResult
    from poison_guard.steps.review import ReviewResult
    from poison_guard.steps.scores import ScoresResult
    from poison_guard.steps.seal import SealResult
    from poison_guard.steps.sources import BlockResult, Sources
    from poison_guard.steps.status import StatusResult
    from poison_guard.steps.trust import Suspects, TrustedVerdict, TrustResult
    from poison_guard.steps.tune import TuneResult

__all__ = ["Guard", "Home", "formats", "keep_open", "propose", "verify"]


@dataclass(frozen=True, eq=False, repr=False)
class Guard(Stages, Reviewing):
    """The guard of one feed: every verb once. Each opens the store, names its step, and closes the store.

    What a scheduler calls is in `Stages`: ``stage_collect`` to ``stage_promote``, ``check_admission`` and ``due``; the
    queue and decisions about parts of it are in `Reviewing`.

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

    def __repr__(self) -> str:
        return f"Guard({str(self.contract_path)!r}, home={str(self.home)!r})"

    @property
    def home(self) -> Path:
        """The folder of store, lake and key."""
        return self.settings.home

    @property
    def contract_path(self) -> Path:
        """The contract's file."""
        return Path(str(self.contract.path))

    def status(self) -> StatusResult:
        """Return phase, places, queue, snapshot and champion of the feed."""
        return Home(self.settings).status(self.contract_path)

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

    def refresh_suite(self, data: str | Path | None = None, *, dry_run: bool = False) -> ProposalResult:
        """Write the expectations again, for the contract as it stands: those that its own files, or `data`, pass."""
        from poison_guard.steps.propose import refresh

        source = None if data is None else str(data)
        return refresh(self.contract, source, dry_run=dry_run, settings=self.settings, now=_now())

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

    def bootstrap(self, n: int, out: str | Path | None = None) -> Listed:
        """Draw `n` staged or accepted records to vet for the trusted set; their payloads are written to the file `out`.

        Every group alike, each source once before twice. `release` with `trust` enters those that are right.
        """
        from poison_guard.steps.look import bootstrap

        with self._feed(create_store=False) as feed:
            return bootstrap(feed, n, None if out is None else Path(out))

    def campaigns(self, *, limit: int | None = None) -> Campaigns:
        """Return the campaigns that were found, largest first, with where their records are."""
        from poison_guard.steps.look import campaigns

        with self._stored_feed() as feed:
            return campaigns(feed, limit=limit)

    def explain(self, record_id: str) -> RecordFacts:
        """Return all that is known of a record: payload, decision, evidence, campaign, source, history, queue entry."""
        from poison_guard.steps.look import show_of

        with self._stored_feed() as feed:
            return show_of(feed, record_id)

    def compare(self, record_id: str) -> Comparison:
        """Return a record beside the nearest trusted ones and its campaign's copies, and what a release changes."""
        from poison_guard.steps.compare import compare

        with self._stored_feed() as feed:
            return compare(feed, record_id)

    def item_content(self) -> ItemContent:
        """Return what the items' file of the contract shows: image, text or features of each item."""
        from poison_guard.steps.compare import item_content

        with self._stored_feed() as feed:
            return item_content(feed)

    show = explain
    """What a reviewer needs to know of a record is all that is known of it."""

    def claim(
        self,
        *,
        by: str,
        limit: int = 1,
        record_ids: str | Sequence[str] | None = None,
        filters: QueueFilter | None = None,
        lease_seconds: float = 600,
    ) -> Claim:
        """Hold the riskiest free entries of the queue (that `filters` find), or `record_ids`, for one reviewer.

        Nobody else can decide them for `lease_seconds`; `release` and `reject` take the claim's token.
        """
        from poison_guard.steps.claims import claim

        with self._stored_feed(writes=True) as feed:
            which = {"limit": limit, "record_ids": record_ids, "filters": filters}
            return claim(feed, by=by, lease_seconds=lease_seconds, now=_now(), **which)

    def unclaim(self, token: str) -> Unclaimed:
        """Give the entries of a claim back to the queue."""
        from poison_guard.steps.claims import unclaim

        with self._stored_feed(writes=True) as feed:
            return unclaim(feed, token)

    def release(
        self,
        *,
        by: str,
        reason: str,
        right: bool = True,
        trust: bool = False,
        token: str | None = None,
        expected: Mapping[str, int] | None = None,
        overrule: bool = False,
        dry_run: bool = False,
        **which: Unpack[Which],
    ) -> ReviewResult:
        """Accept held records, which then speak for their sources.

        `which` is one of `record_ids`, `campaign_id`, `source_id` and `run_id`.
        With `right` false they are accepted without saying that they are right; with `trust` they, and accepted ones,
        enter the trusted set. `expected` is the version of each record that was shown: one that has another now raises
        `StaleDecisionError`, which says who decided it. `BusyError` when another reviewer claimed one of them, or
        decided it otherwise and you do not `overrule` that; then nothing changes. Of a campaign, a source or a run,
        what was decided before is left as it is.
        """
        from poison_guard.steps.review import release

        person = {"by": by, "reason": reason, "token": token, "expected": expected, "overrule": overrule}
        with self._stored_feed(writes=not dry_run) as feed:
            return release(feed, right=right, trust=trust, dry_run=dry_run, now=_now(), **person, **which)

    def reject(
        self,
        *,
        by: str,
        reason: str,
        token: str | None = None,
        expected: Mapping[str, int] | None = None,
        overrule: bool = False,
        dry_run: bool = False,
        **which: Unpack[Which],
    ) -> ReviewResult:
        """Reject held records, which speak against their sources; `which` and the rest as in `release`."""
        from poison_guard.steps.review import reject

        person = {"by": by, "reason": reason, "token": token, "expected": expected, "overrule": overrule}
        with self._stored_feed(writes=not dry_run) as feed:
            return reject(feed, dry_run=dry_run, now=_now(), **person, **which)

    def erase(self, source_id: str, *, by: str, reason: str, dry_run: bool = False) -> EraseResult:
        """Destroy what a source sent or wrote: payloads and names go from store and lake, tombstones stay.

        The snapshots that held its records are revoked; the result's `revocation` names them and the models trained on
        them. The same again changes nothing, and finishes what a killed one left.
        """
        from poison_guard.steps.erase import erase

        with self._stored_feed(writes=not dry_run) as feed:
            return erase(feed, source_id, by=by, reason=reason, dry_run=dry_run, now=_now())

    def recall(self, *, by: str, reason: str, dry_run: bool = False, **which: Unpack[Which]) -> ReviewResult:
        """Take accepted records back to the queue; `which` is as in `release`, or `observed`.

        `observed` are those that the guard would have held but accepted in observe mode. Every snapshot that holds one
        of the records is revoked; the result's `revocation` names these snapshots and the models trained on them.
        """
        from poison_guard.steps.review import recall

        with self._stored_feed(writes=not dry_run) as feed:
            return recall(feed, by=by, reason=reason, dry_run=dry_run, now=_now(), **which)

    def undo(self, event: int, *, by: str, reason: str, dry_run: bool = False) -> ReviewResult:
        """Take decision `event` back: every record returns to where it was. Undoing an undo makes it again."""
        from poison_guard.steps.review import undo

        with self._stored_feed(writes=not dry_run) as feed:
            return undo(feed, event, by=by, reason=reason, dry_run=dry_run, now=_now())

    def sources(
        self,
        *,
        limit: int | None = None,
        blocked: bool = False,
        changed: bool = False,
        source_ids: Sequence[str] = (),
        below: float | None = None,
        min_records: int | None = None,
    ) -> Sources:
        """Return the feed's sources, alarming and least reliable first.

        Only those that are `blocked`, that `changed` lately, that are named, whose reliability is `below` a share, or
        that sent `min_records`.
        """
        from poison_guard.steps.sources import list_sources

        filters = {"changed": changed, "source_ids": source_ids, "below": below, "min_records": min_records}
        with self._stored_feed() as feed:
            return list_sources(feed, limit=limit, blocked=blocked, **filters)

    def ask(self, budget: int = 500, out: str | Path | None = None) -> AskResult:
        """Return what to ask next: the answers, looks and controls that buy the most adopted labels within `budget`.

        `out` (.jsonl, .json or .csv) gets one task a row, for a labelling tool.
        """
        from poison_guard.steps.ask import ask

        with self._stored_feed() as feed:
            return ask(feed, budget, out)

    def scores(self, out: str | Path | None = None) -> ScoresResult:
        """Return what the items are worth by accepted ratings, on the feed's scale, so that no brigade lifts any.

        `out` (.jsonl, .json or .csv) gets one item a row.
        """
        from poison_guard.steps.scores import scores

        with self._stored_feed() as feed:
            return scores(feed, out)

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

    def gate(
        self, candidate: str | Path | None = None, *, model: str | None = None, snapshot_id: str | None = None
    ) -> GateResult:
        """Judge a snapshot (the last one; sealed first where there is none) and admit it where it passes.

        `candidate`: a file of predictions (``example_id, label``) of `candidate_inputs` by any model, judged with it.
        `model`: a model of the feed by its id, an ONNX file, or the URL of a prediction endpoint: it is asked itself,
        and scanned for planted triggers.
        """
        from poison_guard.steps.gate import gate

        with self._stored_feed(writes=True) as feed:
            file = None if candidate is None else str(candidate)
            return gate(feed, snapshot_id, _now(), candidate=file, model=model)

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

    def candidate_inputs(self, *, scan: bool = False) -> CandidateInputs:
        """Return the trusted examples that a candidate has to predict: ``example_id`` and content, without labels.

        With `scan` also those with marks of the last snapshot, for a scan by predictions alone.
        """
        from poison_guard.steps.admission import find_snapshot
        from poison_guard.steps.examples import candidate_inputs
        from poison_guard.steps.model_scan import scan_inputs

        with self._stored_feed() as feed:
            return scan_inputs(feed, find_snapshot(feed, None)) if scan else candidate_inputs(feed)

    def retrain(self, *, measure_only: bool = False, from_scratch: bool = False) -> RetrainResult:
        """Train on the newest admitted snapshot, evaluate, and promote by rule; `ClosedError` without an admission.

        With `measure_only` the last snapshot is trained on without one; that model can never be promoted. With
        `from_scratch` training does not start from the champion.
        """
        from poison_guard.steps.retrain import retrain

        with self._stored_feed(writes=True) as feed:
            return retrain(feed, _now(), measure_only=measure_only, from_scratch=from_scratch)

    def evaluate(self, model_id: str | None = None, *, fast: bool = False) -> EvaluationResult:
        """Attack a model (the champion) with the full budget, or that of a promotion if `fast`; nothing is stored."""
        from poison_guard.steps.evaluate import evaluate_by_hand

        with self._stored_feed() as feed:
            return evaluate_by_hand(feed, model_id, fast=fast)

    def predict(self, inputs: Any, *, model_id: str | None = None, confidence: str = "full") -> PredictResult:
        """Return the label that a model (the champion) gives each input (frame or path), or none where it is unsure.

        Inputs have the feed's content columns; nothing is stored. `confidence` is ``full``, ``rounded`` to tenths, or
        ``none``: who copies a model learns from how sure it is.
        """
        from poison_guard.steps.predict import predict_inputs

        with self._stored_feed() as feed:
            return predict_inputs(feed, inputs, model_id, confidence)

    def inspect(self, inputs: Any, *, model_id: str | None = None) -> InspectResult:
        """Return which inputs (frame or path) look made to mislead a model (the champion); nothing is stored."""
        from poison_guard.steps.predict import inspect_inputs

        with self._stored_feed() as feed:
            return inspect_inputs(feed, inputs, model_id)

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

    # -- looking ----------------------------------------------------------------------------------------------------

    def export(
        self,
        out: str | Path | None = None,
        *,
        places: Sequence[str] = ("accepted",),
        decisions: bool = False,
        reasons: bool = False,
        as_: str | None = None,
        snapshot_id: str | None = None,
        private: bool = False,
    ) -> ExportResult:
        """Return the rows of the records in `places` as they came, and write them to the file `out`.

        With `decisions` what was decided about each instead, with `reasons` both. `snapshot_id` (or ``last``,
        ``admitted``) names a snapshot to write instead of places. The ending of `out` says the format, or `as_`: one of
        ``jsonl``, ``json``, ``csv``, ``parquet``, ``trl``, ``openai``, ``hf``. Columns that the contract calls private
        are left out unless `private`.
        """
        from poison_guard.steps.export import Exported, export

        wanted = Exported(tuple(places), decisions, reasons, as_, snapshot_id, private)
        with self._stored_feed() as feed:
            return export(feed, out, wanted)

    def report(self, run_id: str | None = None) -> ReportResult:
        """Return the facts of a run of this feed; of the last committed one without `run_id`."""
        from poison_guard.steps.report import report
        from poison_guard.steps.status import open_home

        with open_home(self.settings) as store:
            return report(store, self.home, self.contract.name, run_id, lambda _: self.contract)

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

    def coverage(self, source: Source = None, *, seed: int = 0) -> CoverageResult:
        """Measure from how many records and accounts each kind of attack on the feed is held; kept in the home.

        Attacks are put among the newest records of `source` (None: the contract's ``[data]``, else the store). What
        `scan`, `ingest` and `status` say of coverage from then on is this, until contract, policy or trusted set
        change.
        """
        from poison_guard.steps.coverage import coverage

        with self._feed(create_store=False) as feed:
            return coverage(feed, source, _now(), seed=seed)

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


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


_RESULTS = {
    "Admitted": "steps.admission",
    "Agreement": "steps.agreement",
    "Answered": "steps.agreement",
    "ApproveStage": "steps.stages",
    "AuditResult": "store",
    "AskResult": "steps.ask",
    "BlockResult": "steps.sources",
    "CampaignView": "steps.views",
    "Campaigns": "steps.look",
    "CandidateInputs": "steps.examples",
    "Checks": "steps.agreement",
    "Claim": "steps.claims",
    "CollectStage": "steps.stages",
    "CommitStage": "steps.stages",
    "Comparison": "steps.compare",
    "CoverageResult": "steps.coverage",
    "Dashboard": "steps.dashboard",
    "DoctorResult": "steps.doctor",
    "Due": "steps.stages",
    "EraseResult": "steps.erase",
    "EvaluateStage": "steps.stages",
    "EvaluationResult": "steps.evaluate",
    "ExportResult": "steps.export",
    "FeedStatus": "steps.status",
    "FeedsResult": "steps.status",
    "FormatsResult": "steps.formats",
    "FrozenSet": "steps.bulk",
    "GateResult": "steps.gate",
    "GateStage": "steps.stages",
    "GateStatus": "steps.gate",
    "HeadResult": "steps.audit",
    "Imported": "steps.handed",
    "InspectResult": "steps.predict",
    "ItemContent": "steps.compare",
    "ItemView": "steps.views",
    "Items": "steps.dashboard",
    "Job": "steps.bulk",
    "Jobs": "steps.bulk",
    "Kept": "steps.source_rules",
    "Line": "steps.tune",
    "Listed": "steps.look",
    "ModelFacts": "steps.retrain",
    "ModelList": "steps.retrain",
    "OutcomesRead": "steps.collect",
    "PredictResult": "steps.predict",
    "Promotion": "steps.promote",
    "ProposalResult": "steps.propose",
    "Queue": "steps.queue",
    "QueueFilter": "review.filters",
    "RecordFacts": "steps.look",
    "RecordView": "steps.views",
    "ReportResult": "steps.report",
    "RetrainResult": "steps.retrain",
    "Revealed": "steps.dashboard",
    "ReviewResult": "steps.review",
    "RollbackResult": "steps.promote",
    "RuleResult": "steps.source_rules",
    "Rules": "steps.source_rules",
    "RunStage": "steps.stages",
    "RunStatus": "steps.status",
    "SavedViews": "steps.handed",
    "ScanResult": "steps.results",
    "ScoresResult": "steps.scores",
    "SealResult": "steps.seal",
    "SealStage": "steps.stages",
    "Session": "steps.people",
    "SignedOut": "steps.people",
    "ToldOfTask": "steps.notify",
    "SourceView": "steps.views",
    "Sources": "steps.sources",
    "StatusResult": "steps.status",
    "Suspects": "steps.trust",
    "TrainStage": "steps.stages",
    "TrainingStatus": "steps.status",
    "TrustResult": "steps.trust",
    "TrustedVerdict": "steps.trust",
    "TuneResult": "steps.tune",
    "Unclaimed": "steps.claims",
    "User": "steps.people",
    "Users": "steps.people",
    "Verified": "steps.verify",
    "Written": "steps.handed",
}
"""What verbs return, by the module that defines it: shells name these types without knowing the rooms."""


def __getattr__(name: str) -> Any:
    if name not in _RESULTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"poison_guard.{_RESULTS[name]}"), name)
