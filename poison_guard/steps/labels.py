"""Labels of a feed: what is declared of them in suite, controls, trusted set and store, and how a batch spells them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import numpy as np
import pandas as pd

from poison_guard.pipeline.labels import LABEL_ROLES, Spellings, choose_spellings, declared_labels
from poison_guard.steps.opening import Feed
from poison_guard.store.reading import load_spellings

__all__ = ["spellings_of"]


def spellings_of(
    feed: Feed,
    records: pd.DataFrame,
    *,
    controls: pd.DataFrame,
    trusted: Iterable[pd.DataFrame],
    ledger: pd.DataFrame,
    received_at: dt.datetime,
    version: int | None = None,
    earlier: Iterable[str] = (),
) -> Spellings:
    """Return how the labels of `records`, and `earlier` votes, are spelled by what the feed knows as of `version`."""
    contract = feed.contract
    if not any(role in records for role in LABEL_ROLES):
        return {}

    def established() -> np.ndarray:
        from poison_guard.signals.sources import established

        if "source_id" not in records:
            return np.zeros(len(records), bool)
        return established(records, ledger, received_at).to_numpy(bool)

    return choose_spellings(
        records,
        contract,
        declared_labels(contract, feed.suite, controls, trusted),
        established=established,
        earlier=earlier,
        stored=lambda: load_spellings(feed.store, contract.name, version=version),
    )
