"""Train a model of parts by the cohorts of who sent its examples, and tell what lying cohorts cannot change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.config.policies import RetrainConfig
from poison_guard.errors import UsageError
from poison_guard.pipeline.cohorts import cohort_keys
from poison_guard.records import Examples
from poison_guard.steps.examples import TrustedExamples
from poison_guard.steps.opening import Feed
from poison_guard.steps.payloads import payloads_of

__all__ = ["cohort_rows", "cohorts_of", "train_by_cohort"]


def train_by_cohort(feed: Feed, examples: Examples, trusted: TrustedExamples, config: RetrainConfig) -> Any:
    """Return the model of parts; `UsageError` for a feed whose labels are not of one source each."""
    from poison_guard.retrain.parts import train_parts

    if feed.contract.vote or not feed.contract.speaker:
        raise UsageError(
            f"parts in [retrain] of {feed.contract.name} need records that one source each sent with its label; a "
            "label that several sources voted for, or nobody is known to have sent, is in no part of its own"
        )
    cohorts = cohorts_of(feed, examples.frame["example_id"].astype(str).tolist())
    return train_parts(examples, cohorts, trusted.examples.take(trusted.split == "reference"), config)


def cohorts_of(feed: Feed, record_ids: Sequence[str]) -> np.ndarray:
    """Return the cohort ``(n,)`` of who sent each record: week and network block, else the account itself.

    A record that does not say who sent it is a cohort of its own.
    """
    sent = payloads_of(feed, record_ids).set_index("record_id").reindex(list(record_ids))
    nothing = pd.Series(None, index=sent.index, dtype="object")
    source = sent.get(str(feed.contract.speaker), nothing).astype("object")
    account = "account " + source.where(source.notna(), "of record " + pd.Series(record_ids, index=sent.index))
    keys = cohort_keys(sent.get("source_since", nothing), sent.get("place", nothing))
    return keys.where(keys.notna(), account).to_numpy(object)


def cohort_rows(told: Mapping[str, Any]) -> list[tuple[str, float | None, int | None]]:
    """Return what people read of a certificate: what lying cohorts cannot change, and what trusted examples give alone.

    Empty for a model that was not trained in parts.
    """
    if not told or not told["n"]:
        return []
    n, alone = int(told["n"]), told["alone"] / told["n"]
    rows: list[tuple[str, float | None, int | None]] = [("trusted examples alone", alone, n)]
    for m, right in told["certified"].items():
        rows.append((f"whatever {m} of the cohorts wrote", right / n, n))
        rows.append((f"the same less trusted alone ({m})", right / n - alone, n))
    return rows
