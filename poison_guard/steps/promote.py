"""Promote: evaluate a model on trusted examples, make it the champion by rule, or an earlier one in a person's name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from poison_guard.canonical_json import utc_or_now
from poison_guard.errors import ClosedError, DataError, NotFoundError, TamperError, UsageError
from poison_guard.records import Outcome
from poison_guard.results import Result
from poison_guard.steps.examples import load_trusted_examples
from poison_guard.steps.model_scan import asking, scan_for_triggers, take_carriers_back, trusted_model
from poison_guard.steps.opening import Feed
from poison_guard.steps.outbox import drain
from poison_guard.store import audit
from poison_guard.store.models import (
    Model,
    champion,
    find_revoked_ancestor,
    find_rollback,
    list_models,
    load_model,
    promote,
    refuse_model,
    set_metrics,
)
from poison_guard.store.models import rollback as store_rollback
from poison_guard.store.snapshots import load_snapshot
from poison_guard.store.triggers import Carriers
from poison_guard.store.trusted import trusted_hash

__all__ = [
    "Promotion",
    "RollbackResult",
    "evaluate_model",
    "hash_of_trusted",
    "load_trained",
    "promote_model",
    "rollback",
    "training_settings",
]

_EVALUATION_FORMAT = 2
"""Grows when evaluations change, so that one written down before does not count."""


@dataclasses.dataclass(frozen=True, slots=True)
class RollbackResult(Result):
    """What `Guard.rollback` returns: the champion that was chosen and the one before it."""

    feed: str
    dry_run: bool
    champion: str
    before: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Promotion(Result):
    """Whether a model became the champion."""

    model_id: str
    promoted: bool
    why: str
    checks: tuple[Mapping[str, Any], ...] = ()
    """What was compared, as JSON holds it."""
    campaign_id: str = ""
    """The records that planted a trigger, where the scan found one."""


def evaluate_model(feed: Feed, model_id: str) -> dict[str, Any]:
    """Evaluate a model on the trusted examples that no training saw, write the metrics down and return them."""
    metrics = _metrics_of_now(feed, _model_of(feed, model_id))
    set_metrics(feed.store, model_id, metrics)
    return metrics


def promote_model(feed: Feed, model_id: str) -> Promotion:
    """Make a model the champion if the rule lets it, else refuse it."""
    from poison_guard.retrain.promotion import decide_promotion

    model = _model_of(feed, model_id)
    if model.status == "measurement" or model.admission_seq is None:
        raise ClosedError(f"{model_id} was trained for measurement, without an admission; it can never be promoted")
    if not model.metrics:
        raise ClosedError(f"{model_id} was not evaluated; a model is promoted by what it was measured to do")
    before = champion(feed.store, feed.contract.name)
    if before is not None and before.model_id == model_id:
        return Promotion(model_id, True, "it is the champion already")
    rival = _metrics_of_rival(feed, before, model) if before is not None else None
    metrics = evaluate_model(feed, model_id)  # on the trusted examples of now, as the others are
    reference = trusted_model(feed)
    baseline = _evaluated(feed, reference) if reference is not None else None
    decision = decide_promotion(metrics, rival, baseline, feed.contract.gate)
    ask = None if reference is None else asking(reference)
    scan = scan_for_triggers(feed, load_snapshot(feed.store, model.snapshot_id), asking(load_trained(feed, model)), ask)
    checks = (*decision.checks, scan.check)
    if decision.promoted and scan.check.outcome is Outcome.PASS:
        promote(feed.store, model_id, why=decision.why)
        drain(feed.store, feed.settings)
        return Promotion(model_id, True, decision.why, tuple(check.to_json() for check in checks))
    told = "" if scan.check.outcome is Outcome.PASS else f"Planted trigger: {scan.check.why}."
    why = " ".join(part for part in ("" if decision.promoted else decision.why, told) if part)
    refuse_model(feed.store, model_id, why=why)
    taken = take_carriers_back(feed, scan, model_id, utc_or_now(None))
    drain(feed.store, feed.settings)
    why = why if taken is None else f"{why} {_taken(feed, taken)}"
    campaign = "" if taken is None else taken.campaign_id
    return Promotion(model_id, False, why, tuple(check.to_json() for check in checks), campaign)


def _taken(feed: Feed, carriers: Carriers) -> str:
    """Return what became of a trigger's carriers, and what to do now, in a sentence or two."""
    if carriers.taken_back:
        return (
            f"{carriers.taken_back:,} of {carriers.records:,} records that carry it were taken back as campaign "
            f"{carriers.campaign_id}; `poison-guard seal`, `gate check` and `retrain` go on without them."
        )
    return (
        f"{carriers.records:,} records carry it, campaign {carriers.campaign_id}: a person must take so many back. "
        f"Look at them, then `poison-guard recall --feed {feed.contract.name} --campaign {carriers.campaign_id}`."
    )


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
        return known if known.get("judged_by") == _evaluation_key(feed) else None


def _metrics_of_now(feed: Feed, model: Model) -> dict[str, Any]:
    """Return what a stored model does on the trusted examples of now, evaluated where that is not written down."""
    trained = load_trained(feed, model)
    known = dict(model.metrics or {})
    return known if known.get("judged_by") == _evaluation_key(feed) else _evaluated(feed, trained)


def _evaluated(feed: Feed, trained: Any) -> dict[str, Any]:
    from poison_guard.retrain.evaluation import evaluate

    held = load_trusted_examples(feed).held_out()
    if not len(held):
        raise ClosedError(
            f"{feed.contract.name} has no trusted examples to judge a model by; enter some with `poison-guard trust`"
        )
    config = feed.contract.retrain
    metrics = evaluate(trained, held, config=config, seed=config.seed, device=feed.settings.device)
    return {**metrics, "judged_by": _evaluation_key(feed)}


def _evaluation_key(feed: Feed) -> str:
    """Return a digest of all that an evaluation follows from beside the model."""
    parts = [hash_of_trusted(feed), training_settings(feed), _EVALUATION_FORMAT]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def rollback(
    feed: Feed, *, to: str, by: str, reason: str, force: bool = False, dry_run: bool = False
) -> RollbackResult:
    """Make an earlier champion the champion again; `ClosedError` where its snapshot was revoked and not `force`."""
    name = feed.contract.name
    known = {model.model_id: model for model in list_models(feed.store, name)}
    if to not in known:
        raise NotFoundError(f"{name} has no model {to!r}; `poison-guard models --feed {name}` lists them")
    before = None if dry_run else find_rollback(feed.store, known[to], by=by, reason=reason)
    if before is not None:  # the same command, killed after its commit
        return RollbackResult(name, dry_run, to, before["before"])
    if known[to].status != "retired":
        raise UsageError(f"{to} is {known[to].status}; only an earlier champion, called retired, can be rolled back to")
    root = find_revoked_ancestor(feed.store, to)
    if root is not None and not force:
        raise ClosedError(f"{to} learned from {root[1]}, which was revoked ({root[2]}); choose another, or --force it")
    best = champion(feed.store, name)
    if not dry_run:
        load_trained(feed, known[to])
        store_rollback(feed.store, name, to=to, by=by, reason=reason, force=force)
        drain(feed.store, feed.settings)
    return RollbackResult(name, dry_run, to, best.model_id if best else None)


def _model_of(feed: Feed, model_id: str) -> Model:
    """Return a model of the feed; `NotFoundError` for one of another feed, which other examples must judge."""
    model = load_model(feed.store, model_id)
    if model.feed != feed.contract.name:
        raise NotFoundError(f"{model_id} is a model of {model.feed}, not of {feed.contract.name}")
    return model


def load_trained(feed: Feed, model: Model) -> Any:
    """Return the stored model, checked against its hash; `TamperError` or `DataError` where the file is another."""
    from poison_guard.retrain.trained_model import read_model

    own = bool(feed.contract.retrain.model and ":" in feed.contract.retrain.model)
    return read_model(feed.settings.home / model.path, sha256=model.sha256, allow_import=own)


def training_settings(feed: Feed) -> dict[str, Any]:
    """Return the contract's settings of training as plain values."""
    return dict(json.loads(json.dumps(dataclasses.asdict(feed.contract.retrain))))


def hash_of_trusted(feed: Feed) -> str:
    """Return the hash of the feed's trusted set of now."""
    with feed.store.read() as conn:
        return trusted_hash(conn, feed.contract.name, audit.head(conn))
