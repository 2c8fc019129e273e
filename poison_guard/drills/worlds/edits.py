"""How attackers vary what they repeat: word edits of a text, jitter of a feature vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["jitter", "one_of", "paraphrase"]


def one_of(rng: np.random.Generator, options: Sequence[str]) -> str:
    """Return one of `options`, each as likely."""
    return options[int(rng.integers(len(options)))]


def paraphrase(
    rng: np.random.Generator,
    words: Sequence[str],
    rate: float,
    *,
    fillers: Sequence[str],
    synonyms: Mapping[str, Sequence[str]],
) -> list[str]:
    """Return `words` with each word edited with probability `rate`: a synonym where known, else swap, insert or delete.

    Edits are of words, not characters: at 40 % of characters two copies share no more than two unrelated texts.
    """
    out: list[str] = []
    for word in words:
        if rng.random() >= rate:
            out.append(word)
            continue
        known = synonyms.get(word)
        edit = rng.integers(3)
        if known and rng.random() < 0.6:
            out.append(one_of(rng, known))
        elif edit == 0 and out:
            out.insert(len(out) - 1, word)
        elif edit == 1:
            out += [one_of(rng, fillers), word]
    return out


def jitter(rng: np.random.Generator, values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return ``(n, d)`` `values` times 1 ± a relative noise whose size is drawn once a row from [low, high]."""
    size = rng.uniform(low, high, (len(values), 1))
    return values * (1 + size * rng.standard_normal(values.shape))
