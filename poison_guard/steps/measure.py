"""Measure a snapshot for the gate: load what the checks ask for, and let pure functions count and compare."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Mapping
from itertools import islice
from typing import Any

import pandas as pd

from poison_guard.errors import DataError, GuardError
from poison_guard.gate import measure as gate_measure
from poison_guard.gate.replies import REPLY_MEASURES, measure_replies
from poison_guard.ingest.read import read_table
from poison_guard.pipeline.content import has_no_label
from poison_guard.records import Examples
from poison_guard.signals.isolation import SignalFailure, run_isolated
from poison_guard.steps.examples import (
    TrustedExamples,
    count_labels,
    load_examples,
    load_sides,
    load_trusted_examples,
    load_trusted_sides,
)
from poison_guard.steps.model_scan import asking, open_model, scan_for_triggers, trusted_model
from poison_guard.steps.opening import Feed, torch_threads
from poison_guard.store import accepted_frames
from poison_guard.store.admissions import admitted_snapshots
from poison_guard.store.gate_counts import audit_counts, backlog_counts, count_would_be_held, trusted_facts
from poison_guard.store.models import champion
from poison_guard.store.snapshots import Snapshot, load_snapshot
from poison_guard.text import shown_url

__all__ = ["Measured", "measure", "read_predictions"]


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What the verdict follows from, and the hash of the candidate's predictions where one was judged."""

    measurements: Mapping[str, Mapping[str, Any]]
    candidate: str | None = None


def measure(
    feed: Feed, snapshot: Snapshot, now: dt.datetime, *, candidate: str | None = None, model: str | None = None
) -> Measured:
    """Return all measurements of a snapshot; one that crashes says so, and the verdict closes on it.

    `candidate` is a file of predictions; `model` is asked and scanned, see `model_scan.open_model`. `DataError` where
    the candidate's file cannot be read at all.
    """
    admitted = _admitted(feed, snapshot)
    if has_no_label(feed.contract):
        if candidate is not None or model is not None:
            raise DataError(
                f"{feed.contract.name} has no labels that a candidate could predict; judge it by its own tests"
            )
        return Measured(_replies(feed, snapshot, admitted, now))
    trusted = load_trusted_examples(feed)
    measurements = _of_snapshot(feed, snapshot, trusted, admitted, now)
    if model is not None:
        measurements |= _run_isolated(
            lambda: _asked(feed, snapshot, trusted, model), ("candidate", "planted_triggers"), passes=(MemoryError,)
        )
        return Measured(measurements, shown_url(model))
    if candidate is None:
        absent = {name: gate_measure.no_candidate() for name in ("candidate", "planted_triggers")}
        return Measured({**measurements, **absent})
    predictions = read_predictions(candidate)
    measurements |= _of_predictions(feed, snapshot, predictions, trusted)
    lines = "\n".join(sorted(f"{name}\t{label}" for name, label in predictions.itertuples(index=False)))
    return Measured(measurements, hashlib.sha256(lines.encode()).hexdigest())


def _of_snapshot(
    feed: Feed, snapshot: Snapshot, trusted: TrustedExamples, admitted: list[Snapshot], now: dt.datetime
) -> dict[str, Any]:
    """Return what is measured of the snapshot itself, whatever is trained on it."""
    with torch_threads(feed):
        examples = load_examples(feed, snapshot, since=admitted[0] if admitted else None)
        anchor = count_labels(feed, admitted[-1]) if admitted else None
        measured = _run_isolated(
            lambda: gate_measure.measure_examples(
                _unknown(examples, trusted), trusted.examples, anchor, feed.contract.gate
            ),
            ("label_neighbours", "triggers", "canary", "label_shift"),
        )
        measured |= _run_isolated(
            lambda: {"label_shift": gate_measure.label_shift(examples, trusted.examples, anchor)}, ("label_shift",)
        )  # of the whole snapshot: a label whose other items are deferred lives on in the known ones
    labels = _labels(trusted.examples), _labels(examples)
    measured |= _run_isolated(lambda: _sources(feed, examples.frame), ("source_share", "new_cohort"))
    measured |= _run_isolated(lambda: {"trusted_set": _trusted(feed, *labels, now)}, ("trusted_set",))
    measured |= _run_isolated(lambda: _people(feed, len(examples), now), ("audits", "backlog"))
    return measured | _run_isolated(lambda: {"observed": _observed(feed, snapshot)}, ("observed",))


def _of_predictions(
    feed: Feed, snapshot: Snapshot, predictions: pd.DataFrame, trusted: TrustedExamples
) -> dict[str, Any]:
    """Return what a candidate's predictions show: of held-out trusted examples, and of examples with marks."""
    asked = trusted.held_out().frame["example_id"].astype(str)
    of_marks = predictions["example_id"].str.startswith("scan-") & ~predictions["example_id"].isin(asked)
    own = predictions[~of_marks].reset_index(drop=True)
    return _run_isolated(lambda: {"candidate": _candidate(feed, own, trusted)}, ("candidate",)) | _run_isolated(
        lambda: {"planted_triggers": _predicted(feed, snapshot, predictions, of_marks.any())}, ("planted_triggers",)
    )


def _replies(feed: Feed, snapshot: Snapshot, admitted: list[Snapshot], now: dt.datetime) -> dict[str, Any]:
    """Return the measurements of a snapshot of feedback without labels."""
    sides = load_sides(feed, snapshot, since=admitted[0] if admitted else None)
    trusted = load_trusted_sides(feed)
    fresh = sides.without(trusted)
    measurements: dict[str, Any] = _run_isolated(
        lambda: measure_replies(fresh, trusted, feed.contract.gate), REPLY_MEASURES
    )
    rows = sides.frame[["example_id"]].assign(label="")
    measurements |= _run_isolated(lambda: _sources(feed, rows), ("source_share", "new_cohort"))
    n = {"": len(trusted)} if len(trusted) else {}
    measurements |= _run_isolated(lambda: {"trusted_set": _trusted(feed, n, {"": len(sides)}, now)}, ("trusted_set",))
    measurements |= _run_isolated(lambda: _people(feed, len(sides), now), ("audits", "backlog"))
    return measurements | _run_isolated(lambda: {"observed": _observed(feed, snapshot)}, ("observed",))


def read_predictions(path: str) -> pd.DataFrame:
    """Return a candidate's predictions, ``example_id, label``; `DataError` where the file is not one row an example."""
    predictions = read_table(path, columns=("example_id", "label"), labels=("label",))
    for name in ("example_id", "label"):
        if predictions[name].isna().any():
            row = int(predictions[name].isna().to_numpy().argmax()) + 1
            raise DataError(f"row {row} of {shown_url(path)} has no {name}; give one row an example, with both columns")
    twice = predictions["example_id"].duplicated()
    if twice.any():
        raise DataError(
            f"{shown_url(path)} predicts {predictions.loc[twice, 'example_id'].iloc[0]!r} twice; keep one row an "
            "example"
        )
    return predictions


def _asked(feed: Feed, snapshot: Snapshot, trusted: TrustedExamples, model: str) -> dict[str, Any]:
    """Ask a model what it predicts of the held-out trusted examples, and scan it for triggers."""
    held = trusted.held_out()
    with open_model(feed, model) as ask:
        predictions = pd.DataFrame({"example_id": held.frame["example_id"], "label": ask(held)})
        reference = trusted_model(feed)
        scan = scan_for_triggers(feed, snapshot, ask, None if reference is None else asking(reference))
    return {"candidate": _candidate(feed, predictions, trusted), "planted_triggers": scan.measurement}


def _predicted(feed: Feed, snapshot: Snapshot, predictions: pd.DataFrame, scanned: bool) -> Mapping[str, Any]:
    """Return the scan of a model by its predictions of `scan_inputs`."""
    if not scanned:
        why = "its predictions are of no marks: `poison-guard export --trusted scan` writes the inputs with them"
        return {"absent": f"{why}, and --model asks the model itself"}
    answers = dict(zip(predictions["example_id"], predictions["label"], strict=True))
    reference = trusted_model(feed)
    return scan_for_triggers(feed, snapshot, answers, None if reference is None else asking(reference)).measurement


def _run_isolated(
    work: Any, names: tuple[str, ...], passes: tuple[type[Exception], ...] = (GuardError, MemoryError)
) -> dict[str, Any]:
    """Return the named measurements, or why none of them could be made."""
    done = run_isolated(work, passes=passes)
    return {key: {"error": str(done)} for key in names} if isinstance(done, SignalFailure) else done


def _admitted(feed: Feed, snapshot: Snapshot) -> list[Snapshot]:
    """Return the newest and the first snapshot admitted before this one that still stand; the first is the anchor."""
    ids = [name for name in admitted_snapshots(feed.store, feed.contract.name) if name != snapshot.snapshot_id]

    def first_standing(names: list[str]) -> list[Snapshot]:
        snapshots = (load_snapshot(feed.store, name) for name in names)
        return list(islice((s for s in snapshots if s.revoked_seq is None and s.seq <= snapshot.seq), 1))

    return [*first_standing(ids), *first_standing(ids[::-1])]


def _unknown(examples: Examples, trusted: TrustedExamples) -> Examples:
    """Return the examples whose label nobody vouched for: an item that is trusted cannot tell of poison."""
    pairs = ["example_id", "label"]
    known = pd.MultiIndex.from_frame(trusted.examples.frame[pairs])
    return examples.take(~pd.MultiIndex.from_frame(examples.frame[pairs]).isin(known))


def _labels(examples: Examples) -> dict[str, int]:
    return {str(label): int(n) for label, n in examples.frame["label"].value_counts().items()}


def _sources(feed: Feed, examples: pd.DataFrame) -> dict[str, Any]:
    """Count what rests on each source: its accepted records, or its votes for the labels that were adopted."""
    contract = feed.contract
    if not contract.has("source_id"):
        return {"source_share": gate_measure.no_sources(), "new_cohort": gate_measure.no_sources()}
    label_of = examples.set_index("example_id")["label"]
    parts = [
        _counts_by_source(frame, label_of, contract.vote, contract.gate.new_days)
        for frame in accepted_frames(feed.store, contract.name)
    ]
    counted = pd.concat(parts).groupby(level=0).sum() if parts else pd.DataFrame({"n": [], "young": [], "unknown": []})
    counts = {name: {str(k): int(v) for k, v in counted[name].items() if v} for name in ("n", "young")}
    cohort = gate_measure.new_cohort(counts["n"], counts["young"], unknown=int(counted["unknown"].sum()))
    return {"source_share": gate_measure.source_share(counts["n"]), "new_cohort": cohort}


def _counts_by_source(frame: pd.DataFrame, label_of: pd.Series, vote: str | None, new_days: int) -> pd.DataFrame:
    """Return ``n, young, unknown`` by source: its records that count, and those made while its account was new."""
    if vote:
        counted = frame["item_id"].map(label_of) == _canonical_votes(frame, label_of, vote)
    else:
        counted = frame["record_id"].isin(label_of.index)
    rows = frame[counted & frame["source_id"].notna()]
    age = pd.Series(pd.NaT, index=rows.index, dtype="timedelta64[us]")
    if "source_since" in rows:
        seen = rows["observed_at"].fillna(rows["received_at"]) if "observed_at" in rows else rows["received_at"]
        age = seen - rows["source_since"]
    young = age < pd.Timedelta(days=new_days)
    counts = pd.DataFrame({"n": 1, "young": young.astype(int), "unknown": age.isna().astype(int)}, index=rows.index)
    return counts.groupby(rows["source_id"].astype("str")).sum()


def _canonical_votes(frame: pd.DataFrame, label_of: pd.Series, vote: str) -> pd.Series:
    """Return the votes as text; free text that says nearly what its item's label says, as the label."""
    from poison_guard.signals.sources import canonicalise, cluster_answers

    votes = frame[["item_id", "source_id"]].assign(vote=frame[vote].astype("str")).dropna()
    labels = label_of.rename_axis("item_id").rename("answer").reset_index()
    return canonicalise(votes, cluster_answers(votes, controls=labels))["vote"].reindex(frame.index)


def _trusted(
    feed: Feed, labels: Mapping[str, int], snapshot_labels: Mapping[str, int], now: dt.datetime
) -> dict[str, Any]:
    facts = trusted_facts(feed.store, feed.contract.name)
    age = None if facts["last_added"] is None else (now - facts["last_added"]).days
    return gate_measure.trusted_set(labels, snapshot_labels, age_days=age, seen_before=facts["seen_before"])


def _people(feed: Feed, n: int, now: dt.datetime) -> dict[str, Any]:
    contract = feed.contract
    since = now - dt.timedelta(days=contract.gate.trusted_days)  # as old as what people vouched for may be
    audited = audit_counts(feed.store, contract.name, since=since)
    waits = backlog_counts(feed.store, contract.name, now=now, expire_days=contract.policy.expire_days)
    return {
        "audits": gate_measure.audits(n=audited["decided"], wrong=audited["wrong"]),
        "backlog": gate_measure.backlog(
            n=n, deferred=waits["deferred"], expired=waits["expired"], waiting=waits["open"]
        ),
    }


def _observed(feed: Feed, snapshot: Snapshot) -> dict[str, Any]:
    counts = count_would_be_held(feed.store, feed.contract.name, seq=snapshot.seq)
    return gate_measure.observed(n=counts["accepted"], passed=counts["passed"])


def _candidate(feed: Feed, predictions: pd.DataFrame, trusted: TrustedExamples) -> dict[str, Any]:
    """Compare a candidate's predictions with the champion's, or with those of a model of trusted examples alone."""
    held = trusted.held_out()
    against, baseline = _baseline(feed, trusted, held)
    labels = dict(zip(predictions["example_id"], predictions["label"].astype("str"), strict=True))
    return gate_measure.candidate(held.frame, labels, baseline, against=against)


def _baseline(feed: Feed, trusted: TrustedExamples, held: Examples) -> tuple[str, dict[str, str]]:
    """Return whom a candidate is compared with, and what that one predicts of the held-out examples."""
    from poison_guard.gate.measure import trusted_only
    from poison_guard.signals.labels.representation import fit_representation

    best = champion(feed.store, feed.contract.name)
    known = dict(best.metrics.get("predictions") or {}) if best is not None else {}
    ids = held.frame["example_id"].tolist()
    if known and all(name in known for name in ids):
        return "champion", {name: str(known[name]) for name in ids}
    reference = trusted.examples.take(trusted.split == "reference")
    fitted = fit_representation(reference)
    labels = reference.frame["label"].to_numpy(object)
    predicted = trusted_only(fitted.vectors(reference), labels, fitted.vectors(held))
    return "trusted-only", dict(zip(ids, map(str, predicted), strict=True))
