"""Run: the way of a record. Read, validate, score, reduce, decide, commit, over a hand-over in memory or in the lake.

One process calls the stages one after the other; a scheduler calls each in a process of its own, with a run's id
(`steps/stages.py`). Both end in `finish`, which makes whatever is missing for the state the run is pinned to, and
starts over when another run of the feed was committed first.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from poison_guard.errors import EngineError
from poison_guard.frames import CHECKING, among, check_frames
from poison_guard.ingest.identity import owners_of
from poison_guard.pipeline import (
    Prepared,
    choose_sample,
    decide_batch,
    find_batch_evidence,
    find_newcomers,
    join_partitions,
    name_failures,
    names_of,
    prepare,
    rename,
    score_partition,
    validate_records,
)
from poison_guard.pipeline.labels import LABEL_ROLES, Spellings, fold_labels, fold_votes, label_notes
from poison_guard.pipeline.proofs import proof_notes, refuted
from poison_guard.records import Batch, Decided, State
from poison_guard.steps.collect import (
    Source,
    collect_batch,
    current_state,
    head_version,
    intake_objects,
    read_batch,
    read_outcomes,
)
from poison_guard.steps.cost import measured, spent, total_cost, usage
from poison_guard.steps.coverage import coverage_of
from poison_guard.steps.device import device_of, keep_device
from poison_guard.steps.engines import handover_of, refuse_airflow, score_all
from poison_guard.steps.handover import Handover, HandoverLostError, Pin, get_batch, pin_of, put_batch, staging_folder
from poison_guard.steps.labels import spellings_of
from poison_guard.steps.lineage import trace_run
from poison_guard.steps.located import batch_places
from poison_guard.steps.nonces import replayed, signed_nonces
from poison_guard.steps.opening import Feed, again_if_stale, torch_threads
from poison_guard.steps.outbox import drain
from poison_guard.steps.results import ScanResult, note_sentence, nothing_new, result_of, stored_result, with_audits
from poison_guard.store import Run, begin_run, commit_run, load_known, load_run, load_sums, repin
from poison_guard.store.bulk import bounded_keys
from poison_guard.store.rows import unreadable_hashes

__all__ = ["collect", "commit", "decide", "finish", "ingest", "look_after", "reduce", "scan", "score", "validate"]


def scan(feed: Feed, source: Source, now: dt.datetime) -> ScanResult:
    """Decide a batch by what the guard knows now, and store nothing."""
    batch, controls = read_batch(feed, source, now, include_seen=True)
    if not len(batch.records) and not len(batch.unreadable):
        return nothing_new(feed.contract.name, "nothing to scan: no record is there")
    handover, pin = Handover(), pin_of(feed, head_version(feed))
    put_batch(handover, batch, controls, partition_rows=feed.contract.data.partition_rows)
    decided = judge(feed, handover, pin)
    result = result_of(feed.contract.name, decided, _named_batch(feed, handover, pin))
    return dataclasses.replace(result, coverage=coverage_of(feed.contract, feed.settings.home, decided.measurements))


def ingest(feed: Feed, source: Source, now: dt.datetime) -> ScanResult:
    """Read new outcomes, then decide a batch and store it; a batch that was stored before gives what it gave then.

    Raises `StaleStateError` when other runs of the feed keep being committed first.
    """
    refuse_airflow(feed, source)
    before = usage()
    outcomes = read_outcomes(feed, now)
    collected = collect(feed, source, now)
    if collected is None or collected[1] is None:  # a commit looks after the queue itself
        look_after(feed)
    if collected is None:
        result = nothing_new(feed.contract.name)
    else:
        run, batch, controls = collected
        places = None
        if batch is not None:
            handover = handover_of(feed, run.run_id, len(batch.records))
            put_batch(handover, batch, controls, partition_rows=feed.contract.data.partition_rows)
            handover.put("cost-collect", spent(before))
            finish(feed, handover, run, engine=feed.settings.engine)
            pin = pin_of(feed, load_run(feed.store, run.run_id).state_version)
            places = batch_places(_named_batch(feed, handover, pin))
        stored = load_run(feed.store, run.run_id)
        result = stored_result(feed.store, run.run_id, places)
        result = dataclasses.replace(
            result, coverage=coverage_of(feed.contract, feed.settings.home, stored.measurements)
        )
        if batch is not None and stored.cost.get("engine") not in (None, feed.settings.engine):
            other = f"the run was finished by the engine {stored.cost['engine']} meanwhile; this is what it stored"
            result = dataclasses.replace(result, notes=(*result.notes, other))
    return dataclasses.replace(result, notes=(*result.notes, *map(note_sentence, outcomes.notes)))


def collect(feed: Feed, source: Source, now: dt.datetime) -> tuple[Run, Batch | None, pd.DataFrame] | None:
    """Read a batch and the feed's controls and begin a run; None where nothing is new.

    There is no batch where the run was committed before.
    """
    batch, controls = collect_batch(feed, source, now)
    if not batch.objects and not len(batch.records):
        return None
    run = begin_run(
        feed.store,
        feed.contract,
        batch_id=batch.batch_id,
        objects=batch.objects,
        received_at=batch.received_at,
        schema=batch.schema,
    )
    if run.status == "committed":
        return run, None, controls
    if run.received_at != batch.received_at:  # a run that died before: its records were first seen then
        batch, controls = collect_batch(feed, source, run.received_at)
    return run, batch, controls


def finish(feed: Feed, handover: Handover, run: Run, *, engine: str) -> Mapping[str, int]:
    """Judge a batch by the state its run is pinned to and store it; pin anew where another run was committed first.

    Return the run's counts, those of another engine where it finished the run meanwhile.
    """
    overtaken = False

    def attempt() -> Mapping[str, int]:
        nonlocal run, overtaken
        run, overtaken = repin(feed.store, run) if overtaken else run, True
        try:
            judge(feed, handover, pin_of(feed, run.state_version))
            return commit(feed, handover, run, engine=engine)
        except (HandoverLostError, EngineError):
            stored = load_run(feed.store, run.run_id)
            if stored.status != "committed":
                raise
            return stored.counts  # its commit removed what was handed over

    return again_if_stale(attempt)


def judge(feed: Feed, handover: Handover, pin: Pin) -> Decided:
    """Validate, score, reduce and decide by one pin, each where it was not done by that pin yet."""
    if not handover.has(f"decided@{pin}"):
        if not handover.has(f"validation@{pin}"):
            with measured(handover, "validate"):
                validate(feed, handover, pin)
        score_all(feed, handover, pin, lambda part: score(feed, handover, pin, part))
        with measured(handover, "reduce"):
            reduce(feed, handover, pin)
        with measured(handover, "decide"):
            decide(feed, handover, pin)
    decided: Decided = handover.get(f"decided@{pin}")
    return decided


def validate(feed: Feed, handover: Handover, pin: Pin) -> None:
    """Check the batch against the accepted payload schema and the suite; choose the sample that models are fit on.

    The suite sees the ids that were sent: a name that a newcomer gets must not break a rule about ids.
    """
    batch, state = get_batch(handover), _state(feed, handover, pin)
    handover.put("sample", choose_sample(batch.records))
    records = fold_labels(batch.records, _spellings(feed, handover, pin))
    validation = validate_records(
        feed.contract, feed.suite, records, batch.issues, schema=batch.schema, accepted_schema=state.schema
    )
    again = replayed(feed, batch.records, version=pin.version)
    failures = pd.concat([validation.failures, again], ignore_index=True) if len(again) else validation.failures
    failures = name_failures(failures, _newcomers(feed, handover, pin))
    warnings = (
        *batch.notes,
        *proof_notes(records, failures, feed.contract),
        *label_notes(records, feed.contract),
        *validation.warnings,
    )
    handover.put(f"validation@{pin}", dataclasses.replace(validation, failures=failures, warnings=warnings))


def score(feed: Feed, handover: Handover, pin: Pin, partition: int) -> None:
    """Score the records of one partition, each by itself."""
    records = rename(handover.get(f"records-{partition:05d}"), _names(feed, handover, pin))
    records = fold_labels(records, _spellings(feed, handover, pin))
    prepared = _prepared(feed, handover, pin)
    with torch_threads(feed) as device:
        if feed.contract.features:
            keep_device(handover, pin, device)
        scored = score_partition(records, feed.contract, prepared)
    handover.put(f"scored-{partition:05d}@{pin}", scored)


def reduce(feed: Feed, handover: Handover, pin: Pin) -> None:
    """Find what only the whole batch shows: reliability of sources, campaigns, disputed items."""
    state, prepared = _spelled_state(feed, handover, pin), _prepared(feed, handover, pin)
    with torch_threads(feed):
        newcomers, scored = _newcomers(feed, handover, pin), _scored(handover, pin)
        contested = newcomers.loc[newcomers["first_id"].notna(), "record_id"].tolist()
        contested += refuted(handover.get(f"validation@{pin}").failures).tolist()
        evidence = find_batch_evidence(scored, feed.contract, state, prepared, contested=contested)
    handover.put(f"evidence@{pin}", evidence)


def decide(feed: Feed, handover: Handover, pin: Pin) -> None:
    """Decide every record and the label of every item."""
    decided = decide_batch(
        _scored(handover, pin),
        _named_batch(feed, handover, pin).unreadable,
        handover.get(f"validation@{pin}"),
        handover.get(f"evidence@{pin}"),
        feed.contract,
        _spelled_state(feed, handover, pin),
        _prepared(feed, handover, pin),
        _newcomers(feed, handover, pin),
    )
    handover.put(f"decided@{pin}", decided)


def commit(feed: Feed, handover: Handover, run: Run, *, engine: str) -> Mapping[str, int]:
    """Store what was decided in one transaction, with what it cost and by which engine, and return its counts.

    `StaleStateError` where another run of the feed came first.
    """
    before = usage()

    def cost() -> dict[str, Any]:
        of_all = {"engine": engine, "device": device_of(handover, pin) or "cpu"}
        of_all |= {"wall_s": round(time.time() - run.started_at.timestamp(), 3)}
        return total_cost(handover, handover.get("partitions")["n"], spent(before)) | of_all

    pin, staging = pin_of(feed, run.state_version), staging_folder(run.run_id)
    batch, decided = _named_batch(feed, handover, pin), handover.get(f"decided@{pin}")
    counts = commit_run(
        feed.store,
        run,
        feed.contract,
        records=batch.records,
        unreadable=batch.unreadable,
        decided=with_audits(decided, key=feed.store.key, rate=feed.contract.policy.audit_rate),
        objects=intake_objects(feed, batch),
        repeats=batch.duplicates,
        controls=fold_votes(handover.get("controls"), _spellings(feed, handover, pin), feed.contract.vote, "answer"),
        cost=cost,
        staging=staging if feed.store.lake.exists(staging) else None,
        nonces=signed_nonces(feed.contract, batch.records),
    )
    trace_run(feed, load_run(feed.store, run.run_id))
    drain(feed.store, feed.settings)
    look_after(feed)
    return counts


def look_after(feed: Feed) -> None:
    """Do what time asks of a queue, and what a killed run left of it; also where nothing new is to be stored."""
    from poison_guard.steps.source_rules import keep  # many rooms, which no scan needs

    keep(feed)


def _newcomers(feed: Feed, handover: Handover, pin: Pin) -> pd.DataFrame:
    """Return the rows of the batch whose id the store has with other content as of the pin, and their names."""
    if not handover.has(f"newcomers@{pin}"):
        batch = get_batch(handover)
        lost = batch.unreadable.drop_duplicates("record_id")

        def look_up(ids: list[str]) -> pd.DataFrame:
            known = load_known(feed.store, feed.contract, ids, version=pin.version)
            handover.cache.setdefault(f"known@{pin}", known)  # the first look-up is of all ids that came
            return known

        rows = find_newcomers(
            batch,
            lost[["record_id"]].assign(content_hash=unreadable_hashes(lost)),
            look_up,
            partial(load_sums, feed.store, feed.contract, version=pin.version),
            owners=_owners(feed, batch),
            joined=feed.contract.data.join is not None,
        )
        handover.put(f"newcomers@{pin}", rows)
    newcomers: pd.DataFrame = handover.get(f"newcomers@{pin}")
    return newcomers


def _names(feed: Feed, handover: Handover, pin: Pin) -> pd.Series:
    """Return the names that rows of the batch get, by the ids they came with, made once a process."""
    if (name := f"names@{pin}") not in handover.cache:
        handover.cache[name] = names_of(_newcomers(feed, handover, pin))
    names: pd.Series = handover.cache[name]
    return names


def _owners(feed: Feed, batch: Batch) -> pd.Series | None:
    """Return whose each record is, as the store names people; None where the contract takes no revisions."""
    return bounded_keys(owners_of(batch.records, len(batch.records))) if feed.contract.data.revisions else None


def _spellings(feed: Feed, handover: Handover, pin: Pin) -> Spellings:
    """Return how the labels of the batch are spelled as of the pin."""
    if not any(map(feed.contract.has, LABEL_ROLES)):
        return {}
    if not handover.has(f"labels@{pin}"):
        batch, state = get_batch(handover), _state(feed, handover, pin)
        found = spellings_of(
            feed,
            batch.records,
            controls=state.controls,
            trusted=(state.reference, state.calibration),
            ledger=state.ledger,
            received_at=batch.received_at,
            version=state.version,
            earlier=pd.concat([state.answers["vote"], state.memory["vote"], state.controls["answer"]])
            .dropna()
            .unique(),
        )
        handover.put(f"labels@{pin}", dict(found))
    spellings: Spellings = handover.get(f"labels@{pin}")
    return spellings


def _spelled_state(feed: Feed, handover: Handover, pin: Pin) -> State:
    """Return the state as of the pin with earlier votes and controls spelled as the batch's are."""
    state, spellings = _state(feed, handover, pin), _spellings(feed, handover, pin)
    if not any(spellings.values()):
        return state
    answers, memory = (fold_votes(votes, spellings, feed.contract.vote) for votes in (state.answers, state.memory))
    controls = fold_votes(state.controls, spellings, feed.contract.vote, "answer")
    return dataclasses.replace(state, answers=answers, memory=memory, controls=controls)


def _named_batch(feed: Feed, handover: Handover, pin: Pin) -> Batch:
    """Return the batch with its rows under the names and labels they have as of the pin, made once a process."""
    if (name := f"batch@{pin}") not in handover.cache:
        batch, names = get_batch(handover), _names(feed, handover, pin)
        records, unreadable = rename(batch.records, names), rename(batch.unreadable, names)
        records = fold_labels(records, _spellings(feed, handover, pin))
        if records is not batch.records or unreadable is not batch.unreadable:
            batch = dataclasses.replace(batch, records=records, unreadable=unreadable)
        handover.cache[name] = batch
    named: Batch = handover.cache[name]
    return named


def _state(feed: Feed, handover: Handover, pin: Pin) -> State:
    """Return all that the run may know as of the pin, read once a process."""
    if (name := f"state@{pin}") not in handover.cache:
        batch, names = get_batch(handover), _names(feed, handover, pin)  # its labels are spelled by this state
        records, known = rename(batch.records, names), handover.cache.get(f"known@{pin}")
        if known is not None:  # by the ids that came: no row has another name, and unreadable ones are not judged
            known = known[among(known["record_id"], records["record_id"])] if names.empty else None
        batch, controls = dataclasses.replace(batch, records=records), handover.get("controls")
        handover.cache[name] = current_state(feed, batch, pin.version, controls=controls, known=known)
        if CHECKING:
            check_frames(handover.cache[name])
    state: State = handover.cache[name]
    return state


def _prepared(feed: Feed, handover: Handover, pin: Pin) -> Prepared:
    """Return the models fitted on the trusted set as of the pin, fitted once a process."""
    if (name := f"prepared@{pin}") not in handover.cache:
        state = handover.cache.get(f"state@{pin}")
        if state is None:  # a process that scores one partition needs neither the other records nor their history
            batch, controls = handover.get("batch"), handover.get("controls")
            state = current_state(feed, batch, pin.version, controls=controls, remember=False)
        sample, threads = handover.get("sample"), feed.settings.threads
        with torch_threads(feed) as device:
            handover.cache[name] = prepare(feed.contract, state, sample, device=device, threads=threads)
    prepared: Prepared = handover.cache[name]
    return prepared


def _scored(handover: Handover, pin: Pin) -> pd.DataFrame:
    """Return the scored records of all partitions, sorted by id, joined once a process."""
    parts = range(handover.get("partitions")["n"])
    if (name := f"scored@{pin}") not in handover.cache:
        handover.cache[name] = join_partitions([handover.get(f"scored-{part:05d}@{pin}") for part in parts])
    scored: pd.DataFrame = handover.cache[name]
    return scored
