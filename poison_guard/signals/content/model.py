"""Rank what records say against trusted texts: a p-value that can hold at most the stated share of honest records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from poison_guard.numerics.conformal import conformal_p, rows_needed
from poison_guard.records import Level, Reason, SignalEvidence
from poison_guard.signals.content.echo import asks_to_repeat, copied
from poison_guard.signals.content.toxicity import toxicity

__all__ = ["ContentModel"]

_LEARNED = ("text", "response", "chosen", "prompt")
"""Roles whose words a model would learn to say, the first ones before the last."""
_ASKED = ("prompt", "text")
_UNASKED = 0.6  # weight of a copied response when nobody asked for a copy: people paste their own documents
_ALONE = 0.5  # score of an instruction to repeat whose response is not known
_CAP = 4.0  # content is weak evidence: no p-value goes below the rate it may hold by this factor
_TOLD = 0.05


@dataclass(frozen=True, slots=True)
class ContentModel:
    """Scores of the trusted calibration texts, by group and of all (group ""), that records are ranked against."""

    roles: tuple[str, ...]
    rate: float
    toxic_: Mapping[str, np.ndarray]
    echo_: Mapping[str, np.ndarray]

    @classmethod
    def fit(
        cls, calibration: pd.DataFrame, *, roles: Sequence[str], rate: float, groups: pd.Series | None = None
    ) -> Self:
        """Score the calibration split, whose columns `roles` are texts; `rate` is the share that may be held."""
        names = tuple(roles)
        toxic, echo = _scores(calibration, names)
        of = {"": np.ones(len(calibration), bool)}
        if groups is not None:
            told = groups.astype("str").to_numpy(object)
            of |= {str(name): told == name for name in groups.dropna().unique()}
        return cls(names, rate, {g: toxic[w] for g, w in of.items()}, {g: echo[w] for g, w in of.items()})

    def evidence(self, records: pd.DataFrame, *, groups: pd.Series | None = None) -> SignalEvidence:
        """Return record-level evidence: conformal p-values, two tests counted; 1 where too few texts calibrate.

        A group with fewer trusted texts than its tail needs is ranked against all. p-values stay above a quarter of the
        rate: content alone is never near certain.
        """
        toxic, echo = _scores(records, self.roles)
        p_toxic, p_echo = self._rank(self.toxic_, toxic, groups), self._rank(self.echo_, echo, groups)
        p = np.clip(2 * np.minimum(p_toxic, p_echo), min(1.0, self.rate / _CAP), 1.0)
        reasons = {
            int(row): Reason("echo", {"share": round(float(echo[row]), 3)})
            if p_echo[row] < p_toxic[row]
            else Reason("toxic", {"score": round(float(toxic[row]), 3)})
            for row in np.flatnonzero(p <= _TOLD)
        }
        return SignalEvidence("content", Level.RECORD, p, reasons)

    def _rank(self, known: Mapping[str, np.ndarray], scores: np.ndarray, groups: pd.Series | None) -> np.ndarray:
        least = rows_needed(self.rate / 2)
        p = np.ones(len(scores))
        told = np.full(len(scores), "", object) if groups is None else groups.astype("str").to_numpy(object)
        told = np.array([g if len(known.get(g, ())) >= least else "" for g in told], dtype=object)
        for name in set(told):
            rows = told == name
            if len(known[name]) >= least:
                p[rows] = conformal_p(known[name], scores[rows])
        return p


def _scores(records: pd.DataFrame, roles: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return how toxic the text to be learned is, and how much of an echo the record is, ``(n,)`` in [0, 1] each."""
    texts = {role: records[role].astype("str").where(records[role].notna(), "").tolist() for role in roles}
    said = next((texts[role] for role in _LEARNED if role in texts), None)
    if said is None or not len(records):
        return np.zeros(len(records)), np.zeros(len(records))
    asker = next((texts[role] for role in _ASKED if role in texts), None)
    asks = np.zeros(len(records), bool) if asker is None else asks_to_repeat(asker)
    echo = _ALONE * asks
    if "prompt" in texts and ("response" in texts or "chosen" in texts):
        answer = texts["response"] if "response" in texts else texts["chosen"]
        echo = copied(texts["prompt"], answer) * np.where(asks, 1.0, _UNASKED)
    return toxicity(said), echo
