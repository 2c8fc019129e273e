"""What callers of scan and ingest get back: decided batches, or stored runs, as plain frames."""

from __future__ import annotations

import pandas as pd

from poison_guard.decide.reasons import sentence
from poison_guard.records import Batch, Campaign, Decided, Place, Reason, ScanResult
from poison_guard.steps.opening import Feed
from poison_guard.store import Run, load_run_result, run_facts

__all__ = ["note_sentence", "nothing_new", "result_of", "stored_result", "told_notes"]

_DECISIONS = ["record_id", "action", "risk", "campaign_id", "reasons"]


def result_of(decided: Decided, batch: Batch, run_id: str | None = None) -> ScanResult:
    """Return a decided batch as a result."""
    places = decided.decisions["place"].value_counts()
    actions = decided.decisions["action"].value_counts()
    counts = {
        "received": len(decided.decisions) + batch.duplicates,
        "seen_before": batch.duplicates,
        **{place.value: int(places.get(place.value, 0)) for place in Place if place is not Place.RECALLED},
        **{f"action_{name}": int(n) for name, n in actions.items()},
        "unreadable": len(batch.unreadable),
        "adopted_items": int(decided.items["adopted"].sum()) if len(decided.items) else 0,
        "deferred_items": int((~decided.items["adopted"].astype(bool)).sum()) if len(decided.items) else 0,
    }
    return ScanResult(
        decisions=decided.decisions[_DECISIONS],
        items=decided.items,
        sources=decided.sources,
        campaigns=campaign_table(decided.campaigns),
        evidence=decided.evidence,
        notes=tuple(note_sentence(note) for note in decided.notes),
        counts=counts,
        run_id=run_id,
    )


def nothing_new(why: str = "nothing new: every object was taken in before") -> ScanResult:
    """Return the result of a batch without a record, and `why` there is none."""
    columns = {
        "decisions": _DECISIONS,
        "items": ["item_id", "label", "probability", "adopted", "why"],
        "sources": ["source_id"],
        "evidence": ["record_id", "signal", "level", "p", "code", "args"],
    }
    frames = {name: pd.DataFrame({c: pd.Series(dtype=object) for c in names}) for name, names in columns.items()}
    counts = dict.fromkeys(("received", "seen_before", "staged", "accepted", "quarantined", "rejected"), 0)
    return ScanResult(**frames, campaigns=campaign_table(()), notes=(why,), counts=counts)


def stored_result(feed: Feed, run: Run) -> ScanResult:
    """Return what a committed run gave."""
    frames = load_run_result(feed.store, run)
    campaigns = frames["campaigns"]
    told = [sentence(code, args) for code, args in zip(campaigns["code"], campaigns["args"], strict=True)]
    return ScanResult(
        decisions=frames["decisions"][_DECISIONS],
        items=frames["items"],
        sources=run_facts(feed.store, run.run_id)["sources"],
        campaigns=campaigns.drop(columns=["code", "args"]).assign(why=told),
        evidence=frames["evidence"],
        notes=told_notes(run),
        counts=dict(run.counts),
        run_id=run.run_id,
    )


def campaign_table(campaigns: tuple[Campaign, ...]) -> pd.DataFrame:
    """Return campaigns as a frame, a row each, with the sentence a reviewer reads."""
    rows = [
        (
            c.campaign_id,
            c.kind,
            c.p,
            c.strength,
            len(c.record_ids) + len(c.earlier_ids),
            len(c.source_ids),
            c.first_at,
            c.last_at,
            sentence(c.reason.code, c.reason.args),
        )
        for c in campaigns
    ]
    columns = ["campaign_id", "kind", "p", "strength", "n_records", "n_sources", "first_at", "last_at", "why"]
    return pd.DataFrame(rows, columns=columns)


def told_notes(run: Run) -> tuple[str, ...]:
    """Return what a committed run says about itself, as sentences."""
    return tuple(sentence(note["code"], note["args"]) for note in run.notes)


def note_sentence(note: Reason) -> str:
    """Return a note of the guard about itself as a sentence."""
    return sentence(note.code, note.args)
