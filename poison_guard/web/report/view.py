"""Turn the facts of a run into what the page shows: the first sentence, tiles, table rows, charts, gate and models."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from poison_guard.records import ID_CONFLICT
from poison_guard.text import visible

if TYPE_CHECKING:
    from poison_guard.guard import ReportResult

__all__ = ["view"]


_TILES = (
    ("received", "Received", "records in this run"),
    ("accepted", "Accepted", "may be learned from"),
    ("quarantined", "Held for review", "a person decides"),
    ("rejected", "Rejected", "kept, never learned from"),
    ("staged", "Staged", "could not be judged yet"),
)
_PLACES = (
    ("accepted", "accepted"),
    ("quarantined", "held for review"),
    ("rejected", "rejected"),
    ("staged", "staged"),
    ("seen_before", "seen before"),
)
_LEVELS = (
    ("rule", "broke a rule"),
    ("record", "for their own content"),
    ("source", "for who sent them"),
    ("campaign", "as part of a campaign"),
)
_RISK = ("accepted", "quarantined", "rejected", "staged", "recalled")
_MORE = (("unreadable", "unreadable rows"), ("deferred_items", "labels deferred"), ("adopted_items", "labels adopted"))
_WORST, _MEMBERS, _LISTED = 12, 24, 40


def view(report: ReportResult) -> dict[str, Any]:
    """Return the values `report.html.j2` shows; what the report lacks is left out of the page, and said there."""
    run, counts, risk, policy = dict(report.run), report.counts, report.risk, report.policy
    campaigns = [_campaign(c) for c in report.campaigns]
    return {
        "run": run,
        "lead": _leading_sentence(counts, [c for c in report.campaigns if c.get("kind") != ID_CONFLICT]),
        "tiles": [(k, title, counts.get(k, 0), _share(counts, k) or caption) for k, title, caption in _TILES],
        "places": [(k, title, counts[k]) for k, title in _PLACES if counts.get(k)],
        "more": [(title, counts[k]) for k, title in _MORE if counts.get(k)],
        "levels": [(caption, int(n)) for k, caption in _LEVELS if (n := report.levels.get(k))],
        "reasons": _reasons(report.reasons),
        "risk": [(dict(_PLACES).get(k, k), k, risk[k]) for k in _RISK if sum(risk.get(k, ()))],
        "marks": {"hold": 0.5},
        "sources": _sources(report.sources, report.n_sources),
        "campaigns": sorted(campaigns, key=lambda c: (-c["n_records"], c["campaign_id"]))[:_LISTED],
        "more_campaigns": max(0, len(campaigns) - _LISTED),
        "calibration": _calibration(report.calibration),
        "rate": float(policy.get("false_quarantine_rate") or 0.01),
        "items": _items(report.items),
        "gate": _gate(report.gate),
        "models": _models(report.models),
        "notes": report.notes,
        "coverage": report.coverage,
        "cost": _cost(report.cost),
        "objects": list(report.objects),
        "policy": sorted(policy.items()),
        "runs": _runs(report.runs, run.get("run_id")),
    }


def _runs(runs: Sequence[Mapping[str, Any]], current: object) -> list[dict[str, Any]]:
    """Return the held share of each run that received records, oldest first."""
    rows = []
    for r in runs:
        received = int(r["counts"].get("received", 0))
        held = int(r["counts"].get("quarantined", 0)) + int(r["counts"].get("rejected", 0))
        if received:
            row = {"run_id": str(r["run_id"]), "held": held, "received": received, "share": held / received}
            rows.append({**row, "current": r["run_id"] == current})
    return rows


def _leading_sentence(counts: Mapping[str, int], campaigns: Sequence[Mapping[str, Any]]) -> str:
    received = counts.get("received", 0)
    if not received:
        return "No new record came in."
    places = [(n, caption) for k, caption in _PLACES[:4] if (n := counts.get(k, 0))]
    parts = [f"{n:,} {'was' if n == 1 else 'were'} {caption}" for n, caption in places]
    head = f"{received:,} record{'s' * (received != 1)} came in: {_listed(parts)}" if parts else f"{received:,} came in"
    again = counts.get("seen_before", 0)
    tail = f"; {again:,} had been taken in before" if again else ""
    if not campaigns:
        return f"{head}{tail}."
    n = sum(c["n_records"] for c in campaigns)
    word = "campaign" if len(campaigns) == 1 else "campaigns"
    return f"{head}{tail}. {len(campaigns)} {word} of accounts acting together sent {n:,} of them."


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _share(counts: Mapping[str, int], key: str) -> str:
    n, total = counts.get(key, 0), counts.get("received", 0)
    if key == "received" or not n or not total:
        return ""
    share = 100 * n / total
    return f"{share:.1f} % of the run" if share >= 0.1 else f"{share:.2g} % of the run"


def _reasons(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    most = max((int(r["n"]) for r in rows), default=1)
    return [
        {
            "name": str(r["code"]).replace("_", " "),
            "signal": r.get("signal") or r.get("level") or "",
            "n": int(r["n"]),
            "most": most,
            "examples": _distinct(r["examples"]),
        }
        for r in sorted(rows, key=lambda r: (-int(r["n"]), str(r["code"])))
    ]


def _distinct(examples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return one example for each different sentence of a reason."""
    first: dict[str, Mapping[str, Any]] = {}
    for example in examples:
        first.setdefault(example["sentence"], example)
    return list(first.values())


def _sources(rows: Sequence[Mapping[str, Any]], total: int | None) -> dict[str, Any]:
    shown: list[dict[str, Any]] = [
        {
            **s,
            "kind": s.get("kind") or "plain",
            "shown": visible(s["source_id"], limit=60),
            "summary": _record_of(s),
            "p": _number(s.get("p")),
        }
        for s in rows
    ]
    first = {"blocked": 0, "held": 1, "campaign": 2, "plain": 3}
    ranked = sorted(
        shown, key=lambda s: (first[s["kind"]], 1 if s["p"] is None else s["p"], s["lower_bound"], str(s["source_id"]))
    )
    return {
        "shown": shown,
        "worst": ranked[:_WORST],
        "total": total or len(shown),
        "counts": Counter(s["kind"] for s in shown),
    }


def _record_of(source: Mapping[str, Any]) -> str:
    """Return what a source did in this run, as a sentence."""
    parts = []
    for wrong, right, caption in (
        ("controls_wrong", "controls_right", "{w:,.0f} of {n:,.0f} controls wrong"),
        ("disagreed", "agreed", "disagreed on {w:,.0f} of {n:,.0f} settled items"),
    ):
        w, n = float(source.get(wrong) or 0), float(source.get(wrong) or 0) + float(source.get(right) or 0)
        if n:
            parts.append(caption.format(w=w, n=n))
    return "; ".join(parts) or "nothing of it could be checked yet"


def _campaign(c: Mapping[str, Any]) -> dict[str, Any]:
    records, sources = list(c.get("record_ids") or ()), list(c.get("source_ids") or ())
    return {
        "campaign_id": c["campaign_id"],
        "kind": str(c.get("kind") or "campaign").replace("_", " "),
        "p": _number(c.get("p")),
        "strength": _number(c.get("strength")),
        "n_records": int(c.get("n_records") or len(records)),
        "n_sources": int(c.get("n_sources") or len(sources)),
        "first": _time(c.get("first_at")),
        "last": _time(c.get("last_at")),
        "times": [t for t in map(_time, c.get("times") or ()) if t],
        "sentence": c.get("sentence", ""),
        "records": records[:_MEMBERS],
        "sources": sources[:_MEMBERS],
        "sample": [str(s) for s in c.get("sample") or ()][:2],
    }


def _calibration(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return each calibrated group with its curve: score against the share of vetted records at least so strange."""
    groups = [
        {"group": name or "all together", "n": g["n"], "attainable": g["attainable_p"], "curve": _tail(g)}
        for name, g in (facts.get("groups") or {}).items()
    ]
    return {"groups": groups, "supervised": facts.get("supervised", True)}


def _tail(group: Mapping[str, Any]) -> list[tuple[float, float]]:
    scores, floor = group.get("quantiles") or [], float(group["attainable_p"])
    last = max(len(scores) - 1, 1)
    return [(float(score), max(1 - k / last, floor)) for k, score in enumerate(scores)]


def _items(facts: Mapping[str, Any]) -> dict[str, Any]:
    why = [(str(k).replace("_", " "), int(v)) for k, v in (facts.get("why") or {}).items()]
    return {
        "why": sorted(why, key=lambda w: (-w[1], w[0])),
        "most": max((n for _, n in why), default=1),
        "disputed": list(facts.get("disputed") or ()),
    }


def _cost(cost: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row a step; a run in one process has one row of its own."""
    steps = {k: v for k, v in cost.items() if isinstance(v, Mapping)}
    total = {k: v for k, v in cost.items() if not isinstance(v, Mapping)}
    rows = [{"step": k, **v} for k, v in steps.items()] + ([{"step": "all steps", **total}] if total else [])
    most = max((float(r.get("wall_s") or 0) for r in rows), default=1.0)
    return [{**r, "most": most} for r in rows]


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _time(value: Any) -> dt.datetime | None:
    if value is None or value == "":
        return None
    when = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(str(value))
    return when.replace(tzinfo=dt.UTC) if when.tzinfo is None else when.astimezone(dt.UTC)


_MODELS_LISTED = 12
_FIRST = {"error": 0, "fail": 1, "inconclusive": 2, "pass": 3}
_ATTACKS = ("fgsm", "pgd", "blackbox", "rotation", "noise")
_LEADS = {
    "pass": "Every check that decides passed.",
    "inconclusive": "A check could not be judged: a named person may approve, else nothing trains on this snapshot.",
    "fail": "A check failed: nothing trains on this snapshot unless two people approve, with a reason and an expiry.",
    "error": "A check could not run, so the gate is closed.",
}
_UNJUDGED = "This snapshot was not judged yet: nothing trains on it."


def _gate(facts: Mapping[str, Any]) -> dict[str, Any]:
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


def _models(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the champion and the newest models as the table shows them; empty without any."""
    if not rows:
        return {}
    shown = [row for i, row in enumerate(rows) if i < _MODELS_LISTED or row["status"] == "champion"]
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
        "robust": _attack_share(metrics.get("robust") or {}),
        "attacks": [(name, _attack_share(attacks[name])) for name in _ATTACKS if name in attacks],
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


def _attack_share(attack: Mapping[str, float]) -> str:
    return _percent(attack["right"] / attack["n"] if attack.get("n") else None)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
