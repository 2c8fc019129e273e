"""Echo prompts: instructions to repeat something, and responses that say what the prompt put into their mouth."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from poison_guard.numerics.characters import BREAK, fold, skeletons

__all__ = ["asks_to_repeat", "copied"]

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


def copied(prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
    """Return ``(n,)`` in [0, 1]: the share of a response's words that stand in runs of four words of its prompt.

    Words are compared by their `skeleton`, so spelling them otherwise hides nothing. 0 for a response of fewer words.
    """
    n = len(prompts)
    word, owner = _words([*prompts, *responses])
    size = max(0, len(word) - _RUN + 1)
    whole = np.flatnonzero(owner[:size] == owner[_RUN - 1 :][:size])
    key = np.zeros(size, np.uint64)
    for step in range(_RUN):
        key = (key + word[step : size + step]) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(31)
    pair = (owner % max(n, 1)).astype(np.uint64)
    key = (key[whole] ^ pair[whole]) * np.uint64(0xBF58476D1CE4E5B9)
    of_prompt = owner[whole] < n
    found = whole[~of_prompt][np.isin(key[~of_prompt], key[of_prompt])]
    inside = np.zeros(len(word), bool)
    for step in range(_RUN):
        inside[found + step] = True
    said = np.bincount(owner[owner >= n] - n, minlength=n)
    return np.bincount(owner[inside] - n, minlength=n) / np.maximum(said, 1)


def _words(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return a number ``(w,)`` uint64 for each word and the text it is of."""
    spelt = [text.split() for text in skeletons(texts).tobytes().decode("utf-32-le").split(BREAK)[1:]]
    owner = np.repeat(np.arange(len(spelt)), [len(words) for words in spelt])
    flat = np.array([word for words in spelt for word in words], dtype=object)
    return pd.factorize(flat)[0].astype(np.uint64), owner
