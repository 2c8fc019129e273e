"""Agreement: ask reviewers blind about what colleagues decided and what is known, and say how well they agree."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poison_guard.canonical_json import utc_or_now
from poison_guard.numerics.intervals import proportion_bounds
from poison_guard.results import Result, TableResult
from poison_guard.review.agreement import cohens_kappa
from poison_guard.review.filters import check_choice
from poison_guard.review.rules import check_person
from poison_guard.steps.opening import Feed
from poison_guard.store.bulk import bounded_key
from poison_guard.store.checks import answer_check, list_answers, open_checks

__all__ = ["Agreement", "Answered", "Checks", "agreement", "answer", "checks"]


@dataclass(frozen=True, slots=True)
class Checks(Result):
    """Records that a reviewer is asked about blind; shown among the others, as any other."""

    feed: str
    by: str
    record_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answered(Result):
    """An answer that was kept; it moved no record."""

    feed: str
    record_id: str
    answer: str

    def __str__(self) -> str:
        """Return what was kept in a sentence."""
        return f"kept: {self.answer} for {self.record_id}"


@dataclass(frozen=True, slots=True)
class Agreement(TableResult):
    """How well the reviewers of a feed agree."""

    feed: str
    reviewers: tuple[Mapping[str, Any], ...]
    """``reviewer, second`` (records that a colleague saw too), ``agreed, kappa`` (None: too few), ``known, right, low,
    high`` (95 % interval of the share right)."""

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return a line per reviewer."""
        names = ("reviewer", "second", "agreed", "kappa", "known", "right", "low", "high")
        rows = [tuple(row[name] for name in names) for row in self.reviewers]
        columns = (">seen by two", ">agreed", ">kappa", ">known", ">right", ">at least", ">at most")
        return ("reviewer", *columns), rows


def checks(feed: Feed, *, by: str, limit: int = 10) -> Checks:
    """Return what a reviewer is asked about blind, at most `limit`."""
    name, _ = check_person(by, "checks")
    rate = feed.contract.policy.known_rate
    found = open_checks(feed.store, feed.contract.name, str(name), limit=limit, known_rate=rate)
    return Checks(feed.contract.name, str(name), tuple(record_id for record_id, _ in found))


def answer(feed: Feed, record_id: str, verb: str, *, by: str, now: dt.datetime | None = None) -> Answered:
    """Keep what a reviewer says of such a record, ``release`` or ``reject``; it moves nothing."""
    check_choice("the answer", verb, ("release", "reject"))
    name, _ = check_person(by, "answer")
    record = bounded_key(record_id)
    answer_check(feed.store, feed.contract.name, record, verb, by=name, at=utc_or_now(now))
    return Answered(feed.contract.name, record, verb)


def agreement(feed: Feed) -> Agreement:
    """Return how well each reviewer agrees with colleagues and with what is known, by name."""
    rows = list_answers(feed.store, feed.contract.name).to_dict("records")
    names = sorted({r["reviewer"] for r in rows} | {r["first_by"] for r in rows if isinstance(r["first_by"], str)})
    return Agreement(feed.contract.name, tuple(_of(name, rows) for name in names))


def _of(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = [r for r in rows if r["kind"] == "second" and name in (r["reviewer"], r["first_by"])]
    pairs = [(r["answer"], r["expected"]) if r["reviewer"] == name else (r["expected"], r["answer"]) for r in seconds]
    known = [r for r in rows if r["kind"] == "known" and r["reviewer"] == name]
    right = sum(r["answer"] == r["expected"] for r in known)
    low, high = proportion_bounds(right, len(known), low_tail=0.025, high_tail=0.025) if known else (None, None)
    agreed = sum(one == other for one, other in pairs)
    said = {"reviewer": name, "second": len(pairs), "agreed": agreed, "kappa": cohens_kappa(pairs)}
    return {**said, "known": len(known), "right": right, "low": low, "high": high}
