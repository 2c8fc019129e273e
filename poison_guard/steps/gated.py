"""The second half as a scheduler calls it: seal, gate, admit, train, promote; ids in, plain values out."""

from __future__ import annotations

import datetime as dt
from typing import Any

from poison_guard.steps import gate as gating
from poison_guard.steps import retrain as retraining
from poison_guard.steps import seal as sealing
from poison_guard.steps.gate import judge
from poison_guard.steps.opening import open_feed

__all__ = ["admit", "approve", "check_admission", "due", "evaluate", "gate", "promote", "seal", "train"]


def seal(contract_path: str, home: str) -> dict[str, Any]:
    """Seal what is accepted now; return ``snapshot_id, new, counts``, without an id where there is nothing to seal."""
    with open_feed(contract_path, home) as feed:
        try:
            sealed = sealing.seal(feed)
        except sealing.NothingToSealError:
            return {"snapshot_id": None, "new": False, "counts": {}}
        return {"snapshot_id": sealed.snapshot.snapshot_id, "new": sealed.new, "counts": dict(sealed.snapshot.counts)}


def gate(contract_path: str, home: str, snapshot_id: str) -> dict[str, Any]:
    """Judge a snapshot; return ``outcome, verdict_seq, why``: a sentence for each check that did not pass."""
    with open_feed(contract_path, home) as feed:
        judged = judge(feed, snapshot_id, _now())
        return {
            "outcome": judged.verdict.outcome.value,
            "verdict_seq": judged.verdict_seq,
            "why": list(judged.verdict.why),
        }


def approve(
    contract_path: str,
    home: str,
    snapshot_id: str,
    by: str,
    reason: str,
    expires: dt.datetime | None = None,
    *,
    verdict_seq: int | None = None,
) -> dict[str, int]:
    """Write down one person's approval of the verdict they saw; return how many ``approvals`` it has."""
    with open_feed(contract_path, home) as feed:
        seen = {"expires": expires, "verdict_seq": verdict_seq, "now": _now()}
        return {"approvals": gating.approve(feed, snapshot_id, by=by, reason=reason, **seen)}


def admit(contract_path: str, home: str, snapshot_id: str) -> dict[str, Any]:
    """Issue the admission; return ``snapshot_id, manifest, digest, expires``. Raises where the gate is closed."""
    with open_feed(contract_path, home) as feed:
        return gating.admit(feed, snapshot_id, _now())


def due(contract_path: str, home: str) -> dict[str, str | None]:
    """Return the ``snapshot_id`` that is admitted and not yet learned from; None where nothing is due."""
    with open_feed(contract_path, home) as feed:
        return {"snapshot_id": retraining.due(feed, _now())}


def check_admission(contract_path: str, home: str, snapshot_id: str) -> dict[str, Any]:
    """Verify an admission against keys, revocations and data; return ``snapshot_id, digest, seq``."""
    with open_feed(contract_path, home) as feed:
        return gating.check_admission(feed, snapshot_id, _now())


def train(contract_path: str, home: str, snapshot_id: str) -> dict[str, str]:
    """Train on an admitted snapshot; return the ``model_id``."""
    with open_feed(contract_path, home) as feed:
        return {"model_id": retraining.train_model(feed, snapshot_id, _now()).model_id}


def evaluate(contract_path: str, home: str, model_id: str) -> dict[str, Any]:
    """Evaluate a model on trusted examples no training saw; return its metrics without the single predictions."""
    with open_feed(contract_path, home) as feed:
        metrics = retraining.evaluate_model(feed, model_id)
        return {key: value for key, value in metrics.items() if key != "predictions"}


def promote(contract_path: str, home: str, model_id: str) -> dict[str, Any]:
    """Promote a model by rule, or refuse it; return ``promoted, why``."""
    with open_feed(contract_path, home) as feed:
        decision = retraining.promote_model(feed, model_id)
        return {"promoted": decision["promoted"], "why": decision["why"]}


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
