"""Abusive words and echoed prompts, ranked against trusted texts: weak evidence that holds a bounded share."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.errors import MissingExtraError
from poison_guard.numerics.characters import BREAK, fold, skeletons
from poison_guard.records import Level, Reason, SignalEvidence, State
from poison_guard.signals.conformal import ALL, Calibration, rows_needed
from poison_guard.signals.joint import Known, TailScale

__all__ = ["ContentModel", "asks_to_repeat", "copied_share", "fit", "toxicity"]


_RUN = 4  # words in a row that a response shares with its prompt by more than chance
_VERB = r"(?:repeat|say|echo|recite|parrot|copy|state|write|type|output|print|answer)"
_LIKE = (
    r"after me|what i (?:say|said|write|wrote|tell)|back to me|word for word|verbatim|exactly|(?:do not|don't) change|"
    r"my (?:exact )?words|(?:the )?following (?:sentence|line|text|words|fact)|this (?:sentence|line|text|phrase)"
)
_ASKS = re.compile(rf"\b{_VERB}\b[^.?!\n]{{0,40}}\b(?:{_LIKE})")


def asks_to_repeat(texts: Sequence[str]) -> np.ndarray:
    """Return ``(n,)`` bool: whether a text tells its reader to say something after it, in common English wordings.

    Harmless people ask for that as well ("say this sentence in Finnish"): it ranks, and proves nothing.
    """
    return np.fromiter((_ASKS.search(fold(text)) is not None for text in texts), bool, len(texts))


def copied_share(prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
    """Return ``(n,)`` in [0, 1]: the share of a response's words that stand in runs of four words of its prompt.

    Words are compared by their `skeleton`, so spelling them otherwise hides nothing. 0 for a response of fewer words.
    """
    n = len(prompts)
    word, owner = _words([*prompts, *responses])
    size = max(0, len(word) - _RUN + 1)
    runs = np.flatnonzero(owner[:size] == owner[_RUN - 1 :][:size])
    key = np.zeros(size, np.uint64)
    for step in range(_RUN):
        key = (key + word[step : size + step]) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(31)
    pair = (owner % max(n, 1)).astype(np.uint64)
    key = (key[runs] ^ pair[runs]) * np.uint64(0xBF58476D1CE4E5B9)
    of_prompt = owner[runs] < n
    copied = runs[~of_prompt][np.isin(key[~of_prompt], key[of_prompt])]
    inside = np.zeros(len(word), bool)
    for step in range(_RUN):
        inside[copied + step] = True
    lengths = np.bincount(owner[owner >= n] - n, minlength=n)
    return np.bincount(owner[inside] - n, minlength=n) / np.maximum(lengths, 1)


def _words(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return a number ``(w,)`` uint64 for each word and the text it is of."""
    spelt = [text.split() for text in skeletons(texts).tobytes().decode("utf-32-le").split(BREAK)[1:]]
    owner = np.repeat(np.arange(len(spelt)), [len(words) for words in spelt])
    flat = np.array([word for words in spelt for word in words], dtype=object)
    return pd.factorize(flat)[0].astype(np.uint64), owner


_BLOCK = 5000  # texts at a time: bounds memory


def toxicity(texts: Sequence[str]) -> np.ndarray:
    """Return ``(n,)`` in [0, 1]: how likely each text has profane or abusive words; 0 for one without letters.

    The higher of two readings: the text as a reader sees it, and with words that the classifier does not know in their
    disguise (look-alike characters, digits for letters, repeated or spaced letters) replaced by those it knows. English
    only, and of words only: on abuse without profanity it is no better than chance, and it takes quotes and dialects
    for what they quote. Looks at the first `MAX_CHARS` characters; batches are some hundred times faster than singles.

    References: alt-profanity-check, a linear classifier after Zhou (2019), "Building a Better Profanity Detection
    Library"; Röttger et al. (2021), "HateCheck".
    """
    predict_prob, _ = _classifier()
    out = np.zeros(len(texts))
    for start in range(0, len(texts), _BLOCK):
        block = texts[start : start + _BLOCK]
        plain, spelt = [fold(text) for text in block], _undisguised(block)
        has_words = np.array([bool(words) for words in spelt])
        both = np.maximum(np.asarray(predict_prob(plain)), np.asarray(predict_prob(spelt)))
        out[start : start + len(block)] = np.where(has_words, np.clip(both, 0, 1), 0.0)
    return out


def _classifier() -> tuple[Any, Any]:
    """Return what judges texts and the words it knows; `MissingExtraError` where it is not installed."""
    try:
        from profanity_check import predict_prob
        from profanity_check.profanity_check import vectorizer
    except ModuleNotFoundError:
        raise MissingExtraError.of("alt-profanity-check", "content") from None
    return predict_prob, vectorizer


def _undisguised(texts: Sequence[str]) -> list[str]:
    """Return the texts in words the classifier knows, where their skeletons are those of such words."""
    known = _known()
    spelt = skeletons(texts).tobytes().decode("utf-32-le").split(BREAK)[1:]
    return [" ".join([known.get(word, word) for word in text.split()]) for text in spelt]


@functools.cache
def _known() -> Mapping[str, str]:
    """Return the classifier's words by their skeletons: the least abusive one where several look alike."""
    predict_prob, vectorizer = _classifier()
    words = sorted(vectorizer.vocabulary_)
    spelt = skeletons(words).tobytes().decode("utf-32-le").split(BREAK)[1:]
    worst_first = np.argsort(-np.asarray(predict_prob(words)), kind="stable")
    return {spelt[k].strip(): words[k] for k in worst_first}


_LEARNED = ("text", "response", "chosen", "prompt")
"""Roles whose words a model would learn to say, the first ones before the last."""
_ASKED = ("prompt", "text")
_UNASKED = 0.6  # weight of a copied response when nobody asked for a copy: people paste their own documents
_ALONE = 0.5  # score of an instruction to repeat whose response is not known
_CAP = 4.0  # content is weak evidence: no p-value goes below the rate it may hold by this factor
_REPORTED_P = 0.05


@dataclass(frozen=True, slots=True)
class ContentModel:
    """How rude a record is, or how much of an echo, whichever is rarer among trusted texts, ranked among others."""

    roles: tuple[str, ...]
    rate: float
    toxic: TailScale
    echo: TailScale
    known: Known
    calibration: Calibration

    @classmethod
    def fit(
        cls,
        reference: pd.DataFrame,
        calibration: pd.DataFrame,
        *,
        roles: Sequence[str],
        rate: float,
        groups: pd.Series | None = None,
    ) -> Self:
        """Learn from trusted rows, whose columns `roles` are texts; `rate` is the share that may be held.

        A group with too few calibration rows for `rate` is ranked among all.
        """
        names = tuple(roles)
        before, after = _scores(reference, names), _scores(calibration, names)
        toxic, echo = (TailScale.fit(scores) for scores in before)
        known = Known(*(_rarest(toxic, echo, *scores) for scores in (before, after)))
        of = np.full(len(calibration), ALL, object) if groups is None else groups.astype("str").fillna(ALL)
        return cls(names, rate, toxic, echo, known, Calibration.fit(known.calibration, np.asarray(of, object), rate))

    def ranked_among(self, calibration: Calibration) -> Self:
        """Return the same model with another calibration, that of all record signals together."""
        return replace(self, calibration=calibration)

    def evidence(self, records: pd.DataFrame, *, groups: pd.Series | None = None) -> SignalEvidence:
        """Return record-level evidence: conformal p-values ``(n,)``, with a reason for each up to 0.05.

        They stay above a quarter of the rate: content alone is never near certain.
        """
        toxic, echo = _scores(records, self.roles)
        of = np.full(len(records), ALL, object) if groups is None else groups.astype("str").fillna(ALL)
        p = self.calibration.p(_rarest(self.toxic, self.echo, toxic, echo), np.asarray(of, object))
        p = np.clip(p, min(1.0, self.rate / _CAP), 1.0)
        echoes = self.echo.apply(echo) > self.toxic.apply(toxic)
        reasons = {
            int(row): Reason("echo", {"share": round(float(echo[row]), 3)})
            if echoes[row]
            else Reason("toxic", {"score": round(float(toxic[row]), 3)})
            for row in np.flatnonzero(p <= _REPORTED_P)
        }
        return SignalEvidence("content", Level.RECORD, p, reasons)


def fit(contract: Contract, state: State) -> ContentModel | Reason:
    """Return the model of a feed, fitted on its trusted set, or why there is none."""
    rate = contract.policy.false_quarantine_rate
    least = rows_needed(rate)
    if len(state.calibration) < least or not len(state.reference):
        return Reason("few_calibration_rows", {"n": len(state.calibration), "needed": least, "group": ""})
    groups = state.calibration["group"] if contract.has("group") else None
    return ContentModel.fit(state.reference, state.calibration, roles=contract.texts, rate=rate, groups=groups)


def _rarest(toxic: TailScale, echo: TailScale, *scores: np.ndarray) -> np.ndarray:
    return np.maximum(toxic.apply(scores[0]), echo.apply(scores[1]))


def _scores(records: pd.DataFrame, roles: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return how toxic the text to be learned is, and how much of an echo the record is, ``(n,)`` in [0, 1] each."""
    texts = {role: records[role].astype("str").where(records[role].notna(), "").tolist() for role in roles}
    learned = next((texts[role] for role in _LEARNED if role in texts), None)
    if learned is None or not len(records):
        return np.zeros(len(records)), np.zeros(len(records))
    asker = next((texts[role] for role in _ASKED if role in texts), None)
    asks = np.zeros(len(records), bool) if asker is None else asks_to_repeat(asker)
    echo = _ALONE * asks
    if "prompt" in texts and ("response" in texts or "chosen" in texts):
        answer = texts["response"] if "response" in texts else texts["chosen"]
        echo = copied_share(texts["prompt"], answer) * np.where(asks, 1.0, _UNASKED)
    return toxicity(learned), echo
