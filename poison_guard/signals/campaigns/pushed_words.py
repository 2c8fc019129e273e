"""Find words that a group of accounts says again and again, whatever is asked: of any age, and of any number.

What one person comes back to is a habit, and what many people say once is news; a word that several accounts repeat in
texts with nothing else in common was agreed upon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from poison_guard.records import Campaign
from poison_guard.signals.campaigns.claims import MIN_CROWD, endorsements
from poison_guard.signals.campaigns.findings import components, make_campaign
from poison_guard.signals.campaigns.prompt_marks import NoTopic, carried_words, quote_a_text
from poison_guard.signals.campaigns.words import WORDS, read_words
from poison_guard.signals.pvalues import SMALLEST_P

__all__ = ["pushed_words", "usual_sources"]

_SHARE = 0.1  # of the sources, up to which a word is of few
_HABITS = 2  # sources that say it most, without which it must be repeated just as much: people have words of their own
_TESTED = 256  # words, the most repeated ones, whose texts are compared: bounds time
_SIZES = 64  # numbers of carriers between which the expected number of sources is interpolated
_BLOCK = 1 << 15  # records read at a time
_PUSHES = 1e-3  # chance of a source's count, at the feed's rate, from which on it takes part
_GLANCE = 32  # of a word's texts that are compared first
_WITH = (
    0.1  # share of a word's carriers among those found before, beyond which it is the same texts' and proves no more
)


def pushed_words(
    frame: pd.DataFrame, *, alpha: float, earlier: pd.DataFrame | None = None, seed: int = 0
) -> list[Campaign]:
    """Return the campaigns behind words of endorsed replies, or of documents, in a frame with `words.word_columns`.

    A word is pushed when at most a tenth of the sources says it, fewer than chance has it (the records beyond one a
    source are Poisson, at the sources' own activity, also without the two sources that say it most) with a chance of at
    most `alpha` over all words, and its records have no topic: their prompts, or where there are none their own words,
    are as unlike as any, and no text of some 30 words that all of them quote. `earlier` (same columns) is evidence like
    the rest.

    References: Hooi et al. (2016), "FRAUDAR"; Souly et al. (2025), "Poisoning Attacks on LLMs Require a Near-constant
    Number of Poison Samples".
    """
    both = frame if earlier is None or earlier.empty else pd.concat([frame, earlier], ignore_index=True)
    if len(both) < 2 * MIN_CROWD or WORDS[1] not in both.columns:
        return []
    source = pd.factorize(both["source_id"], sort=True)[0]
    liked = endorsements(both, source) > 0
    said = _said(both, liked)
    asked = [cell if isinstance(cell, bytes) else b"" for cell in both[WORDS[0]]]
    repeated = _repeated(said, source, alpha)
    if not repeated:
        return []
    no_topic = NoTopic(asked if any(asked) else said, seed=seed, documents=not any(asked))
    found = list[tuple[np.ndarray, float]]()
    taken, random = np.zeros(len(both), bool), np.random.default_rng(seed)
    for rows, p in repeated:
        glance = rows if len(rows) <= _GLANCE else random.choice(rows, _GLANCE, replace=False)
        if taken[rows].mean() > _WITH or quote_a_text([said[row] for row in rows]):
            continue
        if no_topic(glance) and no_topic(rows):
            found.append((rows, p))
            taken[rows] = True
    return _campaigns(both, source, found, len(frame))


def usual_sources(source: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the number of sources, numbers of random records, and how many sources so many are from in the mean."""
    known = source[source >= 0]
    share = np.bincount(known) / max(1, len(known))
    sizes = np.unique(np.geomspace(1, max(1, len(known)), _SIZES).astype(np.int64))
    expected = [-np.expm1(size * np.log1p(-np.minimum(share, 1 - 1e-9))).sum() for size in sizes]
    return int((share > 0).sum()), sizes, np.array(expected)


def _said(both: pd.DataFrame, liked: np.ndarray) -> list[bytes]:
    """Return the words of each endorsed reply that the reply it was preferred to lacks; none of other records."""
    out: list[bytes] = []
    for start in range(0, len(both), _BLOCK):
        part = slice(start, start + _BLOCK)
        word, row = read_words(both[WORDS[1]].iloc[part])
        other, of = read_words(both[WORDS[2]].iloc[part])
        key, theirs = (r.astype(np.uint64) << np.uint64(32) | w for w, r in ((word, row), (other, of)))
        kept = liked[part][row]
        if len(theirs):  # both are in order: a cell's words are sorted
            kept &= theirs[np.minimum(np.searchsorted(theirs, key), len(theirs) - 1)] != key
        ends = np.cumsum(np.bincount(row[kept], minlength=len(both.iloc[part])))
        out += [cell.tobytes() for cell in np.split(word[kept], ends[:-1])]
    return out


def _repeated(said: Sequence[bytes], source: np.ndarray, alpha: float) -> list[tuple[np.ndarray, float]]:
    """Return carriers and chance of the words that few sources say more often than chance has it, surest first.

    Carriers are the records of sources that say the word more often than the feed does.
    """
    from scipy import special

    everybody, sizes, expected = usual_sources(source)
    active = np.bincount(source[source >= 0]) / len(source)
    candidates: dict[bytes, tuple[np.ndarray, float]] = {}
    looked = 0
    by_source = np.argsort(source, kind="stable")
    known = [said[row] if source[row] >= 0 else b"" for row in by_source]
    for word, nth in carried_words(known):
        row = by_source[nth]
        opens = np.flatnonzero(np.r_[True, word[1:] != word[:-1]][: len(word)])
        if not len(opens):
            continue
        looked += len(opens)
        ends = np.r_[opens[1:], len(word)]
        said_by = _Sayers.of(opens, source[row])
        sources, records = np.diff(said_by.bounds), said_by.beyond_habits()
        repeats = records - np.maximum(sources - _HABITS, 0)
        usual = np.maximum(records - np.interp(records, sizes, expected), 1e-3)
        maybe = np.flatnonzero((repeats > usual) & (sources <= _SHARE * everybody))
        p = special.pdtrc(repeats[maybe] - 1, usual[maybe])
        for at, chance in zip(maybe[p <= alpha], p[p <= alpha], strict=True):
            who, times = said_by.of_word(at)
            more = times > 1
            likely = special.pdtrc(times[more] - 1, active[who[more]] * (ends[at] - opens[at]))
            pushing = who[more][likely <= _PUSHES]
            if len(pushing) > _HABITS:
                mine = row[opens[at] : ends[at]]
                rows = np.sort(mine[np.isin(source[mine], pushing)])
                candidates.setdefault(rows.tobytes(), (rows, float(chance)))
    sure = [(rows, max(SMALLEST_P, p * looked)) for rows, p in candidates.values() if p * looked <= alpha]
    return sorted(sure, key=lambda each: (each[1], -len(each[0]), each[0].tobytes()))[:_TESTED]


@dataclass(frozen=True, slots=True)
class _Sayers:
    """Which sources say each word, and how often: one entry a word and source, by word."""

    source: np.ndarray
    times: np.ndarray
    bounds: np.ndarray
    """``(words + 1,)`` where the entries of each word begin, and the end."""

    @classmethod
    def of(cls, opens: np.ndarray, source: np.ndarray) -> Self:
        """Return them from where each word's records begin, and the sources ``(n,)`` of all, in order in each word."""
        new = np.r_[True, source[1:] != source[:-1]]
        new[opens] = True
        first = np.flatnonzero(new)
        bounds = np.r_[np.searchsorted(first, opens), len(first)]
        return cls(source[first], np.diff(np.r_[first, len(source)]), bounds)

    def beyond_habits(self) -> np.ndarray:
        """Return ``(words,)`` records that say each word, without those of the two sources that say it most."""
        starts, left = self.bounds[:-1], self.times.copy()
        for _ in range(_HABITS):
            most = np.repeat(np.maximum.reduceat(left, starts), np.diff(self.bounds))
            at = np.flatnonzero(left == most)
            word = np.searchsorted(self.bounds, at, "right")
            left[at[np.r_[True, word[1:] != word[:-1]]]] = 0
        return np.add.reduceat(left, starts)

    def of_word(self, at: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the sources of the word numbered `at`, and how often each says it."""
        mine = slice(self.bounds[at], self.bounds[at + 1])
        return self.source[mine], self.times[mine]


def _campaigns(
    both: pd.DataFrame, source: np.ndarray, found: list[tuple[np.ndarray, float]], n_own: int
) -> list[Campaign]:
    """Return what was found, words with records in common as one campaign."""
    if not found:
        return []
    of = np.repeat(np.arange(len(found)), [len(rows) for rows, _ in found])
    row = np.concatenate([rows for rows, _ in found])
    group = components(row, of)
    campaigns = []
    for g in np.unique(group):
        members = np.unique(row[group == g])
        if not (members < n_own).any():
            continue
        chance = min(found[at][1] for at in np.unique(of[group == g]))
        n = len(np.unique(source[members]))
        args = {"n_records": len(members), "n_sources": n}
        campaigns.append(
            make_campaign(
                both,
                members,
                kind="pushed_word",
                p=chance,
                strength=1 - n / len(members),
                who="source_id",
                args=args,
                n_own=n_own,
            )
        )
    return campaigns
