"""Find sources that vote alike on the same items at the same time, more than the items' other votes explain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.records import Campaign
from poison_guard.signals.campaigns.findings import by_consistent_pushers, components, event_times, make_campaign
from poison_guard.signals.pvalues import SMALLEST_P, benjamini_hochberg, binomial_sum_high
from poison_guard.signals.votes import encode

__all__ = ["WINDOWS", "lockstep"]

WINDOWS = (600.0, 3600.0, 6 * 3600.0, 24 * 3600.0)
"""Seconds within which votes are in step; each is tried, and the p-values pay for it."""
_MIN_SOURCES = 4
_AT_ONCE = 0.4  # share of the group's like votes on an item that must fall into one window: camouflage is spread out
_COMPANIONS = 0.9  # adjusted p up to which a source may join what others proved, by sharing its pushed votes


@dataclass(frozen=True, slots=True)
class _Rows:
    """Distinct (item, source, vote) rows sorted by item and time; all ``(n,)``."""

    item: np.ndarray
    source: np.ndarray
    vote: np.ndarray
    """Code of the (item, vote) pair."""
    seconds: np.ndarray
    """Since the first row."""
    row: np.ndarray
    """Position in the frame."""


@dataclass(frozen=True, slots=True)
class _Push:
    """Rows of sources that push votes together, within windows of `width` seconds."""

    rows: np.ndarray
    p: float
    width: float


def lockstep(frame: pd.DataFrame, *, alpha: float, earlier: pd.DataFrame | None = None) -> list[Campaign]:
    """Return groups of at least four sources in step in a campaign frame (``item_id, source_id, vote, observed_at``).

    Null: on each item, who said what is independent of when. Given an item's times, the votes around one of its votes
    are then a draw without replacement from the item's others, which keeps every source's and every hour's activity, a
    flash crowd and an item that was open for an hour only. A source's surplus of like votes around its own is tested
    with Chernoff's bound, once with each vote weighed by how rare it is on its item and once over minority votes alone
    (so that camouflage, which says what all say, adds no noise); the p-values are adjusted over sources
    (Benjamini-Hochberg) and over windows and weights (Bonferroni). Among honest sources alone, any is in step with
    chance at most `alpha`. Sources in step that share pushed votes are a campaign; its records are the pushed votes,
    those of weaker companions included, not the camouflage. Where all votes of an item come within one window, nothing
    can be told from time. `earlier` (the same columns, of former batches) is evidence like the rest, and named apart in
    a campaign.

    References: Beutel et al. (2013), "CopyCatch"; Cao et al. (2014), "SynchroTrap" (same actions within a window).
    """
    both = frame if earlier is None or earlier.empty else pd.concat([frame, earlier], ignore_index=True)
    rows = _rows(both)
    if not len(rows.item):
        return []
    pushes: list[_Push] = []
    for width in WINDOWS:
        p = np.minimum(_sources_in_step(rows, width) * len(WINDOWS), 1.0)
        pushes += _groups(rows, p, width, alpha)
    joined = [push for push in _join(pushes) if (rows.row[push.rows] < len(frame)).any()]
    return [_campaign(both, len(frame), rows, push) for push in joined]


def _rows(frame: pd.DataFrame) -> _Rows:
    """Return the votes of `frame` that have a time, each at its first one."""
    at = event_times(frame)
    timed = np.flatnonzero(at.notna().to_numpy())
    seconds = at.dt.floor("s").astype("int64").to_numpy()[timed] // 1_000_000
    votes = encode(frame.iloc[timed])
    first = votes.first_rows(np.argsort(seconds, kind="stable"))
    pair, seconds = votes.pair, seconds[first]
    order = np.lexsort((votes.source, pair, seconds, votes.item))
    seconds = seconds - seconds.min(initial=np.iinfo(np.int64).max)
    return _Rows(*(column[order] for column in (votes.item, votes.source, pair, seconds, timed[first])))


def _within(code: np.ndarray, at: np.ndarray, width: float, among: np.ndarray | None = None) -> np.ndarray:
    """Return for each row how many rows (of `among`) have its code and lie within `width` seconds, itself included."""
    step = int(at.max(initial=0) + 2 * width + 1)
    key = code * step + at
    ordered = np.sort(key if among is None else key[among])
    return np.searchsorted(ordered, key + int(width), "right") - np.searchsorted(ordered, key - int(width), "left")


def _sources_in_step(rows: _Rows, width: float) -> np.ndarray:
    """Return ``(sources,)`` adjusted p-values: the chance that votes independent of time agree this much in time."""
    others = np.bincount(rows.item)[rows.item] - 1
    like = np.bincount(rows.vote)[rows.vote] - 1
    near = _within(rows.item, rows.seconds, width) - 1
    hits = _within(rows.vote, rows.seconds, width) - 1
    share = like / np.maximum(others, 1)
    has_company = near > 0
    size = int(rows.source.max()) + 1
    tests = [
        binomial_sum_high(
            rows.source[has_company], hits[has_company], near[has_company], share[has_company], weight, size
        )
        for weight in ((1 - share[has_company]) ** 2, (share[has_company] < 0.5).astype(float))
    ]
    return benjamini_hochberg(np.minimum(1.0, len(tests) * np.minimum(*tests)))


def _groups(rows: _Rows, p: np.ndarray, width: float, alpha: float) -> list[_Push]:
    """Return the groups that sources in step form by the votes they push together, one ``p <= alpha`` in each."""
    if not (p <= alpha).any():
        return []
    mine = p[rows.source] <= max(alpha, _COMPANIONS)
    company = _within(rows.vote, rows.seconds, width, mine)
    together = company >= _AT_ONCE * np.bincount(rows.vote, mine)[rows.vote]
    pushed = mine & (company >= 2) & together & ~_said_by_all(rows, mine | (company >= 2))
    joined = pushed | (~mine & (_within(rows.vote, rows.seconds, width, pushed) >= 2))
    chosen = np.flatnonzero(joined)
    chosen = chosen[np.lexsort((rows.seconds[chosen], rows.vote[chosen]))]
    breaks = (rows.vote[chosen][1:] != rows.vote[chosen][:-1]) | (np.diff(rows.seconds[chosen]) > width)
    burst = np.cumsum(np.r_[True, breaks][: len(chosen)])
    sure = pushed[chosen]
    group = components(rows.source[chosen[sure]], burst[sure])
    by_burst = dict(zip(burst[sure].tolist(), group.tolist(), strict=True))
    of = np.array([by_burst[b] for b in burst.tolist()], np.int64)
    found = []
    for g in np.unique(group):
        sources = np.unique(rows.source[chosen[sure]][group == g])
        if len(sources) >= _MIN_SOURCES and p[sources].min() <= alpha:
            found.append(_Push(_own(rows, chosen[of == g], p <= alpha), float(p[sources].min()), width))
    return found


def _own(rows: _Rows, chosen: np.ndarray, proven: np.ndarray) -> np.ndarray:
    """Return the `chosen` rows of proven sources, and of others that are `by_consistent_pushers`."""
    pushed = np.zeros(len(rows.item), bool)
    pushed[chosen] = True
    with_them = by_consistent_pushers(rows.item, rows.source, pushed)
    return chosen[proven[rows.source[chosen]] | with_them[chosen]]


def _said_by_all(rows: _Rows, in_burst: np.ndarray) -> np.ndarray:
    """Return for each row whether its vote is also the one most given on its item outside the bursts."""
    outside = np.bincount(rows.vote, ~in_burst)
    top = np.zeros(rows.item.max() + 1)
    np.maximum.at(top, rows.item, outside[rows.vote])
    return (outside[rows.vote] > 0) & (outside[rows.vote] >= top[rows.item])


def _join(pushes: list[_Push]) -> list[_Push]:
    """Return pushes that share no row: those of several windows that do are one, with the best window's p."""
    if not pushes:
        return []
    owner = np.concatenate([np.full(len(push.rows), k) for k, push in enumerate(pushes)])
    group = components(owner, np.concatenate([push.rows for push in pushes]))
    joined = []
    for g in np.unique(group):
        parts = [pushes[k] for k in np.unique(owner[group == g])]
        best = min(parts, key=lambda push: (push.p, push.width))
        joined.append(_Push(np.unique(np.concatenate([push.rows for push in parts])), best.p, best.width))
    return joined


def _campaign(both: pd.DataFrame, n_own: int, rows: _Rows, push: _Push) -> Campaign:
    items, sources = np.unique(rows.item[push.rows]), np.unique(rows.source[push.rows])
    of_group = np.isin(rows.item, items) & np.isin(rows.source, sources)
    row = rows.row[push.rows]
    return make_campaign(
        both,
        row,
        kind="lockstep",
        p=max(push.p, SMALLEST_P),
        strength=len(push.rows) / of_group.sum(),
        who="source_id",
        args={
            "n_records": len(row),
            "n_sources": len(sources),
            "n_items": len(items),
            "minutes": int(push.width // 60),
        },
        n_own=n_own,
    )
