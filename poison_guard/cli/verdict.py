"""How a verdict of the gate is told: a table of checks, why the gate is closed, what a person can do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poison_guard.cli.output import say, table, told

__all__ = ["gate_code", "show_verdict"]

CLOSED, INCONCLUSIVE = 1, 3
_COLUMNS = ("check", "outcome", ">value", ">limit", ">n", ">interval", "why")


def gate_code(outcome: str, admitted: bool) -> int:
    """Return 0 where training is admitted, 3 where one named approver is missing, 1 where the gate is closed."""
    if admitted:
        return 0
    return INCONCLUSIVE if outcome == "inconclusive" else CLOSED


def show_verdict(facts: Mapping[str, Any], *, feed: str) -> None:
    """Print the checks of a verdict and why it is not a pass on stdout, and the next command on stderr.

    `facts`: ``snapshot_id, outcome, admitted, checks`` (mappings), ``why`` (sentences), ``manifest`` (path or None),
    ``candidate`` where a model was judged with the snapshot, ``revoked`` where the snapshot was.
    """
    state = "admitted" if facts["admitted"] else "closed"
    if facts.get("candidate") or facts.get("revoked"):
        state = "judged with the candidate" if facts.get("candidate") else "revoked since"
    rows = [_row(check) for check in facts["checks"]]
    table(f"{facts['snapshot_id']}: {facts['outcome']}, {state}", _COLUMNS, rows, empty="no check was made")
    for sentence in facts["why"]:
        told(f"why: {sentence}")
    if facts.get("manifest"):
        told(f"manifest: {facts['manifest']}")
    say(f"next: {_next(facts, feed)}")


def _row(check: Mapping[str, Any]) -> tuple[object, ...]:
    needs = check.get("needs")
    why = f"{check['why']} (needs n = {needs:,.0f})" if _known(needs) else check["why"]
    n = check["n"]
    return (
        check["name"],
        _outcome(check),
        check["value"],
        check["limit"],
        int(n) if _known(n) else None,
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
    ends = [f"{end:.3g}" if _known(end) else "" for end in (low, high)]
    return f"{ends[0]} – {ends[1]}".strip() if any(ends) else None


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and value == value  # NaN differs from itself


def _next(facts: Mapping[str, Any], feed: str) -> str:
    """Return what opens the gate, or what an open gate is for."""
    snapshot = facts["snapshot_id"]
    approve = f"poison-guard gate approve --feed {feed} --by NAME --reason WHY {snapshot}"
    if facts.get("candidate"):
        how = "the candidate passed" if facts["outcome"] == "pass" else "mend the candidate and predict again"
        return f"{how}; whether the data may be trained on says poison-guard gate show --feed {feed}"
    if facts.get("revoked"):
        return f"seal what is left: poison-guard seal --feed {feed}"
    if facts["admitted"]:
        verify = f"poison-guard verify {facts['manifest']}   |   " if facts.get("manifest") else ""
        return f"{verify}poison-guard retrain --feed {feed}"
    match facts["outcome"]:
        case "inconclusive":
            return f"one named person may approve: {approve}"
        case "fail":
            return f"recall what is wrong and seal again, or two different people approve: {approve} --expires DAYS"
        case "error":
            return f"nobody can approve an error: mend what it says, then poison-guard gate check --feed {feed}"
        case _:
            return f"poison-guard gate check --feed {feed}"
