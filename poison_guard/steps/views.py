"""What a reviewer looks at before a decision: a record, a campaign, a source, an item; changes nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from poison_guard.decide.reasons import sentence
from poison_guard.errors import NotFoundError
from poison_guard.records import ID_CONFLICT
from poison_guard.results import Result
from poison_guard.steps.look import RecordFacts, show_of
from poison_guard.steps.opening import Feed
from poison_guard.steps.sources import list_sources
from poison_guard.store import load_campaign
from poison_guard.store.bulk import bounded_key
from poison_guard.store.members import item_votes, label_of, members, places_of, sources_of, timeline
from poison_guard.store.source_rules import find_rules

__all__ = ["CampaignView", "ItemView", "RecordView", "SourceView", "campaign", "item", "record", "source"]

_MEMBERS = 20


@dataclass(frozen=True, slots=True)
class RecordView(Result):
    """A record as a reviewer needs it: all that is known of it, and who is like it."""

    feed: str
    record_id: str
    version: int
    """What a decision gives as `expected`, so that it never overwrites one made meanwhile."""
    facts: RecordFacts
    others: pd.DataFrame
    """More of its campaign: ``record_id, source_id, item_id, answer, place, risk, received_at, preview``."""
    same_source: pd.DataFrame
    """The newest records of its source, in the same columns."""


@dataclass(frozen=True, slots=True)
class CampaignView(Result):
    """A campaign: what was found and why, its members, sources and labels, and what speaks for an innocent cause."""

    feed: str
    campaign_id: str
    kind: str
    why: str
    p: float
    strength: float
    n_records: int
    n_sources: int
    first_at: dt.datetime | None
    last_at: dt.datetime | None
    places: Mapping[str, int]
    timeline: pd.DataFrame
    """``hour, records``."""
    members: pd.DataFrame
    """The riskiest, in the columns of `RecordView.others`."""
    sources: pd.DataFrame
    """``source_id, records, since`` (when the account began, or first sent), the youngest first."""
    labels: pd.DataFrame
    """``answer, records``."""
    benign: tuple[Mapping[str, Any], ...]
    """Innocent explanations: ``name, speaks_for, speaks_against`` (sentences)."""


@dataclass(frozen=True, slots=True)
class SourceView(Result):
    """A source: its ledger and reliability, where its records are, and the rules about it."""

    feed: str
    source_id: str
    ledger: Mapping[str, Any] | None
    """Row of `Sources.sources`; None where no ledger knows it yet."""
    places: Mapping[str, int]
    timeline: pd.DataFrame
    """``hour, records``."""
    records: pd.DataFrame
    """The newest, in the columns of `RecordView.others`."""
    campaigns: tuple[str, ...]
    rules: tuple[Mapping[str, Any], ...]
    """``event, verb, by, reason, at, expires``."""


@dataclass(frozen=True, slots=True)
class ItemView(Result):
    """An item: its label or why it is deferred, the votes about it, and who gave them."""

    feed: str
    item_id: str
    label: str | None
    probability: float | None
    adopted: bool
    why: str | None
    votes: pd.DataFrame
    """``answer, place, records, sources``."""
    records: pd.DataFrame
    """The newest, in the columns of `RecordView.others`."""


def record(feed: Feed, record_id: str) -> RecordView:
    """Return a record with what surrounds it; `NotFoundError` when the feed has none of that id."""
    facts, name = show_of(feed, record_id), feed.contract.name
    row = facts.record
    empty = members(feed.store, name, limit=0)
    others = same = empty
    if row["campaign_id"]:
        others = members(feed.store, name, campaign_id=row["campaign_id"], limit=_MEMBERS + 1)
        others = others[others["record_id"] != row["record_id"]].head(_MEMBERS).reset_index(drop=True)
    if row["source_id"]:
        same = members(feed.store, name, source_id=row["source_id"], limit=_MEMBERS, newest=True)
    return RecordView(name, row["record_id"], row["version"], facts, others, same)


def campaign(feed: Feed, campaign_id: str) -> CampaignView:
    """Return a campaign; `NotFoundError` when the feed has none of that id."""
    name = feed.contract.name
    row, which = load_campaign(feed.store, name, bounded_key(campaign_id)), {"campaign_id": bounded_key(campaign_id)}
    votes = item_votes(feed.store, name, **which).dropna(subset=["answer"])
    counted = sources_of(feed.store, name, **which)
    return CampaignView(
        feed=name,
        **{key: row[key] for key in ("campaign_id", "kind", "p", "strength", "n_records", "n_sources")},
        first_at=row["first_at"],
        last_at=row["last_at"],
        why=sentence(row["code"], row["args"]),
        places=places_of(feed.store, name, **which),
        timeline=timeline(feed.store, name, **which),
        members=members(feed.store, name, limit=_MEMBERS, **which),
        sources=counted,
        labels=votes.groupby("answer", as_index=False)["records"].sum(),
        benign=benign_causes(row["kind"], counted, dict(zip(votes["answer"], votes["records"], strict=True))),
    )


def benign_causes(kind: str, sources: pd.DataFrame, votes: Mapping[str, int]) -> tuple[dict[str, Any], ...]:
    """Return the innocent causes that such a campaign may have, and what of its facts speaks for and against each.

    `sources` are ``source_id, records, since``. The facts are those of the campaign; which cause holds is for people.
    """
    n, most = len(sources), int(sources["records"].max()) if len(sources) else 0
    total = int(sources["records"].sum()) if n else 0
    since = sources["since"].dropna()
    spread = (since.max() - since.min()).days if len(since) > 1 else 0
    old = f"its accounts began over {spread:,} days" if spread >= _OLD_DAYS else ""
    new = f"all its accounts began within {spread:,} days of each other" if n > 1 and spread < _OLD_DAYS else ""
    many = f"{n:,} sources sent {total:,} records" if n > 1 and most <= max(2, total / n * 2) else ""
    few = f"one source sent {most:,} of {total:,} records" if total and most > total / 2 else ""
    split = f"its answers differ: {len(votes):,} of them" if len(votes) > 1 else ""
    causes = [
        {"name": "flash crowd", "speaks_for": [t for t in (old, many, split) if t], "speaks_against": [new, few]},
        {"name": "saying or meme that many repeat", "speaks_for": [t for t in (old, many) if t],
         "speaks_against": [new, few]},
        {"name": "one honest sender on many devices", "speaks_for": [few] if few else [], "speaks_against": [many]},
    ]  # fmt: skip
    if kind == ID_CONFLICT:
        return ()
    return tuple({**cause, "speaks_against": [t for t in cause["speaks_against"] if t]} for cause in causes)


_OLD_DAYS = 30


def source(feed: Feed, source_id: str) -> SourceView:
    """Return a source; `NotFoundError` when the feed knows none of that id."""
    name, which = feed.contract.name, {"source_id": bounded_key(source_id)}
    records = members(feed.store, name, limit=_MEMBERS, newest=True, **which)
    try:
        rows = list_sources(feed, source_ids=[source_id]).sources.to_dict("records")
    except NotFoundError:
        rows = list[dict[str, Any]]()
        if records.empty:
            raise
    return SourceView(
        feed=name,
        source_id=which["source_id"],
        ledger=rows[0] if rows else None,
        places=places_of(feed.store, name, **which),
        timeline=timeline(feed.store, name, **which),
        records=records,
        campaigns=tuple(sorted(records["campaign_id"].dropna().unique())),
        rules=tuple(find_rules(feed.store, name, source_id=which["source_id"])),
    )


def item(feed: Feed, item_id: str) -> ItemView:
    """Return an item; `NotFoundError` when no record of the feed is about it."""
    name, which = feed.contract.name, {"item_id": bounded_key(item_id)}
    records = members(feed.store, name, limit=_MEMBERS, newest=True, **which)
    label = label_of(feed.store, name, which["item_id"])
    if records.empty and label is None:
        raise NotFoundError(f"no record of {name} is about an item {item_id!r}")
    said = label or {"label": None, "probability": None, "adopted": False, "why": None}
    return ItemView(name, which["item_id"], **said, votes=item_votes(feed.store, name, **which), records=records)
