"""Find campaigns of near-identical messages: many speakers, one text, and too many of them new to be a meme."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.frames import among
from poison_guard.records import Campaign
from poison_guard.signals.campaigns.findings import event_times, make_campaign
from poison_guard.signals.campaigns.minhash import EMPTY, WIDTH, band_pairs, feature_count, row_keys, similarity, sketch
from poison_guard.signals.campaigns.new_accounts import Background, densest_span, from_new_accounts
from poison_guard.signals.pvalues import SMALLEST_P, combine_fisher

__all__ = [
    "MIN_SPEAKERS",
    "group_similar",
    "grow_groups",
    "mean_similarity",
    "near_duplicate_text",
    "shared_text",
    "sketch_text",
]


_SIMILAR = 0.45  # estimated Jaccard similarity from which two messages are one text, in somebody's words
_FITS = 0.35  # and from which a message fits what most of a group has; unrelated messages have 0.05 to 0.15
_BAND_ROWS = 4  # 32 bands of 4: a pair at 0.45 meets in some band with chance .74, a member of ten such for certain
_APART = 0.99  # share of everybody else's messages that one that fits is more like the text than
_BEYOND = 8.0  # and median deviations from the median of everybody else's likeness that it is beyond
_SAMPLE = 2000  # messages that stand for everybody else
_MIN_FEATURES = 9.0  # about two words: shorter messages are alike by nature
_FEW_FEATURES = 6.0  # shorter copies of a text that is long enough may still fit it
_MOST = 512  # groups that grow: bounds time
_ONE_TEXT = 0.9  # share of the records of items with several raters that have their item's text, if texts are items'
_SLOTS = 1 << 16
_BLOCK = 1 << 12


def group_similar(sketches: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return ``(m,)`` which group each of the sketches ``(m, 128)`` is in.

    Each message goes with the one that has the most messages like it among those it is like itself, and so on up to
    one that nobody like it surpasses: groups have a core, and no chain of likenesses makes one of all. Equal sketches
    go together; messages too short to tell are alone. `seed` chooses the bands. Order matters to the groups' numbers
    only.

    References: Koontz, Narendra & Fukunaga (1976), "A Graph-Theoretic Approach to Nonparametric Cluster Analysis".
    """
    if not len(sketches):
        return np.zeros(0, np.int64)
    _, first, node, size = np.unique(row_keys(sketches), return_index=True, return_inverse=True, return_counts=True)
    distinct = sketches[first]
    enough = feature_count(distinct) >= _MIN_FEATURES
    one, other = _similar_pairs(distinct, np.flatnonzero(enough), seed)
    n = len(distinct)
    like = size + np.bincount(one, size[other], n) + np.bincount(other, size[one], n)
    order = np.lexsort((np.arange(n), like))
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n)
    best = rank.copy()
    np.maximum.at(best, one, rank[other])
    np.maximum.at(best, other, rank[one])
    above = order[best]
    while (above[above] != above).any():
        above = above[above]
    return np.where(enough[node], above[node], n + np.arange(len(node)))


def _similar_pairs(sketches: np.ndarray, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    n = len(sketches)
    met = [one * n + other for one, other in band_pairs(sketches[rows], rows=_BAND_ROWS, seed=seed)]
    pairs = np.sort(np.concatenate(met)) if met else np.zeros(0, np.int64)
    one, other = np.divmod(pairs[np.r_[True, pairs[1:] != pairs[:-1]][: len(pairs)]], n)  # np.unique is 20 times slower
    one, other = rows[one], rows[other]
    near = similarity(sketches, one, other) >= _SIMILAR
    return one[near], other[near]


def grow_groups(sketches: np.ndarray, group: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Return `group` ``(m,)`` with the groups `seeds` (at most 512 of them, the first ones) joined, grown and trimmed.

    What a group is about is, in every cell, the value that most of its members have: copies that are edited apart from
    each other still share it with the text they come from. Groups about the same text become one; every message that is
    more like a group's text than any other's, and like enough, is in it; members that are not leave it.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    seeds = seeds[:_MOST]
    if not len(seeds):
        return group
    texts = np.stack([shared_text(sketches[group == g]) for g in seeds])
    left, right = np.triu_indices(len(seeds), 1)
    same = similarity(texts, left, right) >= _SIMILAR
    links = (np.ones(int(same.sum()), np.int8), (left[same], right[same]))
    text = connected_components(coo_matrix(links, shape=(len(seeds),) * 2), directed=False)[1]
    joined = np.array([seeds[text == t].min() for t in text])
    out = group.copy()
    for g, name in zip(seeds, joined, strict=True):
        out[group == g] = name
    names = np.unique(joined)
    texts = np.stack([shared_text(sketches[out == g]) for g in names])
    members = np.flatnonzero(np.isin(out, names))
    others = np.flatnonzero((feature_count(sketches) >= _FEW_FEATURES) & ~np.isin(out, names))
    out[members] = out.max() + 1 + np.arange(len(members))
    for rows, least in ((members, np.full(len(texts), _FITS)), (others, _least_likeness(sketches, others, texts))):
        fit, best = _fitting(sketches, rows, texts, least)
        out[fit] = names[best]
    return out


def mean_similarity(sketches: np.ndarray) -> float:
    """Return the mean estimated similarity of two of the sketches, over all pairs at once: equal cells by column."""
    ordered = np.sort(sketches, axis=0)
    edges = np.vstack([np.ones((1, WIDTH), bool), ordered[1:] != ordered[:-1]])
    n = len(sketches)
    sizes = np.diff(np.flatnonzero(np.vstack([edges, np.ones((1, WIDTH), bool)]).T.ravel()))
    sizes = sizes[sizes > 0].astype(float)
    return float((sizes * (sizes - 1)).sum() / (WIDTH * n * (n - 1)))


def shared_text(sketches: np.ndarray) -> np.ndarray:
    """Return ``(128,)`` the most frequent value of each cell, the smallest of several."""
    ordered = np.sort(sketches, axis=0).T
    opens = np.hstack([np.ones((WIDTH, 1), bool), ordered[:, 1:] != ordered[:, :-1]])
    begin = np.flatnonzero(opens)
    size = np.diff(np.r_[begin, ordered.size])
    cell = begin // ordered.shape[1]
    best = np.lexsort((begin, -size, cell))
    return ordered.ravel()[begin[best[np.searchsorted(cell[best], np.arange(WIDTH))]]]


def _fitting(
    sketches: np.ndarray, rows: np.ndarray, texts: np.ndarray, least: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return which of `rows` are more like one of `texts` than its `least`, and the one each is most like.

    Cells that some text has are counted first, all texts at once: few messages are compared with each.
    """
    hits = np.zeros(len(rows), np.uint8)
    for cell, values in zip(sketches.T, texts.T, strict=True):
        known = np.zeros(_SLOTS, np.uint8)
        known[values % _SLOTS] = 1
        hits += known[cell[rows] % _SLOTS]
    maybe = rows[hits >= least.min() * WIDTH]
    fit, best = np.zeros(len(maybe), bool), np.zeros(len(maybe), np.int64)
    for start in range(0, len(maybe), _BLOCK):
        like = _likeness(sketches[maybe[start : start + _BLOCK]], texts)
        best[start : start + _BLOCK] = (like - least).argmax(1)
        fit[start : start + _BLOCK] = (like >= least).any(1)
    return maybe[fit], best[fit]


def _least_likeness(sketches: np.ndarray, rows: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Return ``(t,)`` how like a text a message must be: more than what people write here is like it anyway."""
    if not len(rows):
        return np.full(len(texts), _FITS)
    sample = rows[np.argsort(row_keys(sketches[rows]), kind="stable")[:_SAMPLE]]
    like = _likeness(sketches[sample], texts)
    usual = np.median(like, axis=0)
    beyond = usual + _BEYOND * np.median(np.abs(like - usual), axis=0)
    return np.maximum(np.maximum(_FITS, beyond), np.quantile(like, _APART, axis=0, method="higher"))


def _likeness(sketches: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Return ``(n, t)`` estimated similarities."""
    return np.stack([np.count_nonzero(sketches == text, axis=1) for text in texts], axis=1) / WIDTH


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
    grown = grow_groups(distinct, group, wanted[suspects])
    names = np.unique(grown[np.isin(group, wanted[suspects])])
    rest = messages.others(np.isin(grown, names))
    campaigns = []
    for members in _by_group(grown, names):
        p = min(1.0, _chance(messages, members, rest, pasted) * len(wanted))
        if p <= alpha and messages.own[members].any():
            campaigns.append(_campaign(frame, distinct, messages, members, max(p, SMALLEST_P), n_own))
    return campaigns


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
