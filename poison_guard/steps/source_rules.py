"""Rules about sources: block one or trust its own content until a day; what would change is shown first."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from poison_guard.canonical_json import utc_or_now
from poison_guard.errors import BusyError, NotFoundError, UsageError
from poison_guard.results import Result, TableResult
from poison_guard.review.filters import check_choice
from poison_guard.review.rules import check_person
from poison_guard.steps.notify import tell_of_queue
from poison_guard.steps.opening import Feed
from poison_guard.steps.payloads import show_in_queue
from poison_guard.steps.queue import expiry
from poison_guard.steps.review import release
from poison_guard.steps.sources import block, unblock
from poison_guard.store import source_rules as store_rules

__all__ = ["Kept", "RuleResult", "Rules", "add_rule", "end_rule", "keep", "rules"]

_SEEN = dt.timedelta(days=30)


@dataclass(frozen=True, slots=True)
class RuleResult(Result):
    """What a rule does, or would do."""

    feed: str
    source_id: str
    verb: str
    """``allow``, ``block`` or ``end``."""
    event: int | None
    """Number of the rule; `end_rule` takes it. None: a dry run, nothing was changed."""
    expires: dt.datetime | None
    released: int
    """Records that waited for their own content alone, and are (would be) released unchecked."""
    last_30_days: Mapping[str, int]
    """Where the source's records of the last 30 days are: as many would a block have held."""

    def __str__(self) -> str:
        """Return what the rule does in a sentence."""
        until = f" until {self.expires:%Y-%m-%d}" if self.expires else ""
        did = f"would {self.verb}" if self.event is None else f"rule {self.event}: {self.verb}"
        sent = ", ".join(f"{n:,} {place}" for place, n in self.last_30_days.items()) or "nothing"
        freed = f"; {self.released:,} that wait are released unchecked" if self.verb == "allow" else ""
        return f"{did} source {self.source_id}{until}{freed}; in 30 days it sent: {sent}"


@dataclass(frozen=True, slots=True)
class Rules(TableResult):
    """The rules about sources that hold."""

    feed: str
    rules: tuple[Mapping[str, Any], ...]
    """``event, source_id, verb, by, reason, at, expires``."""

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return a line a rule."""
        names = ("event", "source_id", "verb", "by", "at", "expires", "reason")
        return (">rule", "source", "what", "by", "at", "until", "reason"), [
            tuple(rule[name] for name in names) for rule in self.rules
        ]


@dataclass(frozen=True, slots=True)
class Kept(Result):
    """What `keep` did."""

    feed: str
    expired: int
    """Entries of the queue that nobody read in time: excluded, counted, recoverable."""
    released: int
    """Records that rules released, unchecked."""
    lapsed: tuple[int, ...]
    """Rules that ended by themselves."""

    def __str__(self) -> str:
        """Return what was done in a sentence."""
        ended = f"{len(self.lapsed)} rules lapsed"
        return f"{self.feed}: {self.expired:,} entries expired, {self.released:,} records released by rules, {ended}"


def add_rule(
    feed: Feed,
    source_id: str,
    verb: str,
    *,
    expires: dt.datetime | None = None,
    by: str,
    reason: str,
    dry_run: bool = False,
    now: dt.datetime | None = None,
) -> RuleResult:
    """Block a source, or ``allow`` it: what is held for its own content alone is released, unchecked, until `expires`.

    What a campaign, a broken rule or the source's own reliability holds is never released by a rule. An `allow` must
    expire within a year.
    """
    check_choice("a rule", verb, ("allow", "block"))
    name, why = check_person(by, reason)
    at = utc_or_now(now)
    until = None if expires is None else utc_or_now(expires)
    if until is not None and until <= at:
        raise UsageError(f"a rule must expire later than now, got {until.isoformat()}")
    if verb == "allow" and (until is None or until > at + dt.timedelta(days=366)):
        raise UsageError("a rule that allows a source must expire within a year: say when, by `expires`")
    store, called = feed.store, feed.contract.name
    sent = store_rules.count_source(store, called, source_id, since=at - _SEEN)
    waits = len(store_rules.allowed_entries(store, called, source_id)) if verb == "allow" else 0
    event = None
    if not dry_run:
        if verb == "block":
            with suppress(UsageError):  # blocked already: the rule lets the block lapse
                block(feed, source_id, by=name, reason=why, now=now)
        event = store_rules.add_rule(store, called, source_id, verb, expires=until, by=name, reason=why, at=at)
        waits = _release_allowed(feed, {"event": event, "source_id": source_id, "by": name}, at) if waits else 0
    return RuleResult(called, source_id, verb, event, until, waits, sent)


def end_rule(feed: Feed, rule: int, *, by: str, reason: str, now: dt.datetime | None = None) -> RuleResult:
    """End a rule; a source that it blocked may speak again."""
    name, why = check_person(by, reason)
    at, called = utc_or_now(now), feed.contract.name
    known = next((r for r in store_rules.find_rules(feed.store, called) if r["event"] == rule), None)
    if known is None:
        raise NotFoundError(f"{called} has no rule {rule} that holds")
    event = store_rules.end_rule(feed.store, called, rule, by=name, reason=why, at=at)
    if known["verb"] == "block":
        with suppress(UsageError):  # somebody unblocked it by hand
            unblock(feed, known["source_id"], by=name, reason=why, now=now)
    sent = store_rules.count_source(feed.store, called, known["source_id"], since=at - _SEEN)
    return RuleResult(called, known["source_id"], "end", event, None, 0, sent)


def rules(feed: Feed) -> Rules:
    """Return the rules that hold, the newest first."""
    return Rules(feed.contract.name, tuple(store_rules.find_rules(feed.store, feed.contract.name)))


def keep(feed: Feed, now: dt.datetime | None = None) -> Kept:
    """Do what time asks for: end rules that lapsed, release what rules allow, let unread entries expire.

    Called after each run; the same again changes nothing.
    """
    at, called = utc_or_now(now), feed.contract.name
    held = store_rules.find_rules(feed.store, called)
    late = [rule for rule in held if rule["expires"] is not None and rule["expires"] <= at]
    for rule in late:
        end_rule(feed, rule["event"], by=rule["by"], reason=f"rule {rule['event']} lapsed", now=at)
    allow = [rule for rule in held if rule["verb"] == "allow" and rule not in late]
    released = sum(_release_allowed(feed, rule, at) for rule in allow)
    show_in_queue(feed)
    tell_of_queue(feed, at)
    expired = store_rules.expire_entries(feed.store, called, since=expiry(feed, at), at=at)
    return Kept(called, expired, released, tuple(rule["event"] for rule in late))


def _release_allowed(feed: Feed, rule: Mapping[str, Any], at: dt.datetime) -> int:
    """Release what a rule allows, in the name of who made it, without saying that it is right."""
    ids = store_rules.allowed_entries(feed.store, feed.contract.name, rule["source_id"])
    if not ids:
        return 0
    person = {"by": rule["by"], "reason": f"rule {rule['event']} allows the source"}
    try:
        return len(release(feed, record_ids=ids, right=False, now=at, **person).record_ids)
    except BusyError:  # a colleague decides one of them now; the next run releases the rest
        return 0
