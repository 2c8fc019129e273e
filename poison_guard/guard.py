"""`Guard` and `Home`: every verb once. The only door of command line, Airflow and pages to the steps."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poison_guard.config import Contract, Settings, find_contract, load_contract, open_settings
from poison_guard.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from poison_guard.steps.collect import OutcomesRead, Source
    from poison_guard.steps.doctor import DoctorResult
    from poison_guard.steps.export import ExportResult
    from poison_guard.steps.gate import GateResult, GateStatus
    from poison_guard.steps.opening import Feed
    from poison_guard.steps.propose import ProposalResult
    from poison_guard.steps.recall import RecallResult
    from poison_guard.steps.report import ReportResult
    from poison_guard.steps.results import ScanResult
    from poison_guard.steps.retrain import ModelList, RetrainResult, RollbackResult
    from poison_guard.steps.seal import SealResult
    from poison_guard.steps.status import FeedsResult, StatusResult
    from poison_guard.steps.tune import TuneResult
    from poison_guard.steps.verify import Verified
    from poison_guard.store import AuditResult, Store, TrustedSummary

__all__ = ["Guard", "Home", "propose", "verify"]


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
        from poison_guard.steps.recall import recall

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
        from poison_guard.steps.seal import seal

        with self._feed() as feed:
            return seal(feed)

    def gate(self, candidate: str | Path | None = None, *, snapshot_id: str | None = None) -> GateResult:
        """Judge a snapshot (the last one; sealed first where there is none) and admit it where it passes.

        `candidate`: a file of predictions (``example_id, label``) of `candidate_inputs` by any model, judged with it.
        """
        from poison_guard.steps.gate import gate

        with self._feed() as feed:
            return gate(feed, snapshot_id, _now(), candidate=None if candidate is None else str(candidate))

    def gate_status(self, snapshot_id: str | None = None) -> GateStatus:
        """Return the last verdict on a snapshot (the last one), its approvals and its admission as of now."""
        from poison_guard.steps.gate import gate_status

        with self._feed(create_store=False) as feed:
            return gate_status(feed, snapshot_id, _now())

    def approve(
        self, *, by: str, reason: str, expires: dt.datetime | None = None, snapshot_id: str | None = None
    ) -> GateResult:
        """Approve a snapshot that did not pass, in the name of a person, and admit it where that is enough."""
        from poison_guard.steps.gate import approve

        with self._feed() as feed:
            return approve(feed, snapshot_id, by=by, reason=reason, expires=expires, now=_now())

    def candidate_inputs(self) -> pd.DataFrame:
        """Return the trusted examples a candidate has to predict: ``example_id`` and content, without labels."""
        from poison_guard.steps.examples import candidate_inputs

        with self._feed(create_store=False) as feed:
            return candidate_inputs(feed)

    def retrain(self, *, measure_only: bool = False, from_scratch: bool = False) -> RetrainResult:
        """Train on the newest admitted snapshot, evaluate, and promote by rule; `ClosedError` without an admission.

        With `measure_only` the last snapshot is trained on without one; that model can never be promoted. With
        `from_scratch` training does not start from the champion.
        """
        from poison_guard.steps.retrain import retrain

        with self._feed() as feed:
            return retrain(feed, _now(), measure_only=measure_only, from_scratch=from_scratch)

    def models(self) -> ModelList:
        """List the models of the feed, the newest first: the champion, earlier ones, refused ones, measurements."""
        from poison_guard.steps.retrain import models

        with self._feed(create_store=False) as feed:
            return models(feed)

    def rollback(self, *, to: str, by: str, reason: str, force: bool = False, dry_run: bool = False) -> RollbackResult:
        """Make an earlier champion the champion again; `force` even where its snapshot was revoked."""
        from poison_guard.steps.retrain import rollback

        with self._feed(create_store=not dry_run) as feed:
            return rollback(feed, to=to, by=by, reason=reason, force=force, dry_run=dry_run)

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

    def what_a_model_lacks(self) -> str | None:
        """Return what the contract does not map that a model needs to learn from the feed; None for nothing."""
        from poison_guard.steps.examples import what_a_model_lacks

        return what_a_model_lacks(self.contract)

    def stage_seal(self) -> dict[str, Any]:
        """Seal; return ``snapshot_id, new, judged, counts``, without an id where nothing is accepted yet."""
        from poison_guard.steps.seal import stage_seal

        with self._feed() as feed:
            return stage_seal(feed)

    def newest_snapshot(self) -> str | None:
        """Return the id of the newest snapshot that is not revoked."""
        from poison_guard.steps.gate import newest_snapshot

        with self._feed(create_store=False) as feed:
            return newest_snapshot(feed)

    def stage_gate(self, snapshot_id: str) -> dict[str, Any]:
        """Judge a snapshot; return ``outcome, verdict_seq, why``: a sentence for each check that did not pass."""
        from poison_guard.steps.gate import stage_gate

        with self._feed() as feed:
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
        from poison_guard.steps.gate import record_approval

        with self._feed() as feed:
            return record_approval(
                feed, snapshot_id, by=by, reason=reason, expires=expires, verdict_seq=verdict_seq, now=_now()
            )

    def stage_admit(self, snapshot_id: str) -> dict[str, Any]:
        """Sign the admission; return ``snapshot_id, manifest, digest, expires``. `ClosedError` says why not."""
        from poison_guard.steps.gate import admit

        with self._feed() as feed:
            return admit(feed, snapshot_id, _now())

    def check_admission(self, snapshot_id: str) -> dict[str, Any]:
        """Verify an admission against key, revocations and data; return ``snapshot_id, digest, seq``."""
        from poison_guard.steps.gate import check_admission

        with self._feed() as feed:
            return check_admission(feed, snapshot_id, _now())

    def due(self) -> str | None:
        """Return the snapshot that is admitted and no model was trained on yet; None where nothing is due."""
        from poison_guard.steps.retrain import due

        with self._feed() as feed:
            return due(feed, _now())

    def stage_train(self, snapshot_id: str) -> str:
        """Train on an admitted snapshot; return the model's id."""
        from poison_guard.steps.retrain import train_model

        with self._feed() as feed:
            return train_model(feed, snapshot_id, _now()).model_id

    def stage_evaluate(self, model_id: str) -> dict[str, Any]:
        """Evaluate a model on trusted examples no training saw; return its metrics without single predictions."""
        from poison_guard.steps.retrain import evaluate_model

        with self._feed() as feed:
            metrics = evaluate_model(feed, model_id)
            return {key: value for key, value in metrics.items() if key != "predictions"}

    def stage_promote(self, model_id: str) -> dict[str, Any]:
        """Make a model the champion if the rule lets it, else refuse it; return ``promoted, why, checks``."""
        from poison_guard.steps.retrain import promote_model

        with self._feed() as feed:
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

        with self._feed(create_store=False) as feed:
            return tune(feed, rates=rates, alphas=alphas, minutes=minutes, per_day=per_day, seed=seed)

    @contextmanager
    def _feed(self, *, create_store: bool = True) -> Iterator[Feed]:
        from poison_guard.steps.opening import open_feed

        with open_feed(self.contract, self.settings, create_store=create_store) as feed:
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

        name = None if feed is None else self._name(feed)
        with self._store() as store:
            return status(store, self.home, name, lambda each: self._contract(feed or each), _now())

    def doctor(self, feeds: Sequence[str | Path] = ()) -> DoctorResult:
        """Check the installation, this home and the contracts of `feeds`; without, those of its and ``./feeds``."""
        from poison_guard.steps.doctor import doctor

        folders = (self.home / "feeds", Path("feeds"))
        named = [find_contract(feed, self.home) for feed in feeds]
        return doctor(self.settings, named or [file for folder in folders for file in sorted(folder.glob("*.toml"))])

    def audit(self) -> AuditResult:
        """Check every event of the audit chain against the one before it, and the rows it speaks of."""
        from poison_guard.store import verify

        with self._store() as store:
            return verify(store)

    def report(self, run_id: str | None = None, *, feed: str | Path | None = None) -> ReportResult:
        """Return the facts of a run of any feed; of the last committed one, of `feed` if given, without `run_id`."""
        from poison_guard.steps.report import report

        name = None if feed is None else self._name(feed)
        with self._store() as store:
            return report(store, name, run_id)

    @contextmanager
    def _store(self) -> Iterator[Store]:
        from poison_guard.steps.status import open_home

        with open_home(self.settings) as store:
            yield store

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
    feed: str | None = None,
) -> Verified:
    """Verify that a manifest admits its data for training, now; `ClosedError` or `TamperError` says why it does not.

    Public key, revocation list and data are those of `home` where none are named; `no_data` compares no data. Manifests
    of another snapshot or feed than those named are refused. `poison_guard.gate.verify` does the same without a home.
    """
    from poison_guard.steps.verify import verify

    return verify(
        Path(manifest),
        open_settings(home),
        key=key,
        revocations=revocations,
        data=data,
        no_data=no_data,
        snapshot_id=snapshot_id,
        feed=feed,
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


_RESULTS = {
    "AuditResult": "store",
    "DoctorResult": "steps.doctor",
    "ExportResult": "steps.export",
    "FeedsResult": "steps.status",
    "GateResult": "steps.gate",
    "GateStatus": "steps.gate",
    "ModelFacts": "steps.retrain",
    "ModelList": "steps.retrain",
    "ProposalResult": "steps.propose",
    "RecallResult": "steps.recall",
    "ReportResult": "steps.report",
    "RetrainResult": "steps.retrain",
    "RollbackResult": "steps.retrain",
    "TrainingStatus": "steps.status",
    "RunStatus": "steps.status",
    "FeedStatus": "steps.status",
    "Line": "steps.tune",
    "ScanResult": "steps.results",
    "SealResult": "steps.seal",
    "StatusResult": "steps.status",
    "TuneResult": "steps.tune",
    "Verified": "steps.verify",
}
"""What verbs return, by the module that defines it: shells name these types without knowing the rooms."""


def __getattr__(name: str) -> Any:
    if name not in _RESULTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"poison_guard.{_RESULTS[name]}"), name)
