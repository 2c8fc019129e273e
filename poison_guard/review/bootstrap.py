"""The way out of a cold start: staged records drawn for a person to vet, and vetted ones entered as trusted."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence

import pandas as pd

from poison_guard.config import Contract
from poison_guard.errors import UsageError
from poison_guard.records import Place
from poison_guard.store.engine import Store
from poison_guard.store.reading import find_records, load_payloads
from poison_guard.store.trusted import TrustedSummary, add_trusted

__all__ = ["draw_staged", "trust_released"]


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
