"""Retrain: train on an admitted snapshot, evaluate, promote by rule, roll back in a person's name."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from poison_guard import __version__
from poison_guard.errors import ClosedError, DataError, NotFoundError, TamperError
from poison_guard.records import Examples
from poison_guard.steps.examples import for_training, load_examples, load_trusted_examples
from poison_guard.steps.gate import check_admission, standing_admission
from poison_guard.steps.opening import Feed
from poison_guard.store import load_trusted
from poison_guard.store.admissions import due_snapshot as store_due
from poison_guard.store.admissions import list_admissions
from poison_guard.store.models import (
    Model,
    add_model,
    champion,
    find_revoked_ancestor,
    list_models,
    load_model,
    promote,
    refuse_model,
    set_metrics,
)
from poison_guard.store.models import rollback as store_rollback
from poison_guard.store.snapshots import load_snapshot

__all__ = [
    "admitted_now",
    "due",
    "evaluate_model",
    "load_trained",
    "measure_model",
    "promote_model",
    "rollback",
    "settings_of",
    "train_model",
    "trusted_hash",
    "unfinished",
]


_ALL = 1_000_000


def due(feed: Feed, now: dt.datetime) -> str | None:
    """Return the newest admitted snapshot that is to be learned from; None where nothing is due.

    One that no model was trained on, or whose models were all refused, under other settings or trusted examples.
    """
    name = feed.contract.name
    fresh = store_due(feed.store, name, now=now)
    newest = next(iter(list_admissions(feed.store, name, limit=1)), None)
    if fresh is None and newest is not None and newest["issued"] <= now < newest["expires"] and not newest["revoked"]:
        made = _made_of(feed, newest["snapshot_id"])
        if made and all(model.status == "refused" for model in made) and not _same_as_now(feed, made):
            fresh = newest["snapshot_id"]
    if fresh is None or load_snapshot(feed.store, fresh).revoked_seq is not None:
        return None
    try:
        standing_admission(feed, fresh)
    except ClosedError:
        return None  # judged again since: its admission is void
    return fresh


def admitted_now(feed: Feed, now: dt.datetime) -> str:
    """Return the newest snapshot whose admission holds, whatever was trained on it; `ClosedError` without one."""
    for held in list_admissions(feed.store, feed.contract.name, limit=_ALL):
        if held["issued"] <= now < held["expires"] and not held["revoked"]:
            with contextlib.suppress(ClosedError):  # judged again since: its admission is void
                if standing_admission(feed, held["snapshot_id"])["seq"] == held["seq"]:
                    return str(held["snapshot_id"])
    raise ClosedError(
        f"no admission of {feed.contract.name} holds now; `poison-guard seal`, then `poison-guard gate check`, make one"
    )


def unfinished(feed: Feed) -> Model | None:
    """Return the newest admitted model that was trained and neither promoted nor refused: a run died before that."""
    best = next((m for m in list_models(feed.store, feed.contract.name) if m.admission_seq is not None), None)
    if best is None or best.status not in ("trained", "evaluated"):
        return None
    return best if load_snapshot(feed.store, best.snapshot_id).revoked_seq is None else None


def _made_of(feed: Feed, snapshot_id: str) -> list[Model]:
    every = list_models(feed.store, feed.contract.name)
    return [model for model in every if model.snapshot_id == snapshot_id and model.admission_seq is not None]


def _same_as_now(feed: Feed, models: list[Model]) -> Model | None:
    """Return the model that was trained with the settings and trusted examples of now."""
    now = {**settings_of(feed), "trusted": trusted_hash(feed)}
    return next((m for m in models if all(m.config.get(key) == value for key, value in now.items())), None)


def train_model(feed: Feed, snapshot_id: str, now: dt.datetime, *, from_scratch: bool = False) -> Model:
    """Train on an admitted snapshot and return the model, warm from the champion where it fits and not `from_scratch`.

    `from_scratch` trains although a model was made of it before: the way out where a model's file is lost or changed,
    or where it owes something to a revoked snapshot. Raises `ClosedError` without a valid admission for exactly this
    snapshot (law 9). Killed and run again, it goes on where it was; run twice with the same settings and trusted
    examples, it returns the model that was made.
    """
    begun = time.monotonic()
    admission = check_admission(feed, snapshot_id, now)
    done = None if from_scratch else _same_as_now(feed, _made_of(feed, snapshot_id))
    if done is not None:
        return done
    made, config = _train(feed, snapshot_id, from_scratch=from_scratch)
    later = now + dt.timedelta(seconds=time.monotonic() - begun)
    check_admission(feed, snapshot_id, later)  # it may have been revoked, or have lapsed, meanwhile
    return _keep(feed, made, config, snapshot_id=snapshot_id, admission_seq=admission["seq"], now=later)


def measure_model(feed: Feed, snapshot_id: str, now: dt.datetime) -> Model:
    """Train on a snapshot without an admission, for measurement: the model can never be promoted."""
    made, config = _train(feed, snapshot_id)
    return _keep(feed, made, {**config, "purpose": "measurement"}, snapshot_id=snapshot_id, admission_seq=None, now=now)


def _train(feed: Feed, snapshot_id: str, *, from_scratch: bool = False) -> tuple[Any, dict[str, Any]]:
    """Return the trained model of a snapshot and what is written down of its making."""
    from poison_guard.retrain.train import train_classifier

    snapshot = load_snapshot(feed.store, snapshot_id)
    examples = for_training(load_examples(feed, snapshot), load_trusted_examples(feed))
    if not len(examples):
        raise DataError(f"{snapshot_id} holds no example that a model may learn from")
    fits = _fits(feed, examples)
    before = champion(feed.store, feed.contract.name)
    may_warm = before is not None and not from_scratch and _may_warm(feed, before, fits)
    warm = load_trained(feed, before) if before is not None and may_warm else None
    made = train_classifier(
        examples,
        feed.contract.retrain,
        warm=warm,
        checkpoint=_checkpoint(feed, snapshot_id),
        device=feed.settings.device,
        threads=feed.settings.threads,
    )
    config = {
        **settings_of(feed),
        "trusted": trusted_hash(feed),
        "fits": fits,
        "examples": len(examples),
        "data": snapshot.hash,
        "warm": before.model_id if warm is not None and before is not None else None,
        "cost": dict(made.cost),
    }
    return made, (config | {"replaces": before.model_id if before else ""} if from_scratch else config)


def _keep(
    feed: Feed, made: Any, config: dict[str, Any], *, snapshot_id: str, admission_seq: int | None, now: dt.datetime
) -> Model:
    from poison_guard.retrain.trained_model import write_model

    kind = "measured" if admission_seq is None else "models"
    folder = feed.settings.home / kind / feed.contract.name / snapshot_id
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".new-", dir=folder) as fresh:
        file, digest = write_model(made, Path(fresh))
        path = folder / digest[:16] / Path(file).name  # by content: no training can overwrite another's model
        path.parent.mkdir(exist_ok=True)
        Path(file).replace(path)
    model = add_model(
        feed.store,
        feed.contract.name,
        snapshot_id=snapshot_id,
        admission_seq=admission_seq,
        path=str(path.relative_to(feed.settings.home)),
        sha256=digest,
        config=config,
        now=now,
    )
    _checkpoint(feed, snapshot_id).unlink(missing_ok=True)
    return model


def _checkpoint(feed: Feed, snapshot_id: str) -> Path:
    return feed.settings.home / "training" / snapshot_id


def _may_warm(feed: Feed, best: Model, fits: str) -> bool:
    """Whether a training may start from the champion: it fits, owes nothing to a revoked snapshot, knows no judge."""
    clean = find_revoked_ancestor(feed.store, best.model_id) is None
    return clean and best.config.get("fits") == fits and best.config.get("trusted") == trusted_hash(feed)


def _fits(feed: Feed, examples: Examples) -> str:
    """Return what two trainings must share for one to start from the other: the model and the shape of its input."""
    shape = examples.inputs.shape[1:] if examples.kind == "image" else examples.features
    return json.dumps([feed.contract.retrain.model, examples.kind, list(shape)])


def settings_of(feed: Feed) -> dict[str, Any]:
    """Return the contract's settings of training as plain values."""
    return dict(json.loads(json.dumps(dataclasses.asdict(feed.contract.retrain))))


def trusted_hash(feed: Feed) -> str:
    """Return the hash of the feed's trusted set of now."""
    return load_trusted(feed.store, feed.contract.name).hash


def load_trained(feed: Feed, model: Model) -> Any:
    """Return the stored model, checked against its hash; `TamperError` or `DataError` where the file is another."""
    from poison_guard.retrain.trained_model import read_model

    own = bool(feed.contract.retrain.model and ":" in feed.contract.retrain.model)
    return read_model(feed.settings.home / model.path, sha256=model.sha256, allow_import=own)


def evaluate_model(feed: Feed, model_id: str) -> dict[str, Any]:
    """Evaluate a model on the trusted examples that no training saw, write the metrics down and return them."""
    metrics = _metrics_of_now(feed, load_model(feed.store, model_id))
    set_metrics(feed.store, model_id, metrics)
    return metrics


def _metrics_of_now(feed: Feed, model: Model) -> dict[str, Any]:
    """Return what a stored model does on the trusted examples of now, evaluated where that is not written down."""
    trained = load_trained(feed, model)
    known = dict(model.metrics or {})
    return known if known.get("judged_by") == _evaluation_key(feed) else _evaluated(feed, trained)


def _evaluation_key(feed: Feed) -> str:
    """Return a digest of all that an evaluation follows from beside the model."""
    parts = [trusted_hash(feed), settings_of(feed), __version__]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _evaluated(feed: Feed, trained: Any) -> dict[str, Any]:
    from poison_guard.retrain.evaluation import evaluate

    held = load_trusted_examples(feed).held_out()
    if not len(held):
        raise ClosedError(
            f"{feed.contract.name} has no trusted examples to judge a model by; enter some with `poison-guard trust`"
        )
    found = evaluate(trained, held, config=feed.contract.retrain, seed=feed.contract.retrain.seed)
    return {**found, "judged_by": _evaluation_key(feed)}


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
        refuse_model(feed.store, model_id, why=decision.why)
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
        return known if known.get("judged_by") == _evaluation_key(feed) else None


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
    from poison_guard.retrain.train import train_classifier

    trusted = load_trusted_examples(feed)
    reference = trusted.examples.take(trusted.split == "reference")
    if not len(reference):
        return None
    settings = feed.settings
    return _evaluated(
        feed, train_classifier(reference, feed.contract.retrain, device=settings.device, threads=settings.threads)
    )
