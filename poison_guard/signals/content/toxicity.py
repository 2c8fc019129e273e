"""How abusive a text's words are, disguised ones included: a word list's judgement, blind to abuse in polite words."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from poison_guard.numerics.characters import BREAK, fold, skeletons

__all__ = ["toxicity"]

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
    from profanity_check import predict_prob

    out = np.zeros(len(texts))
    for start in range(0, len(texts), _BLOCK):
        block = texts[start : start + _BLOCK]
        plain, spelt = [fold(text) for text in block], _undisguised(block)
        said = np.array([bool(words) for words in spelt])
        both = np.maximum(np.asarray(predict_prob(plain)), np.asarray(predict_prob(spelt)))
        out[start : start + len(block)] = np.where(said, np.clip(both, 0, 1), 0.0)
    return out


def _undisguised(texts: Sequence[str]) -> list[str]:
    """Return the texts in words the classifier knows, where their skeletons are those of such words."""
    known = _known()
    spelt = skeletons(texts).tobytes().decode("utf-32-le").split(BREAK)[1:]
    return [" ".join([known.get(word, word) for word in text.split()]) for text in spelt]


@functools.cache
def _known() -> Mapping[str, str]:
    """Return the classifier's words by their skeletons: the least abusive one where several look alike."""
    from profanity_check import predict_prob
    from profanity_check.profanity_check import vectorizer

    words = sorted(vectorizer.vocabulary_)
    spelt = skeletons(words).tobytes().decode("utf-32-le").split(BREAK)[1:]
    worst_first = np.argsort(-np.asarray(predict_prob(words)), kind="stable")
    return {spelt[k].strip(): words[k] for k in worst_first}
