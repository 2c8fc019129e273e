"""The label signal of a feed: what trusted records expect of a record's label, ranked, and the reason in words."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from poison_guard.errors import ConfigError
from poison_guard.records import Examples, Level, Reason, SignalEvidence
from poison_guard.signals.conformal import ALL, Calibration, attainable_p
from poison_guard.signals.joint import Known
from poison_guard.signals.labels.representation import Representation, fit_representation
from poison_guard.signals.labels.views import Views

__all__ = ["LabelModel", "encoded"]

_REPORTED_P = 0.05  # p-value up to which a record gets a reason
_LOWEST = 1e-12
_BLOCK = 8_192  # records judged at a time: bounds memory


@dataclass(frozen=True, slots=True)
class _Encoded:
    """An encoder of the user's, in the place of a representation."""

    encode: Callable[[np.ndarray], np.ndarray]

    def vectors(self, examples: Examples) -> np.ndarray:
        found = np.asarray(self.encode(examples.inputs), dtype=np.float32)
        if found.ndim != 2 or len(found) != len(examples) or not np.isfinite(found).all():
            raise ConfigError(
                f"the encoder must return {len(examples)} rows of finite numbers, one an example; got {found.shape}"
            )
        return found

    def views(self) -> np.ndarray:
        """Return no view: nobody knows which columns belong together."""
        return np.empty((0, 0), bool)


def encoded(path: str) -> Callable[[Examples], Representation]:
    """Return what stands for `fit_representation` where a feed names an encoder ``package.module:name``.

    The encoder is called with inputs as `Examples.inputs` holds them and returns ``(n, d)`` numbers; it must not learn
    from what it is shown. `ConfigError` where it cannot be imported.
    """
    module, _, name = path.partition(":")
    try:
        encode = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the encoder {path} cannot be imported: {error}") from error
    return lambda _: _Encoded(encode)


@dataclass(frozen=True, slots=True)
class LabelModel:
    """Label probabilities by trusted records, and the trusted scores that records are ranked among.

    The representation is fitted on the reference split alone. The posterior knows the labels of both splits, and each
    calibration row is scored without itself (jackknife): what is left of a difference to a new record is one row more
    to learn from. That is why 300 calibration rows are not lost to learning.

    References: Vovk, Gammerman and Shafer (2005); Barber, Candès, Ramdas and Tibshirani, "Predictive inference with the
    jackknife+" (2021).
    """

    representation: Representation
    views: Views
    calibration: Calibration
    known: Known
    by_label: bool
    """Whether each label is calibrated apart: every one has rows enough."""

    @classmethod
    def fit(
        cls,
        reference: Examples,
        calibration: Examples,
        *,
        rate: float,
        groups: np.ndarray | None = None,
        represent: Callable[[Examples], Representation] = fit_representation,
    ) -> Self:
        """Fit on trusted examples; `rate` is the share of honest records that may be held.

        `groups` ``(n,)`` of str are those of the calibration rows, where a feed calibrates groups apart. Without groups
        labels are calibrated apart where each has rows enough, so that no label's honest records are held more often
        than another's; else all rows together.
        """
        representation = represent(reference)
        vectors = [representation.vectors(part) for part in (reference, calibration)]
        labels = [part.frame["label"].to_numpy(object).astype(str) for part in (reference, calibration)]
        views = Views.fit(np.concatenate(vectors), np.concatenate(labels), representation.views())
        own = _strangeness(views.own_chance())
        known = Known(own[: len(reference)], own[len(reference) :])
        pooled = Calibration.fit(known.calibration, np.full(len(calibration), ALL, dtype=object), rate)
        counts = np.unique(labels[1], return_counts=True)
        apart = groups is None and len(counts[0]) == len(views.whole.labels) and min(counts[1]) >= pooled.needed
        names = groups if groups is not None else labels[1].astype(object) if apart else None
        fitted = pooled if names is None else Calibration.fit(known.calibration, names, rate)
        return cls(representation, views, fitted, known, bool(apart))

    def evidence(self, examples: Examples, *, groups: np.ndarray | None = None) -> SignalEvidence:
        """Return conformal p-values ``(n,)`` of the examples' labels, with a reason for each up to 0.05.

        A label that no trusted record has is as strange as can be: nobody can say what it looks like.
        """
        parts = [
            self._judged(examples.take(np.arange(i, min(i + _BLOCK, len(examples)))), groups, i)
            for i in range(0, len(examples), _BLOCK)
        ]
        p = np.concatenate([part[0] for part in parts]) if parts else np.empty(0)
        return SignalEvidence("label", Level.RECORD, p, {row: why for _, whys in parts for row, why in whys.items()})

    def _judged(
        self, examples: Examples, groups: np.ndarray | None, start: int
    ) -> tuple[np.ndarray, dict[int, Reason]]:
        names = np.array(self.views.whole.labels)
        given = examples.frame["label"].to_numpy(object).astype(str)
        codes = np.minimum(np.searchsorted(names, given), len(names) - 1)
        seen = names[codes] == given
        vectors = self.representation.vectors(examples)
        chances = self.views.whole.probabilities(vectors)
        scores = np.where(seen, _strangeness(self.views.chance(vectors, codes, chances)), np.inf)
        of = groups[start : start + len(given)] if groups is not None else given.astype(object)
        if groups is None and not self.by_label:
            of = np.full(len(given), ALL, dtype=object)
        p = self.calibration.p(scores, of)
        rows = np.flatnonzero(p <= _REPORTED_P)
        reasons = self._reasons(vectors[rows], chances[rows], given[rows], seen[rows])
        return p, {start + int(row): why for row, why in zip(rows, reasons, strict=True)}

    def _reasons(self, vectors: np.ndarray, chances: np.ndarray, given: np.ndarray, seen: np.ndarray) -> list[Reason]:
        """Return why the labels `given` are strange: what most of the nearest trusted records say, or all together."""
        names = np.array(self.views.whole.labels)
        near = self.views.whole.neighbours(vectors)
        likeliest = chances.argmax(axis=1)
        found = []
        for row, label in enumerate(given):
            best = int(likeliest[row])
            said, asked = int(near[row, best]), int(near[row].sum())
            args = {"given": str(label), "expected": str(names[best]), "chance": round(float(chances[row, best]), 3)}
            if not seen[row]:
                found.append(Reason("label_unseen", {"given": str(label), "n": len(self.views.whole.codes)}))
            elif 2 * said > asked and names[best] != label:
                found.append(Reason("label_denied", {**args, "said": said, "asked": asked}))
            else:
                found.append(Reason("label_unlikely", args))
        return found

    @property
    def unjudged_p(self) -> float:
        """The p-value of a record whose content cannot be compared: the smallest there is."""
        return attainable_p(self.calibration.n)

    def notes(self) -> tuple[Reason, ...]:
        """Return where there are too few calibration rows for the rate."""
        return self.calibration.notes()


def _strangeness(chance: np.ndarray) -> np.ndarray:
    return np.asarray(np.round(-np.log(np.maximum(chance, _LOWEST)), 5))  # so that rounding errors decide nothing
