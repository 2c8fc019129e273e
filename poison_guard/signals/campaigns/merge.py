"""Make one campaign of findings that share records, with an id that depends on its members alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pandas as pd

from poison_guard.numerics.graphs import components
from poison_guard.records import Campaign

__all__ = ["campaign_id", "merge_campaigns"]


def campaign_id(record_ids: Iterable[str]) -> str:
    """Return ``c-`` and 12 hex digits of the hash of the members, whatever their order."""
    digest = hashlib.blake2b(digest_size=6)
    for record in sorted(set(record_ids)):
        digest.update(len(record.encode("utf-8", "surrogatepass")).to_bytes(8, "big"))
        digest.update(record.encode("utf-8", "surrogatepass"))
    return f"c-{digest.hexdigest()}"


def merge_campaigns(found: Iterable[Campaign]) -> tuple[Campaign, ...]:
    """Return campaigns that share no record, earlier ones included, smallest p first; order of `found` without effect.

    Findings connected through shared records become one, with all their records and sources, the whole time span, the
    kind, p and reason of the most significant and the strength of the tightest.
    """
    ordered = sorted(found, key=lambda c: (c.p, c.kind, tuple(sorted(c.record_ids))))
    if not ordered:
        return ()
    group = _components(ordered)
    merged = [_one([c for c, g in zip(ordered, group, strict=True) if g == k]) for k in np.unique(group)]
    return tuple(sorted(merged, key=lambda c: (c.p, c.campaign_id)))


def _components(ordered: list[Campaign]) -> np.ndarray:
    members = [np.asarray(c.record_ids + c.earlier_ids, dtype=object) for c in ordered]
    owner = np.repeat(np.arange(len(ordered)), [len(ids) for ids in members])
    names = np.concatenate(members)
    codes = pd.factorize(names)[0]
    group = np.empty(len(ordered), np.int64)
    group[owner] = components(owner, codes)
    return group


def _one(parts: list[Campaign]) -> Campaign:
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
