"""People who write: an invented language of common and rare words, and persons who come back to names of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from poison_guard.drills.worlds.people import DAYS, account_births, activity, daily_times

__all__ = ["Language", "crowd", "names", "newcomers", "quoted"]

_STARTS = ("b", "br", "d", "dr", "f", "g", "gl", "h", "k", "l", "m", "n", "p", "pr", "r", "s", "st", "t", "tr", "v")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ou")
_ENDS = ("", "n", "r", "l", "s", "m", "ck", "nd")
_OWN_NAMES = 2.0  # that a person speaks of: mean, above one
_OWN_SHARE = (1.0, 8.0)  # Beta: of a person's records that speak of one of them; about as in Community Notes


def names(rng: np.random.Generator, n: int, syllables: int = 4) -> np.ndarray:
    """Return `n` invented words of so many syllables, ``(n,)`` object; two of four are hardly ever alike."""
    parts = [rng.choice(np.array(kind, dtype=object), (n, syllables)) for kind in (_STARTS, _VOWELS, _ENDS)]
    return (parts[0] + parts[1] + parts[2]).sum(axis=1)


@dataclass(frozen=True, slots=True)
class Language:
    """Words by how common they are."""

    words: np.ndarray
    ends: np.ndarray
    """Cumulative chances of the words."""

    @classmethod
    def draw(cls, rng: np.random.Generator, size: int = 20_000) -> Self:
        """Return a language of about `size` words, the k-th most common one in proportion to 1 / (k + 2) (Zipf)."""
        words = pd.unique(np.concatenate([names(rng, 300, 1), names(rng, size, 2)]))
        share = 1 / (np.arange(len(words)) + 2.7)
        return cls(words, np.cumsum(share / share.sum()))

    def texts(self, rng: np.random.Generator, lengths: np.ndarray) -> list[list[str]]:
        """Return a list of words for each of `lengths`."""
        rank = np.searchsorted(self.ends, rng.random(int(lengths.sum())) * self.ends[-1])
        words = self.words[rank].tolist()
        stops = np.cumsum(lengths)
        return [words[stop - length : stop] for stop, length in zip(stops.tolist(), lengths.tolist(), strict=True)]


def crowd(rng: np.random.Generator, people: int, total: int, *, new: float = 0.1, days: int = DAYS) -> pd.DataFrame:
    """Return ``who, own, at, since`` of `total` records by `people`; `own` is a name of theirs the record speaks of.

    Few people write much (log-normal), and some speak of one pet, product or project of theirs all the time; `own` is
    empty elsewhere. A share `new` of the accounts is days old.
    """
    who = np.repeat(np.arange(people), activity(rng, people, total))
    at = daily_times(rng, total, days=days)
    counts = 1 + rng.poisson(_OWN_NAMES - 1, people)
    pets = names(rng, int(counts.sum()))
    favourite = np.minimum(rng.geometric(0.6, total) - 1, counts[who] - 1)
    told = rng.random(total) < rng.beta(*_OWN_SHARE, people)[who]
    own = np.where(told, pets[(np.cumsum(counts) - counts)[who] + favourite], "")
    first = pd.Series(at).groupby(who).transform("min").to_numpy()
    since = account_births(rng, np.full(people, at.min()), new=new)[who]
    return pd.DataFrame({"who": who, "own": own, "at": at, "since": np.minimum(since, first)})


def newcomers(rng: np.random.Generator, first: np.ndarray, aged: float) -> np.ndarray:
    """Return when accounts first seen at `first` were made: a share `aged` 60 to 900 days before, others up to 20."""
    n = len(first)
    old = np.arange(n) < round(aged * n)
    days = np.where(rng.permutation(old), rng.uniform(60, 900, n), rng.uniform(0.1, 20, n))
    return first - (days * 86_400e6).astype("timedelta64[us]")


def quoted(rng: np.random.Generator, words: Sequence[str], kept: float) -> list[str]:
    """Return `words` as a reply quotes them: each kept with that chance, in their order."""
    keep = rng.random(len(words)) < kept
    return [word for word, stays in zip(words, keep.tolist(), strict=True) if stays]
