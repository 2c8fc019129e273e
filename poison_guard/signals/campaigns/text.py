"""Find campaigns of near-identical messages: many speakers, one text, and too many of them new to be a meme."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from poison_guard.numerics.minhash import EMPTY, WIDTH, band_pairs, feature_count, similarity, sketch
from poison_guard.numerics.tests import SMALLEST_P, binomial_high, fisher
from poison_guard.records import Campaign
from poison_guard.signals.campaigns.finding import finding, times

__all__ = ["near_duplicate_text", "sketch_text"]

_SIMILAR = 0.45  # estimated Jaccard similarity from which two messages are one text, in somebody's words
_BAND_ROWS = 4  # 32 bands of 4: a pair at 0.45 meets in some band with chance .74, a member of ten such for certain
_MIN_FEATURES = 12.0  # about three words: shorter messages are alike by nature
_MIN_MESSAGES, _MIN_SPEAKERS = 5, 3
_NEW = dt.timedelta(days=30)
_LEAST_HASTE = 0.01  # memes are hasty too: haste supports newness, it never replaces it
_TIME_COUNTS_FROM = 0.05  # newness of the speakers at which their haste counts beside it


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


def sketch_text(texts: pd.Series) -> np.ndarray:
    """Return ``(n, 128)`` uint32 MinHash sketches, each of its own text alone; a missing text is an empty one."""
    return sketch(texts.astype("str").where(texts.notna(), "").tolist())


def near_duplicate_text(frame: pd.DataFrame, sketches: np.ndarray, *, alpha: float, seed: int = 0) -> list[Campaign]:
    """Return the campaigns among the messages of a campaign frame whose `sketches` are ``(n, 128)``.

    A group is connected through similar pairs and has at least five distinct messages (rows of one item and speaker are
    one message) of at least three speakers. Copies alone prove nothing: a joke spreads, too. A group is a campaign when
    its speakers are newer than the rest of the batch's (binomial, the rest's share of accounts under 30 days; for new
    ones haste counts beside it, by a scan statistic of the batch's timeline) with a chance, times the number of groups,
    of at most `alpha`. Where ages tell nothing, because none is known or nearly all accounts are new, haste alone
    decides. `seed` chooses the bands.

    References: Broder (1997); Cao et al. (2014), "Uncovering Large Groups of Active Malicious Accounts" (SynchroTrap).
    """
    messages = _messages(frame, sketches)
    group = _groups(sketches[messages.first], seed) if len(messages.first) else np.zeros(0, np.int64)
    wanted = _large(group, messages.speaker)
    rest = ~np.isin(group, wanted)
    found = []
    for g in wanted:
        members = np.flatnonzero(group == g)
        p = min(1.0, _chance(messages, members, rest) * len(wanted))
        if p <= alpha:
            found.append(_campaign(frame, sketches, messages, members, max(p, SMALLEST_P)))
    return found


def _messages(frame: pd.DataFrame, sketches: np.ndarray) -> _Messages:
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
    new, aged = _newness(frame.iloc[first])
    moment = times(frame.iloc[first])
    seconds = moment.astype("int64").to_numpy() / 1e6
    return _Messages(first, of, speaker[first], new, np.where(moment.isna(), np.nan, seconds), aged)


def _newness(frame: pd.DataFrame) -> tuple[np.ndarray, bool]:
    if "source_since" not in frame.columns or frame["source_since"].isna().all():
        return np.zeros(len(frame), bool), False
    since = pd.to_datetime(frame["source_since"], utc=True)
    at = times(frame).fillna(since.max())
    return ((at - since) < _NEW).to_numpy(bool) | since.isna().to_numpy(), True


def _groups(sketches: np.ndarray, seed: int) -> np.ndarray:
    """Return ``(m,)`` connected groups of similar messages; equal sketches are one node, short messages alone."""
    _, first, node = np.unique(sketches.view(f"V{4 * WIDTH}").ravel(), return_index=True, return_inverse=True)
    distinct = sketches[first]
    enough = feature_count(distinct) >= _MIN_FEATURES
    left: list[np.ndarray] = []
    right: list[np.ndarray] = []
    for one, other in band_pairs(distinct, rows=_BAND_ROWS, seed=seed):
        long = enough[one] & enough[other]
        near = similarity(distinct, one[long], other[long]) >= _SIMILAR
        left.append(one[long][near])
        right.append(other[long][near])
    ends = [np.concatenate(side) if side else np.zeros(0, np.int64) for side in (left, right)]
    graph = coo_matrix((np.ones(len(ends[0]), np.int8), ends), shape=(len(distinct), len(distinct)))
    group = connected_components(graph, directed=False)[1][node]
    return np.where(enough[node], group, len(distinct) + np.arange(len(node)))


def _large(group: np.ndarray, speaker: np.ndarray) -> np.ndarray:
    """Return the groups with enough messages of enough speakers."""
    if not len(group):
        return group
    size = np.bincount(group)
    pairs = np.unique(np.stack([group, speaker]), axis=1)[0]
    return np.flatnonzero((size >= _MIN_MESSAGES) & (np.bincount(pairs, minlength=len(size)) >= _MIN_SPEAKERS))


def _chance(messages: _Messages, members: np.ndarray, rest: np.ndarray) -> float:
    """Return how likely speakers drawn from the rest of the batch are as new, and in as much haste, as these."""
    haste = _haste(messages.seconds[members], messages.seconds[rest])
    if not messages.aged:
        return haste
    newness = _new_share(messages, members, rest)
    if newness > _TIME_COUNTS_FROM:  # a group of nothing but new accounts, and no wonder: ages tell nothing here
        return haste if messages.new[members].all() else newness
    return float(min(newness, fisher(newness, max(haste, _LEAST_HASTE))))


def _new_share(messages: _Messages, members: np.ndarray, rest: np.ndarray) -> float:
    _, mine = np.unique(messages.speaker[members], return_index=True)
    _, theirs = np.unique(messages.speaker[rest], return_index=True)
    new = messages.new[members][mine]
    others = messages.new[rest][theirs]
    rate = (others.sum() + 1) / (len(others) + 2)
    return float(binomial_high(new.sum(), len(new), rate))


def _haste(at: np.ndarray, rest: np.ndarray) -> float:
    """Return a bound of the chance that half of the group falls into as short a time as its densest half did.

    The rest's busiest equally long window gives the rate, so a busy hour of everybody is no haste.
    """
    at, rest = np.sort(at[np.isfinite(at)]), np.sort(rest[np.isfinite(rest)])
    if len(at) < _MIN_MESSAGES or len(rest) < _MIN_MESSAGES:
        return 1.0
    half = (len(at) + 1) // 2
    width = (at[half - 1 :] - at[: len(at) - half + 1]).min()
    busiest = (np.searchsorted(rest, rest + width, side="right") - np.arange(len(rest))).max()
    rate = min(1.0, (busiest + 1) / (len(rest) + 2))
    return float(min(1.0, len(at) * binomial_high(half - 1, len(at) - 1, rate)))


def _campaign(
    frame: pd.DataFrame, sketches: np.ndarray, messages: _Messages, members: np.ndarray, p: float
) -> Campaign:
    rows = np.flatnonzero(np.isin(messages.of, members))
    speakers, mine = np.unique(messages.speaker[members], return_index=True)
    return finding(
        frame,
        rows,
        kind="near_duplicate_text",
        p=p,
        strength=_tightness(sketches[messages.first[members]]),
        who="speaker" if "speaker" in frame.columns else "source_id",
        args={
            "n_records": len(members),
            "n_sources": len(speakers),
            "new_sources": int(messages.new[members][mine].sum()),
        }
        | _minutes(messages.seconds[members]),
    )


def _tightness(sketches: np.ndarray) -> float:
    """Return the mean estimated similarity of two members, over all pairs at once: equal cells, column by column."""
    ordered = np.sort(sketches, axis=0)
    edges = np.vstack([np.ones((1, WIDTH), bool), ordered[1:] != ordered[:-1]])
    n = len(sketches)
    sizes = np.diff(np.flatnonzero(np.vstack([edges, np.ones((1, WIDTH), bool)]).T.ravel()))
    sizes = sizes[sizes > 0].astype(float)
    return float((sizes * (sizes - 1)).sum() / (WIDTH * n * (n - 1)))


def _minutes(at: np.ndarray) -> dict[str, int]:
    """Return the shortest time that holds nine in ten messages, in minutes rounded up; nothing without times."""
    at = np.sort(at[np.isfinite(at)])
    if not len(at):
        return {}
    most = int(np.ceil(0.9 * len(at)))
    return {"minutes": max(1, int(np.ceil((at[most - 1 :] - at[: len(at) - most + 1]).min() / 60)))}
