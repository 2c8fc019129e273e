"""The commands `seal`, `gate` and `verify`: seal a snapshot, judge and admit it, verify its admission's manifest."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from poison_guard.cli.options import common_options, feed_option, person_options
from poison_guard.cli.output import print_json, print_progress, print_result, print_table, progress
from poison_guard.guard import Guard, verify

if TYPE_CHECKING:
    from poison_guard.guard import GateResult

__all__ = ["gate_code", "gate_command", "print_verdict", "seal_command", "verify_command"]


@click.command("seal")
@feed_option
@common_options
def seal_command(feed: str, home: Path, as_json: bool) -> None:
    """Seal the accepted and released records of a feed, with their adopted labels, into a snapshot.

    Sealing again when nothing changed returns the same snapshot; when little changed, only that is written. A snapshot
    is no permission to train: `gate check` gives that.
    """
    guard = Guard.open(feed, home=home)
    with progress(f"sealing {guard.contract.name}"):
        result = guard.seal()
    if as_json:
        print_json(result.to_dict())
        return
    for line in str(result).splitlines():
        print_result(line)
    print_progress(f"next: poison-guard gate check --feed {feed}")


CLOSED, INCONCLUSIVE = 1, 3
_COLUMNS = ("check", "outcome", ">value", ">limit", ">n", ">interval", "why")


def gate_code(outcome: str, admitted: bool) -> int:
    """Return 0 where training is admitted, 3 where one named approver is missing, 1 where the gate is closed."""
    if admitted:
        return 0
    return INCONCLUSIVE if outcome == "inconclusive" else CLOSED


def print_verdict(result: GateResult, *, feed: str, revoked: str | None = None) -> None:
    """Print the checks of a verdict and why it is not a pass on stdout, and the next command on stderr."""
    state = "admitted" if result.admitted else "closed"
    if result.candidate or revoked:
        state = "judged with the candidate" if result.candidate else "revoked since"
    rows = [_check_row(check) for check in result.checks.to_dict("records")]
    print_table(f"{result.snapshot_id}: {result.outcome}, {state}", _COLUMNS, rows, empty="no check was made")
    for sentence in result.why:
        print_result(f"why: {sentence}")
    if result.manifest:
        print_result(f"manifest: {result.manifest}")
    print_progress(f"next: {_next_command(result, feed, revoked)}")


def _check_row(check: Mapping[str, Any]) -> tuple[object, ...]:
    needs = check.get("needs")
    why = f"{check['why']} (needs n = {needs:,.0f})" if _is_number(needs) else check["why"]
    n = check["n"]
    return (
        check["name"],
        _outcome(check),
        check["value"],
        check["limit"],
        int(n) if _is_number(n) else None,
        _interval(check["low"], check["high"]),
        why,
    )


def _outcome(check: Mapping[str, Any]) -> str:
    """Return the outcome; of a check that cannot close the gate, whether it alerts or had nothing to look at."""
    if check.get("blocking", True):
        return str(check["outcome"])
    if check["outcome"] != "pass":
        return f"{check['outcome']} (alert)"
    return "pass" if check["n"] else "–"


def _interval(low: float | None, high: float | None) -> str | None:
    ends = [f"{end:.3g}" if _is_number(end) else "" for end in (low, high)]
    return f"{ends[0]} – {ends[1]}".strip() if any(ends) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and value == value  # NaN differs from itself


def _next_command(result: GateResult, feed: str, revoked: str | None) -> str:
    """Return what opens the gate, or what an open gate is for."""
    approve = f"poison-guard gate approve --feed {feed} --by NAME --reason WHY {result.snapshot_id}"
    if result.candidate:
        how = "the candidate passed" if result.outcome == "pass" else "mend the candidate and predict again"
        return f"{how}; whether the data may be trained on says poison-guard gate show --feed {feed}"
    if revoked:
        return f"seal what is left: poison-guard seal --feed {feed}"
    if result.admitted:
        verify = f"poison-guard verify {result.manifest}   |   " if result.manifest else ""
        return f"{verify}poison-guard retrain --feed {feed}"
    match result.outcome:
        case "inconclusive":
            return f"one named person may approve: {approve}"
        case "fail":
            return f"recall what is wrong and seal again, or two different people approve: {approve} --expires DAYS"
        case "error":
            return f"nobody can approve an error: mend what it says, then poison-guard gate check --feed {feed}"
        case _:
            return f"poison-guard gate check --feed {feed}"


@click.group("gate")
def gate_command() -> None:
    """Judge a sealed snapshot before a model trains on it."""


@gate_command.command("check")
@feed_option
@click.option(
    "--candidate",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="PREDICTIONS",
    help="Then also judge a model by its predictions (.parquet, .csv or .jsonl): example_id, label.",
)
@click.option(
    "--model",
    metavar="MODEL",
    help="Or ask a model and scan it for planted triggers: its id in this feed, FILE.onnx, or the URL that predicts.",
)
@click.option("--snapshot", "snapshot_id", metavar="SNAPSHOT", help="Snapshot to judge. Default: the last one.")
@common_options
def check_command(
    feed: str, candidate: Path | None, model: str | None, snapshot_id: str | None, home: Path, as_json: bool
) -> int:
    """Judge a snapshot, and sign its admission where the verdict and the approvals allow it.

    With --candidate or --model the snapshot is judged first; where it is admitted, the exit code is that of the model.
    Exit code 0: admitted. 1: closed. 3: inconclusive, one named person may approve.
    """
    guard = Guard.open(feed, home=home)
    with progress(f"judging {snapshot_id or guard.contract.name}"):
        result = guard.gate(candidate=candidate, model=model, snapshot_id=snapshot_id)
    return _print_gate(result, feed, as_json)


@gate_command.command("approve")
@click.argument("snapshot", required=False)
@feed_option
@person_options
@click.option("--expires", "days", type=click.IntRange(1, 365), metavar="DAYS", help="Days until the approval lapses.")
@common_options
def approve_command(
    snapshot: str | None, feed: str, by: str, reason: str, days: int | None, home: Path, as_json: bool
) -> int:
    """Approve the verdict on SNAPSHOT (default: the last one) in your name; it is kept in the audit chain.

    One person opens an inconclusive verdict; two different people, each with --expires, a failed one; nobody an error.
    Exit codes are those of `gate check`, so the first of two approvals ends with 1: the gate is still closed.
    """
    guard = Guard.open(feed, home=home)
    lapses = dt.datetime.now(dt.UTC) + dt.timedelta(days=days) if days else None
    result = guard.approve(by=by, reason=reason, expires=lapses, snapshot_id=snapshot)
    return _print_gate(result, feed, as_json)


@gate_command.command("show")
@click.argument("snapshot", required=False)
@feed_option
@common_options
def show_command(snapshot: str | None, feed: str, home: Path, as_json: bool) -> int:
    """Show the last verdict on SNAPSHOT (default: the last one), its approvals and admission; measure nothing.

    Exit codes are those of `gate check`, as of now: an admission that lapsed or was revoked is closed.
    """
    result = Guard.open(feed, home=home).gate_status(snapshot)
    code = _print_gate(result, feed, as_json, revoked=result.revoked)
    if not as_json:
        rows = [(a["by"], a["at"], a["expires"], a["reason"]) for a in result.approvals]
        print_table("Approvals", ("by", "at", "lapses", "reason"), rows, empty="no approval")
        print_result(f"judged {result.judged_at:%Y-%m-%d %H:%M} UTC; {result.state}")
    return code


def _print_gate(result: GateResult, feed: str, as_json: bool, *, revoked: str | None = None) -> int:
    if as_json:
        print_json(result.to_dict())
    else:
        print_verdict(result, feed=feed, revoked=revoked)
    passed = bool(result.candidate) and result.outcome == "pass"
    return gate_code(result.outcome, result.admitted or passed)


_FILE = click.Path(path_type=Path)


@click.command("verify")
@click.argument("manifest", type=_FILE)
@click.option(
    "--key", type=_FILE, metavar="FILE", help="Public key of the home that signs. Default: signing.pub in it."
)
@click.option("--revocations", type=_FILE, metavar="FILE", help="Its revocation list. Default: revocations.json in it.")
@click.option("--data", type=_FILE, metavar="FOLDER", help="Data; must hold nothing else. Default: the home's lake.")
@click.option("--no-data", is_flag=True, help="Compare no data: the signature, time and revocations only.")
@click.option("--snapshot", metavar="ID", help="Refuse a manifest of another snapshot.")
@click.option("--feed", metavar="FEED.toml", help="Refuse a manifest of another feed: its name or contract file.")
@common_options
def verify_command(
    manifest: Path,
    key: Path | None,
    revocations: Path | None,
    data: Path | None,
    no_data: bool,
    snapshot: str | None,
    feed: str | None,
    home: Path,
    as_json: bool,
) -> int:
    """Verify that MANIFEST admits its data for training, now. Exit code 1: it does not, and says why."""
    result = verify(
        manifest,
        home=home,
        key=key,
        revocations=revocations,
        data=data,
        no_data=no_data,
        snapshot_id=snapshot,
        feed=feed,
    )
    if as_json:
        print_json(result.to_dict())
        return 0
    print_result(
        f"admitted: {result.snapshot_id}, verdict {result.outcome.upper()}, until {result.expires:%Y-%m-%d %H:%M} UTC"
    )
    for approval in result.approvals:
        print_result(f"approved by {approval['by']}: {approval['reason']}")
    n = f"{len(result.subjects):,} files"
    if result.data_checked:
        print_result(f"data: {n} in {result.folder} are the ones admitted; train on these and no others")
    else:
        print_result(f"data: NOT compared ({n} named); compare them with --data before you train")
    return 0
