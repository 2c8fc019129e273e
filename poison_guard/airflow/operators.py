"""Operators for other people's DAGs: scan files against a contract before anything learns from them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from poison_guard.airflow.feeds import guard_home
from poison_guard.airflow.tasks import final_errors

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["PoisonScanOperator"]


class PoisonScanOperator(BaseOperator):
    """Scan files against a feed contract and write one decision a record; stores nothing.

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
        from poison_guard import Guard

        with final_errors():
            decisions = Guard.open(self.contract, home=self.home or guard_home()).scan(self.data).decisions
        if "://" not in self.out:
            Path(self.out).parent.mkdir(parents=True, exist_ok=True)
        decisions.to_parquet(self.out, index=False)
        counts = {str(action): int(n) for action, n in decisions["action"].value_counts().items()}
        pushed: dict[str, Any] = {"counts": counts, "decisions": self.out}
        for key, value in pushed.items():
            context["ti"].xcom_push(key=key, value=value)
        held = len(decisions) - counts.get("accept", 0)
        if held and self.fail_on_findings:
            raise AirflowFailException(f"{held} of {len(decisions)} records are held back; {self.out} says why")
        return pushed
