"""From links to campaigns: connected groups, their consistent members, one finding a group, overlaps merged."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.records import Campaign, Reason

__all__ = [
    "by_consistent_pushers",
    "campaign_id",
    "components",
    "event_times",
    "make_campaign",
    "merge_campaigns",
    "numbers_of",
]


def components(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the component ``(links,)`` of each link from ``left[i]`` to ``right[i]``, two kinds of node.

    Components are numbered from 0 in the order of their smallest left node.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(left):
        return np.zeros(0, np.int64)
    _, a = np.unique(left, return_inverse=True)
    _, b = np.unique(right, return_inverse=True)
    size = int(a.max()) + 1
    nodes = size + int(b.max()) + 1
    graph = coo_matrix((np.ones(len(a), np.int8), (a, b + size)), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1][a].astype(np.int64)


def numbers_of(members: pd.DataFrame) -> dict[str, int]:
    """Return how many records, sources and items a group's rows (``source_id, item_id``) are of, for its reason."""
    sources, items = (int(members[name].nunique()) for name in ("source_id", "item_id"))
    return {"n_records": len(members), "n_sources": sources, "n_items": items}


def campaign_id(record_ids: Iterable[str]) -> str:
    """Return ``c-`` and 12 hex digits of the hash of the members, whatever their order."""
    digest = hashlib.blake2b(digest_size=6)
    for record in sorted(set(record_ids)):
        digest.update(len(record.encode("utf-8", "surrogatepass")).to_bytes(8, "big"))
        digest.update(record.encode("utf-8", "surrogatepass"))
    return f"c-{digest.hexdigest()}"


def merge_campaigns(campaigns: Iterable[Campaign]) -> tuple[Campaign, ...]:
    """Return campaigns that share no record, earlier ones included, smallest p first; their order has no effect.

    Findings connected through shared records become one, with all their records and sources, the whole time span, the
    kind, p and reason of the most significant and the strength of the tightest.
    """
    ordered = sorted(campaigns, key=lambda c: (c.p, c.kind, tuple(sorted(c.record_ids))))
    if not ordered:
        return ()
    group = _sharing_records(ordered)
    merged = [_merged([c for c, g in zip(ordered, group, strict=True) if g == k]) for k in np.unique(group)]
    return tuple(sorted(merged, key=lambda c: (c.p, c.campaign_id)))


def _sharing_records(ordered: list[Campaign]) -> np.ndarray:
    members = [np.asarray(c.record_ids + c.earlier_ids, dtype=object) for c in ordered]
    owner = np.repeat(np.arange(len(ordered)), [len(ids) for ids in members])
    names = np.concatenate(members)
    codes = pd.factorize(names)[0]
    group = np.empty(len(ordered), np.int64)
    group[owner] = components(owner, codes)
    return group


def _merged(parts: list[Campaign]) -> Campaign:
    best = parts[0]
    records = tuple(sorted({r for c in parts for r in c.record_ids}))
    earlier = tuple(sorted({r for c in parts for r in c.earlier_ids}))
    firsts = [c.first_at for c in parts if c.first_at is not None]
    lasts = [c.last_at for c in parts if c.last_at is not None]
    return Campaign(
        campaign_id=campaign_id(records + earlier),
        kind=best.kind,
        p=best.p,
        strength=max(c.strength for c in parts),
        record_ids=records,
        source_ids=tuple(sorted({s for c in parts for s in c.source_ids})),
        first_at=min(firsts, default=None),
        last_at=max(lasts, default=None),
        reason=best.reason,
        earlier_ids=earlier,
    )


def make_campaign(
    frame: pd.DataFrame,
    rows: np.ndarray,
    *,
    kind: str,
    p: float,
    strength: float,
    who: str,
    args: dict[str, Any],
    n_own: int | None = None,
) -> Campaign:
    """Return the campaign of `rows` (positions); `who` names the column of its sources.

    Rows from `n_own` on are of earlier batches. The reason is `kind` with `args`; ``minutes`` among them is the span,
    rounded up, unless `args` gives another.
    """
    own = np.sort(rows) < (len(frame) if n_own is None else n_own)
    members = frame.iloc[np.sort(rows)]
    at = event_times(members).dropna()
    first, last = (at.min(), at.max()) if len(at) else (None, None)
    if first is not None:
        args = {"minutes": max(1, int(np.ceil((last - first).total_seconds() / 60)))} | args
    ids = members["record_id"].astype("str")
    records, earlier = tuple(sorted(ids[own])), tuple(sorted(ids[~own]))
    return Campaign(
        campaign_id=campaign_id(records + earlier),
        kind=kind,
        p=float(p),
        strength=float(np.clip(strength, 0, 1)),
        record_ids=records,
        source_ids=tuple(sorted(members[who].dropna().astype("str").unique())),
        first_at=None if first is None else first.to_pydatetime(warn=False),
        last_at=None if last is None else last.to_pydatetime(warn=False),
        reason=Reason(kind, args),
        earlier_ids=earlier,
    )


def event_times(frame: pd.DataFrame) -> pd.Series:
    """Return when each row happened: the sender's word where given, else when it was received; missing NaT."""
    nothing = pd.Series(pd.NaT, index=frame.index, dtype="datetime64[us, UTC]")
    at = nothing
    for column in ("observed_at", "received_at"):
        if column in frame.columns:
            at = at.fillna(pd.to_datetime(frame[column], utc=True).astype("datetime64[us, UTC]"))
    return at


_PUSHER_SHARE = (
    2 / 3
)  # of a source's votes on pushed items that push: careless honest people err on up to half of hard ones


def by_consistent_pushers(item: np.ndarray, source: np.ndarray, pushed: np.ndarray) -> np.ndarray:
    """Return for each vote ``(n,)`` whether its source pushes with two thirds of its votes on the items pushed at all.

    `item` and `source` are codes of all votes, `pushed` is a bool a vote. In a dense crowd, where everybody answers
    everything, most honest people give some of the pushed answers.
    """
    if not pushed.any():
        return pushed
    at_stake = np.isin(item, np.unique(item[pushed]))
    n_votes, n_pushed = np.bincount(source, at_stake), np.bincount(source, pushed)
    return ((n_pushed > 0) & (n_pushed >= _PUSHER_SHARE * n_votes))[source]
