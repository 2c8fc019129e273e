"""Gather what was made of a feed: its last snapshot with the gate's verdict and admission, and its models."""

from __future__ import annotations

import dataclasses
from typing import Any

from poison_guard.store import Store
from poison_guard.store.admissions import admissions, approvals
from poison_guard.store.models import Model, list_models
from poison_guard.store.snapshots import last_snapshot
from poison_guard.store.verdicts import last_verdict

__all__ = ["gather_gate", "gather_models"]

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
    given = [{name: row[name] for name in _APPROVAL} for row in approvals(store, verdict["seq"])]
    issued = [row for row in admissions(store, feed) if row["snapshot_id"] == snapshot.snapshot_id]
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
