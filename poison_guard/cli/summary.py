"""How a scanned or stored batch is told: counts by action, the commonest reasons as sentences, campaigns, notes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from poison_guard.cli.output import table, told
from poison_guard.decide.reasons import sentence
from poison_guard.web.chance import chance

if TYPE_CHECKING:
    import pandas as pd

    from poison_guard.records import ScanResult

__all__ = ["result_document", "show_result", "top_reasons"]

_TOP = 8
_WHOLE_BATCH = "true of the whole batch: see the notes"
_PLACES = (
    ("accepted", "accepted"),
    ("quarantined", "held for review"),
    ("rejected", "rejected"),
    ("staged", "staged: could not be judged"),
    ("seen_before", "seen before"),
)
_ALSO = (
    ("unreadable", "of these unreadable"),
    ("recalled", "taken back from earlier batches"),
    ("adopted_items", "labels adopted"),
    ("deferred_items", "labels deferred"),
)


def result_document(feed: str, result: ScanResult) -> dict[str, Any]:
    """Return what ``--json`` prints of a batch: counts, reasons, campaigns, notes."""
    return {
        "feed": feed,
        "run_id": result.run_id,
        "counts": dict(result.counts),
        "reasons": top_reasons(result),
        "campaigns": result.campaigns.to_dict("records"),
        "notes": list(result.notes),
    }


def show_result(feed: str, result: ScanResult, *, stored: bool) -> None:
    """Print the tables of a batch on stdout."""
    counts = result.counts
    received = counts.get("received", 0)
    rows = [(name, counts[key], _share(counts[key], received)) for key, name in _PLACES if counts.get(key)]
    rows += [(name, counts[key], "") for key, name in _ALSO if counts.get(key)]
    nothing = f"{feed}: no new record came in."
    table(
        f"{feed}: {received:,} records {'taken in' if stored else 'scanned'}",
        ("", ">records", ">share"),
        rows,
        empty=nothing,
    )
    reasons = [(r["code"].replace("_", " "), r["records"], r["example"]) for r in top_reasons(result)]
    if reasons:
        table("Why records are held", ("reason", ">records", "for example"), reasons)
    if len(result.campaigns):
        table(
            "Campaigns", ("campaign", ">records", ">sources", ">chance if honest", "what they did"), _campaigns(result)
        )
    for note in result.notes:
        told(f"note: {note}")


def top_reasons(result: ScanResult) -> list[dict[str, Any]]:
    """Return the commonest reasons of held records: ``code, records, example`` (a sentence)."""
    decisions = result.decisions
    held = decisions[decisions["action"] != "accept"]
    codes = held[["record_id", "reasons"]].explode("reasons").dropna(subset=["reasons"])
    if not len(codes):
        return []
    sizes = codes["reasons"].astype(str).value_counts()
    top = sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0]))[:_TOP]
    first = _examples(result.evidence, set(held["record_id"]))
    return [{"code": code, "records": int(n), "example": first.get(code, _WHOLE_BATCH)} for code, n in top]


def _examples(evidence: pd.DataFrame, held: set[str]) -> dict[str, str]:
    """Return one sentence a code: the most certain one among held records."""
    if not len(evidence):
        return {}
    ours = evidence[evidence["record_id"].isin(held)].sort_values(["p", "record_id"], kind="stable")
    best = ours.drop_duplicates("code")
    return {code: sentence(code, _args(args)) for code, args in zip(best["code"], best["args"], strict=True)}


def _args(args: str | Mapping[str, Any]) -> Mapping[str, Any]:
    return json.loads(args) if isinstance(args, str) else args


def _campaigns(result: ScanResult) -> list[tuple[Any, ...]]:
    ranked = result.campaigns.sort_values(["n_records", "campaign_id"], ascending=[False, True]).head(_TOP)
    return [
        (c.campaign_id, int(c.n_records), int(c.n_sources), chance(float(c.p)), c.why)
        for c in ranked.itertuples(index=False)
    ]


def _share(n: int, total: int) -> str:
    return f"{100 * n / total:.1f} %" if total else ""
