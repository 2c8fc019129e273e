"""Export: a feed's rows as they came, in the format they came in or a trainer's; or what was decided about them."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from poison_guard.config import Contract
from poison_guard.decide.reasons import sentence
from poison_guard.errors import DataError, NotFoundError, StoreError, UsageError
from poison_guard.files import write_atomic, write_frame
from poison_guard.frames import ADDED
from poison_guard.ingest.folders import folder_columns
from poison_guard.ingest.original import original_rows
from poison_guard.onboard.convert import TRAINERS, Converter
from poison_guard.records import Place
from poison_guard.results import Result
from poison_guard.steps.opening import Feed
from poison_guard.steps.payloads import payload_frames
from poison_guard.steps.row_files import ENDINGS, Rows, file_body, hub_card, together
from poison_guard.steps.sealed_rows import sealed_rows
from poison_guard.store import Store, find_records, list_feeds
from poison_guard.store.admissions import list_admissions
from poison_guard.store.facts import evidence_of
from poison_guard.store.reading import load_rows
from poison_guard.store.snapshots import Snapshot, last_snapshot, load_snapshot

__all__ = ["FORMATS", "ExportResult", "Exported", "export"]

FORMATS = ("jsonl", "json", "csv", "parquet", "trl", "openai", "hf")
"""What ``--as`` takes."""
_DECISION = ["record_id", "place", "action", "risk", "campaign_id", "source_id", "item_id", "run_id", "received_at"]
_REASONED = ["record_id", "place", "action", "risk", "campaign_id", "reasons", "why", "object", "row"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What to export: `places` of the feed, or a `snapshot_id` (``last``, ``admitted``), and how."""

    places: tuple[str, ...] = ("accepted",)
    decisions: bool = False
    reasons: bool = False
    as_: str | None = None
    snapshot_id: str | None = None
    private: bool = False


@dataclass(frozen=True, slots=True)
class ExportResult(Result):
    """What `Guard.export` returns."""

    feed: str
    places: tuple[str, ...]
    frame: pd.DataFrame
    """The rows under their own names, or one row a decision."""
    file: Path | None
    """Where they were written; None where no file was named."""
    snapshot_id: str | None = None
    digest: str | None = None
    """SHA-256 of the manifest that admits the snapshot; None where none does."""
    changed_cells: int = 0
    """Cells of a CSV for people that a spreadsheet would have run, and that got a ``'``."""
    notes: tuple[str, ...] = ()
    body: bytes | None = field(default=None, repr=False, compare=False)
    """The file's bytes where they go to stdout."""

    def to_dict(self) -> dict[str, Any]:
        """Return how many records were written where; not the records."""
        document = {
            "feed": self.feed,
            "places": list(self.places),
            "records": len(self.frame),
            "file": None if self.file is None else str(self.file),
            "snapshot_id": self.snapshot_id,
            "manifest": self.digest,
            "changed_cells": self.changed_cells,
        }
        return {**document, "notes": list(self.notes)}

    def __str__(self) -> str:
        where = f"written to {self.file}" if self.file else "in `.frame`"
        what = self.snapshot_id or ", ".join(self.places)
        return "\n".join((f"{self.feed}: {len(self.frame):,} records ({what}) {where}", *self.notes))

    def _repr_html_(self) -> str:
        return str(self.frame.head(20)._repr_html_())


def export(feed: Feed, out: str | Path | None, wanted: Exported) -> ExportResult:
    """Return what is `wanted` of a feed, and write it to `out` where it is given; ``-`` leaves the bytes in `body`."""
    form = _format_of(out, wanted)
    _check(feed.store, feed.contract, wanted)
    if wanted.decisions:
        return _write_decisions(feed, out, wanted)
    snapshot = _snapshot(feed, wanted.snapshot_id)
    digest = _admission_digest(feed.store, snapshot)
    converter = Converter(feed.contract, wanted.as_) if wanted.as_ in TRAINERS else None
    rows, notes = _wanted_rows(
        feed, snapshot, wanted, whole=not wanted.reasons and (converter is None or converter.same)
    )
    if converter is not None:
        rows, left_out = _converted(rows, converter)
        notes += left_out
    facts = {"feed": feed.contract.name, "rows": len(rows.rows), **_facts(snapshot, digest)}
    note = {"poison_guard": json.dumps(facts)} if snapshot is not None else None
    safe = form == "csv" and (wanted.as_ is None or wanted.reasons)
    body, changed = (b"", 0) if out is None else file_body(rows, form, safe=safe, note=note)
    if changed:
        notes.append(
            f"{changed:,} cells that a spreadsheet would run got a leading '; `--as csv` writes them as they came"
        )
    return ExportResult(
        feed.contract.name,
        wanted.places,
        rows.table.to_pandas() if rows.table is not None else pd.DataFrame(list(rows.rows), columns=rows.names()),
        _write(feed.contract.name, out, wanted, body, facts, of_snapshot=snapshot is not None),
        None if snapshot is None else snapshot.snapshot_id,
        digest,
        changed,
        tuple(notes),
        body if str(out) == "-" else None,
    )


def _wanted_rows(feed: Feed, snapshot: Snapshot | None, wanted: Exported, *, whole: bool) -> tuple[Rows, list[str]]:
    """Return the rows of a snapshot or of places, with reasons where they are wanted, and notes on what is not whole.

    `whole`: those that were exploded are together again.
    """
    data, leave_out = feed.contract.data, _left_out(feed.contract, wanted)
    if snapshot is not None:
        rows, notes = sealed_rows(feed, snapshot, leave_out=leave_out, whole=whole), list[str]()
    else:
        records = _payloads(feed, [Place(place) for place in wanted.places])
        rows, notes = _own_rows(feed.contract, records, leave_out)
        notes += _unreadable_note(feed, wanted)
        if whole and data.explode:
            keys = list(zip(records["object"], records["row"], strict=True)) if len(records) else []
            rows = together(rows, keys, data.explode)
        rows = _with_reasons(feed, rows, records) if wanted.reasons else rows
    renamed = wanted.as_ in TRAINERS or wanted.reasons  # then there are names that the input has not
    return replace(rows, marked=data.encoding is not None, header=data.header is not False or renamed), notes


def _converted(rows: Rows, converter: Converter) -> tuple[Rows, list[str]]:
    """Return the rows as a trainer reads them, and a note on those that it cannot take."""
    made = list(converter.rows(rows.rows))
    left_out = f"left out {converter.counted.rated_bad:,} replies that are rated bad: OpenAI takes good ones"
    notes = [left_out] if converter.counted.rated_bad else []
    table = rows.table if made == list(rows.rows) else None
    return replace(rows, rows=made, table=table, delimiter=","), notes


def _format_of(out: str | Path | None, wanted: Exported) -> str:
    """Return the format of the file; `UsageError` where its ending says another one than ``--as``."""
    if wanted.as_ is not None and wanted.as_ not in FORMATS:
        raise UsageError(f"there is no format {wanted.as_!r} to export as; there are {', '.join(FORMATS)}")
    if wanted.as_ == "hf":
        if out is not None and (str(out) == "-" or Path(out).suffix.lower() in ENDINGS):
            raise UsageError(f"`--as hf` writes a folder, and {out} is none; name a folder in --out")
        return "parquet"
    named = None if wanted.as_ in TRAINERS else wanted.as_
    if out is None or str(out) == "-":
        return named or "jsonl"
    ending = ENDINGS.get(Path(out).suffix.lower())
    if ending is None:
        raise UsageError(f"{out} must end in {', '.join(ENDINGS)}, which says its format")
    if named is not None and named != ending:
        raise UsageError(f"{out} ends as a file of {ending}, and --as says {named}; make them agree")
    return ending


def _check(store: Store, contract: Contract, wanted: Exported) -> None:
    unknown = next((place for place in wanted.places if place not in list(Place)), None)
    if unknown is not None:
        raise UsageError(f"there is no place {unknown!r}; there are {', '.join(Place)}")
    beside = {"decisions": wanted.decisions, "reasons": wanted.reasons, "snapshot": wanted.snapshot_id is not None}
    named = [name for name, given in beside.items() if given]
    if len(named) > 1:
        raise UsageError(f"--{named[0]} and --{named[1]} write two different things; choose one of them")
    if wanted.snapshot_id is not None and wanted.places != ("accepted",):
        raise UsageError("a snapshot holds what was accepted when it was sealed; leave out --place")
    if wanted.decisions and wanted.as_ not in (None, "csv", "jsonl", "parquet"):
        raise UsageError(f"decisions are no examples, so they cannot be written as {wanted.as_}")
    feeds = list_feeds(store)
    if contract.name not in feeds:
        raise NotFoundError(f"the store has no feed {contract.name!r}; it has {', '.join(feeds) or 'none yet'}")


def _left_out(contract: Contract, wanted: Exported) -> frozenset[str]:
    return frozenset() if wanted.private else frozenset(contract.privacy.private)


def _payloads(feed: Feed, places: list[Place]) -> pd.DataFrame:
    """Return the payloads of the records in `places`, in the order in which they came: batch, object, row."""
    parts = list(payload_frames(feed, places))
    if not parts:
        return pd.DataFrame({"record_id": pd.Series(dtype="str")})
    frame = pd.concat(parts, ignore_index=True)
    return frame.sort_values(["received_at", "object", "row"], kind="stable", ignore_index=True)


def _own_rows(contract: Contract, records: pd.DataFrame, leave_out: frozenset[str]) -> tuple[Rows, list[str]]:
    """Return the rows that `records` were made of, and notes on what could not be kept whole."""
    groups = original_rows(records, leave_out=leave_out)
    known = np.zeros(len(records), bool)
    for group in groups:
        known[group.at] = True
    if len(records) and not known.all():
        n = int((~known).sum())
        raise DataError(
            f"{n:,} records of {contract.name} do not say what their rows looked like: they were stored by an earlier "
            "version; take their files in again under another feed, or export the others"
        )
    rows = Rows.of(groups, {at: at for at in range(len(records))})
    rows = _with_folders(rows, records["object"].tolist() if len(records) else [], leave_out)
    cut = sum(group.cut for group in groups)
    notes = [f"{cut:,} cells are longer than max_cell_chars in [data] and are written as far as they were kept"]
    return rows, notes if cut else []


def _with_folders(rows: Rows, objects: Sequence[str], leave_out: frozenset[str]) -> Rows:
    """Return rows with the columns that the folders of their objects name, as they were read."""
    by_object = {name: folder_columns(name) for name in set(objects) if isinstance(name, str)}
    names = list(dict.fromkeys(name for found in by_object.values() for name in found if name not in leave_out))
    if not names:
        return rows
    folders = [by_object.get(name, {}) for name in objects]
    whole = [
        {**row, **{n: of[n] for n in names if n in of and n not in row}}
        for row, of in zip(rows.rows, folders, strict=True)
    ]
    if (table := rows.table) is not None:
        for name in (name for name in names if name not in rows.names()):
            table = table.append_column(name, pa.array([row.get(name) for row in whole], pa.string()))
    return replace(rows, rows=whole, table=table)


def _unreadable_note(feed: Feed, wanted: Exported) -> list[str]:
    rows = find_records(feed.store, feed.contract.name, places=[Place(place) for place in wanted.places])
    n = int((~rows["readable"].astype(bool)).sum())
    said = f"{n:,} rows that cannot be read have no columns and are left out; `--decisions` lists them"
    return [said] if n else []


def _with_reasons(feed: Feed, rows: Rows, records: pd.DataFrame) -> Rows:
    """Return the rows with what was decided about each, in columns that begin with ``guard.``."""
    facts = _decided(feed, records["record_id"].tolist()).set_index("record_id", drop=False)
    facts = facts.loc[records["record_id"].tolist(), [c for c in _REASONED if c not in ("object", "row")]]
    facts = facts.assign(object=records["object"].to_numpy(), row=records["row"].to_numpy())
    told = [{f"{ADDED}{name}": value for name, value in each.items()} for each in facts.to_dict("records")]
    return Rows([{**row, **said} for row, said in zip(rows.rows, told, strict=True)], None, rows.delimiter, rows.ascii)


def _decided(feed: Feed, record_ids: Sequence[str] | None, places: list[Place] | None = None) -> pd.DataFrame:
    """Return the decisions of records with their reasons as codes, and as sentences in ``why``."""
    frame = find_records(feed.store, feed.contract.name, record_ids=record_ids, places=places)
    told = evidence_of(feed.store, feed.contract.name, frame["record_id"].tolist())
    sentences = [sentence(code, args) for code, args in zip(told["code"], told["args"], strict=True)]
    why = told.assign(said=sentences).groupby("record_id")["said"].agg("; ".join)
    codes = ["; ".join(json.loads(text)) if isinstance(text, str) else "" for text in frame["reasons"]]
    return frame.assign(reasons=codes, why=frame["record_id"].map(why).fillna("").astype("str"))


def _write_decisions(feed: Feed, out: str | Path | None, wanted: Exported) -> ExportResult:
    """Return the decisions of the records in places, with reasons, and where each row came from."""
    places = [Place(place) for place in wanted.places]
    frame = _decided(feed, None, places)
    origins = [*load_rows(feed.store, frame), pd.DataFrame(columns=["record_id", "object", "row"])]
    frame = frame.merge(pd.concat(origins, ignore_index=True).drop_duplicates("record_id"), on="record_id", how="left")
    order = frame.sort_values(["received_at", "object", "row"], kind="stable", na_position="last", ignore_index=True)
    frame = order[[*_DECISION, "reasons", "why", "object", "row"]]
    if str(out) == "-":
        rows = Rows(frame.astype(object).where(frame.notna(), None).to_dict("records"))
        body, changed = file_body(rows, wanted.as_ or "jsonl", safe=wanted.as_ == "csv")
        return ExportResult(feed.contract.name, wanted.places, frame, None, changed_cells=changed, body=body)
    file = None if out is None else Path(out)
    if file is not None:
        write_frame(frame, file)
    return ExportResult(feed.contract.name, wanted.places, frame, file)


def _snapshot(feed: Feed, name: str | None) -> Snapshot | None:
    """Return the snapshot that is named: ``last``, ``admitted`` or an id; `NotFoundError` where there is none."""
    if name is None:
        return None
    if name == "admitted":
        (*_, newest) = (None, *reversed(list_admissions(feed.store, feed.contract.name, limit=1)))
        if newest is None:
            raise NotFoundError(
                f"no snapshot of {feed.contract.name} is admitted; `poison-guard gate check` judges one"
            )
        name = str(newest["snapshot_id"])
    found = last_snapshot(feed.store, feed.contract.name) if name == "last" else load_snapshot(feed.store, name)
    if found is None:
        raise NotFoundError(f"{feed.contract.name} has no snapshot yet; `poison-guard seal` makes one")
    if found.feed != feed.contract.name:
        raise UsageError(f"the snapshot {found.snapshot_id} is of the feed {found.feed}, not of {feed.contract.name}")
    if found.revoked_seq is not None:
        raise UsageError(f"the snapshot {found.snapshot_id} was revoked ({found.revoked_why}); export a newer one")
    return found


def _admission_digest(store: Store, snapshot: Snapshot | None) -> str | None:
    """Return the digest of the manifest that admits a snapshot."""
    if snapshot is None:
        return None
    now = dt.datetime.now(dt.UTC)
    for admission in list_admissions(store, snapshot.feed, snapshot_id=snapshot.snapshot_id, limit=1):
        if admission.get("expires") is None or admission["expires"] > now:
            return str(admission["digest"])
    return None


def _facts(snapshot: Snapshot | None, digest: str | None) -> dict[str, Any]:
    if snapshot is None:
        return {}
    return {"snapshot_id": snapshot.snapshot_id, "snapshot_hash": snapshot.hash, "manifest_sha256": digest}


def _write(
    name: str, out: str | Path | None, wanted: Exported, body: bytes, facts: Mapping[str, Any], *, of_snapshot: bool
) -> Path | None:
    """Write the file, and beside one of a snapshot what admits it; return its path."""
    if out is None or str(out) == "-":
        return None
    file = Path(out)
    try:
        if wanted.as_ == "hf":
            hub_card(file, name, body, facts)
            return file
        write_atomic(file, body)
        if of_snapshot:
            stated = {**facts, "file": file.name, "sha256": hashlib.sha256(body).hexdigest()}
            write_atomic(file.with_name(f"{file.name}.manifest.json"), json.dumps(stated, indent=2) + "\n")
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror or error}") from None
    return file
