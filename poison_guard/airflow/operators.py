"""Operators that scan files and gate a snapshot or model, a sensor that waits for an admission, and the Assets."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator, BaseSensorOperator, PokeReturnValue

from poison_guard.airflow.feeds import guard_home
from poison_guard.airflow.lineage import lineage_of
from poison_guard.airflow.tasks import final_errors
from poison_guard.airflow.versions import AirflowFailException, AirflowSkipException
from poison_guard.errors import ClosedError
from poison_guard.guard import Guard
from poison_guard.text import shown_url

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["PoisonGateOperator", "PoisonGateSensor", "PoisonScanOperator", "admitted_asset", "stored_asset"]


def stored_asset(feed: str) -> Asset:
    """Return the Asset ``guard_<feed>``; an event's extra is ``{feed, guard_run, counts}``."""
    return Asset(f"guard_{feed}", group="poison_guard")


def admitted_asset(feed: str) -> Asset:
    """Return the Asset ``admitted_<feed>``; an event's extra is ``{feed, snapshot_id, digest}``, ids for the store.

    Events wake a trainer and prove nothing: what may be trained on is in the signed manifest that `digest` names.
    """
    return Asset(f"admitted_{feed}", group="poison_guard")


class PoisonScanOperator(BaseOperator):
    """Scan files against a feed contract and write one decision per record; stores nothing.

    Pushes ``counts`` (records by action) and ``decisions`` (path of the Parquet file written) to XCom, before it may
    fail on findings, and returns both.

    Parameters
    ----------
    contract
        Path of the feed contract, templated.
    data
        Path or URL of the file to scan, or several, templated; None takes ``[data] path`` of the contract.
    out
        Parquet file to write: ``record_id, action, risk, campaign_id, reasons``, templated. A retry writes it anew.
    home
        Home with the trusted set and ledgers, templated; None takes ``POISON_GUARD_HOME``, else ``guard-home``.
    fail_on_findings
        Fail the task, without retries, when a record is quarantined or rejected.
    """

    template_fields: Collection[str] = ("contract", "data", "out", "home")

    def __init__(
        self,
        *,
        contract: str,
        out: str,
        data: str | list[str] | None = None,
        home: str | None = None,
        fail_on_findings: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.contract = contract
        self.data = data
        self.out = out
        self.home = home
        self.fail_on_findings = fail_on_findings

    def execute(self, context: Context) -> dict[str, Any]:
        """Scan, write the decisions, push ``counts`` and ``decisions``; raises `AirflowFailException` on findings."""
        with final_errors():
            result = Guard.open(self.contract, home=self.home or guard_home()).scan(self.data)
        decisions = result.decisions
        for sentence in result.statement():
            self.log.info("coverage: %s", sentence)
        if "://" not in self.out:
            Path(self.out).parent.mkdir(parents=True, exist_ok=True)
        decisions.to_parquet(self.out, index=False)
        counts = {str(action): int(n) for action, n in decisions["action"].value_counts().items()}
        pushed: dict[str, Any] = {"counts": counts, "decisions": self.out}
        for key, value in pushed.items():
            context["ti"].xcom_push(key=key, value=value)
        held = len(decisions) - counts.get("accept", 0)
        if held and self.fail_on_findings:
            raise AirflowFailException(
                f"{held} of {len(decisions)} records are held back; {shown_url(self.out)} says why"
            )
        return pushed

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return what was read and written, for Airflow's OpenLineage provider."""
        data = [self.data] if isinstance(self.data, str) else list(self.data or ())
        return lineage_of([self.contract, *data], [self.out])


class PoisonGateOperator(BaseOperator):
    """Judge a feed's sealed snapshot, with a candidate model's predictions if given; fails unless it is admitted.

    Pushes ``outcome``, ``snapshot_id``, ``manifest`` (path of the signed manifest; None while closed) and ``why`` to
    XCom, before it may fail, and returns them together. Hand the manifest to the trainer: it verifies it offline.

    Parameters
    ----------
    contract
        Path of the feed contract, templated.
    candidate
        Parquet file of a model's predictions of the trusted inputs, templated; None judges the snapshot alone.
    snapshot_id
        Snapshot to judge, templated; None takes the newest.
    home
        Home with the store and the keys, templated; None takes ``POISON_GUARD_HOME``, else ``guard-home``.
    skip_inconclusive
        Skip what follows, in place of failing, when a check could not be judged; a person may approve later.
    """

    template_fields: Collection[str] = ("contract", "candidate", "snapshot_id", "home")

    def __init__(
        self,
        *,
        contract: str,
        candidate: str | None = None,
        snapshot_id: str | None = None,
        home: str | None = None,
        skip_inconclusive: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.contract = contract
        self.candidate = candidate
        self.snapshot_id = snapshot_id
        self.home = home
        self.skip_inconclusive = skip_inconclusive
        self._judged: tuple[tuple[str, str] | None, str | None] = None, None

    def execute(self, context: Context) -> dict[str, Any]:
        """Judge and push; raises `AirflowFailException` while the gate is closed: no retry opens it."""
        with final_errors():
            guard = Guard.open(self.contract, home=self.home or guard_home())
            result = guard.gate(candidate=self.candidate, snapshot_id=self.snapshot_id)
        pushed: dict[str, Any] = {
            "outcome": result.outcome,
            "snapshot_id": result.snapshot_id,
            "manifest": None if result.manifest is None else str(result.manifest),
            "why": list(result.why),
        }
        for key, value in pushed.items():
            context["ti"].xcom_push(key=key, value=value)
        self._judged = (result.feed, result.snapshot_id), pushed["manifest"]
        if not result.admitted:
            closed = f"the gate is closed for {result.snapshot_id} ({result.outcome}): {'; '.join(result.why)}"
            skips = self.skip_inconclusive and result.outcome == "inconclusive"
            raise (AirflowSkipException if skips else AirflowFailException)(closed)
        return pushed

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return the snapshot that was judged and the manifest that was signed, for Airflow's OpenLineage provider."""
        snapshot, manifest = self._judged
        predictions = [self.candidate] if self.candidate else []
        return lineage_of([self.contract, *predictions], [manifest] if manifest else [], snapshot=snapshot)


class PoisonGateSensor(BaseSensorOperator):
    """Wait until a snapshot has an admission that holds: signed, unexpired, unrevoked, for exactly its data.

    Returns ``snapshot_id`` and the ``digest`` of the manifest. It only looks: whatever judges and approves runs
    elsewhere. A manifest that was tampered with fails the task for good, and so does a wrong contract.

    Parameters
    ----------
    contract
        Path of the feed contract, templated.
    snapshot_id
        Snapshot to wait for, templated; None waits for the newest one sealed at each look.
    home
        Home with the store and the keys, templated; None takes ``POISON_GUARD_HOME``, else ``guard-home``.
    """

    template_fields: Collection[str] = ("contract", "snapshot_id", "home")

    def __init__(
        self,
        *,
        contract: str,
        snapshot_id: str | None = None,
        home: str | None = None,
        mode: str = "reschedule",
        **kwargs: Any,
    ) -> None:
        super().__init__(mode=mode, **kwargs)
        self.contract = contract
        self.snapshot_id = snapshot_id
        self.home = home

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once; not done while the gate is closed."""
        with final_errors():
            guard = Guard.open(self.contract, home=self.home or guard_home())
            try:
                admission = guard.check_admission(self.snapshot_id or None)
            except ClosedError as error:
                self.log.info("not admitted: %s", error)
                return PokeReturnValue(is_done=False)
        return PokeReturnValue(
            is_done=True, xcom_value={"snapshot_id": admission.snapshot_id, "digest": admission.digest}
        )
