"""Find campaigns of near-identical messages: many speakers, one text, and too many of them new to be a meme."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.frames import among
from poison_guard.records import Campaign
from poison_guard.signals.campaigns.findings import event_times, make_campaign
from poison_guard.signals.campaigns.minhash import EMPTY, feature_count, row_keys, sketch
from poison_guard.signals.campaigns.new_accounts import Background, densest_span, from_new_accounts
from poison_guard.signals.campaigns.newcomer_words import groups_of_newcomers
from poison_guard.signals.campaigns.text_groups import MIN_FEATURES, group_similar, grow_groups, mean_similarity
from poison_guard.signals.pvalues import SMALLEST_P, combine_fisher

__all__ = ["MIN_SPEAKERS", "near_duplicate_text", "sketch_text"]


_ONE_TEXT = 0.9  # share of the records of items with several raters that have their item's text, if texts are items'
_MIN_MESSAGES = 5
MIN_SPEAKERS = 3
"""Speakers below which nobody can be told from a crowd."""
_LEAST_BURST_P = 0.01  # memes come in bursts too: a burst supports the evidence of new accounts, it never replaces it
_MOSTLY_NEW = 0.75  # share of a group's accounts that are new, from which on their age alone is evidence
_LEAST_REST = 0.2  # share of the messages in no group, below which they do not stand for everybody
_SUSPECT = 0.05  # chance from which a group is looked at closely: a burst counts beside new accounts, and it may grow


@dataclass(frozen=True, slots=True)
class _Messages:
    """Distinct messages (`_messages` says which), one row each, and the rows of the frame that carry them."""

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

    def others(self, grouped: np.ndarray) -> Background:
        """Return what those messages show that are not `grouped`, ``(m,)`` bool; all of them where few are not.

        In a feed of copies the few texts that come once may be an attack's, and tell nothing of who is new.
        """
        told = np.count_nonzero(~grouped) >= _LEAST_REST * len(grouped)
        rest = ~grouped if told else np.ones(len(grouped), bool)
        return Background.of(self.speaker[rest], self.new[rest], self.seconds[rest])


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
    rated: float | None = None,
    pasted: bool = False,
) -> list[Campaign]:
    """Return the campaigns among the messages of a campaign frame whose `sketches` are ``(n, 128)``.

    `earlier` are the frame and sketches of records of earlier batches: they count like those of this batch, and a
    campaign of both names them apart; none is all of earlier records.

    A group is connected through similar pairs and has at least five distinct messages (rows of one item and speaker are
    one message) of at least three speakers. Copies alone prove nothing: a joke spreads, too. A group is a campaign when
    its speakers are newer than the rest's (binomial, the rest's share of accounts under 30 days, at any time or at the
    group's own; for new ones a burst counts too, by a scan statistic of the timeline) with a chance, times the
    number of groups, of at most `alpha`. Where ages show nothing (none is known, or nearly all accounts are new),
    a burst alone decides. A group that looks like a campaign takes in whatever fits its text before it is judged.
    `seed` chooses the bands.

    `rated` is for records that judge items. Who rates a text did not write it: where texts are their items'
    (`_texts_are_of_items`, which takes `rated`), all records of an item with one text are one message. None: the
    speakers wrote the texts. `pasted` is for documents: old and new accounts paste a licence or a manual whenever they
    need it, so where fewer than three in four accounts of a group are new, there must be a burst as well.

    References: Broder (1997); Cao et al. (2014), "Uncovering Large Groups of Active Malicious Accounts" (SynchroTrap).
    """
    n_own = len(frame)
    frame, sketches = _with_earlier(frame, sketches, earlier)
    messages = _messages(frame, sketches, n_own, rated)
    distinct = sketches[messages.first]
    group = group_similar(distinct, seed)
    wanted = _large(group, messages.speaker)
    parts = _by_group(group, wanted)
    rest = messages.others(np.isin(group, wanted))
    first = np.array([_chance(messages, members, rest, pasted) for members in parts])
    suspects = np.lexsort((wanted, first))[: int((first <= _SUSPECT).sum())]
    group, more, looked = _with_newcomers(messages, distinct, group, wanted[suspects], alpha)
    seeds = np.r_[wanted[suspects], more]
    grown = grow_groups(distinct, group, seeds)
    names = np.intersect1d(_large(grown, messages.speaker), seeds)
    rest = messages.others(np.isin(grown, names))
    campaigns = []
    for name, members in zip(names, _by_group(grown, names), strict=True):
        tests = looked if name in more else len(wanted)
        p = min(1.0, _chance(messages, members, rest, pasted) * tests)
        if p <= alpha and messages.own[members].any():
            campaigns.append(_campaign(frame, distinct, messages, members, max(p, SMALLEST_P), n_own))
    return campaigns


def _with_newcomers(
    messages: _Messages, sketches: np.ndarray, group: np.ndarray, suspects: np.ndarray, alpha: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return `group` with further ones, of new accounts that share a word, their names, and how many were looked at."""
    if not messages.new.any():
        return group, suspects[:0], 0
    enough = np.flatnonzero(feature_count(sketches) >= MIN_FEATURES)
    found, looked = groups_of_newcomers(sketches[enough], messages.new[enough], alpha=alpha)
    out, free = group.copy(), ~np.isin(group, suspects)
    names = group.max() + 1 + np.arange(len(found))
    for name, some in zip(names, found, strict=True):
        rows = enough[some]
        out[rows[free[rows]]] = name
    return out, np.intersect1d(names, out), looked


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
    fresh = ~among(earlier[0]["record_id"], frame["record_id"])
    known = earlier[0].loc[fresh, [c for c in earlier[0].columns if c in frame.columns]]
    return pd.concat([frame, known], ignore_index=True), np.concatenate([sketches, earlier[1][fresh]])


def _texts_are_of_items(item: np.ndarray, speaker: np.ndarray, text: np.ndarray, rated: float) -> bool:
    """Return whether a text is its item's, said of records ``(n,)`` by the codes of their item, speaker and text.

    It is where nearly all records of items with several speakers have their item's commonest text, and where these are
    at least the share `rated` of all: few items with one text may be those that a campaign is about.
    """
    pairs = np.unique(np.stack([item, speaker]), axis=1)[0]
    several = (np.bincount(pairs, minlength=item.max(initial=-1) + 1) > 1)[item]
    said, times = np.unique(np.stack([item[several], text[several]]), axis=1, return_counts=True)
    commonest = np.zeros(item.max(initial=-1) + 1, np.int64)
    np.maximum.at(commonest, said[0], times)
    return bool(several.any()) and commonest.sum() >= max(_ONE_TEXT * several.sum(), rated * len(item))


def _messages(frame: pd.DataFrame, sketches: np.ndarray, n_own: int, rated: float | None) -> _Messages:
    """Return one message for each item and speaker, or for each item and text where texts are their items'."""
    who = "speaker" if "speaker" in frame.columns else "source_id"
    speaker = pd.factorize(frame[who])[0]
    usable = (sketches != EMPTY).any(1) & (speaker >= 0)
    about = frame["item_id"] if "item_id" in frame.columns else pd.Series(np.nan, index=frame.index)
    item = pd.factorize(about.astype("str").where(about.notna()))[0]
    known = usable & (item >= 0)
    item = np.where(item >= 0, item, item.max(initial=0) + 1 + np.arange(len(frame)))
    teller = speaker
    if rated is not None:
        text = pd.factorize(row_keys(sketches))[0]
        teller = text if _texts_are_of_items(item[known], speaker[known], text[known], rated) else speaker
    key = item.astype(np.int64) * (teller.max(initial=0) + 1) + teller
    rank = pd.Series(frame["record_id"].astype("str").to_numpy()).rank(method="first").to_numpy()
    order = np.lexsort((rank, key))
    order = order[usable[order]]
    opens = np.r_[True, key[order][1:] != key[order][:-1]][: len(order)]
    of = np.full(len(frame), -1, np.int64)
    of[order] = np.cumsum(opens) - 1
    first = order[opens]
    new, aged = from_new_accounts(frame.iloc[first])
    moment = event_times(frame.iloc[first])
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
    return np.flatnonzero((size >= _MIN_MESSAGES) & (np.bincount(pairs, minlength=len(size)) >= MIN_SPEAKERS))


def _chance(messages: _Messages, members: np.ndarray, rest: Background, pasted: bool) -> float:
    """Return the chance that speakers drawn from the rest are as new, and in as dense a burst, as these.

    Of texts that are `pasted`, the accounts of a group that is not mostly new prove nothing without a burst.
    """
    at = messages.seconds[members]
    if not messages.aged:
        return rest.burst_p(at)
    _, mine = np.unique(messages.speaker[members], return_index=True)
    new = messages.new[members][mine]
    new_p = rest.new_accounts_p(new, *densest_span(at))
    if new_p > _SUSPECT and not new.all():
        return new_p
    burst = rest.burst_p(at)
    if new_p > _SUSPECT:  # all accounts are new, as in the rest: ages are no evidence here
        return burst
    if pasted and new.mean() < _MOSTLY_NEW and np.isfinite(at).any():
        return max(new_p, burst)
    return float(min(new_p, combine_fisher(new_p, max(burst, _LEAST_BURST_P))))


def _campaign(
    frame: pd.DataFrame, distinct: np.ndarray, messages: _Messages, members: np.ndarray, p: float, n_own: int
) -> Campaign:
    rows = np.flatnonzero(np.isin(messages.of, members))
    speakers, mine = np.unique(messages.speaker[members], return_index=True)
    return make_campaign(
        frame,
        rows,
        kind="near_duplicate_text",
        p=p,
        strength=mean_similarity(distinct[members]),
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
    """Return the length of `densest_span` in minutes rounded up; nothing without times."""
    first, last = densest_span(at)
    return {"minutes": max(1, int(np.ceil((last - first) / 60)))} if np.isfinite(first) else {}
