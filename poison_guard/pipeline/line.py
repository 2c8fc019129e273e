"""The whole line in one call, for one process: validate, prepare, map, reduce, decide."""

from __future__ import annotations

import pandas as pd

from poison_guard.config import Contract
from poison_guard.pipeline.decide import decide_batch
from poison_guard.pipeline.globals import find_globals
from poison_guard.pipeline.prepare import choose_sample, prepare
from poison_guard.pipeline.score import score_partition
from poison_guard.pipeline.validation import validate_records
from poison_guard.records import Batch, Decided, State
from poison_guard.validate import Suite

__all__ = ["join_partitions", "run", "split"]


def run(
    batch: Batch,
    contract: Contract,
    suite: Suite | None,
    state: State,
    *,
    device: str = "auto",
    threads: int | None = None,
) -> Decided:
    """Decide a batch; the result depends on records, pinned state and policy, not on order or partitions."""
    validation = validate_records(
        contract, suite, batch.records, batch.issues, schema=batch.schema, accepted_schema=state.schema
    )
    prepared = prepare(contract, state, choose_sample(batch.records), device=device, threads=threads)
    scored = join_partitions(
        [score_partition(part, contract, prepared) for part in split(batch.records, contract.data.partition_rows)]
    )
    found = find_globals(scored, contract, state, prepared)
    return decide_batch(scored, batch.unreadable, validation, found, contract, state, prepared)


def split(records: pd.DataFrame, rows: int) -> list[pd.DataFrame]:
    """Return `records` cut into partitions of at most `rows`; at least one, so that an empty batch flows too."""
    starts = range(0, max(1, len(records)), rows)
    return [records.iloc[start : start + rows].reset_index(drop=True) for start in starts]


def join_partitions(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Return scored partitions as one frame sorted by ``record_id``: the order they came in is forgotten here."""
    return pd.concat(parts, ignore_index=True).sort_values("record_id", ignore_index=True)
