"""Retrain: choose what is due, train on an admitted snapshot, keep the model, list the models."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from poison_guard.config.policies import RetrainConfig
from poison_guard.errors import ClosedError, DataError, UsageError
from poison_guard.files import private_folder
from poison_guard.pipeline.content import has_no_label
from poison_guard.records import Examples
from poison_guard.results import Result, TableResult, html_table, text_table
from poison_guard.steps.admission import check_admission, find_snapshot, standing_admission
from poison_guard.steps.examples import for_training, load_examples, load_trusted_examples
from poison_guard.steps.lineage import NAMESPACE, snapshot_dataset, trace
from poison_guard.steps.opening import Feed
from poison_guard.steps.outbox import drain
from poison_guard.steps.parts import cohort_rows, train_by_cohort
from poison_guard.steps.promote import evaluate_model, hash_of_trusted, load_trained, promote_model, training_settings
from poison_guard.store.admissions import due_snapshot as store_due
from poison_guard.store.admissions import list_admissions
from poison_guard.store.models import (
    Model,
    add_model,
    champion,
    find_revoked_ancestor,
    list_models,
)
from poison_guard.store.snapshots import load_snapshot

__all__ = [
    "ModelFacts",
    "ModelList",
    "RetrainResult",
    "due",
    "metric_rows",
    "models",
    "retrain",
    "summary",
    "train_model",
]

_OTHER_START = 7_919  # added to the seed of a training that learned nothing
_PER_EXAMPLE = ("predictions", "labels", "slices", "attacked")
"""What metrics hold one entry an example of."""
_TOLD = {
    "certified": "proven right within the radius",
    "right_answered": "right and answered under attack",
    "wrong_answered": "wrong and answered under attack",
    "escalated": "left to a person under attack",
    "rejecting": "robust with rejection, the attacker knows it",
    "half_radius": "robust at half the radius, without rejection",
}
"""Metrics that only some models have, as people read them."""
_UNFINISHED = ("trained", "evaluated")
"""What an admitted model is until it is promoted or refused."""


@dataclasses.dataclass(frozen=True, slots=True)
class RetrainResult(Result):
    """What `Guard.retrain` returns: a model, whether it is the champion now, and why."""

    feed: str
    model_id: str
    promoted: bool
    measure_only: bool
    why: str
    metrics: Mapping[str, Any]
    """What it did on trusted examples that no training saw, with the single predictions."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON holds them, metrics without what they say of single examples."""
        return {**Result.to_dict(self), "metrics": summary(self.metrics)}

    def __str__(self) -> str:
        """Return the metrics as a table, then what became of the model."""
        return "\n".join([text_table(("measured", ">value", ">n"), self.rows()), f"{self.state}: {self.why}"])

    def _repr_html_(self) -> str:
        return html_table(("measured", "value", "n"), [*self.rows(), (self.state, self.why, "")])

    @property
    def state(self) -> str:
        """``champion``, ``refused`` or ``measured only``."""
        return "measured only" if self.measure_only else ("champion" if self.promoted else "refused")

    def rows(self) -> list[tuple[str, float | None, int | None]]:
        """Return what people compare, as ``(name, value, n)``."""
        return metric_rows(self.metrics)


@dataclasses.dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model as `models` lists it."""

    model_id: str
    snapshot_id: str
    admission_seq: int | None
    status: str
    why: str | None
    path: str
    sha256: str
    config: Mapping[str, Any]
    made_at: dt.datetime
    metrics: Mapping[str, Any]
    """Without what they say of single examples."""
    snapshot_revoked: bool


@dataclasses.dataclass(frozen=True, slots=True)
class ModelList(TableResult):
    """What `Guard.models` returns: the models of a feed, the newest first."""

    feed: str
    models: tuple[ModelFacts, ...]

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return a line a model."""
        rows: list[tuple[object, ...]] = []
        for model in self.models:
            figures = {name.partition(":")[0]: value for name, value, _ in metric_rows(model.metrics)}
            status = f"{model.status}, snapshot revoked" if model.snapshot_revoked else model.status
            shown = (figures.get(name) for name in ("accuracy", "worst class", "robust"))
            rows.append((model.model_id, status, f"{model.made_at:%Y-%m-%d %H:%M}", *shown))
        return ("model", "status", "made", ">accuracy", ">worst class", ">robust"), rows


def summary(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics without what they say of single examples."""
    attacks = metrics.get("attacks", {})
    return {
        **{key: value for key, value in metrics.items() if key not in _PER_EXAMPLE},
        "attacks": {name: {k: v for k, v in cell.items() if k != "wrong"} for name, cell in attacks.items()},
    }


def metric_rows(metrics: Mapping[str, Any]) -> list[tuple[str, float | None, int | None]]:
    """Return what people compare, as ``(name, value, n)``.

    That is accuracy, the worst class and slice, robust accuracy (whichever attack works), each attack, calibration.
    """
    rows: list[tuple[str, float | None, int | None]] = []
    if "accuracy" in metrics:
        rows.append(("accuracy", metrics["accuracy"], metrics.get("n")))
    for what in ("class", "slice"):
        known = [(*_share(cell), name) for name, cell in metrics.get(f"per_{what}", {}).items() if cell["n"]]
        if known:
            share, n, name = min(known)
            rows.append((f"worst {what}: {name}", share, n))
    if "robust" in metrics:
        rows.append(("robust", *_share(metrics["robust"])))
    rows += [(_TOLD[name], *_share(metrics[name])) for name in _TOLD if metrics.get(name)]
    rows += cohort_rows(metrics.get("cohorts") or {})
    rows += [(f"under {name}", *_share(cell)) for name, cell in metrics.get("attacks", {}).items()]
    rows += [(name, value, None) for name, value in metrics.get("calibration", {}).items()]
    return rows


def _share(cell: Mapping[str, Any]) -> tuple[float, int]:
    n = int(cell["n"])
    return (cell["right"] / n if n else math.nan), n


def retrain(feed: Feed, now: dt.datetime, *, measure_only: bool, from_scratch: bool = False) -> RetrainResult:
    """Train on what is due, evaluate and promote; with `measure_only` on the last snapshot, never promoted.

    `from_scratch` trains on the newest snapshot whose admission holds, whatever was trained on it, and starts from
    nothing. `UsageError` for both.
    """
    if has_no_label(feed.contract):
        raise UsageError(
            f"{feed.contract.name} has no labels, and no model of the guard learns from such a feed; "
            f"`poison-guard export --feed {feed.contract.name} --snapshot admitted --as trl` writes it for a trainer"
        )
    if measure_only and from_scratch:
        raise UsageError("a model is trained from scratch to be promoted, or measured only; choose one")
    name = feed.contract.name
    if measure_only:
        model = _measure_model(feed, find_snapshot(feed, None).snapshot_id, now)
        metrics = evaluate_model(feed, model.model_id)
        return RetrainResult(
            name, model.model_id, False, True, "trained for measurement; it can never be promoted", metrics
        )
    left = _unfinished(feed)
    snapshot_id = _admitted_now(feed, now) if from_scratch else due(feed, now)
    if snapshot_id is not None:
        left = train_model(feed, snapshot_id, now, from_scratch=from_scratch)
    if left is None:
        return _standing_champion(feed)
    metrics = evaluate_model(feed, left.model_id)
    decision = promote_model(feed, left.model_id)
    return RetrainResult(name, left.model_id, decision.promoted, False, decision.why, metrics)


def _standing_champion(feed: Feed) -> RetrainResult:
    """Return the champion where nothing new is admitted; `ClosedError` where there is none that may stay."""
    name = feed.contract.name
    newest = next((model for model in list_models(feed.store, name) if model.admission_seq is not None), None)
    best = champion(feed.store, name)
    if newest is not None and newest.status == "refused":
        raise ClosedError(
            f"{newest.model_id} was refused, and nothing has changed since: add trusted examples, mend [retrain] or "
            f"seal new data. {newest.why}"
        )
    if best is None:
        raise ClosedError(
            f"nothing of {name} is admitted that a model could learn from; `poison-guard gate check` opens the gate, "
            "or says why not"
        )
    root = find_revoked_ancestor(feed.store, best.model_id)
    if root is not None:
        raise ClosedError(
            f"the champion {best.model_id} learned from {root[1]}, which was revoked ({root[2]}), and nothing new is "
            "admitted; roll back, or seal and judge again"
        )
    load_trained(feed, best)
    why = "nothing new is admitted; it is the champion already"
    return RetrainResult(name, best.model_id, True, False, why, best.metrics)


def models(feed: Feed) -> ModelList:
    """Return the models of a feed, the newest first: the champion, earlier ones, refused ones, measurements."""
    name = feed.contract.name
    listed = list_models(feed.store, name)
    snapshots = {name: load_snapshot(feed.store, name) for name in {model.snapshot_id for model in listed}}
    fields = [field.name for field in dataclasses.fields(ModelFacts)][:-2]
    facts = (
        ModelFacts(
            **{field: getattr(model, field) for field in fields},
            metrics=summary(model.metrics),
            snapshot_revoked=snapshots[model.snapshot_id].revoked_seq is not None,
        )
        for model in listed
    )
    return ModelList(name, tuple(facts))


def due(feed: Feed, now: dt.datetime) -> str | None:
    """Return the newest admitted snapshot that is to be learned from; None where nothing is due.

    That is one that no model was trained on, whose last model was neither promoted nor refused (a run died before
    that; `train_model` then returns this model), or whose models were all refused under other settings or trusted
    examples. Of a feed without labels nothing is: others train on it.
    """
    if has_no_label(feed.contract):
        return None
    name = feed.contract.name
    fresh = store_due(feed.store, name, now=now)
    newest = next(iter(list_admissions(feed.store, name, limit=1)), None)
    if fresh is None and newest is not None and newest["issued"] <= now < newest["expires"] and not newest["revoked"]:
        trained = _admitted_models(feed, newest["snapshot_id"])
        refused = all(model.status == "refused" for model in trained) and not _same_as_now(feed, trained)
        if trained and (refused or trained[0].status in _UNFINISHED):
            fresh = newest["snapshot_id"]
    if fresh is None or load_snapshot(feed.store, fresh).revoked_seq is not None:
        return None
    try:
        standing_admission(feed, fresh)
    except ClosedError:
        return None  # judged again since: its admission is void
    return fresh


def _admitted_now(feed: Feed, now: dt.datetime) -> str:
    """Return the newest snapshot whose admission holds, whatever was trained on it; `ClosedError` without one."""
    for admission in list_admissions(feed.store, feed.contract.name, valid_at=now, limit=None):
        with contextlib.suppress(ClosedError):  # judged again since: its admission is void
            if standing_admission(feed, admission["snapshot_id"])["seq"] == admission["seq"]:
                return str(admission["snapshot_id"])
    raise ClosedError(
        f"no admission of {feed.contract.name} holds now; `poison-guard seal`, then `poison-guard gate check`, make one"
    )


def _unfinished(feed: Feed) -> Model | None:
    """Return the newest admitted model that was trained and neither promoted nor refused: a run died before that."""
    best = next((m for m in list_models(feed.store, feed.contract.name) if m.admission_seq is not None), None)
    if best is None or best.status not in _UNFINISHED:
        return None
    return best if load_snapshot(feed.store, best.snapshot_id).revoked_seq is None else None


def _admitted_models(feed: Feed, snapshot_id: str) -> list[Model]:
    """Return the models that were trained on a snapshot under an admission, the newest first."""
    models = list_models(feed.store, feed.contract.name)
    return [model for model in models if model.snapshot_id == snapshot_id and model.admission_seq is not None]


def _same_as_now(feed: Feed, models: list[Model]) -> Model | None:
    """Return the model that was trained with the settings and trusted examples of now."""
    now = {**training_settings(feed), "trusted": hash_of_trusted(feed)}
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
    from poison_guard.retrain.training_state import discard_checkpoint

    done = None if from_scratch else _same_as_now(feed, _admitted_models(feed, snapshot_id))
    if done is not None:
        discard_checkpoint(_checkpoint(feed, snapshot_id))  # of a command that was killed after it kept the model
        return done
    made, config = _train(feed, snapshot_id, from_scratch=from_scratch)
    later = now + dt.timedelta(seconds=time.monotonic() - begun)
    check_admission(feed, snapshot_id, later)  # it may have been revoked, or have lapsed, meanwhile
    model = _keep(feed, made, config, snapshot_id=snapshot_id, admission_seq=admission.seq, now=later)
    name, cost = feed.contract.name, config.get("cost", {})
    learned = [snapshot_dataset(load_snapshot(feed.store, snapshot_id))]
    learned.append((NAMESPACE, f"{name}/manifests/{snapshot_id}", admission.digest))
    kept = [(NAMESPACE, f"{name}/models/{model.model_id}", model.sha256)]
    trace(feed, "train", model.model_id, inputs=learned, outputs=kept, began=now, ended=later, facts=cost)
    drain(feed.store, feed.settings)
    return model


def _measure_model(feed: Feed, snapshot_id: str, now: dt.datetime) -> Model:
    """Train on a snapshot without an admission, for measurement: the model can never be promoted."""
    made, config = _train(feed, snapshot_id)
    return _keep(feed, made, {**config, "purpose": "measurement"}, snapshot_id=snapshot_id, admission_seq=None, now=now)


def _train(feed: Feed, snapshot_id: str, *, from_scratch: bool = False) -> tuple[Any, dict[str, Any]]:
    """Return the trained model of a snapshot and what is written down of its making."""
    from poison_guard.retrain.train import TrainingError, train_classifier
    from poison_guard.retrain.trained_model import has_collapsed

    snapshot = load_snapshot(feed.store, snapshot_id)
    trusted = load_trusted_examples(feed)
    examples = for_training(load_examples(feed, snapshot), trusted)
    if not len(examples):
        raise DataError(f"{snapshot_id} holds no example that a model may learn from")
    fits = _fits(feed, examples)
    before = champion(feed.store, feed.contract.name)
    may_warm = before is not None and not from_scratch and _may_warm(feed, before, fits)
    warm = load_trained(feed, before) if before is not None and may_warm else None

    def train(settings: RetrainConfig, warm: Any) -> Any:
        if settings.parts > 1:
            return train_by_cohort(feed, examples, trusted, settings)
        place: dict[str, Any] = {"device": feed.settings.device, "threads": feed.settings.threads}
        place["calibration"] = trusted.examples.take(trusted.split == "calibration")
        return train_classifier(examples, settings, warm=warm, checkpoint=_checkpoint(feed, snapshot_id), **place)

    settings = feed.contract.retrain
    made = train(settings, warm)
    if has_collapsed(made, examples):  # a recipe that works can still fail from one start
        warm = None
        made = train(dataclasses.replace(settings, seed=(settings.seed + _OTHER_START) % 2**31), warm)
        if has_collapsed(made, examples):
            raise TrainingError(
                f"the training of {snapshot_id} learned nothing from two starts: no better than chance on its "
                "own examples; lower epsilon or learning_rate in [retrain], or look at the labels"
            )
    config = {
        **training_settings(feed),
        "trusted": hash_of_trusted(feed),
        "fits": fits,
        "examples": len(examples),
        "data": snapshot.hash,
        "warm": before.model_id if warm is not None and before is not None else None,
        "second_start": made.seed != settings.seed,
        "cost": dict(made.cost),
    }
    return made, (config | {"replaces": before.model_id if before else ""} if from_scratch else config)


def _keep(
    feed: Feed, made: Any, config: dict[str, Any], *, snapshot_id: str, admission_seq: int | None, now: dt.datetime
) -> Model:
    from poison_guard.retrain.trained_model import write_model
    from poison_guard.retrain.training_state import discard_checkpoint

    kind = "measured" if admission_seq is None else "models"
    folder = feed.settings.home / kind / feed.contract.name / snapshot_id
    private_folder(folder)
    with TemporaryDirectory(prefix=".new-", dir=folder) as fresh:
        file, digest = write_model(made, Path(fresh))
        path = folder / digest[:16] / Path(file).name  # by content: no training can overwrite another's model
        private_folder(path.parent)
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
    discard_checkpoint(_checkpoint(feed, snapshot_id))
    return model


def _checkpoint(feed: Feed, snapshot_id: str) -> Path:
    return feed.settings.home / "training" / snapshot_id


def _may_warm(feed: Feed, best: Model, fits: str) -> bool:
    """Whether a training may start from the champion: same shape of input, same trusted set, no revoked snapshot."""
    clean = find_revoked_ancestor(feed.store, best.model_id) is None
    return clean and best.config.get("fits") == fits and best.config.get("trusted") == hash_of_trusted(feed)


def _fits(feed: Feed, examples: Examples) -> str:
    """Return what two trainings must share for one to start from the other: the model and the shape of its input."""
    shape = examples.inputs.shape[1:] if examples.kind == "image" else examples.features
    return json.dumps([feed.contract.retrain.model, examples.kind, list(shape)])
