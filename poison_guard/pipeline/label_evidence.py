"""The label signal at work: records with a label and content of their own, or items with an adopted label, judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from poison_guard.config import Contract, Policy
from poison_guard.errors import DataError
from poison_guard.pipeline.content import (
    LEAD,
    Content,
    content_columns,
    content_of,
    image_of,
    record_content,
    to_examples,
)
from poison_guard.records import Examples, Level, Reason, SignalEvidence, State
from poison_guard.signals.conformal import Calibration, labels_needed
from poison_guard.signals.joint import Known
from poison_guard.signals.labels.model import LabelModel, encoded
from poison_guard.signals.labels.representation import fit_representation

__all__ = ["LabelledRecords", "as_examples", "common_shape", "fit_label_rows", "fit_labels", "rows_of"]


@dataclass(frozen=True, slots=True)
class LabelledRecords:
    """A label model, and how records become its examples."""

    model: LabelModel
    content: Content
    like: pd.DataFrame
    """Trusted content that says what kind each column of a table is of."""
    shape: tuple[int, ...] | None
    """Shape of the trusted images; None for texts and tables."""
    known: Known

    def ranked_among(self, calibration: Calibration) -> Self:
        """Return the same records judged by another calibration, that of all record signals together."""
        return replace(self, model=replace(self.model, calibration=calibration, by_label=False))

    def evidence(self, records: pd.DataFrame, *, groups: pd.Series | None = None) -> SignalEvidence:
        """Return the evidence of records: p is 1 without a label."""
        labelled = np.flatnonzero(records["label"].notna().to_numpy())
        of = None if groups is None else _names(groups)[labelled]
        found = self.judged(rows_of(records.iloc[labelled], self.content), groups=of)
        p = np.ones(len(records))
        p[labelled] = found.p
        return SignalEvidence("label", Level.RECORD, p, {int(labelled[row]): why for row, why in found.reasons.items()})

    def judged(self, rows: pd.DataFrame, *, groups: np.ndarray | None = None) -> SignalEvidence:
        """Return the evidence of `rows` (``example_id, label, slice`` and content), each with a label.

        p is least where the content cannot be compared.
        """
        examples, at, flaws = as_examples(rows, self.content, self.like, self.shape)
        p = np.full(len(rows), self.model.unjudged_p)
        found = self.model.evidence(examples, groups=None if groups is None else groups[at])
        p[at] = found.p
        reasons = dict(flaws) | {int(at[row]): why for row, why in found.reasons.items()}
        return SignalEvidence("label", Level.RECORD, p, reasons)


def fit_labels(contract: Contract, state: State) -> LabelledRecords | Reason:
    """Return the label model of a feed, fitted on its trusted records, or why there is none."""
    content = content_of(contract)
    if not len(state.reference) or not len(state.calibration):
        return Reason("no_trusted_set", {"needed": labels_needed(contract.policy.false_quarantine_rate)})
    parts = [_labelled(frame) for frame in (state.reference, state.calibration)]
    reference, calibration = (rows_of(part, content) for part in parts)
    groups = _names(parts[1]["group"]) if contract.has("group") and "group" in parts[1] else None
    fitted = fit_label_rows(reference, calibration, content, contract.policy, groups=groups)
    if isinstance(fitted, Reason):
        return fitted
    scores = np.full(len(state.calibration), np.nan)
    scores[np.flatnonzero(state.calibration["label"].notna())] = fitted.known.calibration
    return replace(fitted, known=Known(fitted.known.reference, scores))


def fit_label_rows(
    reference: pd.DataFrame,
    calibration: pd.DataFrame,
    content: Content,
    policy: Policy,
    *,
    groups: np.ndarray | None = None,
) -> LabelledRecords | Reason:
    """Return the label model of trusted rows (``example_id, label, slice`` and content), or why there is none.

    `groups` ``(n,)`` are those of the calibration rows. A calibration row without comparable content has the score NaN.
    """
    labels = {*reference["label"], *calibration["label"]}
    if not len(reference) or len(labels) < 2:
        why = "no two labels" if labels else "no labels"
        return _silent(f"the trusted records have {why} to compare with; enter vetted records that do")
    like = reference[content_columns(reference)]
    shape = common_shape(list(like[like.columns[0]])) if content.kind == "image" else None
    (known, _, _), (own, at, _) = (as_examples(part, content, like, shape) for part in (reference, calibration))
    if not len(known):
        return _silent("no trusted record has content that can be compared; enter vetted records that do")
    represent = fit_representation if policy.encoder is None else encoded(policy.encoder)
    of = None if groups is None else groups[at]
    model = LabelModel.fit(known, own, rate=policy.false_quarantine_rate, groups=of, represent=represent)
    whole = next((note for note in model.notes() if not note.args["group"]), None)
    if whole is not None:
        return whole
    scores = np.full(len(calibration), np.nan)
    scores[at] = model.known.calibration
    return LabelledRecords(model, content, like, shape, Known(model.known.reference, scores))


def _silent(why: str) -> Reason:
    return Reason("signal_silent", {"signal": "label", "why": why})


def _labelled(trusted: pd.DataFrame) -> pd.DataFrame:
    return trusted[trusted["label"].notna()].reset_index(drop=True) if "label" in trusted else trusted.iloc[:0]


def _names(groups: pd.Series) -> np.ndarray:
    return groups.astype("str").fillna("").to_numpy(object)


def rows_of(records: pd.DataFrame, content: Content) -> pd.DataFrame:
    """Return labelled records as ``example_id, label, slice`` and content."""
    ids = records["record_id"] if "record_id" in records else pd.Series(np.arange(len(records)))
    label = records["label"].to_numpy(object) if "label" in records else np.empty(0, object)
    lead = pd.DataFrame({"example_id": ids.to_numpy(object), "label": label, "slice": ""})
    return pd.concat([lead, record_content(records, content)], axis=1)


def as_examples(
    rows: pd.DataFrame, content: Content, like: pd.DataFrame, shape: tuple[int, ...] | None
) -> tuple[Examples, np.ndarray, Mapping[int, Reason]]:
    """Return the examples of `rows`, the row that each is of ``(n,)``, and why the other rows make none."""
    flaws: dict[int, Reason] = {}
    if content.kind == "image":
        for row, cell in enumerate(rows[like.columns[0]].to_numpy(object)):
            if why := _flaw(cell, shape, content.pixel_max):
                flaws[row] = Reason("content_unlike", {"why": why})
    at = np.delete(np.arange(len(rows)), list(flaws))
    frame = rows[[*LEAD, *like.columns]].iloc[at].reset_index(drop=True)
    return to_examples(frame, content, np.ones(len(at), bool), like), at, flaws


def _flaw(cell: object, shape: tuple[int, ...] | None, pixel_max: float) -> str:
    """Return what keeps an image from being compared with the trusted ones of a shape; nothing where it can be."""
    try:
        image = image_of("", cell)
    except DataError:
        return "it is neither a picture nor a list of pixel values"
    if shape is not None and image.shape != shape:
        return f"its shape is {_size(image.shape)}, that of the trusted ones {_size(shape)}"
    if not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= pixel_max):
        return f"it has pixels outside 0 to {pixel_max:g}"
    return ""


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def common_shape(cells: list[object]) -> tuple[int, ...] | None:
    """Return the shape of most images, the smallest of several; None where there is none."""
    shapes = []
    for cell in cells:
        try:
            shapes.append(image_of("", cell).shape)
        except DataError:
            continue
    return min(set(shapes), key=lambda shape: (-shapes.count(shape), shape), default=None)
