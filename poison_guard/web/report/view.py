"""Turn the facts of a run into what the page shows: the leading sentence, tiles, table rows and chart data."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from poison_guard.decide.reasons import sentence
from poison_guard.web.report.view_learned import view_gate, view_models
from poison_guard.web.visible import visible

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


def view(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values `report.html.j2` shows; what `facts` lacks is left out of the page, and said there."""
    run = dict(facts.get("run") or {})
    counts = {k: int(v) for k, v in (facts.get("counts") or {}).items()}
    campaigns = [_campaign(c) for c in facts.get("campaigns") or ()]
    policy = facts.get("policy") or {}
    risk = facts.get("risk") or {}
    return {
        "run": run,
        "lead": _lead(counts, campaigns),
        "tiles": [(k, title, counts.get(k, 0), _share(counts, k) or told) for k, title, told in _TILES],
        "places": [(k, title, counts[k]) for k, title in _PLACES if counts.get(k)],
        "more": [(title, counts[k]) for k, title in _MORE if counts.get(k)],
        "levels": [(told, int(n)) for k, told in _LEVELS if (n := (facts.get("levels") or {}).get(k))],
        "reasons": _reasons(facts.get("reasons") or ()),
        "risk": [(dict(_PLACES).get(k, k), k, risk[k]) for k in _RISK if sum(risk.get(k, ()))],
        "marks": {"hold": 0.5},
        "sources": _sources(facts.get("sources") or (), facts.get("n_sources")),
        "campaigns": sorted(campaigns, key=lambda c: (-c["n_records"], c["campaign_id"]))[:_LISTED],
        "more_campaigns": max(0, len(campaigns) - _LISTED),
        "calibration": _calibration(facts.get("calibration") or {}),
        "rate": float(policy.get("false_quarantine_rate") or 0.01),
        "items": _items(facts.get("items") or {}),
        "gate": view_gate(facts.get("gate") or {}),
        "models": view_models(facts.get("models") or ()),
        "notes": [sentence(n["code"], n.get("args") or {}) for n in facts.get("notes") or ()],
        "cost": _cost(facts.get("cost") or {}),
        "objects": list(facts.get("objects") or ()),
        "policy": sorted(policy.items()),
        "runs": _runs(facts.get("runs") or (), run.get("run_id")),
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


def _lead(counts: Mapping[str, int], campaigns: Sequence[Mapping[str, Any]]) -> str:
    received = counts.get("received", 0)
    if not received:
        return "No new record came in."
    gone = [(n, told) for k, told in _PLACES[:4] if (n := counts.get(k, 0))]
    parts = [f"{n:,} {'was' if n == 1 else 'were'} {told}" for n, told in gone]
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
            "examples": _distinct(r),
        }
        for r in sorted(rows, key=lambda r: (-int(r["n"]), str(r["code"])))
    ]


def _distinct(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one example for each different sentence of a reason."""
    told: dict[str, Any] = {}
    for example in row.get("examples") or ():
        told.setdefault(sentence(row["code"], example.get("args") or {}), example.get("record_id"))
    return [{"sentence": text, "record_id": record_id} for text, record_id in told.items()]


def _sources(rows: Sequence[Mapping[str, Any]], total: int | None) -> dict[str, Any]:
    shown: list[dict[str, Any]] = [
        {
            **s,
            "kind": s.get("kind") or "plain",
            "shown": visible(s["source_id"], limit=60),
            "told": _record_of(s),
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
    for wrong, right, told in (
        ("controls_wrong", "controls_right", "{w:,.0f} of {n:,.0f} controls wrong"),
        ("disagreed", "agreed", "disagreed on {w:,.0f} of {n:,.0f} settled items"),
    ):
        w, n = float(source.get(wrong) or 0), float(source.get(wrong) or 0) + float(source.get(right) or 0)
        if n:
            parts.append(told.format(w=w, n=n))
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
        "sentence": sentence(c["code"], c.get("args") or {}) if c.get("code") else "",
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
    whole = {k: v for k, v in cost.items() if not isinstance(v, Mapping)}
    rows = [{"step": k, **v} for k, v in steps.items()] + ([{"step": "all steps", **whole}] if whole else [])
    most = max((float(r.get("wall_s") or 0) for r in rows), default=1.0)
    return [{**r, "most": most} for r in rows]


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _time(value: Any) -> dt.datetime | None:
    if value is None or value == "":
        return None
    when = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(str(value))
    return when.replace(tzinfo=dt.UTC) if when.tzinfo is None else when.astimezone(dt.UTC)
