"""Find campaigns of near-identical messages: many speakers, one text, and too many of them new to be a meme."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.numerics.minhash import EMPTY, sketch
from poison_guard.numerics.tests import SMALLEST_P, fisher
from poison_guard.records import Campaign
from poison_guard.signals.campaigns.alike import alike, grow, tightness
from poison_guard.signals.campaigns.bystanders import Bystanders, span
from poison_guard.signals.campaigns.finding import finding, times
from poison_guard.signals.campaigns.newness import young

__all__ = ["near_duplicate_text", "sketch_text"]

_MIN_MESSAGES, _MIN_SPEAKERS = 5, 3
_LEAST_HASTE = 0.01  # memes are hasty too: haste supports newness, it never replaces it
_SUSPECT = 0.05  # chance from which a group is looked at closely: haste counts beside newness, and it may grow


@dataclass(frozen=True, slots=True)
class _Messages:
    """Distinct messages (item and speaker), one row each, and the rows of the frame that carry them."""

    first: np.ndarray
    """``(m,)`` row of the frame that stands for the message."""
    of: np.ndarray
    """``(rows,)`` message of each row, -1 where it has no text."""
    speaker: np.ndarray
    new: np.ndarray
    """``(m,)`` whether the speaker's account was younger than 30 days, or of unknown age among known ones."""
    seconds: np.ndarray
    """``(m,)`` since 1970, NaN where unknown."""
    aged: bool
    """Whether any account's age is known."""
    own: np.ndarray
    """``(m,)`` whether the message is of this batch."""

    def others(self, grouped: np.ndarray) -> Bystanders:
        """Return what those messages show that are not `grouped`, ``(m,)`` bool."""
        return Bystanders.of(self.speaker[~grouped], self.new[~grouped], self.seconds[~grouped])


def sketch_text(texts: pd.Series) -> np.ndarray:
    """Return ``(n, 128)`` uint32 MinHash sketches, each of its own text alone; a missing text is an empty one."""
    return sketch(texts.astype("str").where(texts.notna(), "").tolist())


def near_duplicate_text(
    frame: pd.DataFrame,
    sketches: np.ndarray,
    *,
    alpha: float,
    seed: int = 0,
    earlier: tuple[pd.DataFrame, np.ndarray] | None = None,
) -> list[Campaign]:
    """Return the campaigns among the messages of a campaign frame whose `sketches` are ``(n, 128)``.

    `earlier` are the frame and sketches of records of earlier batches: they count like those of this batch, and a
    campaign of both names them apart; none is all of earlier records.

    A group is connected through similar pairs and has at least five distinct messages (rows of one item and speaker are
    one message) of at least three speakers. Copies alone prove nothing: a joke spreads, too. A group is a campaign when
    its speakers are newer than the rest's (binomial, the rest's share of accounts under 30 days, at any time or at the
    group's own; for new ones haste counts beside it, by a scan statistic of the timeline) with a chance, times the
    number of groups, of at most `alpha`. Where ages tell nothing, because none is known or nearly all accounts are new,
    haste alone decides. A group that looks like a campaign takes in whatever fits its text before it is judged. `seed`
    chooses the bands.

    References: Broder (1997); Cao et al. (2014), "Uncovering Large Groups of Active Malicious Accounts" (SynchroTrap).
    """
    n_own = len(frame)
    frame, sketches = _with_earlier(frame, sketches, earlier)
    messages = _messages(frame, sketches, n_own)
    told = sketches[messages.first]
    group = alike(told, seed)
    wanted = _large(group, messages.speaker)
    parts = _by_group(group, wanted)
    rest = messages.others(np.isin(group, wanted))
    first = np.array([_chance(messages, members, rest) for members in parts])
    suspects = np.lexsort((wanted, first))[: int((first <= _SUSPECT).sum())]
    grown = grow(told, group, wanted[suspects])
    names = np.unique(grown[np.isin(group, wanted[suspects])])
    rest = messages.others(np.isin(grown, names))
    found = []
    for members in _by_group(grown, names):
        p = min(1.0, _chance(messages, members, rest) * len(wanted))
        if p <= alpha and messages.own[members].any():
            found.append(_campaign(frame, told, messages, members, max(p, SMALLEST_P), n_own))
    return found


def _by_group(group: np.ndarray, wanted: np.ndarray) -> list[np.ndarray]:
    """Return the members of each of the groups `wanted`, which are in order."""
    order = np.argsort(group, kind="stable")
    begin, end = (np.searchsorted(group[order], wanted, side=side) for side in ("left", "right"))
    return [np.sort(order[a:b]) for a, b in zip(begin, end, strict=True)]


def _with_earlier(
    frame: pd.DataFrame, sketches: np.ndarray, earlier: tuple[pd.DataFrame, np.ndarray] | None
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the rows of this batch, then those of earlier ones that are not delivered again in it."""
    if earlier is None or not len(earlier[0]):
        return frame, sketches
    fresh = ~earlier[0]["record_id"].isin(frame["record_id"]).to_numpy()
    known = earlier[0].loc[fresh, [c for c in earlier[0].columns if c in frame.columns]]
    return pd.concat([frame, known], ignore_index=True), np.concatenate([sketches, earlier[1][fresh]])


def _messages(frame: pd.DataFrame, sketches: np.ndarray, n_own: int) -> _Messages:
    who = "speaker" if "speaker" in frame.columns else "source_id"
    speaker = pd.factorize(frame[who])[0]
    usable = (sketches != EMPTY).any(1) & (speaker >= 0)
    about = frame["item_id"] if "item_id" in frame.columns else pd.Series(np.nan, index=frame.index)
    item = pd.factorize(about.astype("str").where(about.notna()))[0]
    item = np.where(item >= 0, item, item.max(initial=0) + 1 + np.arange(len(frame)))
    key = item.astype(np.int64) * (speaker.max(initial=0) + 1) + speaker
    rank = pd.Series(frame["record_id"].astype("str").to_numpy()).rank(method="first").to_numpy()
    order = np.lexsort((rank, key))
    order = order[usable[order]]
    opens = np.r_[True, key[order][1:] != key[order][:-1]][: len(order)]
    of = np.full(len(frame), -1, np.int64)
    of[order] = np.cumsum(opens) - 1
    first = order[opens]
    new, aged = young(frame.iloc[first])
    moment = times(frame.iloc[first])
    seconds = np.where(moment.isna(), np.nan, moment.astype("int64").to_numpy() / 1e6)
    own = np.zeros(len(first), bool)
    own[of[:n_own][of[:n_own] >= 0]] = True
    return _Messages(first, of, speaker[first], new, seconds, aged, own)


def _large(group: np.ndarray, speaker: np.ndarray) -> np.ndarray:
    """Return the groups with enough messages of enough speakers."""
    if not len(group):
        return group
    size = np.bincount(group)
    pairs = np.unique(np.stack([group, speaker]), axis=1)[0]
    return np.flatnonzero((size >= _MIN_MESSAGES) & (np.bincount(pairs, minlength=len(size)) >= _MIN_SPEAKERS))


def _chance(messages: _Messages, members: np.ndarray, rest: Bystanders) -> float:
    """Return how likely speakers drawn from the rest of the batch are as new, and in as much haste, as these."""
    at = messages.seconds[members]
    if not messages.aged:
        return rest.haste(at)
    _, mine = np.unique(messages.speaker[members], return_index=True)
    newness = rest.newness(messages.new[members][mine], *span(at))
    if newness > _SUSPECT and not messages.new[members].all():
        return newness
    haste = rest.haste(at)
    if newness > _SUSPECT:  # a group of nothing but new accounts, and no wonder: ages tell nothing here
        return haste
    return float(min(newness, fisher(newness, max(haste, _LEAST_HASTE))))


def _campaign(
    frame: pd.DataFrame, told: np.ndarray, messages: _Messages, members: np.ndarray, p: float, n_own: int
) -> Campaign:
    rows = np.flatnonzero(np.isin(messages.of, members))
    speakers, mine = np.unique(messages.speaker[members], return_index=True)
    return finding(
        frame,
        rows,
        kind="near_duplicate_text",
        p=p,
        strength=tightness(told[members]),
        who="speaker" if "speaker" in frame.columns else "source_id",
        args={
            "n_records": len(members),
            "n_sources": len(speakers),
            "new_sources": int(messages.new[members][mine].sum()),
        }
        | _minutes(messages.seconds[members]),
        n_own=n_own,
    )


def _minutes(at: np.ndarray) -> dict[str, int]:
    """Return the length of `span` in minutes rounded up; nothing without times."""
    first, last = span(at)
    return {"minutes": max(1, int(np.ceil((last - first) / 60)))} if np.isfinite(first) else {}
