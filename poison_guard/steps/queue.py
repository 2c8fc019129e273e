"""The review queue: list it, show a record, claim entries, draw staged records, and trust what was released."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from poison_guard.config import Contract
from poison_guard.errors import UsageError
from poison_guard.records import Place
from poison_guard.review.rules import check_person
from poison_guard.store import quarantine
from poison_guard.store.bulk import bounded_key
from poison_guard.store.engine import Store, utc_or_now
from poison_guard.store.facts import evidence_of, explain
from poison_guard.store.reading import find_records, load_payloads, load_sources
from poison_guard.store.trusted import TrustedSummary, add_trusted

__all__ = [
    "LEASE_SECONDS",
    "Claim",
    "claim",
    "draw_staged",
    "list_groups",
    "list_pending",
    "show",
    "trust_released",
    "unclaim",
]


_CAMPAIGN_SAMPLE = 10


def list_pending(
    store: Store,
    contract: Contract,
    *,
    limit: int | None = None,
    campaign_id: str | None = None,
    source_id: str | None = None,
    kind: str | None = None,
    expired: bool = False,
    now: dt.datetime | None = None,
) -> pd.DataFrame:
    """Return what waits for review, riskiest first, at most `limit` (None: the policy's `review_budget`).

    Columns of `store.quarantine.pending`, and ``reasons``: a list of ``{"code", "args", "p", "signal"}``, most
    suspicious first. Entries older than the policy's `expire_days` are left out unless `expired`.
    """
    since = None if expired else utc_or_now(now) - dt.timedelta(days=contract.policy.expire_days)
    with store.read() as conn:
        frame = quarantine.pending(
            conn,
            contract.name,
            since=since,
            campaign_id=None if campaign_id is None else bounded_key(campaign_id),
            source_id=None if source_id is None else bounded_key(source_id),
            kind=kind,
            limit=contract.policy.review_budget if limit is None else limit,
        )
    told = evidence_of(store, contract.name, frame["record_id"].tolist())
    reasons = {
        name: part[["code", "args", "p", "signal"]].to_dict("records") for name, part in told.groupby("record_id")
    }
    return frame.assign(
        reasons=pd.Series([reasons.get(n, []) for n in frame["record_id"]], index=frame.index, dtype=object)
    )


def list_groups(
    store: Store, contract: Contract, *, by: str = "campaign_id", now: dt.datetime | None = None
) -> pd.DataFrame:
    """Return the waiting records in groups of one campaign or source: ``<by>, records, sources, risk, oldest``.

    The largest group comes first; records without a campaign (or source) are left out.
    """
    if by not in ("campaign_id", "source_id"):
        raise UsageError(f"groups are made by campaign_id or source_id, got {by!r}")
    since = utc_or_now(now) - dt.timedelta(days=contract.policy.expire_days)
    with store.read() as conn:
        waiting = quarantine.pending(conn, contract.name, since=since)
    groups = waiting.dropna(subset=[by]).groupby(by, as_index=False).agg(
        records=("record_id", "size"),
        sources=("source_id", "nunique") if by != "source_id" else ("campaign_id", "nunique"),
        risk=("risk", "max"),
        oldest=("created_at", "min"),
    )  # fmt: skip
    return groups.sort_values(["records", by], ascending=[False, True], ignore_index=True)


def show(store: Store, contract: Contract, record_id: str) -> dict[str, Any]:
    """Return `store.explain` of a record, with ``source`` (its ledger row) and a ``sample`` of its campaign."""
    facts = explain(store, contract.name, record_id)
    sources = load_sources(store, contract)
    mine = sources[sources["source_id"] == facts["record"]["source_id"]]
    facts["source"] = mine.iloc[0].to_dict() if len(mine) else None
    if facts["campaign"] is not None:
        others = find_records(
            store, contract.name, campaign_id=facts["campaign"]["campaign_id"], limit=_CAMPAIGN_SAMPLE + 1
        )
        others = others[others["record_id"] != facts["record"]["record_id"]].head(_CAMPAIGN_SAMPLE)
        facts["campaign"]["sample"] = others[["record_id", "source_id", "item_id", "answer", "place"]].to_dict(
            "records"
        )
    return facts


LEASE_SECONDS = 600
"""How long a claim holds unless it is renewed; an abandoned one hides nothing for longer."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Entries on lease."""

    token: str
    record_ids: tuple[str, ...]
    until: dt.datetime


def claim(
    store: Store,
    contract: Contract,
    *,
    by: str,
    limit: int = 1,
    record_ids: Sequence[str] | None = None,
    lease_seconds: float = LEASE_SECONDS,
    now: dt.datetime | None = None,
) -> Claim:
    """Lease the riskiest free entries, or those of `record_ids` that are free, to `by`; empty when none is.

    Claiming one's own entries again, by id, renews the lease under a new token.
    """
    name, _ = check_person(by, "claim")
    if limit < 1 or lease_seconds <= 0:
        raise UsageError(f"limit and lease_seconds must be above 0, got {limit} and {lease_seconds}")
    at = utc_or_now(now)
    until = at + dt.timedelta(seconds=lease_seconds)
    ids = None if record_ids is None else [bounded_key(i) for i in record_ids]
    with store.write() as conn:
        token, taken = quarantine.claim(
            conn,
            contract.name,
            by=name,
            until=until,
            at=at,
            since=at - dt.timedelta(days=contract.policy.expire_days),
            limit=limit if ids is None else len(ids),
            record_ids=ids,
        )
    return Claim(token, taken, until)


def unclaim(store: Store, contract: Contract, token: str) -> int:
    """Give the entries of a claim back to the queue; return how many there were."""
    with store.write() as conn:
        return quarantine.unclaim(conn, contract.name, token=token)


def draw_staged(store: Store, contract: Contract, n: int) -> pd.DataFrame:
    """Return at most `n` staged records to vet, at random: every group alike, each source once before any twice.

    The draw is a keyed hash of the ids: the same again until records are vetted, and none that a sender could foresee.
    So a group that floods the feed does not fill the sample.
    """
    rows = find_records(store, contract.name, places=[Place.STAGED])
    if rows.empty:
        return rows
    drawn = [hashlib.blake2b(i.encode(), digest_size=8, key=store.key[:64]).hexdigest() for i in rows["record_id"]]
    rows = rows.assign(drawn=drawn).sort_values("drawn")
    rows["turn"] = rows.groupby(rows["source_id"].fillna(rows["record_id"])).cumcount()
    rows = rows.sort_values(["turn", "drawn"])
    rows["round"] = rows.groupby(rows["group"].fillna("")).cumcount()
    return rows.sort_values(["round", "drawn"]).drop(columns=["drawn", "turn", "round"]).head(n).reset_index(drop=True)


def trust_released(
    store: Store, contract: Contract, record_ids: Sequence[str], *, by: str, reason: str, now: dt.datetime | None = None
) -> TrustedSummary:
    """Enter records that a person released into the trusted set, as that person's act (law 6).

    `UsageError` where one of them is not accepted: only what was vetted and released can be trusted.
    """
    rows = find_records(store, contract.name, record_ids=record_ids)
    other = rows[rows["place"] != Place.ACCEPTED.value]
    if len(other):
        first = other.iloc[0]
        raise UsageError(f"record {first['record_id']!r} is {first['place']}; release it before trusting it")
    records = load_payloads(store, contract.name, record_ids)
    return add_trusted(store, contract, records, by=by, reason=reason, from_review=True, now=now)
