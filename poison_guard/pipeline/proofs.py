"""What signatures mean for a batch: which records nothing proves, how they are grouped, and what is told of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from poison_guard.config import Contract
from poison_guard.pipeline.newcomers import MAX_ENTRIES
from poison_guard.records import Campaign, Reason

__all__ = ["is_proved", "proof_groups", "proof_notes", "refuted", "without_proofs"]

_CODES = ("signature_invalid", "signature_replayed", "signature_stale", "signature_early", "signature_missing")
_P = 1e-6  # as of other rules
_SHOWN = 5


def refuted(failures: pd.DataFrame) -> pd.Series:
    """Return the ids of the records whose signature does not hold: they say nothing of sources, items or others."""
    return failures.loc[failures["code"].isin(_CODES), "record_id"]


def without_proofs(failures: pd.DataFrame) -> pd.DataFrame:
    """Return failures without those of signatures: a vetted record is trusted for who vetted it."""
    return failures[~failures["code"].isin(_CODES)].reset_index(drop=True)


def is_proved(scored: pd.DataFrame, contract: Contract) -> np.ndarray:
    """Return ``(n,)`` whether the source of a record is who it says: everybody, where a feed has no signatures."""
    if contract.signature is None or "proof" not in scored:
        return np.full(len(scored), contract.signature is None)
    return scored["proof"].notna().to_numpy(bool)


def proof_groups(failures: pd.DataFrame, scored: pd.DataFrame) -> tuple[Campaign, ...]:
    """Return the groups that a person decides at once: the records that one check of signatures holds, if many."""
    from poison_guard.signals.campaigns.findings import campaign_id, make_campaign

    groups: list[Campaign] = []
    for code in _CODES:
        rows = np.flatnonzero(scored["record_id"].isin(failures.loc[failures["code"] == code, "record_id"]))
        if len(rows) > MAX_ENTRIES:
            args = {"n_records": len(rows), "n_sources": int(scored["source_id"].iloc[rows].nunique())}
            group = make_campaign(scored, rows, kind=code, p=_P, strength=1, who="source_id", args=args)
            name = campaign_id((code, *group.record_ids))  # never that of a campaign of the same records
            groups.append(replace(group, campaign_id=name, source_ids=(), reason=Reason("signatures_fail", args)))
    return tuple(groups)


def proof_notes(records: pd.DataFrame, failures: pd.DataFrame, contract: Contract) -> tuple[Reason, ...]:
    """Return how many records are proved, unsigned or refuted, and under which names most of the latter came."""
    if contract.signature is None or not len(records):
        return ()
    bad = records["record_id"].isin(refuted(failures))
    proved = int(records["proof"].notna().sum()) if "proof" in records else 0
    counts = {"n": len(records), "proved": proved, "refuted": int(bad.sum())}
    counts["unsigned"] = counts["n"] - counts["proved"] - counts["refuted"]
    names = records.loc[bad, "source_id"].value_counts().head(_SHOWN) if contract.has("source_id") else pd.Series()
    return (Reason("signatures", {**counts, "names": [f"{name} ({n})" for name, n in names.items()]}),)
