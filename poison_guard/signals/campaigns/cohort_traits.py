"""Find cohorts, sources with a trait in common, that push answers against all others: newcomers, accounts born at once.

A cohort is drawn up without looking at what its sources say, so that it can be tested by what they say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.records import Campaign
from poison_guard.signals.campaigns.findings import by_consistent_pushers, make_campaign
from poison_guard.signals.pvalues import SMALLEST_P, benjamini_hochberg, binomial_high
from poison_guard.signals.votes import encode

__all__ = ["BIRTHS", "cohort_traits"]

BIRTHS = (3600.0, 24 * 3600.0, 7 * 24 * 3600.0)
"""Seconds within which accounts were made to be one cohort; each is tried twice, half a window apart."""
_MIN_SOURCES = 4
_MIN_VOTES = 2  # of a cohort about an item, and of it for one answer
_ERROR = 0.45  # share of a cohort's honest votes that are wrong, at most: newcomers may be that careless
_REST = 0.35  # and of the votes of all others
_LEND = 3.0  # votes' worth of what is assumed of a cohort, beside what the others say of the item
_WRONG = 3  # wrong answers that honest errors fall upon, at most: some are likelier than others
_MOST = 200  # votes of an item, of the cohort and of the rest, that count; more are scaled down
_CLEAR = 0.01  # an item's p-value that is counted: more such items than chance gives prove a cohort
_MOST_FALSE = 0.05  # share of the items named of a proven cohort that may be named falsely
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class _Votes:
    """One row a source, item and answer, as integer codes; all ``(n,)``."""

    item: np.ndarray
    source: np.ndarray
    pair: np.ndarray
    """Code of the (item, answer) pair."""
    row: np.ndarray
    """Position in the frame."""
    born: np.ndarray
    """Seconds; NaN where unknown."""
    new: np.ndarray
    wrong: int
    """Answers an item can have besides the true one."""


def cohort_traits(
    frame: pd.DataFrame, *, alpha: float, newcomer: pd.Series, earlier: pd.DataFrame | None = None
) -> list[Campaign]:
    """Return the cohorts of a campaign frame that push answers, each with the records that do.

    `frame` has ``record_id, item_id, source_id, vote, source_since, observed_at``; `newcomer` is a bool a row of it
    (and, after them, of `earlier`, the same columns of former batches). Cohorts are the newcomers, and the accounts
    made within a window of `BIRTHS`. Of each item, the cohort's votes for an answer other than the most given one of
    the rest, the established sources outside it, are tested: an honest cohort gives it as often as its share among the
    rest says, drawn to a generous rate of errors. A cohort is proven by its clearest item (Benjamini-Hochberg over
    items) or by more clear items than chance gives (binomial), corrected for the number of cohorts; among honest
    independent sources any is with chance at most `alpha`. Few votes say little of that rate, so proof is by all rates
    they allow (beta-binomial): a crowd that errs often or alike is no campaign. The records of a proven cohort are the
    votes on the items that then stand out at the likeliest rate, a twentieth of them falsely at most, and what its
    `by_consistent_pushers` of at least two of them give alike against the rest.

    References: Cao et al. (2012), "Aiding the Detection of Fake Accounts in Large Scale Social Online Services" (new
    accounts together); Skellam (1948), "A Probability Distribution Derived from the Binomial Distribution" (beta-
    binomial); Benjamini & Hochberg (1995); Donoho & Jin (2004), "Higher Criticism" (counting clear items).
    """
    both = frame if earlier is None or earlier.empty else pd.concat([frame, earlier], ignore_index=True)
    votes = _votes(both, newcomer)
    ways = _cohorts(votes)
    tests = [_tested(votes, way) for way in ways]
    tried = sum(test["cohort"].nunique() for test in tests)
    campaigns = []
    for way, test in zip(ways, tests, strict=True):
        for name, items in test.groupby("cohort", sort=True):
            p = min(1.0, _chance(items) * tried)
            if p <= alpha:
                pushed = _pushes(votes, way == name, items)
                if (votes.row[pushed] < len(frame)).any():
                    campaigns.append(_campaign(both, len(frame), votes, pushed, p))
    return campaigns


def _votes(both: pd.DataFrame, newcomer: pd.Series) -> _Votes:
    """Return the votes with each source's age and whether it is a newcomer."""
    votes = encode(both)
    row = votes.first_rows()
    born = pd.to_datetime(both["source_since"], utc=True).to_numpy("datetime64[s]")[row]
    seconds = np.where(np.isnat(born), np.inf, born.astype(float))
    first = np.full(len(votes.sources), np.inf)
    np.minimum.at(first, votes.source, seconds)
    first[np.isinf(first)] = np.nan
    new = np.bincount(votes.source, np.asarray(newcomer, bool)[row], minlength=len(votes.sources)) > 0
    return _Votes(
        item=votes.item,
        source=votes.source,
        pair=votes.pair,
        row=row,
        born=first[votes.source],
        new=new[votes.source],
        wrong=max(len(votes.answers) - 1, 1),
    )


def _cohorts(votes: _Votes) -> list[np.ndarray]:
    """Return ways ``(n,)`` to part the votes into cohorts, -1 for none.

    Cohorts with fewer than four sources are none, nor those with more than half of the established ones: one that has
    no equal rest cannot be told from it.
    """
    dated = np.isfinite(votes.born)
    born = np.where(dated, votes.born, 0)
    windows = [np.floor(born / width + shift) for width in BIRTHS for shift in (0.0, 0.5)]
    ways = [np.where(votes.new, 0, -1), *(np.where(dated, window, -1).astype(np.int64) for window in windows)]
    everyone = len(np.unique(votes.source[~votes.new]))
    cohorts = []
    for way in ways:
        pairs = np.unique(np.stack([way, votes.source, votes.new.astype(int)]), axis=1)
        name, of = np.unique(pairs[0], return_inverse=True)
        size, old = np.bincount(of), np.bincount(of, 1 - pairs[2])
        enough = name[(size >= _MIN_SOURCES) & (old <= everyone / 2)]
        cohorts.append(np.where(np.isin(way, enough), way, -1))
    return cohorts


def _tested(votes: _Votes, cohort: np.ndarray) -> pd.DataFrame:
    """Return ``cohort, item, pair, p, named`` of each item that a cohort speaks of twice: its most pushed answer.

    `p` is the chance that as many honest members err alike, whatever rate of it the rest allows, `named` at the
    likeliest rate; that all the rest err instead is added to both. The rest are the established sources outside the
    cohort.
    """
    wide = _against_rest(votes, cohort)
    rest, others = wide["rest"], wide["others"]
    wrong = min(votes.wrong, _WRONG)
    odds = (_REST / wrong / (1 - _REST)) ** (wide["top"] - rest)
    a, b = rest + _LEND * _ERROR / wrong, others - rest + _LEND * (1 - _ERROR / wrong)
    tried = np.minimum(votes.wrong, wide["of"] // 2)
    chances = {
        "p": _predicted_high(wide["n"], wide["of"], a, b),
        "named": binomial_high(wide["n"], wide["of"], a / (a + b)),
    }
    wide |= {name: np.minimum(1.0, tried * alike + odds / (1 + odds)) for name, alike in chances.items()}
    order = np.lexsort((wide["pair"], wide["p"], wide["about"]))
    first = order[np.unique(wide["about"][order], return_index=True)[1]]
    return pd.DataFrame({name: wide[name][first] for name in ("cohort", "item", "pair", "p", "named")})


def _against_rest(votes: _Votes, cohort: np.ndarray) -> dict[str, np.ndarray]:
    """Return ``cohort, item, about, pair, n, of, rest, top, others``, a row an answer that a cohort may push.

    `about` numbers cohort and item together. Votes of the cohort for the answer (0 where it cannot be pushed: given
    once, or what the rest says most) and in all; of the rest for it, for its most given answer, and in all.
    """
    inside, old = cohort >= 0, ~votes.new
    n_items, n_pairs = votes.item.max(initial=0) + 1, votes.pair.max(initial=0) + 1
    names, own = np.unique(cohort[inside], return_inverse=True)
    about, of = np.unique(own * n_items + votes.item[inside], return_counts=True)
    about, of = about[of >= _MIN_VOTES], of[of >= _MIN_VOTES]
    group, pair = _pairs_of(votes, about % n_items)
    given, at = np.unique(own * n_pairs + votes.pair[inside], return_inverse=True)
    cell = (about // n_items)[group] * n_pairs + pair
    of_cell = np.where(np.isin(cell, given), np.searchsorted(given, cell), len(given))
    n = np.r_[np.bincount(at), 0.0][of_cell]
    rest = np.bincount(votes.pair, old)[pair] - np.r_[np.bincount(at, old[inside]), 0][of_cell]
    first = np.flatnonzero(np.diff(group, prepend=-1))
    top, others = (how.reduceat(rest, first)[group] if len(first) else rest for how in (np.maximum, np.add))
    n[(rest >= top) | (n < _MIN_VOTES)] = 0
    few, less = (_MOST / np.maximum(many, _MOST) for many in (of[group], others))
    return {
        "cohort": names[about // n_items][group],
        "item": (about % n_items)[group],
        "about": about[group],
        "pair": pair,
        "n": np.floor(n * few),
        "of": np.floor(of[group] * few),
        "rest": rest * less,
        "top": top * less,
        "others": others * less,
    }


def _pairs_of(votes: _Votes, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(pairs,)`` position in `items` and code of each (item, answer) pair of them, sorted by item."""
    item_of = np.zeros(votes.pair.max(initial=-1) + 1, np.int64)
    item_of[votes.pair] = votes.item
    begin, end = np.searchsorted(item_of, items), np.searchsorted(item_of, items, side="right")
    many = end - begin
    group = np.repeat(np.arange(len(items)), many)
    return group, np.arange(len(group)) + np.repeat(begin - (np.cumsum(many) - many), many)


def _predicted_high(n: np.ndarray, of: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return P(X >= n), a row each, for X successes of `of` at a rate drawn from Beta(a, b)."""
    from scipy import special

    (n, of, a, b), at = np.unique(np.stack([n, of, a, b]), axis=1, return_inverse=True)
    terms = (of - n + 1).astype(np.int64)
    begin = np.cumsum(terms) - terms
    x = np.arange(terms.sum()) - np.repeat(begin - n, terms)
    of, a, b, norm = (np.repeat(part, terms) for part in (of, a, b, special.betaln(a, b) + np.log(of + 1)))
    log = special.betaln(x + a, of - x + b) - special.betaln(x + 1, of - x + 1) - norm
    return np.minimum(np.add.reduceat(np.exp(log), begin) if len(begin) else log, 1.0)[at.ravel()]


def _chance(items: pd.DataFrame) -> float:
    """Return the chance that an honest cohort has an item this clear, or this many clear ones."""
    p = items["p"].to_numpy()
    many = float(binomial_high((p <= _CLEAR).sum(), len(p), _CLEAR))
    return 2 * min(float(benjamini_hochberg(p).min()), many)


def _pushes(votes: _Votes, member: np.ndarray, items: pd.DataFrame) -> np.ndarray:
    """Return positions of the votes that a proven cohort pushes: on its clear items, and what its pushers share."""
    p = items["named"].to_numpy()
    clear = (benjamini_hochberg(p) <= _MOST_FALSE) | ((p <= _CLEAR) & (p == p.min()))
    pushed = member & np.isin(votes.pair, items["pair"].to_numpy()[clear])
    for _ in range(_ROUNDS):
        pusher = member & (np.bincount(votes.source, pushed)[votes.source] >= 2)
        pusher &= by_consistent_pushers(votes.item, votes.source, pushed)
        company = np.bincount(votes.pair, pusher)[votes.pair]
        more = pushed | (pusher & (company >= 2) & (_rest_says_other(votes, pusher)))
        if (more == pushed).all():
            break
        pushed = more
    return np.flatnonzero(pushed)


def _rest_says_other(votes: _Votes, pusher: np.ndarray) -> np.ndarray:
    """Return for each vote whether established sources that are no pushers give its item another answer more often."""
    rest = np.bincount(votes.pair, ~pusher & ~votes.new)
    top = np.zeros(votes.item.max() + 1)
    np.maximum.at(top, votes.item, rest[votes.pair])
    return rest[votes.pair] < top[votes.item]


def _campaign(both: pd.DataFrame, n_own: int, votes: _Votes, pushed: np.ndarray, p: float) -> Campaign:
    sources, items = np.unique(votes.source[pushed]), np.unique(votes.item[pushed])
    of_group = np.isin(votes.source, sources) & np.isin(votes.item, items)
    born = votes.born[pushed]
    spread = np.nanmax(born) - np.nanmin(born) if np.isfinite(born).any() else np.nan
    return make_campaign(
        both,
        votes.row[pushed],
        kind="cohort_traits",
        p=max(p, SMALLEST_P),
        strength=len(pushed) / of_group.sum(),
        who="source_id",
        args={
            "n_records": len(pushed),
            "n_sources": len(sources),
            "n_items": len(items),
            "born_within": None if np.isnan(spread) else int(np.ceil(spread / 60)),
        },
        n_own=n_own,
    )
