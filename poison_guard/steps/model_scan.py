"""Scan a candidate model for triggers, and take back the records that planted one."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from poison_guard.errors import DataError, NotFoundError
from poison_guard.records import Campaign, Check, Examples, Outcome, Place, Reason
from poison_guard.steps.examples import (
    CandidateInputs,
    TrustedExamples,
    candidate_inputs,
    for_training,
    load_examples,
    load_trusted_examples,
)
from poison_guard.steps.opening import Feed
from poison_guard.steps.outbox import drain
from poison_guard.store.models import champion
from poison_guard.store.reading import find_records
from poison_guard.store.snapshots import Snapshot
from poison_guard.store.triggers import TRIGGER, Carriers, note_trigger, was_taken_back

if TYPE_CHECKING:
    from poison_guard.retrain.stamps import Stamp

__all__ = ["ModelScan", "open_model", "scan_for_triggers", "scan_inputs", "take_carriers_back", "trusted_model"]

MOST_TAKEN = 0.02
"""Share of a snapshot's examples that a scan takes back without a person: whoever plants a mark on honest records could
else have them removed."""
_TRIES = 3  # seeds of the model of trusted examples: few examples may teach nothing at one of them

Ask = Callable[[Examples], np.ndarray]


@dataclasses.dataclass(frozen=True, slots=True)
class ModelScan:
    """What a scan found: its measurement, the gate's check of it, and the examples that carry the trigger."""

    measurement: Mapping[str, Any]
    check: Check
    mark: str = ""
    label: str = ""
    carriers: tuple[str, ...] = ()
    """Example ids of the snapshot with the mark and the label."""
    examples: int = 0
    """Of the snapshot."""


def scan_inputs(feed: Feed, snapshot: Snapshot) -> CandidateInputs:
    """Return the held-out trusted examples and, with marks put on them, what a candidate's scan asks of it.

    `DataError` for tables, whose rows are only numbers once the guard has read them.
    """
    from poison_guard.retrain.trigger_scan import Written

    trusted, clean = load_trusted_examples(feed), candidate_inputs(feed)
    if trusted.examples.kind == "table":
        raise DataError("a model of tables is scanned by asking it: `gate check --model` takes an ONNX file or an URL")
    examples = for_training(load_examples(feed, snapshot), trusted)
    names, inputs = Written.of(trusted.held_out(), _stamps(examples, trusted)).questions()
    cells = list(inputs) if inputs.dtype == object else [image.tolist() for image in inputs]
    rows = pd.DataFrame({"example_id": names, trusted.examples.kind: pd.Series(cells, dtype=object)})
    return dataclasses.replace(clean, frame=pd.concat([clean.frame, rows], ignore_index=True))


def scan_for_triggers(
    feed: Feed, snapshot: Snapshot, candidate: Ask | Mapping[str, str], reference: Ask | None
) -> ModelScan:
    """Return what turns held-out trusted examples for `candidate`, made of `snapshot`, and not for `reference`.

    A candidate that is known by its predictions of `scan_inputs` alone is a mapping of these. Without `reference`, or
    trusted examples, there is nothing to compare with, and the check says so.
    """
    from poison_guard.gate.checks.planted import planted_trigger, planted_triggers
    from poison_guard.retrain.trigger_scan import Written, scan_candidate

    trusted, policy = load_trusted_examples(feed), feed.contract.gate
    examples = for_training(load_examples(feed, snapshot), trusted)
    held = trusted.held_out()
    if reference is None or not len(held):
        measurement: dict[str, Any] = {"absent": "no trusted example to compare the model on"}
        return ModelScan(measurement, planted_triggers(measurement, policy))
    stamps: Sequence[Stamp] = _stamps(examples, trusted)
    if isinstance(candidate, Mapping):
        written = Written.of(held, stamps)
        held, stamps, candidate = written.held, written.stamps, written.answered_by(candidate)
    measurement = scan_candidate(candidate, reference, held, stamps, examples)
    check, worst = planted_triggers(measurement, policy), planted_trigger(measurement, policy)
    if worst is None:
        return ModelScan(measurement, check, examples=len(examples))
    known = (s for s in stamps if s.kind == worst["kind"] and s.label in (None, worst["label"]))
    stamp = next(s for s in known if s.name == worst["mark"])
    labels = examples.frame["label"].to_numpy(object).astype(str)
    carrying = stamp.carried(examples.inputs) & (labels == worst["label"])
    ids = tuple(sorted(examples.frame["example_id"].to_numpy(object)[carrying]))
    return ModelScan(measurement, check, worst["mark"], worst["label"], ids, len(examples))


def _stamps(examples: Examples, trusted: TrustedExamples) -> list[Stamp]:
    """Return the marks to try on a model made of `examples`, and the patterns that honest images have anyway."""
    from poison_guard.retrain.stamps import control_stamps, find_stamps

    reference = trusted.examples.take(trusted.split == "reference")
    return [*find_stamps(examples, trusted.examples), *control_stamps(reference, trusted.held_out())]


def take_carriers_back(feed: Feed, scan: ModelScan, model_id: str, now: dt.datetime) -> Carriers | None:
    """Store the trigger's carriers as a campaign, and take them back where no person is needed.

    Back go at most 2 % of the snapshot's examples, and only once until a model is promoted again; more is a person's
    decision: the records carry the campaign's id. Of an item go all accepted votes, whose sources are not named: they
    voted on what somebody else showed. None where the check did not fail, or nothing carries the mark.
    """
    if scan.check.outcome is not Outcome.FAIL or not scan.carriers:
        return None
    name, ids, votes = feed.contract.name, list(scan.carriers), bool(feed.contract.vote)
    mine, of = (None, ids) if votes else (ids, None)
    rows = find_records(feed.store, name, record_ids=mine, item_ids=of, places=[Place.ACCEPTED])
    if votes:
        rows = rows.assign(source_id=None)
    if rows.empty:
        return None
    best = champion(feed.store, name)
    small = len(scan.carriers) <= MOST_TAKEN * scan.examples
    first = not was_taken_back(feed.store, name, since=best.seq if best is not None else 0)
    carriers = note_trigger(
        feed.store,
        name,
        _campaign(scan, rows),
        model_id=model_id,
        take_back=small and first,
        why=f"{model_id} learned a trigger: {scan.mark}"[:2000],
        at=now,
    )
    drain(feed.store, feed.settings, now)
    return carriers


def _campaign(scan: ModelScan, rows: Any) -> Campaign:
    ids = tuple(sorted(rows["record_id"]))
    digest = hashlib.sha256("\n".join([scan.mark, scan.label, *ids]).encode("utf-8", "surrogatepass")).hexdigest()
    sources = tuple(sorted({str(one) for one in rows["source_id"].dropna()}))
    seen = rows["received_at"].dropna()
    first, last = (seen.min().to_pydatetime(), seen.max().to_pydatetime()) if len(seen) else (None, None)
    reason = Reason("planted_trigger", {"mark": scan.mark, "label": scan.label})
    strength = min(1.0, max(0.0, scan.check.value or 0.0))
    return Campaign(f"{TRIGGER}-{digest[:12]}", TRIGGER, 0.001, strength, ids, sources, first, last, reason)


def trusted_model(feed: Feed) -> Any:
    """Return a model of trusted examples alone, by the feed's recipe; None where there are none of two labels.

    The best of a few seeds where the first learns nothing: few examples under attack may teach nothing at all.
    """
    from poison_guard.retrain.parts import train_parts
    from poison_guard.retrain.train import train_classifier
    from poison_guard.retrain.trained_model import predict_probabilities

    trusted = load_trusted_examples(feed)
    reference = trusted.examples.take(trusted.split == "reference")
    if reference.frame["label"].nunique() < 2:
        return None
    labels = reference.frame["label"].to_numpy(object).astype(str)
    usual = max(float((labels == label).mean()) for label in np.unique(labels))
    best, most = None, -1.0
    for seed in range(_TRIES):
        config = dataclasses.replace(feed.contract.retrain, seed=feed.contract.retrain.seed + seed)
        settings = feed.settings
        if config.parts > 1:  # without any cohort, each part is what the trusted examples alone make
            return train_parts(reference.take(np.arange(0)), np.array([], object), reference, config)
        model = train_classifier(reference, config, device=settings.device, threads=settings.threads)
        predicted = np.array(model.classes, dtype=object)[predict_probabilities(model, reference).argmax(axis=1)]
        right = float((predicted == labels).mean())
        best, most = (model, right) if right > most else (best, most)
        if most > usual + (1 - usual) / 4:
            break
    return best


def asking(trained: Any) -> Ask:
    """Return how a model of the guard's own is asked."""
    from poison_guard.retrain.trained_model import predict_probabilities

    classes = np.array(trained.classes, dtype=object)
    return lambda examples: classes[predict_probabilities(trained, examples).argmax(axis=1)]


@contextlib.contextmanager
def open_model(feed: Feed, named: str) -> Iterator[Ask]:
    """Yield how to ask the model `named`: one of the feed by its id, an ONNX file, or the URL of an endpoint."""
    from poison_guard.retrain.other_models import Endpoint, OnnxModel
    from poison_guard.steps.promote import load_trained
    from poison_guard.store.models import list_models

    if named.startswith(("http://", "https://")):
        yield Endpoint(named)
        return
    if named.endswith(".onnx"):
        path = Path(named)
        if not path.is_file():
            raise NotFoundError(f"there is no file {named}")
        labels = load_trusted_examples(feed).examples.frame["label"]
        with OnnxModel(path, sorted({str(label) for label in labels})) as asked:
            yield asked
        return
    known = {model.model_id: model for model in list_models(feed.store, feed.contract.name)}
    if named not in known:
        raise NotFoundError(
            f"{feed.contract.name} has no model {named!r}; name one that `poison-guard models` lists, a file that ends "
            "in .onnx, or an http URL that predicts"
        )
    yield asking(load_trained(feed, known[named]))
