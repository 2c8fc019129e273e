"""`poison-guard gate`: judge a sealed snapshot, approve what could not be judged, look at the last verdict."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.deciding import contract_and_store
from poison_guard.cli.options import by_and_reason, common, contract_file, feed_option
from poison_guard.cli.output import emit, table, told, working
from poison_guard.cli.verdict import gate_code, show_verdict
from poison_guard.config import open_settings
from poison_guard.errors import NotFoundError

if TYPE_CHECKING:
    from poison_guard.steps.facing import GateResult

__all__ = ["gate_command"]


@click.group("gate")
def gate_command() -> None:
    """Judge a sealed snapshot before a model trains on it."""


@gate_command.command("check")
@feed_option(required=True)
@click.option(
    "--candidate",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="PREDICTIONS",
    help="Then also judge a model by its predictions (.parquet, .csv or .jsonl): example_id, label.",
)
@click.option("--snapshot", "snapshot_id", metavar="SNAPSHOT", help="Snapshot to judge. Default: the last one.")
@common
def check_command(feed: str, candidate: Path | None, snapshot_id: str | None, home: Path, as_json: bool) -> int:
    """Judge a snapshot, and sign its admission where the verdict and the approvals allow it.

    With --candidate the snapshot is judged first; where it is admitted, the exit code is that of the model.
    Exit code 0: admitted. 1: closed. 3: inconclusive, one named person may approve.
    """
    from poison_guard.guard import Guard

    guard = Guard.open(contract_file(feed), home=home)
    with working(f"judging {snapshot_id or guard.contract.name}"):
        result = guard.gate(candidate=candidate, snapshot_id=snapshot_id)
    facts = {**_facts(result), "candidate": str(candidate) if candidate else None}
    return _tell(guard.contract.name, feed, facts, as_json)


@gate_command.command("approve")
@click.argument("snapshot", required=False)
@feed_option(required=True)
@by_and_reason
@click.option("--expires", "days", type=click.IntRange(1, 365), metavar="DAYS", help="Days until the approval lapses.")
@common
def approve_command(
    snapshot: str | None, feed: str, by: str, reason: str, days: int | None, home: Path, as_json: bool
) -> int:
    """Approve the verdict on SNAPSHOT (default: the last one) in your name; it is kept in the audit chain.

    One person opens an inconclusive verdict; two different people, each with --expires, a failed one; nobody an error.
    Exit codes are those of `gate check`, so the first of two approvals ends with 1: the gate is still closed.
    """
    from poison_guard.guard import Guard

    guard = Guard.open(contract_file(feed), home=home)
    lapses = dt.datetime.now(dt.UTC) + dt.timedelta(days=days) if days else None
    result = guard.approve(by=by, reason=reason, expires=lapses, snapshot_id=snapshot)
    return _tell(guard.contract.name, feed, _facts(result), as_json)


@gate_command.command("show")
@click.argument("snapshot", required=False)
@feed_option(required=True)
@common
def show_command(snapshot: str | None, feed: str, home: Path, as_json: bool) -> int:
    """Show the last verdict on SNAPSHOT (default: the last one), its approvals and admission; measure nothing.

    Exit codes are those of `gate check`, as of now: an admission that lapsed or was revoked is closed.
    """
    from poison_guard.cli.standing import gate_facts

    with contract_and_store(feed, home) as (contract, store):
        facts = gate_facts(store, contract.name, snapshot, now=dt.datetime.now(dt.UTC))
        if facts is None:
            raise NotFoundError(
                f"{snapshot or contract.name} was not judged yet; poison-guard gate check --feed {feed} does it"
            )
    manifest = open_settings(home).home / "manifests" / f"{facts['snapshot_id']}.json"
    facts["manifest"] = str(manifest) if facts["admitted"] and manifest.is_file() else None
    code = _tell(contract.name, feed, facts, as_json)
    if not as_json:
        rows = [(a["by"], a["at"], a["expires"], a["reason"]) for a in facts["approvals"]]
        table("Approvals", ("by", "at", "lapses", "reason"), rows, empty="no approval")
        told(f"judged {facts['judged_at']:%Y-%m-%d %H:%M} UTC; {facts['state']}")
    return code


def _facts(result: GateResult) -> dict[str, Any]:
    """Return a result of the guard as what is printed of it."""
    return {
        "snapshot_id": result.snapshot_id,
        "outcome": str(result.outcome),
        "admitted": bool(result.admitted),
        "manifest": str(result.manifest) if result.manifest else None,
        "why": list(result.why),
        "checks": result.checks.to_dict("records"),
    }


def _tell(name: str, feed: str, facts: dict[str, Any], as_json: bool) -> int:
    if as_json:
        emit({"feed": name, **facts})
    else:
        show_verdict(facts, feed=feed)
    passed = bool(facts.get("candidate")) and facts["outcome"] == "pass"
    return gate_code(facts["outcome"], facts["admitted"] or passed)
