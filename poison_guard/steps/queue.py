"""Queue: what waits for a person, by filter, page and group; changes nothing."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from poison_guard.canonical_json import utc_or_now
from poison_guard.decide.reasons import sentence
from poison_guard.errors import UsageError
from poison_guard.records import Place
from poison_guard.results import Result, TableResult
from poison_guard.review.filters import GROUPS, SORTS, QueueFilter, check_choice
from poison_guard.steps.opening import Feed
from poison_guard.store import quarantine, waiting
from poison_guard.store.facts import evidence_of, find_campaigns
from poison_guard.store.reading import count_place
from poison_guard.store.standing import count_decided_since

__all__ = ["Queue", "expiry", "filtered", "list_queue", "short_reasons", "with_reasons"]

_EVER = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MOST = 2_000
"""Entries of one page at most."""
_COLUMN = {"campaign": "campaign_id", "source": "source_id", "item": "item_id"}


@dataclass(frozen=True, slots=True)
class Queue(TableResult):
    """One page of what waits for review: entries, or with `group_by` groups of them."""

    feed: str
    filters: QueueFilter
    sort: str
    group_by: str | None
    page: int
    size: int
    entries: pd.DataFrame
    """Entries: ``record_id, kind, state, risk, created_at, day, reason, signal, source_id, author_id, item_id, label,
    group, campaign_id, run_id, claimed_by, lease_until, preview, place, readable, version, reasons, why``: `version` is
    what a decision is compared with, `reasons` a list of ``code, args, p, signal, sentence``. Groups: ``value, records,
    since, risk, record_id, preview, kind, why, sources``: the riskiest entry stands for its group."""
    total: int
    """Entries (groups) that meet the filters."""
    capped: bool
    """Whether there are more than `total`, which is where counting stopped."""
    open: int
    """All that wait."""
    expired: int
    """Entries that nobody read in time: excluded, counted, recoverable."""
    staged: int
    """Records that nothing could judge yet."""
    oldest: dt.datetime | None
    """When the oldest that waits came."""
    decided: int
    """Records that people released or rejected, ever."""
    decided_today: int
    """Records that people released or rejected on this day (UTC)."""
    pace: float
    """Of them a minute, over the last hour."""

    @property
    def pages(self) -> int:
        """How many pages there are, at least 1."""
        return max(1, -(-self.total // self.size))

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints: the filters as their parameters."""
        return {**Result.to_dict(self), "filters": self.filters.params(), "pages": self.pages}

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return a line per entry, or a line per group."""
        entries = self.entries.assign(preview=self.entries["preview"].str.replace("\n", " · ", regex=False))
        rows = entries.to_dict("records")
        if self.group_by is not None:
            columns = (self.group_by, ">records", ">risk", "since", "why", "for example")
            return columns, [(r["value"], r["records"], r["risk"], r["since"], r["why"], r["preview"]) for r in rows]
        names = ("record_id", "kind", "risk", "source_id", "campaign_id", "claimed_by", "why", "preview")
        columns = ("record", "kind", ">risk", "source", "campaign", "claimed by", "why", "payload")
        return columns, [tuple(row[name] for name in names) for row in rows]


def list_queue(
    feed: Feed,
    filters: QueueFilter | None = None,
    *,
    page: int = 1,
    size: int | None = None,
    sort: str = "risk",
    group_by: str | None = None,
    now: dt.datetime | None = None,
) -> Queue:
    """Return a page of what waits, riskiest first; `size` None: the policy's `review_budget`, 50 where it is more."""
    check_choice("sort", sort, SORTS)
    check_choice("group_by", group_by, GROUPS)
    size = min(feed.contract.policy.review_budget or 1, 50) if size is None else size
    if page < 1 or not 1 <= size <= MOST:
        raise UsageError(f"page is 1 or more and size from 1 to {MOST:,}, got {page} and {size}")
    name, asked, at = feed.contract.name, filters or QueueFilter(), utc_or_now(now)
    since = expiry(feed, at)
    which: dict[str, Any] = {"at": at, "since": since, "offset": (page - 1) * size, "limit": size}
    values = filtered(asked)
    if group_by is None:
        found = waiting.find_page(feed.store, name, values, sort=sort, **which)
        rows = with_reasons(feed, found.rows)
    else:
        found = waiting.group_page(feed.store, name, _COLUMN.get(group_by, group_by), values, **which)
        rows = _with_causes(feed, group_by, found.rows)
    with feed.store.read() as conn:
        counts: dict[str, Any] = quarantine.count_open(conn, name, since=since)
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return Queue(
        feed=name,
        filters=asked,
        sort=sort,
        group_by=group_by,
        page=page,
        size=size,
        entries=rows,
        total=found.total,
        capped=found.capped,
        open=counts["open"],
        expired=counts["expired"],
        oldest=counts["oldest"],
        staged=count_place(feed.store, name, Place.STAGED),
        decided=count_decided_since(feed.store, name, _EVER),
        decided_today=count_decided_since(feed.store, name, day),
        pace=count_decided_since(feed.store, name, at - dt.timedelta(hours=1)) / 60,
    )


def filtered(filters: QueueFilter) -> dict[str, Any]:
    """Return a filter as the store takes it."""
    return dataclasses.asdict(filters)


def expiry(feed: Feed, now: dt.datetime | None) -> dt.datetime:
    """Return when entries had to be made not to have expired."""
    return utc_or_now(now) - dt.timedelta(days=feed.contract.policy.expire_days)


def with_reasons(feed: Feed, entries: pd.DataFrame) -> pd.DataFrame:
    """Add ``reasons``, most suspicious first, and ``why``: the first two as sentences."""
    evidence = evidence_of(feed.store, feed.contract.name, entries["record_id"].tolist())
    names = ("code", "args", "p", "signal")
    by_record: dict[str, list[dict[str, Any]]] = {}
    for record_id, *values in zip(evidence["record_id"], *(evidence[name] for name in names), strict=True):
        reason = dict(zip(names, values, strict=True))
        by_record.setdefault(record_id, []).append(reason | {"sentence": sentence(reason["code"], reason["args"])})
    reasons = [by_record.get(name, []) for name in entries["record_id"]]
    return entries.assign(
        reasons=pd.Series(reasons, index=entries.index, dtype=object),
        why=pd.Series([short_reasons(some) for some in reasons], index=entries.index, dtype="str"),
    )


def short_reasons(reasons: Sequence[Mapping[str, Any]]) -> str:
    """Return the sentences of the first two reasons, and how many more there are."""
    more = f" (+{len(reasons) - 2})" if len(reasons) > 2 else ""
    return "; ".join(reason["sentence"] for reason in reasons[:2]) + more


def _with_causes(feed: Feed, group_by: str, groups: pd.DataFrame) -> pd.DataFrame:
    """Add ``kind``, ``why`` and ``sources``: of a campaign what was found; of other groups why its riskiest waits."""
    if group_by != "campaign":
        shown = with_reasons(feed, groups[["record_id"]])
        return groups.assign(kind=None, why=shown["why"], sources=pd.NA)
    found = find_campaigns(feed.store, feed.contract.name, groups["value"].tolist())
    found = found.set_index("campaign_id").reindex(groups["value"])
    why = [sentence(c, a) if isinstance(c, str) else "" for c, a in zip(found["code"], found["args"], strict=True)]
    return groups.assign(kind=found["kind"].to_numpy(), why=why, sources=found["n_sources"].to_numpy())
