"""Train, evaluate and promote: only from an admitted snapshot, and a champion gives way only by rule."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from poison_guard import __version__
from poison_guard.errors import ClosedError, DataError, NotFoundError
from poison_guard.records import Examples
from poison_guard.steps.admission import check_admission, standing_admission
from poison_guard.steps.examples import for_training, load_examples, load_trusted_examples
from poison_guard.steps.opening import Feed
from poison_guard.store import load_trusted
from poison_guard.store.admissions import admissions
from poison_guard.store.admissions import due as store_due
from poison_guard.store.models import Model, add_model, champion, list_models, load_model, promote, refuse, set_metrics
from poison_guard.store.models import rollback as store_rollback
from poison_guard.store.snapshots import load_snapshot

__all__ = [
    "due",
    "evaluate_model",
    "load_trained",
    "measure_model",
    "promote_model",
    "rollback",
    "train_model",
    "unfinished",
]


def due(feed: Feed, now: dt.datetime) -> str | None:
    """Return the newest admitted snapshot that is to be learned from; None where nothing is due.

    One that no model was trained on, or whose models were all refused, under other settings or trusted examples.
    """
    name = feed.contract.name
    fresh = store_due(feed.store, name, now=now)
    newest = next(iter(admissions(feed.store, name, limit=1)), None)
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
    now = {**_settings(feed), "trusted": _trusted_hash(feed)}
    return next((m for m in models if all(m.config.get(key) == value for key, value in now.items())), None)


def _settings(feed: Feed) -> dict[str, Any]:
    return dict(json.loads(json.dumps(dataclasses.asdict(feed.contract.retrain))))


def _trusted_hash(feed: Feed) -> str:
    return load_trusted(feed.store, feed.contract.name).hash


def train_model(feed: Feed, snapshot_id: str, now: dt.datetime) -> Model:
    """Train on an admitted snapshot and return the model, warm from the champion where it fits.

    Raises `ClosedError` without a valid admission for exactly this snapshot (law 9). Killed and run again, it goes on
    where it was; run twice with the same settings and trusted examples, it returns the model that was made.
    """
    begun = time.monotonic()
    admission = check_admission(feed, snapshot_id, now)
    done = _same_as_now(feed, _made_of(feed, snapshot_id))
    if done is not None:
        return done
    made, config = _train(feed, snapshot_id)
    later = now + dt.timedelta(seconds=time.monotonic() - begun)
    check_admission(feed, snapshot_id, later)  # it may have been revoked, or have lapsed, meanwhile
    return _keep(feed, made, config, snapshot_id=snapshot_id, admission_seq=admission["seq"], now=later)


def measure_model(feed: Feed, snapshot_id: str, now: dt.datetime) -> Model:
    """Train on a snapshot without an admission, for measurement: the model can never be promoted."""
    made, config = _train(feed, snapshot_id)
    return _keep(feed, made, {**config, "purpose": "measurement"}, snapshot_id=snapshot_id, admission_seq=None, now=now)


def _train(feed: Feed, snapshot_id: str) -> tuple[Any, dict[str, Any]]:
    """Return the trained model of a snapshot and what is written down of its making."""
    from poison_guard.retrain.train import train

    snapshot = load_snapshot(feed.store, snapshot_id)
    examples = for_training(load_examples(feed, snapshot), load_trusted_examples(feed))
    if not len(examples):
        raise DataError(f"{snapshot_id} holds no example that a model may learn from")
    fits = _fits(feed, examples)
    before = champion(feed.store, feed.contract.name)
    warm = load_trained(feed, before) if before is not None and _may_warm(feed, before, fits) else None
    made = train(
        examples,
        feed.contract.retrain,
        warm=warm,
        checkpoint=_checkpoint(feed, snapshot_id),
        device=feed.settings.device,
        threads=feed.settings.threads,
    )
    config = {
        **_settings(feed),
        "trusted": _trusted_hash(feed),
        "fits": fits,
        "examples": len(examples),
        "data": snapshot.hash,
        "warm": before.model_id if warm is not None and before is not None else None,
        "cost": dict(made.cost),
    }
    return made, config


def _keep(
    feed: Feed, made: Any, config: dict[str, Any], *, snapshot_id: str, admission_seq: int | None, now: dt.datetime
) -> Model:
    from poison_guard.retrain.files import save

    kind = "measured" if admission_seq is None else "models"
    folder = feed.settings.home / kind / feed.contract.name / snapshot_id
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".new-", dir=folder) as fresh:
        file, digest = save(made, Path(fresh))
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
    """Whether a training may start from the champion: it fits, stands, and saw no trusted example that judges today."""
    clean = load_snapshot(feed.store, best.snapshot_id).revoked_seq is None
    return clean and best.config.get("fits") == fits and best.config.get("trusted") == _trusted_hash(feed)


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
    parts = [_trusted_hash(feed), _settings(feed), __version__]
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
    rival = _metrics_of_now(feed, before) if before is not None else None
    metrics = evaluate_model(feed, model_id)  # on the trusted examples of now, as the others are
    decision = decide_promotion(metrics, rival, _baseline_metrics(feed), feed.contract.gate)
    if decision.promoted:
        promote(feed.store, model_id, why=decision.why)
    else:
        refuse(feed.store, model_id, why=decision.why)
    return {"promoted": decision.promoted, "why": decision.why, "checks": [dict(check) for check in decision.checks]}


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


def _fits(feed: Feed, examples: Examples) -> str:
    """Return what two trainings must share for one to start from the other: the model and the shape of its input."""
    shape = examples.inputs.shape[1:] if examples.kind == "image" else examples.features
    return json.dumps([feed.contract.retrain.model, examples.kind, list(shape)])
