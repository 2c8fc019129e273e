"""Scan and ingest in one process: the same pure line that Airflow's mapped tasks run, without files in between."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time

from poison_guard.errors import StaleStateError
from poison_guard.pipeline.decide import run_line
from poison_guard.records import Batch, Decided, ScanResult, State
from poison_guard.steps.audits import with_audits
from poison_guard.steps.collect import Source, collect_batch, current_state, read_batch, read_outcomes
from poison_guard.steps.opening import Feed, torch_threads
from poison_guard.steps.results import note_sentence, nothing_new, result_of, stored_result, told_notes
from poison_guard.steps.storing import begin, commit
from poison_guard.store import Run, load_run, repin

__all__ = ["ingest", "scan"]

_ATTEMPTS = 5


def scan(feed: Feed, source: Source, now: dt.datetime) -> ScanResult:
    """Decide a batch against the current state and store nothing."""
    batch = read_batch(feed, source, now, seen_too=True)
    if not len(batch.records) and not len(batch.unreadable):
        return nothing_new("nothing to scan: no record is there")
    decided = _decide(feed, batch, current_state(feed, batch))
    return result_of(decided, batch)


def ingest(feed: Feed, source: Source, now: dt.datetime) -> ScanResult:
    """Read new outcomes, then decide a batch and store it; a batch that was stored before gives what it gave then.

    Raises `StaleStateError` when other runs of the feed keep being committed first.
    """
    outcomes = tuple(note_sentence(note) for note in read_outcomes(feed, now).notes)
    result = _ingest(feed, source, now)
    return dataclasses.replace(result, notes=(*result.notes, *outcomes))


def _ingest(feed: Feed, source: Source, now: dt.datetime) -> ScanResult:
    batch = collect_batch(feed, source, now)
    if not batch.objects and not len(batch.records):
        return nothing_new()
    run = begin(feed, batch)
    if run.status == "committed":
        return stored_result(feed, run)
    if run.received_at != batch.received_at:  # a run that died before: it was first seen then
        batch = collect_batch(feed, source, run.received_at)
    for attempt in range(_ATTEMPTS):
        try:
            return _decide_and_commit(feed, batch, run)
        except StaleStateError:
            if attempt + 1 == _ATTEMPTS:
                raise
            run = repin(feed.store, run)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _decide_and_commit(feed: Feed, batch: Batch, run: Run) -> ScanResult:
    started, cpu = time.perf_counter(), time.process_time()
    decided = _decide(feed, batch, current_state(feed, batch, version=run.state_version))
    decided = with_audits(decided, key=feed.store.key, rate=feed.contract.policy.audit_rate)
    cost = {"wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
    counts = commit(feed, run, batch, decided, cost)
    result = result_of(decided, batch, run_id=run.run_id)
    notes = told_notes(load_run(feed.store, run.run_id))
    return dataclasses.replace(result, counts={**result.counts, **counts}, notes=notes)


def _decide(feed: Feed, batch: Batch, state: State) -> Decided:
    settings = feed.settings
    with torch_threads(feed):
        return run_line(batch, feed.contract, feed.suite, state, device=settings.device, threads=settings.threads)
