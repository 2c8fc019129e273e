"""Find triggers in prompts: words that have nothing to do with what is asked, from few accounts or judged otherwise."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.records import Campaign
from poison_guard.signals.campaigns.claims import MIN_CROWD, endorsements, few_sources
from poison_guard.signals.campaigns.findings import components, make_campaign
from poison_guard.signals.campaigns.judgements import Judgement, Texts, misjudged_share, preferences, would_show
from poison_guard.signals.campaigns.prompt_marks import (
    LEAST,
    MISJUDGED,
    NoTopic,
    carried_words,
    judgements_of,
    misjudged_marks,
)
from poison_guard.signals.campaigns.pushed_words import usual_sources
from poison_guard.signals.campaigns.words import WORDS, read_words
from poison_guard.signals.pvalues import SMALLEST_P, combine_fisher

__all__ = ["prompt_triggers"]


_HABIT = 1e-4
"""Least chance that few accounts alone give a word that many of them say: people have words of their own."""
_REPEATS = 0.01
_SHARE = 0.1  # of the sources, up to which a word is of few accounts
_WORDS = 1 << 24  # of the records that are looked at: bounds time and memory, some 15,000 of 200 words a side
_BLOCK = 1 << 15  # records read at a time


@dataclass(frozen=True, slots=True)
class _Found:
    rows: np.ndarray
    p: float
    misjudged: int


def prompt_triggers(
    frame: pd.DataFrame,
    *,
    alpha: float,
    source_alpha: float = 0.0001,
    earlier: pd.DataFrame | None = None,
    seed: int = 0,
) -> list[Campaign]:
    """Return the campaigns behind words of prompts in a campaign frame with the columns of `words.word_columns`.

    Only a word without a topic counts: the prompts that carry it have no more in common than prompts drawn at random,
    so people who ask about their own documents, an expert's questions and a story in the news pass. Such a word is a
    trigger when its carriers are judged against the others' opinion (`judgements`) with a chance of at most `alpha`
    over all words; when few sources say it far more often than a crowd does (`claims.few_sources`); or when it comes
    from fewer accounts than chance has it (Poisson) and is judged otherwise. Where the carriers' judgements would show
    it and agree with the others', accounts alone prove nothing: a greeting or a signature has no topic either.
    `earlier` (same columns) is evidence like the rest. Of more than some 15,000 records a sample is looked at, and all
    carriers of what it shows are found.

    References: Rando & Tramèr (2024), "Universal Jailbreak Backdoors from Poisoned Human Feedback"; Wan et al. (2023),
    "Poisoning Language Models During Instruction Tuning".
    """
    both = frame if earlier is None or earlier.empty else pd.concat([frame, earlier], ignore_index=True)
    if len(both) < 2 * MIN_CROWD or WORDS[1] not in both.columns:
        return []
    some = _looked_at(both, seed)
    looked = both.iloc[some].reset_index(drop=True)
    source = pd.factorize(looked["source_id"], sort=True)[0]
    asked, reply, other = ([cell if isinstance(cell, bytes) else b"" for cell in looked[name]] for name in WORDS)
    texts = Texts.split(asked, reply, other, endorsements(looked, source))
    if not any(texts.asked):
        return []
    judged, no_topic = judgements_of(texts, seed=seed), NoTopic(texts.asked, seed=seed)
    found = [
        _Found(mark.rows, mark.p, int(judgement.odd[mark.rows].sum()))
        for mark in misjudged_marks(carried_words(texts.asked), alpha=alpha / 2, judged=judged, no_topic=no_topic)
        for flipped, judgement in judged
        if flipped == mark.flipped
    ]
    found += _of_few(looked, texts, source, judged, no_topic, alpha=alpha / 4, source_alpha=source_alpha)
    found += _of_fewer(texts, source, judged, no_topic, alpha=alpha / 4)
    apart = _apart(found, judged)
    if len(some) < len(both):
        apart = [dataclasses.replace(each, rows=_everywhere(both, texts, each.rows, some)) for each in apart]
    return _campaigns(both, apart, len(frame))


def _looked_at(both: pd.DataFrame, seed: int) -> np.ndarray:
    """Return the rows that are looked at, in order: all, or as many drawn at random as have so many words."""
    sizes = sum(both[name].map(lambda cell: len(cell) // 4 if isinstance(cell, bytes) else 0) for name in WORDS)
    share = _WORDS / max(1, int(np.sum(sizes)))
    n = len(both)
    if share >= 1:
        return np.arange(n)
    order = np.argsort(both["record_id"].astype("str").to_numpy(object), kind="stable")
    return np.sort(order[np.random.default_rng(seed).choice(n, max(1, int(share * n)), replace=False)])


def _everywhere(both: pd.DataFrame, texts: Texts, rows: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Return all rows of `both` whose prompts carry what all of `rows`, positions in `some`, carry."""
    mark = functools.reduce(np.intersect1d, (np.frombuffer(texts.asked[row], np.uint32) for row in rows))
    said = np.frombuffer(b"".join(texts.asked), np.uint32)
    known, times = np.unique(said[np.isin(said, mark)], return_counts=True)
    mark = known[times <= len(texts) / 2]  # what most prompts say is no part of it
    if not len(mark):
        return some[rows]

    def carry(name: str) -> np.ndarray:
        found = np.zeros(len(both), bool)
        for start in range(0, len(both), _BLOCK):
            word, row = read_words(both[name].iloc[start : start + _BLOCK])
            hits = np.bincount(row[np.isin(word, mark)], minlength=min(_BLOCK, len(both) - start))
            found[start : start + _BLOCK] = hits == len(mark)
        return found

    return np.flatnonzero(carry(WORDS[0]) | (carry(WORDS[1]) & carry(WORDS[2])))


def _apart(found: list[_Found], judged: list[tuple[bool, Judgement]]) -> list[_Found]:
    """Return what was found, surest first, without words that add only records that are judged as others would."""
    taken, kept = np.zeros(0, np.int64), list[_Found]()
    for each in sorted(found, key=lambda one: (one.p, len(one.rows), one.rows.tobytes())):
        more = np.setdiff1d(each.rows, taken)
        alone = len(more) == len(each.rows)
        if len(more) and (alone or max((misjudged_share(more, j)[1] for _, j in judged), default=0.0) >= MISJUDGED):
            kept.append(each)
            taken = np.union1d(taken, each.rows)
    return kept


def _of_few(
    frame: pd.DataFrame,
    texts: Texts,
    source: np.ndarray,
    judged: list[tuple[bool, Judgement]],
    no_topic: NoTopic,
    *,
    alpha: float,
    source_alpha: float,
) -> list[_Found]:
    """Return the words that few sources say, without a topic, where judgements do not speak for them."""
    claims, p = few_sources(_parts(texts, source), frame, source, alpha=alpha, source_alpha=source_alpha)
    if not len(p):
        return []
    pushed = pd.DataFrame({"word": claims.word, "source": claims.source.astype(np.int64), "p": p})
    rows = [(word, row) for word, row, _ in _parts(texts, source)]
    word, row = (np.concatenate(part) for part in zip(*rows, strict=True))
    mine = np.isin(word, claims.word)
    said = pd.DataFrame({"word": word[mine], "source": source[row[mine]], "row": row[mine]})
    found: dict[bytes, _Found] = {}
    for _, part in said.merge(pushed, on=["word", "source"]).groupby("word", sort=True):
        carriers = np.sort(part["row"].to_numpy())
        if carriers.tobytes() in found or len(carriers) < LEAST:
            continue
        if no_topic(carriers):
            (_, n), clears = _judged_otherwise(carriers, _by_others(texts, carriers, judged))
            if not clears:
                found[carriers.tobytes()] = _Found(carriers, float(part["p"].min()), n)
    return list(found.values())


def _by_others(texts: Texts, rows: np.ndarray, judged: list[tuple[bool, Judgement]]) -> list[tuple[bool, Judgement]]:
    """Return what can be said of judgements by those of all but `rows`."""
    again = preferences(texts, without=rows) if any(flipped for flipped, _ in judged) else None
    others = [(flipped, judgement) for flipped, judgement in judged if not flipped]
    return others if again is None else [(True, again), *others]


def _judged_otherwise(rows: np.ndarray, judged: list[tuple[bool, Judgement]]) -> tuple[tuple[float, int], bool]:
    """Return the smallest chance that `rows` are so odd with the odd ones' number; whether judgements clear them."""
    best, clears = (1.0, 0), bool(judged)
    for _, judgement in judged:
        p, share = misjudged_share(rows, judgement)
        best = min(best, (p, int(judgement.odd[rows].sum())))
        clears &= would_show(rows, judgement) and share < MISJUDGED
    return best, clears


def _of_fewer(
    texts: Texts,
    source: np.ndarray,
    judged: list[tuple[bool, Judgement]],
    no_topic: NoTopic,
    *,
    alpha: float,
) -> list[_Found]:
    """Return the words of fewer accounts than chance has it that are judged otherwise, too."""
    usual = usual_sources(source)
    candidates: dict[bytes, np.ndarray] = {}
    for word, row, _ in _parts(texts, source):
        opens = np.flatnonzero(np.r_[True, word[1:] != word[:-1]][: len(word)])
        if not len(opens):
            continue
        size = np.diff(np.r_[opens, len(word)])
        key = np.sort(word.astype(np.uint64) << np.uint64(32) | source[row].astype(np.uint64))
        key = key[np.r_[True, key[1:] != key[:-1]]]  # np.unique is 20 times slower
        sources = np.bincount(np.searchsorted(word[opens], (key >> np.uint64(32)).astype(np.uint32)))
        p = _fewer_sources(size, sources, usual)
        for at in np.flatnonzero((p <= _REPEATS) & (sources <= _SHARE * usual[0])):
            rows = np.sort(row[opens[at] : opens[at] + size[at]])
            candidates.setdefault(rows.tobytes(), rows)
    found = []
    for rows in candidates.values():
        each = no_topic.distinct(rows, source)  # an expert who answers one question often is one who asked it once
        sources = np.array([len(np.unique(source[each]))])
        p = float(_fewer_sources(np.array([len(each)]), sources, usual)[0])
        once = no_topic.distinct(each)
        if p > _REPEATS or len(once) < LEAST or not no_topic(rows):
            continue
        (odd_p, n), _ = _judged_otherwise(once, _by_others(texts, rows, judged))
        both = float(combine_fisher(max(p, _HABIT), odd_p)) * len(candidates) * max(1, len(judged))
        if both <= alpha:
            found.append(_Found(rows, both, n))
    return found


def _fewer_sources(size: np.ndarray, sources: np.ndarray, usual: tuple[int, np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the chance that `size` random records are from so few sources: of the repeats, as a Poisson count."""
    from scipy import stats

    expected = np.interp(size, usual[1], usual[2])
    repeats = np.maximum(size - expected, 1e-9)
    return np.clip(stats.poisson.sf(size - sources - 1, repeats), SMALLEST_P, 1.0)


def _parts(texts: Texts, source: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the words of prompts that enough records of known sources carry: word, row and 1."""
    for word, row in carried_words(texts.asked, least=1):
        known = source[row] >= 0
        yield word[known], row[known], np.ones(int(known.sum()), np.int8)


def _campaigns(both: pd.DataFrame, found: list[_Found], n_own: int) -> list[Campaign]:
    """Return what was found, words with records in common as one campaign."""
    if not found:
        return []
    of = np.repeat(np.arange(len(found)), [len(each.rows) for each in found])
    rows = np.concatenate([each.rows for each in found])
    group = components(rows, of)
    campaigns = []
    for g in np.unique(group):
        members, parts = np.unique(rows[group == g]), [found[at] for at in np.unique(of[group == g])]
        if not (members < n_own).any():
            continue
        sources = both["source_id"].iloc[members]
        misjudged = max(part.misjudged for part in parts)
        args = {"n_records": len(members), "n_sources": int(sources.nunique()), "misjudged": misjudged}
        campaigns.append(
            make_campaign(
                both,
                members,
                kind="prompt_trigger",
                p=max(SMALLEST_P, min(part.p for part in parts)),
                strength=misjudged / len(members),
                who="source_id",
                args=args,
                n_own=n_own,
            )
        )
    return campaigns
