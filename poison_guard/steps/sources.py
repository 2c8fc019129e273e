"""Sources: who sends records to a feed and how reliable each is; block one, or unblock it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from poison_guard.canonical_json import utc_or_now
from poison_guard.errors import NotFoundError, UsageError
from poison_guard.results import Result, TableResult
from poison_guard.review.rules import check_person
from poison_guard.signals.sources.honest_sources import detect_changes
from poison_guard.signals.sources.reliability import score_history
from poison_guard.steps.look import shares_right
from poison_guard.steps.opening import Feed
from poison_guard.steps.outbox import drain
from poison_guard.store.blocks import check_block_changes, find_block, set_blocked
from poison_guard.store.bulk import bounded_key
from poison_guard.store.reading import load_sources, load_verified_answers

__all__ = ["BlockResult", "Sources", "block", "list_sources", "unblock"]


@dataclass(frozen=True, slots=True)
class Sources(TableResult):
    """The sources of a feed, least reliable first."""

    feed: str
    total: int
    """Sources that pass the filters; `sources` holds at most as many as were asked for."""
    sources: pd.DataFrame
    """The ledger with ``reliability, lower_bound, changed, changed_wrong, changed_n``, one row per source."""

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return the columns a person reads (``>NAME``: numbers, to the right) and their rows."""
        columns = ("source", ">reliability", ">at least", ">records", ">controls", ">settled items", ">outcomes")
        rows = [_cells(row) for row in self.sources.to_dict("records")]
        return (*columns, "has changed", "blocked"), rows


def list_sources(
    feed: Feed,
    *,
    limit: int | None = None,
    blocked: bool = False,
    changed: bool = False,
    source_ids: Sequence[str] = (),
    below: float | None = None,
    min_records: int | None = None,
) -> Sources:
    """Return the sources of a feed, alarming and least reliable first; `total` counts those that pass the filters.

    Only blocked ones; only those that have `changed` (``changed_wrong`` of their last ``changed_n`` verified answers
    raise an alarm); only those named; only those whose reliability is `below` a share; or that sent `min_records`.
    `NotFoundError` for a named source that the feed does not know.
    """
    ranked = _ranked(feed)
    named = [bounded_key(name) for name in source_ids]
    unknown = [name for name in named if name not in set(ranked["source_id"])]
    if unknown:
        raise NotFoundError(f"{feed.contract.name} knows no source {unknown[0]!r}")
    keep = ranked["source_id"].isin(named) if named else pd.Series(True, index=ranked.index)
    if blocked:
        keep &= ranked["blocked"].astype(bool)
    if changed and len(ranked):
        keep &= ranked["changed"]
    if below is not None:
        keep &= ranked["reliability"] < below
    if min_records is not None:
        keep &= ranked["n"] >= min_records
    shown = ranked[keep]
    return Sources(feed.contract.name, len(shown), shown.head(limit).reset_index(drop=True))


def _ranked(feed: Feed) -> pd.DataFrame:
    ledger = load_sources(feed.store, feed.contract)
    if not len(ledger):
        return ledger.assign(reliability=pd.Series(dtype=float), lower_bound=pd.Series(dtype=float))
    policy, verified = feed.contract.policy, load_verified_answers(feed.store, feed.contract)
    scored = score_history(
        ledger["source_id"], alpha=policy.source_alpha, ledger=ledger, verified=verified, half_life=policy.half_life
    )
    changes = detect_changes(verified).rename(columns={"wrong": "changed_wrong", "n": "changed_n"})
    changes = changes.assign(changed=changes["p"] <= policy.source_alpha)
    table = ledger.merge(scored[["source_id", "reliability", "lower_bound"]], on="source_id")
    table = table.merge(changes[["source_id", "changed", "changed_wrong", "changed_n"]], on="source_id", how="left")
    table = table.fillna({"changed": False, "changed_wrong": 0, "changed_n": 0})
    table = table.astype({"changed": bool, "changed_wrong": int, "changed_n": int})
    order = ["changed", "lower_bound", "source_id"]
    return table.sort_values(order, ascending=[False, True, True], ignore_index=True)


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    changed = f"{row['changed_wrong']} of the last {row['changed_n']} wrong" if row["changed"] else None
    first = (row["source_id"], row["reliability"], row["lower_bound"], int(row["n"]))
    return (*first, *shares_right(row).values(), changed, bool(row["blocked"]))


@dataclass(frozen=True, slots=True)
class BlockResult(Result):
    """What blocking or unblocking a source did, or would do."""

    feed: str
    source_id: str
    verb: str
    """``block`` or ``unblock``."""
    event: int | None
    """Number of the event; `undo` takes it. None: a dry run, nothing was changed."""

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        first = {"feed": self.feed, "source_id": self.source_id, "verb": self.verb, "dry_run": self.event is None}
        return {**first, "event": self.event, "message": str(self)}

    def __str__(self) -> str:
        """Return what was done in a sentence."""
        if self.event is None:
            return f"would {self.verb} source {self.source_id}"
        return f"{self.verb}ed source {self.source_id} (event {self.event})"


def block(feed: Feed, source_id: str, **person: Any) -> BlockResult:
    """Hold what a source sends to the feed's namespace from now on; what it sent before stays where it is.

    `person`: ``by, reason, dry_run, now``. `UsageError` when the source is blocked already.
    """
    return _set_blocked(feed, source_id, blocked=True, **person)


def unblock(feed: Feed, source_id: str, **person: Any) -> BlockResult:
    """Take a block back; `UsageError` when the source is not blocked."""
    return _set_blocked(feed, source_id, blocked=False, **person)


def _set_blocked(
    feed: Feed,
    source_id: str,
    *,
    blocked: bool,
    by: str,
    reason: str,
    dry_run: bool = False,
    now: dt.datetime | None = None,
) -> BlockResult:
    name, why = check_person(by, reason)
    which = {"namespace": feed.contract.namespace, "source_id": source_id, "blocked": blocked}
    event = None
    if dry_run:
        check_block_changes(feed.store, **which)
    else:
        feed_name, at = feed.contract.name, utc_or_now(now)
        try:
            event = set_blocked(feed.store, feed=feed_name, by=name, reason=why, at=at, **which)
        except UsageError:  # it is so already: by the same command, where that was killed after its commit
            before = {"source_id": source_id, "by": name, "reason": why, "blocked": blocked}
            event = find_block(feed.store, feed=feed_name, **before)
            if event is None:
                raise
        drain(feed.store, feed.settings, now)
    return BlockResult(feed.contract.name, source_id, "block" if blocked else "unblock", event)
