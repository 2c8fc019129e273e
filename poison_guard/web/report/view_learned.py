"""Turn the facts of a feed's gate and models into what the page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["view_gate", "view_models"]

_LISTED = 12
_FIRST = {"error": 0, "fail": 1, "inconclusive": 2, "pass": 3}
_ATTACKS = ("fgsm", "pgd", "blackbox", "rotation", "noise")
_LEADS = {
    "pass": "Every check that decides passed.",
    "inconclusive": "A check could not be judged: a named person may approve, else nothing trains on this snapshot.",
    "fail": "A check failed: nothing trains on this snapshot unless two people approve, with a reason and an expiry.",
    "error": "A check could not run, so the gate is closed.",
}
_UNJUDGED = "This snapshot was not judged yet: nothing trains on it."


def view_gate(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the section on the gate shows; empty without a snapshot."""
    if not facts:
        return {}
    outcome, admission, snapshot = facts.get("outcome"), facts.get("admission"), facts["snapshot"]
    lead = (
        f"Revoked: {snapshot['revoked_why']}." if snapshot.get("revoked_why") else _LEADS.get(str(outcome), _UNJUDGED)
    )
    checks = sorted(facts.get("checks") or (), key=lambda c: (_FIRST.get(c["outcome"], 0), not c.get("blocking", True)))
    return {
        **facts,
        "outcome": outcome,
        "lead": lead,
        "admission": None if admission is None or admission["revoked"] else admission,
        "approvals": list(facts.get("approvals") or ()),
        "checks": [_check(c) for c in checks],
        "examples": int((snapshot.get("counts") or {}).get("examples", 0)),
    }


def _check(check: Mapping[str, Any]) -> dict[str, Any]:
    low, high = check.get("low"), check.get("high")
    return {
        "name": str(check["name"]).replace("_", " "),
        "outcome": str(check["outcome"]),
        "blocking": bool(check.get("blocking", True)),
        "value": _figure(check.get("value")),
        "limit": _figure(check.get("limit")),
        "n": int(check.get("n") or 0),
        "interval": "–" if low is None and high is None else f"{_figure(low)} to {_figure(high)}",
        "why": str(check.get("why") or ""),
        "needs": check.get("needs"),
        "ids": [str(check[key]) for key in ("atlas", "nist") if check.get(key)],
    }


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def view_models(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the champion and the newest models as the table shows them; empty without any."""
    if not rows:
        return {}
    shown = [row for i, row in enumerate(rows) if i < _LISTED or row["status"] == "champion"]
    champion = next((str(row["model_id"]) for row in rows if row["status"] == "champion"), None)
    return {"champion": champion, "rows": [_model(row) for row in shown], "more": len(rows) - len(shown)}


def _model(row: Mapping[str, Any]) -> dict[str, Any]:
    metrics = row.get("metrics") or {}
    attacks, masking = metrics.get("attacks") or {}, metrics.get("masking") or {}
    return {
        "model_id": row["model_id"],
        "status": str(row["status"]),
        "made_at": row.get("made_at"),
        "accuracy": _percent(metrics.get("accuracy")),
        "worst": _worst(metrics.get("per_class") or {}),
        "robust": _share(metrics.get("robust") or {}),
        "attacks": [(name, _share(attacks[name])) for name in _ATTACKS if name in attacks],
        "why": str(row.get("why") or ""),
        "masking": str(masking.get("why") or "") if masking.get("suspected") else "",
    }


def _worst(per_class: Mapping[str, Mapping[str, float]]) -> tuple[str, str] | None:
    """Return the label with the smallest share right, and that share."""
    shares = {label: c["right"] / c["n"] for label, c in per_class.items() if c.get("n")}
    if not shares:
        return None
    label = min(shares, key=lambda name: (shares[name], name))
    return label, _percent(shares[label])


def _share(attack: Mapping[str, float]) -> str:
    return _percent(attack["right"] / attack["n"] if attack.get("n") else None)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
