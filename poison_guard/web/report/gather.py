"""Gather a stored run's facts into the plain, JSON-able form that the page is rendered from."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.config import Policy
from poison_guard.store import Store
from poison_guard.store.facts import run_facts
from poison_guard.store.reading import find_records, load_items, load_payloads
from poison_guard.web.report.gather_learned import gather_gate, gather_models

__all__ = ["gather"]

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
        facts["sample"] = _texts(load_payloads(store, feed, ids[:_SAMPLED]))
    return facts


def _texts(payloads: pd.DataFrame) -> list[str]:
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
