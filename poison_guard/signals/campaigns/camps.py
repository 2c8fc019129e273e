"""Find a camp of sources that take one side of dispute after dispute without ever erring, told apart by who they are.

A slow group of which half has a history outvotes the honest established sources on its targets, so neither time nor
age tells it alone. But people err, and its members never do on the items that they came for; and no honest side of so
many quarrels is made of new accounts, or of accounts that answer little else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.records import Campaign
from poison_guard.signals.campaigns.findings import make_campaign, numbers_of
from poison_guard.signals.pvalues import SMALLEST_P, beta_binomial_low
from poison_guard.signals.votes import Votes, encode

__all__ = ["camps"]

_MIN_SOURCES = 8  # of a camp that never err, of whom some are new by chance: fewer show nothing
_MIN_VOTES = 4  # of an item, to be disputed at all
_SETTLED = 0.8  # share of an item's votes for one answer from which on it tells nothing
_SIDE = 2  # votes that a second answer needs: one alone is a slip
_SHARED = 4  # disputed items that a source must have answered to belong to a camp's core
_ALWAYS = 0.9  # share of them on which a member of the core takes its camp's side
_NEVER_ERRS = 0.95  # and of those of a camp that errs less than people do
_CORE = 0.5  # share of a camp's sources that must be its core: of people who err, fewer never do
_FEW = 0.05  # of other sources that may be called aimed at disputes
_ALIKE = 2  # of the core that must push an answer, and answers that a companion must push with it, at least
_PUSHES = 0.8  # share of a companion's votes on what the core pushes: honest people err on fewer
_ROUNDS, _TOLERANCE = 50, 1e-3  # the signs of the eigenvector are all that is used
_MOST_VOTES = 200_000  # votes of disputed items, drawn, by which sources are told apart; bounds time
_DRAWS = 19  # crowds without camps, in which fewer sources of one camp must never err (one test of 5 %)


@dataclass(frozen=True, slots=True)
class _Sides:
    """Votes for one of the two answers most given to a disputed item; all ``(n,)``."""

    item: np.ndarray
    source: np.ndarray
    side: np.ndarray
    """1 for the answer most given, -1 for the other."""
    vote: np.ndarray
    """Position among the encoded votes."""
    alone: np.ndarray
    """Whether the item is disputed without this vote."""


@dataclass(frozen=True, slots=True)
class _Core:
    """Which sources ``(sources,)`` are the core of a camp."""

    members: np.ndarray
    share: float
    """Of the camp that is its core ..."""
    flawless: float
    """... and that hardly ever leaves its side."""


def camps(
    frame: pd.DataFrame, *, alpha: float, newcomer: pd.Series, earlier: pd.DataFrame | None = None
) -> list[Campaign]:
    """Return the camps of a campaign frame (``record_id, item_id, source_id, vote``) in which newcomers gather.

    On disputed items, those of which a second answer has two votes and a fifth, sources that agree and disagree with
    each other fall into two camps: the signs of the leading eigenvector of their agreements less disagreements. The
    core of a camp are the sources with four disputed votes of which nine in ten are on its side, their own vote left
    out. A camp is found where half of its sources and eight at least are its core, more than in any of 19 crowds in
    which it is chance who gave which of an item's two answers; where the other camp errs as people do, less than half
    of it on one side of 95 % (else both may be schools of honest people); and where more of the core are new than of
    the sources of no core, or give more of their votes to disputes than one in twenty of these does (beta-binomial at
    `alpha`, corrected for both). `newcomer` is a bool a row of `frame` and then of `earlier`, the same columns of
    former batches. Its records are the core's votes on its side, where all others say something else, and those of
    companions: who give what two of the core give on four of five such items of theirs. A camp that is like all others
    in both may be an honest one, and is never found.

    References: Newman (2006), "Modularity and Community Structure in Networks" (two groups by the leading eigenvector);
    Skellam (1948), "A Probability Distribution Derived from the Binomial Distribution".
    """
    both = frame if earlier is None or earlier.empty else pd.concat([frame, earlier], ignore_index=True)
    votes = encode(both)
    sides = _disputes(votes)
    if not len(sides.item):
        return []
    used = votes.rows >= 0
    new = np.bincount(votes.source[votes.rows[used]], newcomer.to_numpy(bool)[used], minlength=len(votes.sources)) > 0
    lean = _lean(sides, len(votes.sources))
    cores = [_core(sides, lean, sign) for sign in (1, -1)]
    outside = ~cores[0].members & ~cores[1].members
    traits = {"new": (new, outside), "aimed": _aimed(votes, sides, outside)}
    found = []
    for core, other, sign in zip(cores, cores[::-1], (1, -1), strict=True):
        if core.share < _CORE or other.flawless >= _CORE:
            continue
        chances = {name: _more_often(trait, core.members, rest) for name, (trait, rest) in traits.items()}
        trait = min(chances, key=lambda name: chances[name])
        p = min(1.0, 2 * len(traits) * chances[trait])
        if p > alpha or not _by_more_than_chance(sides, core, len(votes.sources)):
            continue
        own = core.members[sides.source] & (sides.side * sign * _facing(sides, lean) > 0)
        rows = votes.first_rows()[_pushes(votes, sides.vote[own], core.members)]
        if (rows < len(frame)).any():
            has, rest = traits[trait]
            found.append(_campaign(both, len(frame), rows, p, trait, has[core.members].mean(), has[rest].mean()))
    return found


def _disputes(votes: Votes) -> _Sides:
    """Return the votes for the two most given answers of each disputed item; of equals, the first in order."""
    pair = votes.pair
    size = np.bincount(pair)
    item = np.zeros(len(size), np.int64)
    item[pair] = votes.item
    order = np.lexsort((np.arange(len(size)), -size, item))
    rank = np.empty(len(size), np.int64)
    rank[order] = np.arange(len(size)) - np.searchsorted(item[order], item[order])
    first, second = (np.bincount(item[rank == k], size[rank == k], len(votes.items)) for k in (0, 1))
    total = np.bincount(votes.item, minlength=len(votes.items))
    open_ = (total >= _MIN_VOTES) & (first < _SETTLED * total) & (second >= _SIDE)
    at = np.flatnonzero(open_[votes.item] & (rank[pair] < 2))
    item, top = votes.item[at], rank[pair[at]] == 0
    most, least = first[item] - top, second[item] - ~top
    alone = (np.maximum(most, least) < _SETTLED * (total[item] - 1)) & (np.minimum(most, least) >= _SIDE)
    return _Sides(item, votes.source[at], np.where(top, 1.0, -1.0), at, alone)


def _lean(sides: _Sides, sources: int) -> np.ndarray:
    """Return ``(sources,)`` the leading eigenvector of agreements less disagreements; its sign is a source's camp."""
    rng = np.random.default_rng(0)
    if len(sides.item) > _MOST_VOTES:
        kept = rng.random(int(sides.item.max()) + 1)[sides.item] < _MOST_VOTES / len(sides.item)
        sides = _Sides(*(part[kept] for part in (sides.item, sides.source, sides.side, sides.vote, sides.alone)))
    n = np.sqrt(np.maximum(np.bincount(sides.source, minlength=sources), 1))
    lean = rng.normal(size=sources)
    for _ in range(_ROUNDS):
        told = np.bincount(sides.item, sides.side * lean[sides.source])
        others = told[sides.item] - sides.side * lean[sides.source]
        after = np.bincount(sides.source, sides.side * others, minlength=sources) / n
        after /= np.abs(after).max() + 1e-12
        moved, lean = np.abs(after - lean).max(), after
        if moved < _TOLERANCE:
            break
    return lean


def _facing(sides: _Sides, lean: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` which side of each vote's item the first camp takes, by the other votes about it."""
    own = sides.side * np.sign(lean)[sides.source]
    return np.sign(np.bincount(sides.item, own)[sides.item] - own)


def _core(sides: _Sides, lean: np.ndarray, sign: int) -> _Core:
    n = np.bincount(sides.source, minlength=len(lean))
    own = sides.side * np.sign(lean)[sides.source]
    agreed = np.bincount(sides.source, own * _facing(sides, lean) > 0, minlength=len(lean))
    camp = (np.sign(lean) == sign) & (n >= _SHARED)
    members, flawless = (camp & (agreed >= least * n) for least in (_ALWAYS, _NEVER_ERRS))
    size = max(int(camp.sum()), 1)
    return _Core(members, float(members.sum() / size), float(flawless.sum() / size))


def _aimed(votes: Votes, sides: _Sides, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which sources ``(sources,)`` give more of their votes to disputes than all but few, and who was compared.

    To items that are disputed without their vote, or a minority would seem to look for what it disputes. Few: one in
    twenty of the sources `outside` that answered as many disputed items as the members of a core.
    """
    mine = sides.alone
    n = np.bincount(sides.source, minlength=len(outside))
    share = np.bincount(sides.source, mine, len(outside)) / np.maximum(
        np.bincount(votes.source, minlength=len(outside)), 1
    )
    rest = outside & (n >= _SHARED)
    most = np.quantile(share[rest], 1 - _FEW) if rest.any() else 1.0
    return share > most, rest


def _more_often(trait: np.ndarray, core: np.ndarray, rest: np.ndarray) -> float:
    """Return the chance that as many of the `core` have a `trait`, at any rate that the `rest` makes likely."""
    k, m = int(trait[core].sum()), int(core.sum())
    if m < _MIN_SOURCES or not k:
        return 1.0
    a, b = 1.0 + trait[rest].sum(), 1.0 + (~trait)[rest].sum()
    return float(beta_binomial_low(m - k, m, b, a))


def _by_more_than_chance(sides: _Sides, core: _Core, sources: int) -> bool:
    """Return whether the core is larger than those of crowds without camps."""
    size = int(core.members.sum())
    rng = np.random.default_rng(0)
    order = np.argsort(sides.item, kind="stable")
    for _ in range(_DRAWS):
        mixed = np.lexsort((rng.random(len(order)), sides.item))
        drawn = _Sides(sides.item[order], sides.source[order], sides.side[mixed], sides.vote[order], sides.alone[order])
        lean = _lean(drawn, sources)
        if max(int(_core(drawn, lean, sign).members.sum()) for sign in (1, -1)) >= size:
            return False
    return True


def _pushes(votes: Votes, own: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Return the votes ``(m,)`` that the core pushes: of its `own` those against the rest, and its companions'.

    Companions hardly ever say anything else where two of the core push. What the rest say too is camouflage.
    """
    pair, by_core = votes.pair, np.zeros(len(votes.item), bool)
    by_core[own] = True
    rest = np.bincount(pair, ~members[votes.source])
    top = np.zeros(len(votes.items))
    np.maximum.at(top, votes.item, rest[pair])
    against = rest[pair] < top[votes.item]
    pushed = against & (np.bincount(pair, by_core)[pair] >= _ALIKE)
    item = np.zeros(len(votes.items), bool)
    item[votes.item[pushed]] = True
    asked, n = (np.bincount(votes.source, some, len(votes.sources)) for some in (item[votes.item], pushed))
    companion = (n >= _ALIKE) & (n >= _PUSHES * asked)
    return np.flatnonzero((by_core & against) | (pushed & companion[votes.source]))


def _campaign(
    both: pd.DataFrame, n_own: int, rows: np.ndarray, p: float, trait: str, share: float, usual: float
) -> Campaign:
    return make_campaign(
        both,
        rows,
        kind="camps",
        p=max(p, SMALLEST_P),
        strength=1.0,
        who="source_id",
        args=numbers_of(both.iloc[rows])
        | {"trait": trait, "share": round(float(share), 3), "usual": round(float(usual), 3)},
        n_own=n_own,
    )
