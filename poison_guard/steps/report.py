"""Report: the facts of one committed run, as the report page shows them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.config import Contract, Policy
from poison_guard.decide.reasons import sentence
from poison_guard.errors import NotFoundError
from poison_guard.ingest.original import masked
from poison_guard.results import Result
from poison_guard.steps.coverage import coverage_of
from poison_guard.store import Store, list_models, list_runs, run_facts
from poison_guard.store.admissions import last_verdict, list_admissions, list_approvals
from poison_guard.store.models import Model
from poison_guard.store.reading import find_records, load_items, load_payloads
from poison_guard.store.snapshots import last_snapshot

__all__ = ["ReportResult", "report"]

Facts = Mapping[str, Any]

_RECENT = 50
"""Runs looked through for one that was committed."""
_DOTS = 400
"""Sources drawn besides the suspicious ones."""
_TIMED, _MEMBERS, _TICKS, _SAMPLED = 12, 20_000, 160, 2
"""Campaigns shown with times; members read of each, times drawn, texts quoted."""
_RUN = (
    "run_id",
    "feed",
    "batch_id",
    "status",
    "state_version",
    "received_at",
    "started_at",
    "finished_at",
    "policy_hash",
)
_TEXTS = ("text", "prompt", "response", "chosen", "rejected")
_SNAPSHOT = ("snapshot_id", "sealed_at", "hash", "counts", "revoked_why")
_METRICS = ("accuracy", "per_class", "robust", "attacks", "masking")
_APPROVAL, _ADMISSION = ("by", "reason", "at", "expires"), ("digest", "issued", "expires", "revoked")
_UNSETTLED = ("disputed", "contested", "conflict", "pushed", "unproven", "split")
"""Reasons of deferred labels that a person may want to look at."""


@dataclass(frozen=True, slots=True)
class ReportResult(Result):
    """The facts of one run; the page leaves out what is empty."""

    run: Facts
    """``run_id, feed, …``, the ``phase`` and the sizes of the ``trusted`` set in words."""
    counts: Mapping[str, int] = field(default_factory=dict)
    levels: Mapping[str, int] = field(default_factory=dict)
    """Level to records held by it."""
    reasons: Sequence[Facts] = ()
    """``code, signal, level, n, examples``; an example has ``record_id, sentence``."""
    risk: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Place to a histogram of risk over [0, 1]."""
    sources: Sequence[Facts] = ()
    """Suspicious sources and a sample of the others; ``kind`` is ``blocked, held, campaign`` or ``plain``."""
    n_sources: int | None = None
    campaigns: Sequence[Facts] = ()
    """With ``sentence``, ``record_ids``, ``source_ids`` and, of the largest, ``times`` and a ``sample`` of texts."""
    calibration: Facts = field(default_factory=dict)
    items: Facts = field(default_factory=dict)
    """``why`` (reason to items) and ``disputed`` (some of them)."""
    gate: Facts = field(default_factory=dict)
    models: Sequence[Facts] = ()
    notes: tuple[str, ...] = ()
    coverage: tuple[str, ...] = ()
    """What the guard can see of attacks on the feed and what it cannot, in sentences; empty without its contract."""
    cost: Facts = field(default_factory=dict)
    objects: Sequence[Facts] = ()
    policy: Facts = field(default_factory=dict)
    runs: Sequence[Facts] = ()
    """``run_id, counts`` of the feed's last committed runs, oldest first."""

    @property
    def run_id(self) -> str:
        """Id of the run."""
        return str(self.run["run_id"])

    def __str__(self) -> str:
        counts = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in self.counts.items() if n)
        return f"run {self.run_id}: {counts or 'no record'}"


def report(
    store: Store, home: Path, feed: str | None, run_id: str | None, find: Callable[[str], Contract | None]
) -> ReportResult:
    """Return the facts of a run; of the last committed one, of `feed` if given, where `run_id` is None.

    `find` returns the contract of a feed's name, if any.
    """
    stored = run_facts(store, run_id or _last_committed(store, feed), sources=None)
    run, measured, policy = stored["run"], stored["measurements"], stored["policy"]
    if feed is not None and run["feed"] != feed:
        raise NotFoundError(f"run {run_id!r} is of the feed {run['feed']}, not of {feed}; name the right one")
    rows = stored["campaigns"].to_dict("records")
    campaigns = [_campaign(store, run["feed"], campaign, rank) for rank, campaign in enumerate(rows)]
    members = {source for campaign in campaigns for source in campaign["source_ids"]}
    alpha = float(policy.get("source_alpha", Policy().source_alpha))
    head = {key: run[key] for key in _RUN}
    contract = find(run["feed"])
    coverage = coverage_of(contract, home, measured) if contract else None
    return ReportResult(
        run={**head, "phase": measured.get("phase"), "trusted": _sizes(stored["trusted"])},
        counts=stored["counts"],
        levels=measured.get("held_by_level", {}),
        reasons=[_reason(row) for row in stored["reasons"].to_dict("records") if row["signal"] != "audit"],
        risk={str(c): stored["risk"][c].astype(int).tolist() for c in stored["risk"] if c not in ("low", "high")},
        sources=_sources(stored["sources"], alpha, members),
        n_sources=len(stored["sources"]),
        campaigns=campaigns,
        calibration=measured.get("calibration", {}),
        items=_items(load_items(store, run["feed"])),
        gate=_gate(store, run["feed"]),
        models=[_model(model) for model in list_models(store, run["feed"])],
        notes=tuple(sentence(note["code"], note["args"]) for note in stored["notes"]),
        coverage=tuple(coverage.sentences()) if coverage else (),
        cost=run["cost"],
        objects=run["objects"],
        policy=policy,
        runs=[{"run_id": r["run_id"], "counts": r["counts"]} for r in stored["runs"] if r["status"] == "committed"],
    )


def _last_committed(store: Store, feed: str | None) -> str:
    runs = (run.run_id for run in list_runs(store, feed, limit=_RECENT) if run.status == "committed")
    run_id = next(runs, None)
    if run_id is None:
        raise NotFoundError("no run was committed yet; `poison-guard run --feed FEED.toml` makes one")
    return run_id


def _sizes(trusted: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {split}" for split, n in trusted.items()) if sum(trusted.values()) else "none yet"


def _reason(row: Mapping[str, Any]) -> Facts:
    examples = [{"record_id": e["record_id"], "sentence": sentence(row["code"], e["args"])} for e in row["examples"]]
    return {**row, "n": row["records"], "examples": examples}


def _gate(store: Store, feed: str) -> Facts:
    """Return the feed's last snapshot, its verdict, approvals and admission; empty before the first seal."""
    snapshot = last_snapshot(store, feed, revoked=True)
    if snapshot is None:
        return {}
    facts: dict[str, Any] = {"snapshot": {name: getattr(snapshot, name) for name in _SNAPSHOT}}
    verdict = last_verdict(store, snapshot.snapshot_id)
    if verdict is None:
        return facts
    admission = next(iter(list_admissions(store, feed, snapshot_id=snapshot.snapshot_id, limit=1)), None)
    return {
        **facts,
        "outcome": verdict["outcome"],
        "at": verdict["at"],
        "policy_hash": verdict["policy_hash"],
        "checks": list(verdict["verdict"].get("checks", ())),
        "approvals": [{name: row[name] for name in _APPROVAL} for row in list_approvals(store, verdict["seq"])],
        "admission": {name: admission[name] for name in _ADMISSION} if admission else None,
    }


def _model(model: Model) -> Facts:
    """Return a model without what it predicted of single examples."""
    metrics = {key: model.metrics[key] for key in _METRICS if key in model.metrics}
    return {**dataclasses.asdict(model), "metrics": metrics}


def _sources(frame: pd.DataFrame, alpha: float, members: set[str]) -> list[Any]:
    """Return every suspicious source and a sample of the others that is the same each time (chosen by hash)."""
    if "reliability" not in frame.columns:
        return []
    blocked = (
        frame["blocked"].fillna(False).astype(bool) if "blocked" in frame.columns else pd.Series(False, frame.index)
    )
    held, joined = frame["p"] <= alpha, frame["source_id"].isin(members)
    frame = frame.assign(kind=np.select([blocked, held, joined], ["blocked", "held", "campaign"], "plain"))
    marked = frame["kind"] != "plain"
    order = frame["source_id"].map(lambda name: hashlib.blake2b(str(name).encode("utf-8", "replace")).digest())
    plain = frame.loc[order[~marked].sort_values().index[:_DOTS]]
    return pd.concat([frame[marked].head(_DOTS), plain]).to_dict("records")


def _campaign(store: Store, feed: str, campaign: Mapping[str, Any], rank: int) -> Facts:
    """Return a campaign with its members; the largest ones also with times and a sample of what they wrote."""
    members = find_records(store, feed, campaign_id=campaign["campaign_id"], limit=_MEMBERS)
    ids = members["record_id"].tolist()
    times = members["observed_at"].dropna().sort_values()
    speakers = members["author_id" if members["author_id"].notna().any() else "source_id"].dropna().drop_duplicates()
    facts = {
        **campaign,
        "sentence": sentence(campaign["code"], campaign["args"]),
        "record_ids": ids,
        "source_ids": speakers.tolist(),
        "times": times.iloc[:: max(1, len(times) // _TICKS)].tolist() if rank < _TIMED else [],
    }
    if rank < _TIMED and campaign["kind"] == "near_duplicate_text":
        payloads = load_payloads(store, feed, ids[:_SAMPLED])
        hidden = masked(payloads["shape"]) if "shape" in payloads else frozenset()
        texts = payloads[[role for role in _TEXTS if role in payloads.columns and role not in hidden]]
        rows = texts.itertuples(index=False) if texts.shape[1] else ()
        facts["sample"] = [" / ".join(str(text) for text in row if not pd.isna(text)) for row in rows]
    return facts


def _items(items: pd.DataFrame) -> Facts:
    if not len(items):
        return {}
    unsettled = items[~items["adopted"].astype(bool) & items["why"].isin(_UNSETTLED)]
    disputed = unsettled.sort_values(["probability", "item_id"], ascending=[False, True]).head(6)
    return {"why": dict(Counter(items["why"].astype(str))), "disputed": disputed.to_dict("records")}
