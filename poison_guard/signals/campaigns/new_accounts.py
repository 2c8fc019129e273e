"""Which accounts are new, and whether a group is newer or faster than everybody else at that time."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from poison_guard.signals.campaigns.findings import event_times
from poison_guard.signals.pvalues import beta_low, binomial_high

__all__ = ["NEW_ACCOUNT_AGE", "Background", "densest_span", "from_new_accounts", "new_sources"]


NEW_ACCOUNT_AGE = dt.timedelta(days=30)
"""Age below which an account is new."""


def from_new_accounts(frame: pd.DataFrame) -> tuple[np.ndarray, bool]:
    """Return ``(n,)`` whether each record's account was new then, and whether any account's age is known.

    Among known ages an unknown one counts as new; where none is known nobody is.
    """
    if "source_since" not in frame.columns or frame["source_since"].isna().all():
        return np.zeros(len(frame), bool), False
    since = pd.to_datetime(frame["source_since"], utc=True)
    at = event_times(frame).fillna(since.max())
    return ((at - since) < NEW_ACCOUNT_AGE).to_numpy(bool) | since.isna().to_numpy(), True


def new_sources(frame: pd.DataFrame, source: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return ``(sources,)``: new at one of its records (`from_new_accounts`); and whether any age is known.

    `source` is ``(n,)`` codes, -1 for none.
    """
    new, known = from_new_accounts(frame)
    return np.bincount(source[new & (source >= 0)], minlength=int(source.max(initial=-1)) + 1) > 0, known


_MIN_MESSAGES = 5  # messages below which a timeline tells nothing
_RATE_WEIGHT = 3.0  # speakers that the share of new accounts at all times counts for beside those of a group's own time
_LOW_QUANTILE = 0.05  # quantile of that share's posterior that counts: few speakers vary, and an hour has few
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Background:
    """The messages that are in no group: times in order, and of each speaker, once an hour, whether they are new."""

    times: np.ndarray
    """``(n,)`` seconds, ascending, finite."""
    hourly: np.ndarray
    """``(m,)`` seconds of a speaker's first message in an hour, ascending."""
    new_until: np.ndarray
    """``(m + 1,)`` how many of the first k of `hourly` are by new accounts."""
    speaker: np.ndarray
    """``(m,)`` who, of `hourly`."""
    rate: float
    """Share of new ones among all speakers."""
    _busiest: dict[float, int] = field(default_factory=dict)

    @classmethod
    def of(cls, speaker: np.ndarray, new: np.ndarray, seconds: np.ndarray) -> Background:
        """Return the summary of messages, aligned ``(n,)``: speaker number, account new, seconds (NaN: unknown)."""
        _, one = np.unique(speaker, return_index=True)
        rate = (new[one].sum() + 1) / (len(one) + 2)
        order = np.flatnonzero(np.isfinite(seconds))
        order = order[np.argsort(seconds[order], kind="stable")]
        hour = (seconds[order] // _HOUR).astype(np.int64)
        key = hour * (int(speaker.max(initial=0)) + 1) + speaker[order]
        once = np.sort(np.unique(key, return_index=True)[1])
        until = np.r_[0, np.cumsum(new[order][once])]
        return cls(seconds[order], seconds[order][once], until, speaker[order][once], float(rate))

    def new_accounts_p(self, new: np.ndarray, first: float, last: float) -> float:
        """Return the chance that so many of a group's speakers, ``(k,)`` bool, are new.

        By the share of new ones among all, or among those who spoke between `first` and `last` where it is higher. 1
        where these others bring as many new ones beyond their usual share as the group has: when a crowd of newcomers
        arrives, it is no wonder that they are who says the same.
        """
        a = int(np.searchsorted(self.hourly, first, side="left"))
        b = max(a, int(np.searchsorted(self.hourly, last, side="right")))
        come, fresh = b - a + _RATE_WEIGHT, self.new_until[b] - self.new_until[a] + self.rate * _RATE_WEIGHT
        now = float(beta_low(fresh, come - fresh, _LOW_QUANTILE))
        if new.sum() <= come * (now - self.rate) and new.sum() <= self._arrived(a, b):
            return 1.0
        return float(binomial_high(new.sum(), len(new), max(self.rate, now)))

    def _arrived(self, a: int, b: int) -> float:
        """Return how many new speakers, beyond the usual share, `hourly` has from `a` to `b`: each once, surely."""
        _, first = np.unique(self.speaker[a:b], return_index=True)
        come, fresh = len(first) + _RATE_WEIGHT, np.diff(self.new_until)[a:b][first].sum() + self.rate * _RATE_WEIGHT
        return float(come * (beta_low(fresh, come - fresh, _LOW_QUANTILE) - self.rate))

    def burst_p(self, at: np.ndarray) -> float:
        """Return a bound of the chance that half of a group falls into as short a time as its densest half did.

        The busiest window of the rest, at least as long, gives the rate, so a busy hour of everybody is no burst.
        """
        at = np.sort(at[np.isfinite(at)])
        if len(at) < _MIN_MESSAGES or len(self.times) < _MIN_MESSAGES:
            return 1.0
        half = (len(at) + 1) // 2
        width = float((at[half - 1 :] - at[: len(at) - half + 1]).min())
        rate = min(1.0, (self._most_within(width) + 1) / (len(self.times) + 2))
        return float(min(1.0, len(at) * binomial_high(half - 1, len(at) - 1, rate)))

    def _most_within(self, width: float) -> int:
        """Return the most messages within any `width` seconds, rounded up to a quarter of an octave, so few are new."""
        width = float(2.0 ** (np.ceil(4 * np.log2(max(width, 1.0))) / 4))
        if width not in self._busiest:
            ends = np.searchsorted(self.times, self.times + width, side="right")
            self._busiest[width] = int((ends - np.arange(len(self.times))).max())
        return self._busiest[width]


def densest_span(at: np.ndarray) -> tuple[float, float]:
    """Return the first and last second of the shortest time that holds nine in ten moments; NaN without moments."""
    at = np.sort(at[np.isfinite(at)])
    if not len(at):
        return np.nan, np.nan
    most = int(np.ceil(0.9 * len(at)))
    begin = int((at[most - 1 :] - at[: len(at) - most + 1]).argmin())
    return float(at[begin]), float(at[begin + most - 1])
