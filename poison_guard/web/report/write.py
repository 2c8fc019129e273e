"""Gather the facts of a stored run and write its report to a file, whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.config import Policy, load_contract, open_settings
from poison_guard.errors import NotFoundError, StoreError
from poison_guard.store import Store, list_runs, open_store
from poison_guard.store.admissions import last_verdict, list_admissions, list_approvals
from poison_guard.store.facts import run_facts
from poison_guard.store.models import Model, list_models
from poison_guard.store.reading import find_records, load_items, load_payloads
from poison_guard.store.snapshots import last_snapshot
from poison_guard.web.report.page import render_report

__all__ = ["gather", "gather_gate", "gather_models", "write_newest_report", "write_report"]


_SNAPSHOT = ("snapshot_id", "sealed_at", "hash", "counts", "revoked_why")
_METRICS = ("accuracy", "per_class", "robust", "attacks", "masking")
_APPROVAL, _ADMISSION = ("by", "reason", "at", "expires"), ("digest", "issued", "expires", "revoked")


def gather_gate(store: Store, feed: str) -> dict[str, Any]:
    """Return the facts of a feed's last snapshot, its verdict, approvals and admission; empty before the first seal."""
    snapshot = last_snapshot(store, feed, revoked=True)
    if snapshot is None:
        return {}
    facts: dict[str, Any] = {"snapshot": {name: getattr(snapshot, name) for name in _SNAPSHOT}}
    verdict = last_verdict(store, snapshot.snapshot_id)
    if verdict is None:
        return facts
    given = [{name: row[name] for name in _APPROVAL} for row in list_approvals(store, verdict["seq"])]
    issued = [row for row in list_admissions(store, feed) if row["snapshot_id"] == snapshot.snapshot_id]
    return {
        **facts,
        "outcome": verdict["outcome"],
        "at": verdict["at"],
        "policy_hash": verdict["policy_hash"],
        "checks": list(verdict["verdict"].get("checks", ())),
        "approvals": given,
        "admission": {name: issued[0][name] for name in _ADMISSION} if issued else None,
    }


def gather_models(store: Store, feed: str) -> list[dict[str, Any]]:
    """Return a feed's models with their metrics, newest first, without what they said of single examples."""
    return [_model_facts(model) for model in list_models(store, feed)]


def _model_facts(model: Model) -> dict[str, Any]:
    facts = dataclasses.asdict(model)
    return {**facts, "metrics": {key: model.metrics[key] for key in _METRICS if key in model.metrics}}


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


def gather(store: Store, run_id: str) -> dict[str, Any]:
    """Return the facts that `render_report` takes; `NotFoundError` for a run that is not in the store."""
    stored = run_facts(store, run_id, sources=1_000_000)
    run, measured, policy = stored["run"], stored["measurements"], stored["policy"]
    found = stored["campaigns"].to_dict("records")
    campaigns = [_campaign(store, run["feed"], campaign, rank) for rank, campaign in enumerate(found)]
    together = {source for campaign in campaigns for source in campaign["source_ids"]}
    alpha = float(policy.get("source_alpha", Policy().source_alpha))
    return {
        "run": {
            **{key: run[key] for key in _RUN},
            "phase": measured.get("phase"),
            "trusted": _trusted(stored["trusted"]),
        },
        "counts": stored["counts"],
        "levels": measured.get("held_by_level", {}),
        "reasons": [
            {**row, "n": row["records"]} for row in stored["reasons"].to_dict("records") if row["signal"] != "audit"
        ],
        "risk": _risk(stored["risk"]),
        "sources": _sources(stored["sources"], alpha, together),
        "n_sources": len(stored["sources"]),
        "campaigns": campaigns,
        "calibration": measured.get("calibration", {}),
        "items": _items(load_items(store, run["feed"])),
        "gate": gather_gate(store, run["feed"]),
        "models": gather_models(store, run["feed"]),
        "notes": stored["notes"],
        "cost": run["cost"],
        "objects": run["objects"],
        "policy": policy,
        "runs": [{"run_id": r["run_id"], "counts": r["counts"]} for r in stored["runs"] if r["status"] == "committed"],
    }


def _trusted(counts: dict[str, int]) -> str:
    if not sum(counts.values()):
        return "none yet"
    return ", ".join(f"{n:,} {split}" for split, n in counts.items())


def _risk(risk: pd.DataFrame) -> dict[str, list[int]]:
    return {str(place): risk[place].astype(int).tolist() for place in risk.columns if place not in ("low", "high")}


def _sources(frame: pd.DataFrame, alpha: float, together: set[str]) -> list[dict[str, Any]]:
    """Return every suspicious source and a sample of the others that is the same each time (chosen by hash)."""
    if "reliability" not in frame.columns:
        return []
    blocked = (
        frame["blocked"].fillna(False).astype(bool) if "blocked" in frame.columns else pd.Series(False, frame.index)
    )
    held, joined = frame["p"] <= alpha, frame["source_id"].isin(together)
    frame = frame.assign(kind=np.select([blocked, held, joined], ["blocked", "held", "campaign"], "plain"))
    marked = frame["kind"] != "plain"
    order = frame["source_id"].map(lambda name: hashlib.blake2b(str(name).encode("utf-8", "replace")).digest())
    plain = frame.loc[order[~marked].sort_values().index[:_DOTS]]
    return pd.concat([frame[marked].head(_DOTS), plain]).to_dict("records")


def _campaign(store: Store, feed: str, campaign: dict[str, Any], rank: int) -> dict[str, Any]:
    """Return a campaign with its members; the largest ones also with times and a sample of what they wrote."""
    members = find_records(store, feed, campaign_id=campaign["campaign_id"], limit=_MEMBERS)
    ids = members["record_id"].tolist()
    times = members["observed_at"].dropna().sort_values()
    speakers = members["author_id" if members["author_id"].notna().any() else "source_id"].dropna().drop_duplicates()
    facts = {
        **campaign,
        "record_ids": ids,
        "source_ids": speakers.tolist(),
        "times": times.iloc[:: max(1, len(times) // _TICKS)].tolist() if rank < _TIMED else [],
    }
    if rank < _TIMED and campaign["kind"] == "near_duplicate_text":
        facts["sample"] = _sample_texts(load_payloads(store, feed, ids[:_SAMPLED]))
    return facts


def _sample_texts(payloads: pd.DataFrame) -> list[str]:
    present = [role for role in _TEXTS if role in payloads.columns]
    return [" / ".join(str(v) for v in row if not pd.isna(v)) for row in payloads[present].itertuples(index=False)]


def _items(items: pd.DataFrame) -> dict[str, Any]:
    if not len(items):
        return {}
    waiting = items[~items["adopted"].astype(bool)]
    shown = waiting[waiting["why"].isin(["disputed", "contested", "conflict", "pushed", "unproven", "split"])]
    return {
        "why": dict(Counter(items["why"].astype(str))),
        "disputed": shown.sort_values(["probability", "item_id"], ascending=[False, True]).head(6).to_dict("records"),
    }


_RECENT = 50
"""Runs looked through for one that was committed."""


def write_report(home: str | Path, run_id: str, out_path: str | Path | None = None) -> Path:
    """Write the page of a run and return its path; ``reports/RUN.html`` in the home unless `out_path` says otherwise.

    `NotFoundError` for a run that is not in the store, `StoreError` where the page cannot be written.
    """
    settings = open_settings(home)
    with open_store(settings) as store:
        facts = gather(store, run_id)
    page = Path(out_path) if out_path is not None else settings.home / "reports" / f"{run_id}.html"
    text = render_report(facts)
    temporary = page.with_name(f".{page.name}.{os.getpid()}")
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        temporary.replace(page)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{page} cannot be written: {error.strerror or error}") from None
    return page


def write_newest_report(home: str | Path, contract_path: str | Path) -> Path:
    """Write the page of the newest run that a feed has committed; `NotFoundError` before the first one."""
    feed = load_contract(contract_path).name
    with open_store(open_settings(home)) as store:
        done = next((run for run in list_runs(store, feed, limit=_RECENT) if run.status == "committed"), None)
    if done is None:
        raise NotFoundError(f"{feed} has no run to report yet; `poison-guard run` makes one")
    return write_report(home, done.run_id)
