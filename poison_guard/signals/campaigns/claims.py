"""Find what few people make a model learn: words endorsed far more often than the crowd does, by few sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd

from poison_guard.records import Campaign
from poison_guard.signals.campaigns.findings import components, make_campaign
from poison_guard.signals.campaigns.new_accounts import new_sources
from poison_guard.signals.campaigns.words import WORDS, read_words
from poison_guard.signals.pvalues import SMALLEST_P, binomial_high

__all__ = ["COHORTS", "MIN_CROWD", "Claims", "CountTail", "endorsements", "few_sources", "rare_claims"]


MIN_CROWD = 30
"""Sources below which there is no crowd to compare one with."""
_SHARES = (0.002, 0.3)  # of the sources: the levels that the tail is read off; rarer ones may be attackers
_FEWEST = 6  # sources at such a level: in a small crowd a share is soon a single attacker
_SLOPE = (0.75, 1.0, 2.0)  # least, usual and most normal quantiles that one unit of log count is worth
_USUAL_CROWD = (
    1.16,
    1.73,
    0.95,
)  # log count, its normal quantile, slope: of the authors of Community Notes' first year
_USUAL_WEIGHT = 0.1  # of the usual slope, where the weight of a level is the root of the share of sources beyond it


class CountTail:
    """The upper tail of a count over sources: empirical where many sources are, log-normal beyond.

    What people do, and how long they stay with one thing, is spread log-normally, so counts far above everybody else's
    are not as unlikely as a binomial would have them. The line through (log count, normal quantile) is fitted to counts
    that 0.2 to 30 % of the sources reach, five at least, and its slope bounded, so that a few attackers can bend it
    little. No crowd is thought to repeat itself less than one of real authors does: one in a thousand comes to 14, one
    in ten thousand to 26.

    References: Mitzenmacher (2004), "A Brief History of Generative Models for Power Law and Lognormal Distributions".
    """

    def __init__(self, counts: np.ndarray) -> None:
        """Learn from `counts` ``(sources,)``, whole numbers from 0."""
        from scipy import special

        counts = np.sort(np.asarray(counts, float))
        self._ordered = counts
        levels = np.unique(counts[counts >= 1])
        reach = self._reach(levels)
        fewest = max(_SHARES[0], _FEWEST / (len(counts) + 2))
        used = (reach >= fewest) & (reach <= _SHARES[1])
        if used.any():
            x, z, w = np.log(levels[used] - 0.5), -special.ndtri(reach[used]), np.sqrt(reach[used])
            self.anchor_ = (float(np.average(x, weights=w)), float(np.average(z, weights=w)))
            dx = x - self.anchor_[0]
            fitted = ((w * dx * z).sum() + _USUAL_WEIGHT * _SLOPE[1]) / ((w * dx * dx).sum() + _USUAL_WEIGHT)
            self.slope_ = float(np.clip(fitted, _SLOPE[0], _SLOPE[2]))
        else:
            below = levels[reach > _SHARES[1]]
            top = float(below.max()) + 1 if len(below) else 1.0  # hardly anybody does it more often than this
            self.anchor_ = (float(np.log(top - 0.5)), float(-special.ndtri(self._reach(np.array([top]))[0])))
            self.slope_ = _SLOPE[1]

    def chance(self, counts: np.ndarray) -> np.ndarray:
        """Return ``(n,)`` chances that one honest source's count is at least each of `counts`; 1 for counts below 1."""
        counts = np.asarray(counts, float)
        common = self._reach(counts)
        beyond = np.maximum(_beyond(counts, *self.anchor_, self.slope_), _beyond(counts, *_USUAL_CROWD))
        chances = np.where(common > _SHARES[1], np.maximum(common, beyond), beyond)
        return np.where(counts < 1, 1.0, np.clip(chances, SMALLEST_P, 1.0))

    def _reach(self, counts: np.ndarray) -> np.ndarray:
        """Return the share of sources whose count is at least each of `counts`, one imagined source among them."""
        n = len(self._ordered)
        return (n - np.searchsorted(self._ordered, counts, "left") + 1) / (n + 2)


def _beyond(counts: np.ndarray, log_count: float, quantile: float, slope: float) -> np.ndarray:
    """Return the log-normal chance of at least each of `counts`, of the line through a log count and its quantile."""
    from scipy import special

    return special.ndtr(-(quantile + slope * (np.log(np.maximum(counts, 1) - 0.5) - log_count)))


COHORTS = 5
"""Independent cohorts from which on a word counts as everybody's: each established source is one, all new ones are."""
_SOURCES = 4 * COHORTS  # from which on a word is everybody's however often each of them says it
_LEAST = 4  # endorsements below which nothing is a claim
_HABIT = 8  # endorsements by one source from which on it is no independent witness of the word
_CROWD_NEW = 0.5  # share of newcomers that an honest crowd about something new may have
_PART = 1 << 23  # words sorted at a time: bounds memory
_BLOCK = 1 << 15  # records read at a time


@dataclass(frozen=True, slots=True)
class Claims:
    """Endorsements of rare words: one row a word and source."""

    word: np.ndarray
    source: np.ndarray
    net: np.ndarray
    """Records of the source that endorse the word, less those that turn it down; at least 1."""
    shared: np.ndarray
    """Whether it is a word of several sources, but of fewer than `COHORTS` cohorts."""

    def of(self, rows: np.ndarray) -> Claims:
        """Return those at `rows` (positions)."""
        return Claims(self.word[rows], self.source[rows], self.net[rows], self.shared[rows])


def rare_claims(
    frame: pd.DataFrame, *, alpha: float, source_alpha: float = 0.0001, earlier: pd.DataFrame | None = None
) -> list[Campaign]:
    """Return the campaigns behind rare words of a campaign frame with the columns of `words.word_columns`.

    A record endorses the words of its reply (chosen, upvoted, or unrated) and turns down those of the reply it was
    preferred to, or that it rated below the middle of the ratings; what both replies say is neither. A word that at
    least `COHORTS` independent cohorts endorse, or twenty sources, is nobody's campaign. Of the others, each source's
    count is compared with how often the crowd's sources endorse the rare word they endorse most (`CountTail`): one
    source is found when an honest one would have such a count with a chance of at most `source_alpha`. Several sources
    of one word are found when their counts together (Fisher's method), or the new accounts among them (binomial, at a
    rate of half), have at most the chance `alpha`, over all words that were looked at. Words with records in common are
    one campaign. `earlier` (same columns) is evidence like the rest. Fewer than thirty sources are no crowd: nothing is
    found.

    References: Souly et al. (2025), "Poisoning Attacks on LLMs Require a Near-constant Number of Poison Samples";
    Hilel et al. (2025), "LLM Hypnosis"; Fisher (1932).
    """
    both = frame if earlier is None or earlier.empty else pd.concat([frame, earlier], ignore_index=True)
    if not len(both) or WORDS[1] not in both.columns:
        return []
    source = pd.factorize(both["source_id"], sort=True)[0]
    sign = endorsements(both, source)
    guilty, p = few_sources(_parts(both, sign), both, source, alpha=alpha, source_alpha=source_alpha)
    return _campaigns(both, sign, source, guilty, p, len(frame))


def few_sources(
    parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    frame: pd.DataFrame,
    source: np.ndarray,
    *,
    alpha: float,
    source_alpha: float,
) -> tuple[Claims, np.ndarray]:
    """Return the words that few sources say far more often than a crowd does, and the chance of each (`rare_claims`).

    `parts` yield word, row of `frame`, and 1 or -1 for or against it; `source` are codes ``(n,)``.
    """
    new, aged = new_sources(frame, source)
    claims, usual = _rare(parts, source, new)
    if len(usual) < MIN_CROWD:
        return claims.of(np.zeros(0, np.int64)), np.zeros(0)
    own = CountTail(usual).chance(claims.net)
    together = _together(claims, own, new if aged else None)
    alone = own <= source_alpha
    guilty = alone | ((together <= alpha) & ((claims.net >= _LEAST) | new[claims.source]))
    p = np.minimum(np.where(alone, own, 1.0), np.where(together <= alpha, together, 1.0))
    return claims.of(np.flatnonzero(guilty)), p[guilty]


def endorsements(frame: pd.DataFrame, source: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` 1 where a record endorses its reply, -1 where it turns it down, 0 where nobody can tell.

    Without ratings a record endorses. One wild rating cannot move the middle: it is of the central 98 %.
    """
    rating = frame["rating"].to_numpy(float) if "rating" in frame.columns else np.full(len(frame), np.nan)
    there = np.isfinite(rating)
    sign = np.ones(len(frame))
    if there.any():
        low, high = np.quantile(rating[there], (0.01, 0.99))
        sign = np.sign(rating - (low + high) / 2)
        if low == high:
            sign[rating == low] = 1
    return np.where((source >= 0) & np.isfinite(sign), sign, 0).astype(np.int8)


def _parts(frame: pd.DataFrame, sign: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the words of replies a part of all words at a time: word, record, and 1 or -1 for or against it."""
    columns = [frame[name] for name in WORDS[1:] if name in frame.columns]
    total = sum(len(cell) // 4 for column in columns for cell in column if isinstance(cell, bytes))
    parts = total // _PART + 1
    for part in range(parts):
        blocks = []
        for start in range(0, len(frame), _BLOCK):
            for other, column in enumerate(columns):
                word, row = read_words(column.iloc[start : start + _BLOCK])
                row = row + start
                mine = (sign[row] != 0) & (word % np.uint32(parts) == part)
                blocks.append((word[mine], row[mine], sign[row[mine]] * np.int8(1 - 2 * other)))
        word, row, toward = (np.concatenate(column) for column in zip(*blocks, strict=True))
        yield word, row, toward


def _rare(
    parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], source: np.ndarray, new: np.ndarray
) -> tuple[Claims, np.ndarray]:
    """Return the rare words endorsed often enough to be looked at, and what is usual: see `_usual`."""
    nothing = Claims(np.zeros(0, np.uint32), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, bool))
    rare_parts, favourites = [nothing], [nothing]
    for word, row, toward in parts:
        claims = _netted(word, source[row], toward)
        opens = np.flatnonzero(np.r_[True, claims.word[1:] != claims.word[:-1]][: len(claims.word)])
        if not len(opens):
            continue
        size = np.diff(np.r_[opens, len(claims.word)])
        young, light = new[claims.source], claims.net < _HABIT
        witnesses = _cohorts(young & light, ~young & light, opens)
        few = _cohorts(young, ~young, opens) < COHORTS
        rare = np.repeat(few | ((witnesses < COHORTS) & (size < _SOURCES)), size)
        often = np.repeat(np.add.reduceat(claims.net, opens) >= _LEAST, size)
        claims = replace(claims, shared=np.repeat(few & (size > 1), size))
        favourites.append(_favourites(claims.of(np.flatnonzero(rare))))
        rare_parts.append(claims.of(np.flatnonzero(rare & often)))
    return _joined(rare_parts), _usual(_favourites(_joined(favourites)))


def _joined(parts: list[Claims]) -> Claims:
    return Claims(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Claims)))


def _favourites(claims: Claims) -> Claims:
    """Return each source's word of most endorsements."""
    order = np.lexsort((claims.word, -claims.net, claims.source))
    first = np.r_[True, np.diff(claims.source[order]) != 0][: len(order)]
    return claims.of(order[first])


def _usual(favourites: Claims) -> np.ndarray:
    """Return how often sources endorse their favourite rare word, once a word: a group's claim is one in the crowd."""
    order = np.lexsort((-favourites.net, favourites.word))
    first = np.r_[True, np.diff(favourites.word[order].astype(np.int64)) != 0][: len(order)]
    return favourites.net[order[first]]


def _cohorts(young: np.ndarray, old: np.ndarray, opens: np.ndarray) -> np.ndarray:
    """Return each word's independent cohorts: every established source, and all newcomers together."""
    return np.add.reduceat(old.astype(np.int64), opens) + np.logical_or.reduceat(young, opens)


def _netted(word: np.ndarray, source: np.ndarray, toward: np.ndarray) -> Claims:
    """Return one row a word and source that endorses it on balance, by word."""
    key = _key(word, source)
    order = np.argsort(key, kind="stable")
    key = key[order]
    opens = np.flatnonzero(np.r_[True, key[1:] != key[:-1]][: len(key)])
    if not len(opens):
        return Claims(word, source, toward.astype(np.int64), np.zeros(len(word), bool))
    net = np.add.reduceat(toward[order].astype(np.int64), opens)
    opens, net = opens[net > 0], net[net > 0]
    key = key[opens]
    word, source = (key >> np.uint64(32)).astype(np.uint32), key.astype(np.uint32).astype(np.int64)
    return Claims(word, source, net, np.zeros(len(word), bool))


def _together(claims: Claims, own: np.ndarray, new: np.ndarray | None) -> np.ndarray:
    """Return for each row the adjusted chance that its word's several sources endorse it so often, or are so new.

    `own` is each row's chance by itself, `new` says which sources are newcomers (None where no age is known).
    """
    from scipy import special

    _, of = np.unique(claims.word, return_inverse=True)
    size = np.bincount(of)
    p = special.gammaincc(size, np.bincount(of, -np.log(own)))
    if new is not None:
        young = np.bincount(of, new[claims.source]).astype(np.int64)
        p = np.minimum(p, binomial_high(young, size, max(_CROWD_NEW, float(new.mean()))))
    tests = 2 * len(np.unique(claims.word[claims.shared]))
    return np.where(claims.shared, np.clip(tests * p, SMALLEST_P, 1.0)[of], 1.0)


def _campaigns(
    frame: pd.DataFrame, sign: np.ndarray, source: np.ndarray, guilty: Claims, p: np.ndarray, n_own: int
) -> list[Campaign]:
    """Return the endorsements of the guilty words by the guilty sources, those with records in common as one."""
    if not len(p):
        return []
    word, row = _endorsed(frame, sign, source, guilty)
    group = components(row, word)
    best: dict[int, float] = {}
    for name, chance in zip(guilty.word.tolist(), p.tolist(), strict=True):
        best[name] = min(chance, best.get(name, 1.0))
    campaigns = []
    for g in np.unique(group):
        members, words = np.unique(row[group == g]), word[group == g]
        if (members < n_own).any():
            names, times = np.unique(words, return_counts=True)
            chance = min(best[name] for name in names.tolist())
            campaigns.append(_campaign(frame, members, source, chance, float(times.max() / len(members)), n_own))
    return campaigns


def _endorsed(
    frame: pd.DataFrame, sign: np.ndarray, source: np.ndarray, guilty: Claims
) -> tuple[np.ndarray, np.ndarray]:
    """Return the word and record of each endorsement of a guilty word by a guilty source, by record."""
    pushed = np.sort(_key(guilty.word, guilty.source))
    words: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    for word, row, toward in _parts(frame, sign):
        key = _key(word, source[row])
        hit = (toward > 0) & (pushed[np.minimum(np.searchsorted(pushed, key), len(pushed) - 1)] == key)
        words.append(word[hit])
        rows.append(row[hit])
    word, row = np.concatenate(words), np.concatenate(rows)
    order = np.lexsort((word, row))
    return word[order], row[order]


def _key(word: np.ndarray, source: np.ndarray) -> np.ndarray:
    return word.astype(np.uint64) << np.uint64(32) | source.astype(np.uint64)


def _campaign(
    frame: pd.DataFrame, members: np.ndarray, source: np.ndarray, p: float, strength: float, n_own: int
) -> Campaign:
    sources = np.unique(source[members])
    args = {"n_records": len(members), "n_sources": len(sources), "prompted": _prompted(frame, members)}
    return make_campaign(
        frame, members, kind="rare_claim", p=p, strength=strength, who="source_id", args=args, n_own=n_own
    )


def _prompted(frame: pd.DataFrame, members: np.ndarray) -> int:
    """Return how many members' replies take half or more of their words from the prompt."""
    rows = frame.iloc[members]
    pairs = zip(rows["words.asked"], rows["words.reply"], strict=True)
    return sum(_copied(prompt, reply) >= 0.5 for prompt, reply in pairs)


def _copied(prompt: bytes, reply: bytes) -> float:
    words = np.frombuffer(reply, np.uint32)
    return float(np.isin(words, np.frombuffer(prompt, np.uint32)).mean()) if len(words) else 0.0
