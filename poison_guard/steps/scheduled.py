"""The steps as a scheduler calls them: ids in, ids out, each safe to run again after a crash or a clear."""

from __future__ import annotations

import datetime as dt
from typing import Any

from poison_guard.errors import StaleStateError
from poison_guard.pipeline import (
    Prepared,
    decide_batch,
    find_batch_evidence,
    prepare,
    score_partition,
    validate_records,
)
from poison_guard.pipeline.prepare import choose_sample
from poison_guard.pipeline.score import join_partitions, split
from poison_guard.pipeline.validate import Validation
from poison_guard.records import Batch, Decided, Reason, State
from poison_guard.steps import handover
from poison_guard.steps.audits import with_audits
from poison_guard.steps.collect import collect_batch, current_state, read_outcomes
from poison_guard.steps.opening import Feed, open_feed, torch_threads
from poison_guard.steps.storing import begin, commit
from poison_guard.store import Run, find_open_run, load_run, repin

__all__ = ["collect", "decide", "load_outcomes", "score", "store", "validate"]


def load_outcomes(contract_path: str, home: str) -> dict[str, int]:
    """Read new files of outcomes into the ledger; return the counts. `collect` does so first, by itself."""
    with open_feed(contract_path, home) as feed:
        return read_outcomes(feed, dt.datetime.now(dt.UTC)).counts


def collect(contract_path: str, home: str) -> dict[str, Any]:
    """Take in what is new; return ``{"run_id": str | None, "partitions": [0, 1, …]}``, None where nothing is new."""
    with open_feed(contract_path, home) as feed:
        now = dt.datetime.now(dt.UTC)
        open_run = find_open_run(feed.store, feed.contract.name)
        if open_run is not None and _staged(feed, open_run.run_id):
            _, n = handover.load_batch(feed.store.lake, open_run.run_id, records=False)
            return {"run_id": open_run.run_id, "partitions": list(range(n))}
        read_outcomes(feed, now)
        batch = collect_batch(feed, None, now)
        if not batch.objects and not len(batch.records):
            return {"run_id": None, "partitions": []}
        run = begin(feed, batch)
        if run.status == "committed":
            return {"run_id": None, "partitions": []}
        if run.received_at != batch.received_at:
            batch = collect_batch(feed, None, run.received_at)
        parts = split(batch.records, feed.contract.data.partition_rows)
        handover.save_batch(feed.store.lake, run.run_id, batch, parts)
        return {"run_id": run.run_id, "partitions": list(range(len(parts)))}


def validate(contract_path: str, home: str, run_id: str) -> dict[str, int]:
    """Check a collected batch; return how many rows fail and how many reasons hold the whole batch."""
    with open_feed(contract_path, home) as feed:
        if load_run(feed.store, run_id).status == "committed":
            return {"failures": 0, "batch": 0}
        batch, _ = handover.load_batch(feed.store.lake, run_id)
        state = _pinned_state(feed, batch, run_id)
        found = validate_records(
            feed.contract, feed.suite, batch.records, batch.issues, schema=batch.schema, accepted_schema=state.schema
        )
        handover.save_frame(feed.store.lake, run_id, "failures", found.failures)
        told = {name: [[r.code, dict(r.args)] for r in getattr(found, name)] for name in ("batch", "warnings")}
        handover.save_json(feed.store.lake, run_id, "validation", told)
        handover.save_frame(feed.store.lake, run_id, "sample", choose_sample(batch.records))
        return {"failures": len(found.failures), "batch": len(found.batch)}


def score(contract_path: str, home: str, run_id: str, partition: int) -> int:
    """Score one partition of a collected batch; return its number of records."""
    with open_feed(contract_path, home) as feed:
        if load_run(feed.store, run_id).status == "committed":
            return 0
        return _score(feed, run_id, partition)


def decide(contract_path: str, home: str, run_id: str) -> dict[str, int]:
    """Reduce the scored partitions and decide every record; return counts by action."""
    with open_feed(contract_path, home) as feed:
        if load_run(feed.store, run_id).status == "committed":
            return {}
        batch, n = handover.load_batch(feed.store.lake, run_id)
        version = load_run(feed.store, run_id).state_version
        decided = _decide(feed, batch, n, run_id)
        handover.save_decided(feed.store.lake, run_id, decided)
        handover.save_json(feed.store.lake, run_id, "decided-at", {"state_version": version})
        return {str(k): int(v) for k, v in decided.decisions["action"].value_counts().items()}


def store(contract_path: str, home: str, run_id: str) -> dict[str, int]:
    """Commit a decided run in one transaction; return its counts. A committed run returns them again."""
    with open_feed(contract_path, home) as feed:
        run = load_run(feed.store, run_id)
        if run.status == "committed":
            return dict(run.counts)
        batch, n = handover.load_batch(feed.store.lake, run_id)
        decided = handover.load_decided(feed.store.lake, run_id)
        judged_at = handover.load_json(feed.store.lake, run_id, "decided-at")["state_version"]
        try:
            if judged_at != run.state_version:  # killed after it was pinned anew, and before it was judged by that
                raise StaleStateError(f"{run_id} was decided by another state than it is pinned to")
            counts = commit(feed, run, batch, decided, _cost(run))
        except StaleStateError:
            run = repin(feed.store, run)  # another run of the feed came first: judge again by what is known now
            for number in range(n):
                _score(feed, run_id, number)
            counts = commit(feed, run, batch, _decide(feed, batch, n, run_id), _cost(run))
        handover.clear(feed.store.lake, run_id)
        return counts


def _cost(run: Run) -> dict[str, float]:
    return {"wall_s": (dt.datetime.now(dt.UTC) - run.started_at).total_seconds()}


def _staged(feed: Feed, run_id: str) -> bool:
    return feed.store.lake.exists(f"staging/{run_id}/batch.parquet")


def _pinned_state(feed: Feed, batch: Batch, run_id: str, *, remember: bool = False) -> State:
    return current_state(feed, batch, version=load_run(feed.store, run_id).state_version, remember=remember)


def _score(feed: Feed, run_id: str, partition: int) -> int:
    lake = feed.store.lake
    records = handover.load_frame(lake, run_id, f"records-{partition:05d}")
    batch, _ = handover.load_batch(lake, run_id, records=False)
    with torch_threads(feed):
        prepared = _prepare(feed, _pinned_state(feed, batch, run_id), run_id)
        scored = score_partition(records, feed.contract, prepared)
    handover.save_frame(lake, run_id, f"scored-{partition:05d}", scored)
    return len(scored)


def _prepare(feed: Feed, state: State, run_id: str) -> Prepared:
    sample = handover.load_frame(feed.store.lake, run_id, "sample")
    return prepare(feed.contract, state, sample, device=feed.settings.device, threads=feed.settings.threads)


def _decide(feed: Feed, batch: Batch, partitions: int, run_id: str) -> Decided:
    """Decide against the state the run has pinned now; record-level evidence of a partition is scored once."""
    lake = feed.store.lake
    state = _pinned_state(feed, batch, run_id, remember=True)
    parts = [handover.load_frame(lake, run_id, f"scored-{number:05d}") for number in range(partitions)]
    scored = join_partitions(parts)
    told = handover.load_json(lake, run_id, "validation")
    failures = handover.load_frame(lake, run_id, "failures", json_columns=("args",))
    batch_wide, warnings = (tuple(Reason(*r) for r in told[name]) for name in ("batch", "warnings"))
    validation = Validation(failures, batch_wide, warnings)
    with torch_threads(feed):
        prepared = _prepare(feed, state, run_id)
        found = find_batch_evidence(scored, feed.contract, state, prepared)
    decided = decide_batch(scored, batch.unreadable, validation, found, feed.contract, state, prepared)
    return with_audits(decided, key=feed.store.key, rate=feed.contract.policy.audit_rate)
