"""Read a batch: new objects of a feed, a frame, or staged records that can be judged now; and new files of outcomes."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from poison_guard.config.data import Identity
from poison_guard.contracts.check import schema_drift, schema_hash
from poison_guard.contracts.gx import is_installed
from poison_guard.errors import ConfigError, DataError, UsageError
from poison_guard.ingest.collect import (
    batch_from_frame,
    collect_frames,
    empty_batch,
    failed_digest,
    read_controls,
    reading_of,
)
from poison_guard.ingest.continuation import NOTHING_EARLIER, Earlier, Trail
from poison_guard.ingest.identity import count_named
from poison_guard.ingest.objects import find_path, resolve_paths
from poison_guard.ingest.raw_table import Limits
from poison_guard.ingest.read import read_table
from poison_guard.records import Batch, ObjectRef, Place, Reason, State
from poison_guard.results import Result
from poison_guard.steps.opening import Feed
from poison_guard.steps.payloads import check_can_be_read_again, payload_frames
from poison_guard.store import audit, last_watermark, load_run, load_state, seen_objects
from poison_guard.store.outcomes import OutcomesAdded, add_outcomes, outcome_digest
from poison_guard.store.reading import find_contents, find_records
from poison_guard.store.runs import load_trails
from poison_guard.store.state import load_schema
from poison_guard.store.trusted import load_trusted
from poison_guard.text import shown_url

__all__ = [
    "OutcomesRead",
    "Source",
    "as_paths",
    "collect_batch",
    "current_state",
    "head_version",
    "intake_objects",
    "read_batch",
    "read_outcomes",
]


Source = pd.DataFrame | str | Path | Sequence[str | Path] | None
"""A frame, a path or URL, several of them, or None: what the contract's ``[data]`` names."""


def read_batch(
    feed: Feed, source: Source, now: dt.datetime, *, include_seen: bool = False
) -> tuple[Batch, pd.DataFrame]:
    """Return what is new and the feed's controls, without side effects.

    An object whose digest was taken in before is left out, unless `include_seen`.
    """
    contract, home = feed.contract, feed.settings.home
    if source is None and contract.data.query and contract.data.watermark:
        batch = _read_query(feed, contract.data.query, contract.data.watermark, now)
    else:
        paths = as_paths(source)
        seen = frozenset() if include_seen else seen_objects(feed.store, contract.name)
        named = contract.has("record_id") or contract.data.identity is Identity.CONTENT
        earlier = NOTHING_EARLIER if named else _earlier(feed)
        batch = collect_frames(contract, paths, home=home, received_at=now, seen=seen, earlier=earlier)
        if not named and len(batch.records):
            batch = _with_repeats(feed, batch)
    return batch, read_controls(contract, home)


def _earlier(feed: Feed) -> Earlier:
    """Return what is known of the objects that were taken in before, where rows have no ids of their own."""
    contract = feed.contract
    trails = [(digest, uri, Trail.of_json(text)) for digest, uri, text in load_trails(feed.store, contract.name)]

    def total(name: str, hashes: Sequence[str]) -> dict[str, int]:
        stored = find_contents(feed.store, contract.name, hashes)
        return count_named(contract.name, name, stored["record_id"], stored["content_hash"])

    return Earlier(trails, total)


def _with_repeats(feed: Feed, batch: Batch) -> Batch:
    """Return the batch with a note where rows without an id repeat the content of records with another id."""
    records = batch.records
    stored = find_contents(feed.store, feed.contract.name, records["content_hash"].unique().tolist())
    new = records[~records["record_id"].isin(stored["record_id"])]
    firsts = records.drop_duplicates("content_hash").set_index("content_hash")["object"]
    again = new["content_hash"].isin(stored["content_hash"]) | (new["object"] != new["content_hash"].map(firsts))
    if not again.any():
        return batch
    note = Reason("rows_repeat", {"n_records": int(again.sum()), "of": len(records)})
    return dataclasses.replace(batch, notes=(*batch.notes, note))


def as_paths(source: Source) -> pd.DataFrame | list[str] | None:
    """Return a frame or None as it is, paths as a list of text."""
    if source is None or isinstance(source, pd.DataFrame):
        return source
    several = [source] if isinstance(source, (str, Path)) else source
    if not isinstance(several, Sequence) or not all(isinstance(path, (str, Path)) for path in several):
        raise UsageError(f"records come as a DataFrame, a path, or a list of paths, got {type(source).__name__}")
    return [os.fspath(path) for path in several]


def _read_query(feed: Feed, query: str, watermark: str, now: dt.datetime) -> Batch:
    contract = feed.contract
    url = os.environ.get(contract.data.url_env)
    if not url:
        raise ConfigError(f"the query of feed {contract.name} needs a database URL in ${contract.data.url_env}")
    from poison_guard.store.warehouse import read_query, watermark_of

    after = last_watermark(feed.store, contract.name)
    frame = read_query(url, query, watermark=watermark, after=after, limit=contract.data.max_rows)
    if not len(frame):
        return empty_batch(contract, received_at=now)
    highest = watermark_of(frame, watermark)
    return batch_from_frame(
        contract, frame, object_uri=f"query:{contract.name}:{after or ''}", received_at=now, watermark=highest
    )


def collect_batch(feed: Feed, source: Source, now: dt.datetime) -> tuple[Batch, pd.DataFrame]:
    """Return the batch to decide and store, and the feed's controls.

    The batch is what is new, and the records staged before that can be judged now.

    Its id names its objects and how the contract reads them. An object that could not be read counts as itself on this
    day: it is tried again, and once it can be read it is a batch of its own. Staged records count as one more object,
    named by what they would be judged by (trusted set, policy, version, accepted schema; the day, once there is a
    trusted set, or where they had nothing to be compared with), so that each is decided again when that has changed and
    not before.
    """
    batch, controls = read_batch(feed, source, now)
    if not feed.contract.data.copy:
        check_can_be_read_again(feed, batch)
    digests = [ref.digest for ref in intake_objects(feed, batch)]
    parts = list(payload_frames(feed, (Place.STAGED,)))
    staged = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if len(staged):
        batch = _with_staged(feed, batch, staged, now)
        digests += [ref.digest for ref in batch.objects[len(digests) :]]
    batch_id = hashlib.sha256(repr([reading_of(feed.contract), sorted(digests)]).encode()).hexdigest()
    return dataclasses.replace(batch, batch_id=batch_id), controls


def _with_staged(feed: Feed, batch: Batch, staged: pd.DataFrame, now: dt.datetime) -> Batch:
    """Return a batch with those of the feed's staged records that can be judged now."""
    staged, alone = _judgeable(feed, staged)
    key = _staged_key(feed, now, alone=alone)
    if staged.empty or key in seen_objects(feed.store, feed.contract.name):
        return batch
    staged = staged[~staged["record_id"].isin(batch.records["record_id"])]
    records = pd.concat([batch.records, staged], ignore_index=True) if len(batch.records) else staged
    ref = ObjectRef(f"staged:{key[:16]}", key, 0, len(staged))
    return dataclasses.replace(batch, records=records, objects=(*batch.objects, ref))


def _held_whole(codes: set[str], *, drifted: bool) -> bool:
    return "batch_contract" in codes or ("schema_drift" in codes and drifted)


def _judgeable(feed: Feed, staged: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """Return the staged records without those of batches held whole, for their schema or suite.

    And whether some were staged because they had nothing to be compared with: what came since may be that.

    Diluted in the next batch they would pass: they wait until a reviewer has accepted the schema or released the run.
    """
    rows = find_records(feed.store, feed.contract.name, places=(Place.STAGED,))
    accepted = _accepted_schema(feed)
    runs = [load_run(feed.store, run_id) for run_id in rows["run_id"].unique()]
    held = {
        run.run_id
        for run in runs
        if _held_whole({note["code"] for note in run.notes}, drifted=schema_drift(accepted, run.schema) is not None)
    }
    waiting = rows[~rows["run_id"].isin(held)]
    alone = waiting["reasons"].astype("str").str.contains("unjudged|nothing_to_compare").any()
    could = feed.contract.speaker is not None or feed.contract.vote is not None
    return staged[staged["record_id"].isin(waiting["record_id"])], bool(alone) and could


def _accepted_schema(feed: Feed) -> dict[str, str]:
    with feed.store.read() as conn:
        return load_schema(conn, feed.contract.name)


_STAGED_FORMAT = 1
"""Raise it when the guard judges otherwise than before: then staged records are looked at again."""


def _staged_key(feed: Feed, now: dt.datetime, *, alone: bool) -> str:
    """Return a digest of all that staged records would be judged by; with the day where other records may help."""
    trusted = load_trusted(feed.store, feed.contract.name).hash
    day = now.date().isoformat() if trusted or alone else ""
    schema = schema_hash(_accepted_schema(feed))
    parts = ["staged", feed.contract.name, trusted, feed.contract.policy_hash, str(_STAGED_FORMAT), day, schema]
    if feed.suite is not None and not is_installed():
        parts.append("suite not checked")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def intake_objects(feed: Feed, batch: Batch) -> tuple[ObjectRef, ...]:
    """Return the objects to remember as taken in: one that could not be read at all, only until it is tried again."""
    unreadable = set(batch.unreadable.loc[batch.unreadable["row"].astype(int) == 0, "object"])
    return tuple(
        dataclasses.replace(ref, digest=failed_digest(feed.contract, ref, batch.received_at))
        if ref.uri in unreadable
        else ref
        for ref in batch.objects
    )


def head_version(feed: Feed) -> int:
    """Return the newest state version of the store."""
    with feed.store.read() as conn:
        return audit.head(conn)


def current_state(
    feed: Feed,
    batch: Batch,
    version: int | None = None,
    *,
    controls: pd.DataFrame | None = None,
    remember: bool = True,
    known: pd.DataFrame | None = None,
) -> State:
    """Return the state as of `version` (None: now) for the ids and items of the batch.

    `controls` are read from their file where they are not handed over.
    Without `remember` the memory of earlier records, which only deciding needs, is left empty. `known` is what the
    store has under the ids of the batch, where that was looked up before.
    """
    records = batch.records
    items = records["item_id"].dropna().unique().tolist() if "item_id" in records else []
    sources = [records[role].dropna().unique().tolist() for role in ("source_id", "author_id") if role in records]
    return load_state(
        feed.store,
        feed.contract,
        record_ids=records["record_id"].tolist(),
        item_ids=items,
        source_ids=[name for names in sources for name in names],
        version=head_version(feed) if version is None else version,
        controls=read_controls(feed.contract, feed.settings.home) if controls is None else controls,
        received_at=batch.received_at if remember and {"campaign", "query"} & set(feed.contract.signals) else None,
        known=known,
    )


_RIGHT = frozenset(("1", "true", "t", "yes", "y", "right", "correct"))
_WRONG = frozenset(("0", "false", "f", "no", "n", "wrong", "incorrect"))
_SHOWN = 5
_CELL = 40
"""Characters shown of a cell that cannot be read."""


@dataclass(frozen=True, slots=True)
class OutcomesRead(Result):
    """What reading the outcomes of a feed brought: counts (`OutcomesAdded`, ``files, bad``) and what to tell of it."""

    counts: dict[str, int] = field(default_factory=dict)
    notes: tuple[Reason, ...] = ()


def read_outcomes(feed: Feed, now: dt.datetime) -> OutcomesRead:
    """Store the outcomes of files that were not read before, each file by itself; a file read before is left out.

    A file that cannot be read is told in a note and tried again next time. A row without an id, or with a ``correct``
    that is neither yes nor no, is told and left out; its file counts as read until it changes. Outcomes hold nothing
    up: without them nobody earns or loses anything.
    """
    if feed.contract.outcomes is None:
        return OutcomesRead()
    limits = Limits.of(feed.contract)
    path = find_path(feed.contract.outcomes, contract_file=feed.contract.path, home=feed.settings.home)
    try:
        files = resolve_paths([path], limits, by_hand=False)
    except DataError as why:
        return OutcomesRead(notes=(Reason("outcomes_unread", {"why": str(why)}),))
    counts: Counter[str] = Counter()
    notes: list[Reason] = []
    seen = seen_objects(feed.store, feed.contract.name)
    for ref in files:
        if outcome_digest(ref.digest) not in seen:
            try:
                brought, flaws = _read_outcomes(feed, ref, limits, now)
            except DataError as why:
                notes.append(Reason("outcomes_unread", {"why": str(why)}))
            else:
                counts.update(brought)
                notes += [Reason("outcomes_unread", {"why": flaw}) for flaw in flaws]
    summary = (Reason("outcomes_read", dict(counts)),) if counts else ()
    return OutcomesRead(dict(counts), (*summary, *notes[:_SHOWN]))


def _read_outcomes(feed: Feed, ref: ObjectRef, limits: Limits, now: dt.datetime) -> tuple[dict[str, int], list[str]]:
    """Store one file; return its counts and what is wrong with some of its rows."""
    names = {"record_id": "record_id", "correct": "correct", **feed.contract.outcome_columns}
    outcomes = _table(ref.uri, names, limits)
    word = outcomes["correct"].str.strip().str.lower().str.removesuffix(".0")
    named = outcomes["record_id"].notna() & (outcomes["record_id"] != "")
    answered = word.isin(_RIGHT) | word.isin(_WRONG)
    usable = named & answered
    visible = _times(outcomes["visible_at"]) if "visible_at" in outcomes else pd.Series(pd.NaT, index=outcomes.index)
    timeless = visible.isna() & outcomes["visible_at"].notna() if "visible_at" in outcomes else ~named & named
    rows = outcomes.assign(correct=word.isin(_RIGHT), visible_at=visible)[usable]
    added = add_outcomes(
        feed.store, feed.contract, rows, objects=[dataclasses.replace(ref, uri=shown_url(ref.uri))], now=now
    )
    brought = {name: getattr(added, name) for name in OutcomesAdded.__slots__}
    rules = (
        (~named, "record_id", "has no {}", "left out"),
        (named & ~answered, "correct", "has {} = {}, which is neither yes nor no", "left out"),
        (usable & timeless, "visible_at", "has {} = {}, which is no ISO 8601 time", "taken as visible from now on"),
    )
    called = {"visible_at": "visible_at", **names}
    flaws = [
        _flaw(shown_url(ref.uri), outcomes[name], wrong, called[name], why, end)
        for wrong, name, why, end in rules
        if wrong.any()
    ]
    return {"files": 1, "bad": int((~usable).sum()), **brought}, flaws


def _table(uri: str, names: Mapping[str, str], limits: Limits) -> pd.DataFrame:
    """Return the columns of a file under their roles; ``visible_at`` also where it is there without being mapped."""
    if "visible_at" not in names:
        with contextlib.suppress(DataError):
            more = {**names, "visible_at": "visible_at"}
            return read_table(uri, columns=list(more.values()), limits=limits).set_axis(list(more), axis=1)
    return read_table(uri, columns=list(names.values()), limits=limits).set_axis(list(names), axis=1)


def _flaw(uri: str, cells: pd.Series, wrong: pd.Series, column: str, why: str, end: str) -> str:
    """Return a sentence on the first of the rows that are `wrong`, and how many there are."""
    first = int(wrong.to_numpy().argmax())
    cell = repr("" if pd.isna(cells.iloc[first]) else str(cells.iloc[first])[:_CELL])
    n = int(wrong.sum())
    return f"row {first + 1} of {uri} {why.format(column, cell)}; {n:,} such {'row is' if n == 1 else 'rows are'} {end}"


def _times(texts: pd.Series) -> pd.Series:
    """Return times; one that cannot be read is missing, and then the outcome counts as visible from its reading on."""
    return pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601")
