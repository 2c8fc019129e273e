"""What scan and ingest return: decided batches, or stored runs, with the commonest reasons as sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from poison_guard.decide.coverage import Coverage
from poison_guard.decide.reasons import sentence
from poison_guard.frames import FRAMES, among, empty_frame, typed_frame
from poison_guard.records import Batch, Campaign, Decided, Level, Place, Reason
from poison_guard.results import Result, html_table, text_table
from poison_guard.review.sampling import audit_sample
from poison_guard.steps.located import batch_places, located, stored_places, with_sentences
from poison_guard.steps.recall import Revocation, revoked_by
from poison_guard.store import Store, load_run
from poison_guard.store.runs import load_run_result
from poison_guard.text import to_jsonable

__all__ = [
    "ScanResult",
    "note_sentence",
    "nothing_new",
    "result_of",
    "stored_result",
    "with_audits",
]

_DECISIONS = ["record_id", "action", "risk", "campaign_id", "reasons"]
_TOP = 8
_WHOLE_BATCH = "true of the whole batch: see the notes"


@dataclass(frozen=True, slots=True)
class ScanResult(Result):
    """What `Guard.scan` and `Guard.ingest` return; all frames, one row per record in `decisions`."""

    decisions: pd.DataFrame
    items: pd.DataFrame
    sources: pd.DataFrame
    campaigns: pd.DataFrame
    evidence: pd.DataFrame
    notes: tuple[str, ...]
    counts: Mapping[str, int]
    run_id: str | None = None
    feed: str = ""
    revocation: Revocation = field(default_factory=Revocation)
    """What the run revoked by recalling records of earlier batches."""
    coverage: Coverage | None = None
    """What the guard could see of attacks on this batch, and what not; None for a batch without records."""

    @property
    def judged(self) -> bool:
        """Whether anything judged what the records say; True where there is no record."""
        return self.coverage is None or self.coverage.judged

    def to_dict(self) -> dict[str, Any]:
        """Return counts, reasons, campaigns and notes: what ``--json`` prints of a batch."""
        return {
            "feed": self.feed,
            "run_id": self.run_id,
            "counts": dict(self.counts),
            "reasons": self.top_reasons(),
            "campaigns": to_jsonable(self.campaigns.to_dict("records")),
            "notes": list(self.notes),
            "coverage": None if self.coverage is None else self.coverage.to_dict(),
            **self.revocation.to_dict(),
        }

    def __str__(self) -> str:
        """Return the counts, the commonest reasons and the notes as text."""
        said = [*(f"note: {note}" for note in self.notes), *(f"coverage: {one}" for one in self.statement())]
        return "\n".join([text_table(("", self.feed), self._rows()), *said])

    def _repr_html_(self) -> str:
        said = [*(("note", note) for note in self.notes), *(("coverage", one) for one in self.statement())]
        return html_table(("", self.feed), [*self._rows(), *said])

    def statement(self) -> list[str]:
        """Return the sentences of `coverage` that are no note already."""
        return [one for one in (self.coverage.sentences() if self.coverage else ()) if one not in self.notes]

    def _rows(self) -> list[tuple[object, object]]:
        reasons = [(f"held: {reason['code']}", reason["records"]) for reason in self.top_reasons()]
        return [*((name, n) for name, n in self.counts.items() if n), *reasons]

    def top_reasons(self) -> list[dict[str, Any]]:
        """Return the commonest reasons of held records: ``code, records, example`` (a sentence)."""
        held = self.decisions[self.decisions["action"] != "accept"]
        codes = held[["record_id", "reasons"]].explode("reasons").dropna(subset=["reasons"])
        if not len(codes):
            return []
        sizes = codes["reasons"].astype(str).value_counts()
        top = sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0]))[:_TOP]
        evidence = self.evidence[self.evidence["record_id"].isin(set(held["record_id"]))]
        best = evidence.sort_values(["p", "record_id"], kind="stable").drop_duplicates("code")
        examples = {
            code: sentence(code, json.loads(args) if isinstance(args, str) else args)
            for code, args in best[["code", "args"]].itertuples(index=False)
        }
        return [{"code": code, "records": int(n), "example": examples.get(code, _WHOLE_BATCH)} for code, n in top]


def result_of(feed: str, decided: Decided, batch: Batch) -> ScanResult:
    """Return a decided batch that is not stored as a result."""
    places = decided.decisions["place"].value_counts()
    adopted = decided.items["adopted"].astype(bool)
    counts = {
        "received": len(decided.decisions) + batch.duplicates,
        "seen_before": batch.duplicates,
        **{place.value: int(places.get(place.value, 0)) for place in Place if place is not Place.RECALLED},
        **{f"action_{name}": int(n) for name, n in decided.decisions["action"].value_counts().items()},
        "unreadable": len(batch.unreadable),
        "adopted_items": int(adopted.sum()),
        "deferred_items": int((~adopted).sum()),
    }
    noted = [(note.code, note.args) for note in decided.notes]
    places = batch_places(batch)
    decisions, evidence = with_sentences(
        located(decided.decisions[_DECISIONS], places), located(decided.evidence, places), noted
    )
    return ScanResult(
        decisions=decisions,
        items=decided.items,
        sources=decided.sources,
        campaigns=_campaign_rows(decided.campaigns),
        evidence=evidence,
        notes=tuple(_with_command(note.code, note.args, feed) for note in decided.notes),
        counts=counts,
        feed=feed,
    )


def nothing_new(feed: str, why: str = "nothing new: every object was taken in before") -> ScanResult:
    """Return the result of a batch without a record, and `why` there is none."""
    frames = {name: empty_frame(name) for name in ("decisions", "items", "sources", "evidence", "campaigns")}
    frames["decisions"], frames["evidence"] = with_sentences(
        *(located(frames[name], frames[name]) for name in ("decisions", "evidence"))
    )
    counts = dict.fromkeys(("received", "seen_before", "staged", "accepted", "quarantined", "rejected"), 0)
    return ScanResult(**frames, notes=(why,), counts=counts, feed=feed)


def stored_result(store: Store, run_id: str, places: pd.DataFrame | None = None) -> ScanResult:
    """Return what a committed run decided and revoked, read back from the store.

    `places` are ``record_id, object, row`` of its rows in order; without them they are read from the lake.
    """
    run = load_run(store, run_id)
    frames = load_run_result(store, run)
    places = stored_places(store, frames["decisions"][["record_id", "file_id"]]) if places is None else places
    noted = [(note["code"], note["args"]) for note in run.notes]
    of_batch = among(frames["evidence"]["record_id"], frames["decisions"]["record_id"])  # not of what it recalled
    campaigns = frames["campaigns"]
    decisions, evidence = with_sentences(
        located(frames["decisions"][_DECISIONS], places), located(frames["evidence"][of_batch], places), noted
    )
    sentences = [sentence(code, args) for code, args in zip(campaigns["code"], campaigns["args"], strict=True)]
    return ScanResult(
        decisions=decisions,
        items=frames["items"],
        sources=frames["sources"],
        campaigns=typed_frame("campaigns", campaigns.drop(columns=["code", "args"]).assign(why=sentences)),
        evidence=evidence,
        notes=tuple(_with_command(note["code"], note["args"], run.feed) for note in run.notes),
        counts=dict(run.counts),
        run_id=run.run_id,
        feed=run.feed,
        revocation=revoked_by(store, run.feed, run.commit_seq or 0) if run.counts.get("recalled") else Revocation(),
    )


def _with_command(code: str, args: Mapping[str, Any], feed: str) -> str:
    """Return a note as a sentence; of one that vetted records are missing, with the command that draws some."""
    said = sentence(code, args)
    if code != "no_trusted_set" or not args.get("needed"):
        return said
    draw = f"poison-guard trust --sample {int(args['needed'])} --feed {feed} --out FILE.csv"
    return f"{said}; `{draw}` draws records to vet"


def note_sentence(note: Reason) -> str:
    """Return a note of the guard about itself as a sentence."""
    return sentence(note.code, note.args)


def with_audits(decided: Decided, *, key: bytes, rate: float) -> Decided:
    """Return `decided` with evidence ``audit_sample`` for the `rate` share of the accepted that the store's key draws.

    Reviewers see these all the same: without them, misses are never measured. The draw depends on the record's id and
    the secret key alone: the same records again, and none that a sender could foresee.
    """
    accepted = decided.decisions.loc[decided.decisions["place"] == Place.ACCEPTED.value, "record_id"]
    drawn = pd.Series(audit_sample(accepted.tolist(), key, rate), dtype="str")
    fixed = {"signal": "audit", "level": Level.RULE.value, "p": 1.0, "code": "audit_sample", "args": "{}"}
    rows = pd.DataFrame({"record_id": drawn, **fixed})
    return replace(decided, evidence=pd.concat([decided.evidence, rows], ignore_index=True))


def _campaign_rows(campaigns: tuple[Campaign, ...]) -> pd.DataFrame:
    """Return campaigns as a frame, a row each, with the sentence a reviewer reads."""
    rows = [
        {
            **{name: getattr(campaign, name) for name in ("campaign_id", "kind", "p", "strength")},
            "n_records": len(campaign.record_ids) + len(campaign.earlier_ids),
            "n_sources": len(campaign.source_ids),
            "first_at": campaign.first_at,
            "last_at": campaign.last_at,
            "why": note_sentence(campaign.reason),
        }
        for campaign in campaigns
    ]
    return typed_frame("campaigns", pd.DataFrame(rows, columns=list(FRAMES["campaigns"].columns)))
