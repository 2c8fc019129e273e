"""Evaluate and promote: a champion gives way only by rule, or to an earlier one in a person's name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from poison_guard import __version__
from poison_guard.errors import ClosedError, DataError, NotFoundError, TamperError
from poison_guard.steps.examples import load_trusted_examples
from poison_guard.steps.opening import Feed
from poison_guard.store import load_trusted
from poison_guard.store.models import Model, champion, load_model, promote, refuse, set_metrics
from poison_guard.store.models import rollback as store_rollback

__all__ = ["evaluate_model", "load_trained", "promote_model", "rollback", "settings_of", "trusted_hash"]


def settings_of(feed: Feed) -> dict[str, Any]:
    """Return the contract's settings of training as plain values."""
    return dict(json.loads(json.dumps(dataclasses.asdict(feed.contract.retrain))))


def trusted_hash(feed: Feed) -> str:
    """Return the hash of the feed's trusted set of now."""
    return load_trusted(feed.store, feed.contract.name).hash


def load_trained(feed: Feed, model: Model) -> Any:
    """Return the stored model, checked against its hash; `TamperError` or `DataError` where the file is another."""
    from poison_guard.retrain.files import load

    own = bool(feed.contract.retrain.model and ":" in feed.contract.retrain.model)
    return load(feed.settings.home / model.path, sha256=model.sha256, allow_import=own)


def evaluate_model(feed: Feed, model_id: str) -> dict[str, Any]:
    """Evaluate a model on the trusted examples that no training saw, write the metrics down and return them."""
    metrics = _metrics_of_now(feed, load_model(feed.store, model_id))
    set_metrics(feed.store, model_id, metrics)
    return metrics


def _metrics_of_now(feed: Feed, model: Model) -> dict[str, Any]:
    """Return what a stored model does on the trusted examples of now, evaluated where that is not written down."""
    trained = load_trained(feed, model)
    known = dict(model.metrics or {})
    return known if known.get("judged_by") == _judged_by(feed) else _evaluated(feed, trained)


def _judged_by(feed: Feed) -> str:
    """Return a digest of all that an evaluation follows from beside the model."""
    parts = [trusted_hash(feed), settings_of(feed), __version__]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _evaluated(feed: Feed, trained: Any) -> dict[str, Any]:
    from poison_guard.retrain.evaluate import evaluate

    held = load_trusted_examples(feed).held_out()
    if not len(held):
        raise ClosedError(
            f"{feed.contract.name} has no trusted examples to judge a model by; enter some with `poison-guard trust`"
        )
    found = evaluate(trained, held, config=feed.contract.retrain, seed=feed.contract.retrain.seed)
    return {**found, "judged_by": _judged_by(feed)}


def promote_model(feed: Feed, model_id: str) -> dict[str, Any]:
    """Make a model the champion if the rule lets it, else refuse it; return ``promoted, why, checks``."""
    from poison_guard.retrain.promotion import decide_promotion

    model = load_model(feed.store, model_id)
    if model.status == "measurement" or model.admission_seq is None:
        raise ClosedError(f"{model_id} was trained for measurement, without an admission; it can never be promoted")
    if not model.metrics:
        raise ClosedError(f"{model_id} was not evaluated; a model is promoted by what it was measured to do")
    before = champion(feed.store, feed.contract.name)
    if before is not None and before.model_id == model_id:
        return {"promoted": True, "why": "it is the champion already", "checks": []}
    rival = _metrics_of_rival(feed, before, model) if before is not None else None
    metrics = evaluate_model(feed, model_id)  # on the trusted examples of now, as the others are
    decision = decide_promotion(metrics, rival, _baseline_metrics(feed), feed.contract.gate)
    if decision.promoted:
        promote(feed.store, model_id, why=decision.why)
    else:
        refuse(feed.store, model_id, why=decision.why)
    return {"promoted": decision.promoted, "why": decision.why, "checks": [dict(check) for check in decision.checks]}


def _metrics_of_rival(feed: Feed, best: Model, model: Model) -> dict[str, Any] | None:
    """Return what the champion does on the trusted examples of now.

    Where its file is lost or changed and `model` was trained to replace it, what was written down of it counts, as long
    as it was judged by the same; otherwise nothing is known of it, and the model of trusted data alone must do.
    """
    try:
        return _metrics_of_now(feed, best)
    except (TamperError, DataError):
        if model.config.get("replaces") != best.model_id:
            raise
        known = dict(best.metrics or {})
        return known if known.get("judged_by") == _judged_by(feed) else None


def rollback(feed: Feed, *, to: str, by: str, reason: str, force: bool = False) -> Model:
    """Make an earlier champion the champion again; `ClosedError` where its snapshot was revoked and not `force`."""
    model = load_model(feed.store, to)
    if model.feed != feed.contract.name:
        raise NotFoundError(f"{to} is a model of {model.feed}, not of {feed.contract.name}")
    load_trained(feed, model)
    store_rollback(feed.store, feed.contract.name, to=to, by=by, reason=reason, force=force)
    return load_model(feed.store, to)


def _baseline_metrics(feed: Feed) -> dict[str, Any] | None:
    """Return what a model of trusted examples alone does: no champion may fall below it, however slowly."""
    from poison_guard.retrain.train import train

    trusted = load_trusted_examples(feed)
    reference = trusted.examples.take(trusted.split == "reference")
    if not len(reference):
        return None
    settings = feed.settings
    return _evaluated(feed, train(reference, feed.contract.retrain, device=settings.device, threads=settings.threads))
