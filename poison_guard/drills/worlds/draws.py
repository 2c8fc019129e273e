"""Random draws that worlds and attacks share: ids, accounts, times and behaviour; edits of texts, jitter of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = [
    "DAYS",
    "START",
    "Behaviour",
    "account_births",
    "activity",
    "daily_times",
    "draw_ids",
    "jitter",
    "one_of",
    "paraphrase",
    "stamp",
]


START = np.datetime64("2025-09-01T00:00:00", "us")
"""First moment of every world, a Monday, UTC; fixed so that a seed gives the same files at any time."""
DAYS = 7
"""Days a world lasts."""

_HOURS = np.array([3, 2, 1, 1, 1, 2, 4, 7, 9, 10, 10, 10, 11, 10, 9, 9, 10, 11, 13, 15, 15, 13, 9, 6], dtype=float)
_WEEKDAYS = np.array([1.0, 1.05, 1.05, 1.0, 0.95, 0.75, 0.8])
_SECOND = np.timedelta64(1_000_000, "us")


def activity(rng: np.random.Generator, people: int, total: int, *, sigma: float = 1.1) -> np.ndarray:
    """Return how many of `total` acts each of `people` does, ``(people,)``: log-normal shares, so few do much."""
    weights = rng.lognormal(0, sigma, people)
    return rng.multinomial(total, weights / weights.sum())


def daily_times(rng: np.random.Generator, n: int, *, days: int = DAYS) -> np.ndarray:
    """Return `n` moments, ``(n,)`` datetime64[us], unsorted: quiet nights, a peak in the evening, calmer weekends."""
    weights = np.concatenate([_HOURS * _WEEKDAYS[day % 7] for day in range(days)])
    hours = rng.choice(len(weights), size=n, p=weights / weights.sum())
    return START + ((hours + rng.random(n)) * 3600 * _SECOND.astype(np.int64)).astype("timedelta64[us]")


def stamp(seconds: np.ndarray | float) -> np.ndarray:
    """Return moments that many seconds after `START`, datetime64[us]."""
    return START + (np.asarray(seconds, dtype=float) * 1e6).astype("timedelta64[us]")


def account_births(rng: np.random.Generator, first_seen: np.ndarray, *, new: float = 0.08) -> np.ndarray:
    """Return when accounts first seen at `first_seen` were made: a share `new` days before, others up to six years.

    The age of the others is gamma distributed with a mean of 540 days.
    """
    n = len(first_seen)
    days = np.where(rng.random(n) < new, rng.exponential(3, n), rng.gamma(1.6, 340, n))
    minutes = np.clip(days * 1440, 3, 6 * 365 * 1440)
    return first_seen - (minutes * 60e6).astype("timedelta64[us]")


def draw_ids(rng: np.random.Generator, n: int, prefix: str) -> np.ndarray:
    """Return `n` different ids in random order, so that an id tells nothing of who holds it."""
    return np.array([f"{prefix}{k:05x}" for k in rng.choice(0xFFFFF, size=n, replace=False)], dtype=object)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Correlated log-normal features: one habit a person, and a scatter around it in every session."""

    medians: dict[str, float]
    """Feature to the median of all people, in the feature's unit."""
    habit: tuple[float, ...]
    """Standard deviation of a person's habit, per feature, of the natural logarithm."""
    scatter: tuple[float, ...]
    """Standard deviation of one session around the habit, per feature, of the natural logarithm."""
    correlation: float = 0.3
    """Correlation between neighbouring features; it fades with distance (autoregressive)."""

    def habits(self, rng: np.random.Generator, people: int) -> np.ndarray:
        """Return each person's habit, ``(people, features)``, in logarithms."""
        return np.log(list(self.medians.values())) + self._noise(rng, people, self.habit)

    def draw(self, rng: np.random.Generator, habits: np.ndarray) -> pd.DataFrame:
        """Return one session for each row of `habits` (repeat a person's row for more), in the features' units."""
        values = np.exp(habits + self._noise(rng, len(habits), self.scatter))
        return pd.DataFrame(values, columns=list(self.medians))

    def _noise(self, rng: np.random.Generator, n: int, spread: tuple[float, ...]) -> np.ndarray:
        d = len(spread)
        lag = np.abs(np.subtract.outer(np.arange(d), np.arange(d)))
        factor = np.linalg.cholesky(self.correlation**lag)
        return rng.standard_normal((n, d)) @ factor.T * np.array(spread)


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
