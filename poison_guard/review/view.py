"""What a reviewer sees: the queue riskiest first, the queue in groups, and one record with all that speaks about it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd

from poison_guard.config import Contract
from poison_guard.errors import UsageError
from poison_guard.store import quarantine
from poison_guard.store.clock import moment
from poison_guard.store.engine import Store
from poison_guard.store.explain import evidence_of, explain
from poison_guard.store.names import fit_name
from poison_guard.store.reading import find_records, load_sources

__all__ = ["list_groups", "list_pending", "show"]

_SAMPLE = 10


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
    since = None if expired else moment(now) - dt.timedelta(days=contract.policy.expire_days)
    with store.read() as conn:
        frame = quarantine.pending(
            conn,
            contract.name,
            since=since,
            campaign_id=None if campaign_id is None else fit_name(campaign_id),
            source_id=None if source_id is None else fit_name(source_id),
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
    since = moment(now) - dt.timedelta(days=contract.policy.expire_days)
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
        others = find_records(store, contract.name, campaign_id=facts["campaign"]["campaign_id"], limit=_SAMPLE + 1)
        others = others[others["record_id"] != facts["record"]["record_id"]].head(_SAMPLE)
        facts["campaign"]["sample"] = others[["record_id", "source_id", "item_id", "answer", "place"]].to_dict(
            "records"
        )
    return facts
