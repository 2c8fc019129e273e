"""Predict with a stored model, and inspect inputs for signs of an attack; nothing is stored."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from poison_guard.errors import ClosedError, DataError, NotFoundError
from poison_guard.ingest.read import read_raw
from poison_guard.numerics.intervals import chance_of_more
from poison_guard.pipeline.content import content_of, to_examples, with_pixels
from poison_guard.records import Examples
from poison_guard.results import TableResult
from poison_guard.steps.examples import load_trusted_examples, trusted_rows
from poison_guard.steps.opening import Feed
from poison_guard.steps.promote import load_trained
from poison_guard.store.models import Model, champion, list_models

if TYPE_CHECKING:
    from poison_guard.retrain.trained_model import TrainedModel

__all__ = ["InspectResult", "PredictResult", "find_model", "inspect_inputs", "predict_inputs"]

_SURELY = 0.001  # chance that as many are escalated though inputs are what they were
_IDS = ("example_id", "record_id")


@dataclasses.dataclass(frozen=True, slots=True)
class PredictResult(TableResult):
    """What `Guard.predict` returns: a label for each input, or none where a person must look."""

    feed: str
    model_id: str
    frame: pd.DataFrame
    """``example_id, label`` (null where escalated), ``probability, escalated``, in the order of the inputs."""
    budget: float
    """Share of clean inputs that the model leaves to people."""
    alarm: bool
    """Whether surely more are escalated than of trusted inputs."""
    why: str

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return a line an input."""
        rows = self.frame[["example_id", "label", "probability", "escalated"]].itertuples(index=False, name=None)
        return ("input", "label", ">probability", "escalated"), list(rows)


@dataclasses.dataclass(frozen=True, slots=True)
class InspectResult(TableResult):
    """What `Guard.inspect` returns: which inputs look made to mislead the model."""

    feed: str
    model_id: str
    frame: pd.DataFrame
    """``example_id, flagged, why`` and the scores, in the order of the inputs."""
    rate: float
    """Share of clean inputs that are flagged."""
    limits: dict[str, float]
    rows: int
    """Trusted inputs that the limits were set on."""

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return a line for each input that is flagged."""
        flagged = self.frame[self.frame["flagged"]]
        return ("input", "why"), list(flagged[["example_id", "why"]].itertuples(index=False, name=None))


def predict_inputs(feed: Feed, data: Any, model_id: str | None = None, confidence: str = "full") -> PredictResult:
    """Return what a model (None: the champion) says of `data`, a file or a frame of the feed's content columns.

    `confidence` says how sure it was: ``full``, ``rounded`` to tenths, or ``none``, a missing probability.
    """
    from poison_guard.retrain.confidences import coarse
    from poison_guard.retrain.trained_model import predict

    model = find_model(feed, model_id)
    examples, trained = _inputs(feed, data), load_trained(feed, model)
    answers = predict(trained, examples, threads=feed.settings.threads)
    said = coarse(answers.probabilities, confidence)
    labels = np.array(trained.classes, dtype=object)[answers.probabilities.argmax(axis=1)]
    frame = pd.DataFrame(
        {
            "example_id": examples.frame["example_id"],
            "label": pd.Series(np.where(answers.escalated, None, labels), dtype="str"),
            "probability": np.nan if confidence == "none" else said.max(axis=1),
            "escalated": answers.escalated,
        }
    )
    n, handed_on, budget = len(frame), int(answers.escalated.sum()), float(trained.config.escalate)
    alarm = handed_on > budget * n and _surely_more(feed, trained, handed_on, n)
    if alarm:
        why = (
            f"{handed_on:,} of {n:,} inputs are left to people, and {100 * budget:g} % were planned: they are unlike "
            "trusted ones, or made so. Do not send all of them to people; `poison-guard inspect` looks at them"
        )
    else:
        why = f"{handed_on:,} of {n:,} inputs are left to people" if budget else "the model answers every input"
    return PredictResult(feed.contract.name, model.model_id, frame, budget, alarm, why)


def _surely_more(feed: Feed, trained: TrainedModel, handed_on: int, n: int) -> bool:
    """Return whether more of `n` inputs are left to people than of held-out trusted ones, beyond chance.

    The share that the model leaves to people was set on few rows and is known no better than they tell it.
    """
    from poison_guard.retrain.trained_model import predict

    clean = load_trusted_examples(feed).held_out()
    usual = int(predict(trained, clean, threads=feed.settings.threads).escalated.sum())
    return chance_of_more(handed_on, n, usual, len(clean)) < _SURELY


def inspect_inputs(feed: Feed, data: Any, model_id: str | None = None) -> InspectResult:
    """Return which inputs of `data` a model answers otherwise once squeezed, or its members differ on.

    Limits are set on the trusted calibration rows, so that `false_quarantine_rate` of clean inputs are flagged.
    """
    from poison_guard.retrain.detection import fit_detector, input_scores

    model = find_model(feed, model_id)
    examples, trained = _inputs(feed, data), load_trained(feed, model)
    trusted, threads = load_trusted_examples(feed), feed.settings.threads
    clean = trusted.examples.take(trusted.split == "calibration")
    detector = fit_detector(input_scores(trained, clean, threads=threads), feed.contract.policy.false_quarantine_rate)
    scores = input_scores(trained, examples, threads=threads)
    flags = detector.flags(scores) if len(examples) else {}
    frame = pd.DataFrame({"example_id": examples.frame["example_id"], **scores})
    above = [[name for name, over in flags.items() if over[at]] for at in range(len(frame))]
    frame["flagged"] = [bool(names) for names in above]
    frame["why"] = ["; ".join([_SENTENCES[name] for name in names]) for names in above]
    name = feed.contract.name
    return InspectResult(name, model.model_id, frame, detector.rate, detector.limits, detector.rows)


_SENTENCES = {
    "squeezed": "squeezed, it gets another answer than as it is",
    "members": "the members of the model disagree on it",
}


def find_model(feed: Feed, model_id: str | None) -> Model:
    """Return the model `model_id` of the feed, or its champion; `NotFoundError` where there is none."""
    name = feed.contract.name
    best = champion(feed.store, name)
    wanted = model_id or (best.model_id if best is not None else None)
    model = next((model for model in list_models(feed.store, name) if model.model_id == wanted), None)
    if model is None:
        asked = f"no model {wanted!r}" if wanted else "no champion yet"
        raise NotFoundError(f"{name} has {asked}; `poison-guard models --feed {name}` lists its models")
    return model


def _inputs(feed: Feed, data: Any) -> Examples:
    """Return the inputs of a file or frame; columns may have the contract's names or those of the roles."""
    content = content_of(feed.contract)
    frame = data if isinstance(data, pd.DataFrame) else read_raw([str(Path(data))])
    named = {str(column): role for role, column in feed.contract.columns.items() if isinstance(column, str)}
    frame = frame.rename(columns={own: role for own, role in named.items() if role not in frame.columns})
    trusted, _ = trusted_rows(feed)
    columns = content.columns or tuple(name for name in trusted.columns if name not in ("example_id", "label", "slice"))
    absent = [name for name in columns if name not in frame.columns]
    if absent:
        raise DataError(
            f"the inputs have no column {absent[0]}; the model of {feed.contract.name} reads {', '.join(columns)}"
        )
    given = next((name for name in _IDS if name in frame.columns), None)
    ids = frame[given].astype("str") if given else pd.Series([f"row {at + 1}" for at in range(len(frame))], dtype="str")
    lead = pd.DataFrame({"example_id": ids.to_numpy(), "label": "", "slice": ""})
    shown = with_pixels(frame[list(columns)].reset_index(drop=True), content)
    if not len(trusted):
        raise ClosedError(f"{feed.contract.name} has no trusted rows, which say how inputs are read; enter some")
    return to_examples(pd.concat([lead, shown], axis=1), content, np.zeros(len(frame), bool), trusted)
