"""Look: list the review queue, decisions and campaigns, and show all that is known of one record; changes nothing."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd

from poison_guard.contracts.check import raw_view
from poison_guard.decide.reasons import sentence
from poison_guard.errors import DataError, NotFoundError, UsageError
from poison_guard.files import check_ending, write_frame
from poison_guard.ingest.original import GIVEN, SHAPE, WAS, masked
from poison_guard.records import Place
from poison_guard.results import Result, TableResult
from poison_guard.review.sampling import stratified_sample
from poison_guard.steps.opening import Feed
from poison_guard.steps.payloads import payloads_of
from poison_guard.steps.queue import short_reasons, with_reasons
from poison_guard.store import Store, explain, list_campaigns
from poison_guard.store.gate_counts import would_be_held_ids
from poison_guard.store.reading import (
    count_places,
    find_records,
    find_source,
    list_feeds,
    records_to_vet,
)
from poison_guard.store.standing import count_reviews, list_reviews

__all__ = [
    "Campaigns",
    "Listed",
    "RecordFacts",
    "bootstrap",
    "campaigns",
    "feed_of_record",
    "list_decided",
    "list_would_hold",
    "shares_right",
    "show",
    "show_of",
]

_DECIDED = 50
_PRIVATE = "(private)"
"""What is shown of a cell that the contract calls private."""


@dataclass(frozen=True, slots=True)
class Listed(TableResult):
    """What people decided, or records beside the queue."""

    feed: str
    view: str
    """``sample`` (to vet), ``would_hold`` (what a feed accepted though it would have held it) or ``decided``."""
    entries: pd.DataFrame
    total: int
    """Entries in all; `entries` holds at most as many as were asked for."""
    staged: int
    """Records that nothing could judge yet."""

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        document = Result.to_dict(self)
        return {name: document[name] for name in ("feed", "entries", "total", "staged")}

    def shared_reason(self) -> tuple[str, int]:
        """Return the reason that more than half of the listed records share, and how many do; else ``"", 0``."""
        if self.view != "would_hold" or len(self.entries) < 2:
            return "", 0
        said = Counter(sentence for reasons in self.entries["reasons"] for sentence in {r["sentence"] for r in reasons})
        common, n = max(said.items(), key=itemgetter(1), default=("", 0))
        return (common, n) if 2 * n > len(self.entries) else ("", 0)

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return the columns a person reads of this view, and the rows; `shared_reason` is left out of each."""
        columns, cells = _VIEWS[self.view]
        entries = self.entries
        if shared := self.shared_reason()[0]:
            others = [[r for r in reasons if r["sentence"] != shared] for reasons in entries["reasons"]]
            entries = entries.assign(why=[short_reasons(reasons) for reasons in others])
        return columns, [cells(row) for row in entries.to_dict("records")]


def list_would_hold(feed: Feed, *, limit: int | None = None) -> Listed:
    """Return what the feed accepted in observe mode though it would have held it, riskiest first, with the reasons."""
    ids = would_be_held_ids(feed.store, feed.contract.name).tolist()
    most = feed.contract.policy.review_budget if limit is None else limit
    rows = find_records(feed.store, feed.contract.name, record_ids=ids, limit=most)
    columns = ["record_id", "action", "risk", "source_id", "item_id", "answer", "campaign_id", "received_at"]
    return Listed(feed.contract.name, "would_hold", with_reasons(feed, rows[columns]), len(ids), _staged(feed))


def list_decided(feed: Feed, *, limit: int | None = None) -> Listed:
    """Return what people decided, last first, at most `limit` (None: 50): the events that `undo` takes."""
    entries = list_reviews(feed.store, feed.contract.name, limit=limit or _DECIDED)
    return Listed(feed.contract.name, "decided", entries, count_reviews(feed.store, feed.contract.name), _staged(feed))


_POOL = 200_000
"""Records that a sample is drawn from, the newest."""


def bootstrap(feed: Feed, n: int, out: Path | None = None) -> Listed:
    """Draw at most `n` staged or accepted records to vet for the trusted set, and write them to `out`.

    The file has ``record_id`` and the columns of the user's data.
    Every group alike, each source once before twice. The draw is a keyed hash of the ids: the same again until records
    are vetted. `NotFoundError` where the feed has taken in nothing.
    """
    _check_limit(n)
    if out is not None:
        check_ending(out)
    rows, total = records_to_vet(feed.store, feed.contract.name, limit=_POOL)
    if not total and not any(count_places(feed.store, feed.contract.name).values()):
        name = feed.contract.name
        raise NotFoundError(
            f"{name} has no records to draw from yet; `poison-guard run --feed {name}` takes some in, or name --home"
        )
    drawn = stratified_sample(rows, n, feed.store.key)
    if out is not None:
        payloads = payloads_of(feed, drawn["record_id"].tolist())
        shown = raw_view(payloads, feed.contract).drop(columns="record_id", errors="ignore")
        write_frame(pd.concat([payloads[["record_id"]], shown], axis=1), out)
    return Listed(feed.contract.name, "sample", drawn, total, _staged(feed))


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise UsageError(f"as many as 1 or more can be listed, got {limit}")


def _staged(feed: Feed) -> int:
    return count_places(feed.store, feed.contract.name)[Place.STAGED.value]


def _would_hold_cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    first = (row[name] for name in ("record_id", "action", "risk", "source_id", "campaign_id"))
    return (*first, row["why"])


def _sample_cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    cells = (row[name] for name in ("record_id", "source_id", "item_id", "answer", "group"))
    return tuple(value if isinstance(value, str) else "" for value in cells)


def _decided_cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    undone = row["undone_by"]
    by = None if undone is None or math.isnan(undone) else int(undone)
    return (*(row[name] for name in ("seq", "verb", "actor", "at", "n", "reason")), by)


_VIEWS: Mapping[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any]], tuple[object, ...]]]] = {
    "sample": (("record", "source", "item", "answer", "group"), _sample_cells),
    "would_hold": (("record", "would", ">risk", "source", "campaign", "why"), _would_hold_cells),
    "decided": ((">event", "what", "by", "at", ">records", "reason", ">undone by"), _decided_cells),
}


@dataclass(frozen=True, slots=True)
class Campaigns(TableResult):
    """The campaigns that were found on a feed."""

    feed: str
    campaigns: pd.DataFrame
    """``campaign_id, kind, p, strength, n_records, n_sources, first_at, last_at, accepted, rejected, held, why``."""

    def table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Return id, counts and sentence of each campaign."""
        shown = ("campaign_id", "n_records", "n_sources", "accepted", "held", "rejected", "why")
        rows = [tuple(row[name] for name in shown) for row in self.campaigns.to_dict("records")]
        return ("campaign", ">records", ">sources", ">accepted", ">held", ">rejected", "why"), rows


def campaigns(feed: Feed, *, limit: int | None = None) -> Campaigns:
    """Return the campaigns of a feed, largest first, with where their records are and the sentence a reviewer reads."""
    _check_limit(limit)
    rows = list_campaigns(feed.store, feed.contract.name, limit=limit)
    why = [sentence(code, args) for code, args in zip(rows["code"], rows["args"], strict=True)]
    shown = rows.drop(columns=["feed", "code", "args"]).assign(why=pd.Series(why, index=rows.index, dtype="str"))
    return Campaigns(feed.contract.name, shown)


_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class RecordFacts(Result):
    """All that is known of one record: what `explain` and `review show` print."""

    record: Mapping[str, Any]
    """Its row in the store: place, action, risk, run and ids."""
    payload: Mapping[str, Any]
    """Column to value; of an unreadable row what could be saved of it."""
    evidence: tuple[Mapping[str, Any], ...]
    """``signal, level, p, code, args, run_id, sentence``, most suspicious first."""
    campaign: Mapping[str, Any] | None
    """Its campaign's row, with ``sentence``, ``others`` (how many more records) and ``examples`` of these."""
    source: Mapping[str, Any] | None
    """What its source did so far; None where it names none, or no ledger knows it yet."""
    history: tuple[Mapping[str, Any], ...]
    """``seq, at, kind, actor, reason, from_place, to_place``, oldest first."""
    queue: Mapping[str, Any] | None
    """Its entry in the review queue."""

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints; ``sample`` of a campaign is the older name of its ``examples``."""
        document = Result.to_dict(self)
        if document["campaign"] is not None:
            document["campaign"]["sample"] = document["campaign"]["examples"]
        return document

    def __str__(self) -> str:
        """Return where the record is, and the sentences that speak against it."""
        against = [one["sentence"] for one in self.evidence] or ["nothing speaks against this record"]
        return "\n".join([self.headline(), *against])

    def source_lines(self) -> list[tuple[str, object]]:
        """Return what its source did so far, a name and a value per line; empty where nothing is known of it."""
        if self.source is None:
            return []
        row = self.source
        checked = [(name, text) for name, text in shares_right(row).items() if text]
        blocked = [("blocked", True)] if row["blocked"] else []
        return [
            ("source", row["source_id"]),
            ("records", int(row["n"])),
            *checked,
            ("first seen", row["first_seen"]),
            *blocked,
        ]

    def headline(self) -> str:
        """Return where the record is and what was decided, in a sentence."""
        r = self.record
        decided = f"decided: {r['action']}, risk {r['risk']:.3f}"
        return f"{r['record_id']} of {r['feed']}: {r['place']} ({decided}) in run {r['run_id']}"


def show_of(feed: Feed, record_id: str) -> RecordFacts:
    """Return all that is known of a record, with a content of which no copy is kept, read again from its file."""
    facts = show(feed.store, feed.contract.name, record_id)
    if feed.contract.data.copy or not facts.payload:
        return facts
    try:
        row = payloads_of(feed, [facts.record["record_id"]])
    except DataError as error:
        return dataclasses.replace(facts, payload={**facts.payload, "content": f"(not shown: {error})"})
    hidden = masked(row["shape"])
    shown = {
        name: _PRIVATE if name in hidden and value == value else value
        for name, value in row.iloc[0].items()
        if name not in facts.payload and name != SHAPE and not str(name).startswith((WAS, GIVEN))
    }
    return dataclasses.replace(facts, payload={**facts.payload, **shown})


def show(store: Store, feed: str, record_id: str) -> RecordFacts:
    """Return all that is known of a record; `NotFoundError` when the feed has none of that id.

    The store alone answers: a feed whose contract is not at hand can be asked too.
    """
    facts = explain(store, feed, record_id)
    record, campaign = facts["record"], facts["campaign"]
    if campaign is not None:
        alike = find_records(store, feed, campaign_id=campaign["campaign_id"], limit=_EXAMPLES + 1)
        alike = alike[alike["record_id"] != record["record_id"]].head(_EXAMPLES)
        examples = alike[["record_id", "source_id", "item_id", "answer", "place"]].to_dict("records")
        campaign |= {"sentence": sentence(campaign["code"], campaign["args"]), "examples": examples}
    source_id, payload = record["source_id"], facts["payload"]
    hidden = masked(pd.Series([facts["shape"]], dtype=object))
    return RecordFacts(
        record=record,
        payload={name: _PRIVATE if name in hidden and value is not None else value for name, value in payload.items()},
        evidence=tuple({**one, "sentence": sentence(one["code"], one["args"])} for one in facts["evidence"]),
        campaign=campaign,
        source=None if source_id is None else find_source(store, feed, source_id),
        history=tuple(facts["history"]),
        queue=facts["queue"],
    )


def feed_of_record(store: Store, record_id: str) -> str:
    """Return the one feed that has a record of that id; `NotFoundError` for none, `UsageError` for several."""
    holders = [name for name in list_feeds(store) if len(find_records(store, name, record_ids=[record_id], limit=1))]
    if not holders:
        raise NotFoundError(f"no feed has a record {record_id!r}")
    if len(holders) > 1:
        raise UsageError(f"several feeds have a record {record_id!r}: {', '.join(holders)}; name one of them")
    return holders[0]


_SHARES = {
    "controls": ("controls_right", "controls_wrong"),
    "settled items": ("agreed", "disagreed"),
    "outcomes": ("outcomes_right", "outcomes_wrong"),
}


def shares_right(ledger: Mapping[str, Any]) -> dict[str, str | None]:
    """Return how many of a source's answers were right, by what they were compared with; None where there are none."""
    shares = {}
    for name, (right, wrong) in _SHARES.items():
        n = ledger[right] + ledger[wrong]
        shares[name] = f"{ledger[right]:,.0f} of {n:,.0f} right" if n else None
    return shares
