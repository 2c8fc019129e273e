"""Train: only from an admitted snapshot, warm from the champion where that owes nothing to a revoked one."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from poison_guard.errors import ClosedError, DataError
from poison_guard.records import Examples
from poison_guard.steps.admission import check_admission, standing_admission
from poison_guard.steps.examples import for_training, load_examples, load_trusted_examples
from poison_guard.steps.opening import Feed
from poison_guard.steps.promoting import load_trained, settings_of, trusted_hash
from poison_guard.store.admissions import admissions
from poison_guard.store.admissions import due as store_due
from poison_guard.store.lineage import root_of
from poison_guard.store.models import Model, add_model, champion, list_models
from poison_guard.store.snapshots import load_snapshot

_ALL = 1_000_000

__all__ = [
    "admitted_now",
    "due",
    "measure_model",
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


def admitted_now(feed: Feed, now: dt.datetime) -> str:
    """Return the newest snapshot whose admission holds, whatever was trained on it; `ClosedError` without one."""
    for held in admissions(feed.store, feed.contract.name, limit=_ALL):
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
    from poison_guard.retrain.train import train

    snapshot = load_snapshot(feed.store, snapshot_id)
    examples = for_training(load_examples(feed, snapshot), load_trusted_examples(feed))
    if not len(examples):
        raise DataError(f"{snapshot_id} holds no example that a model may learn from")
    fits = _fits(feed, examples)
    before = champion(feed.store, feed.contract.name)
    may_warm = before is not None and not from_scratch and _may_warm(feed, before, fits)
    warm = load_trained(feed, before) if before is not None and may_warm else None
    made = train(
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
    """Whether a training may start from the champion: it fits, owes nothing to a revoked snapshot, knows no judge."""
    clean = root_of(feed.store, best.model_id) is None
    return clean and best.config.get("fits") == fits and best.config.get("trusted") == trusted_hash(feed)


def _fits(feed: Feed, examples: Examples) -> str:
    """Return what two trainings must share for one to start from the other: the model and the shape of its input."""
    shape = examples.inputs.shape[1:] if examples.kind == "image" else examples.features
    return json.dumps([feed.contract.retrain.model, examples.kind, list(shape)])
