"""Map the columns of all objects to roles and make one batch: records, issues, and the rows that are not records."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from poison_guard.config import Contract
from poison_guard.config.columns import ROLES
from poison_guard.config.data import Identity
from poison_guard.frames import ADDED, FRAMES
from poison_guard.ingest.cells import NAIVE_METADATA, join_tables
from poison_guard.ingest.coerce import IssueLog, RoleColumn, coerce_column
from poison_guard.ingest.continuation import NOTHING_EARLIER, Earlier, RowNames, name_rows
from poison_guard.ingest.identity import (
    ResolvedIds,
    content_hashes,
    derived_ids,
    owners_of,
    resolve_repeats,
    unreadable_id,
)
from poison_guard.ingest.lateness import move_times
from poison_guard.ingest.original import (
    GIVEN,
    SHAPE,
    WAS,
    changed_cells,
    exact_cells,
    mark_changed,
    private_columns,
    with_shapes,
)
from poison_guard.ingest.parsing import payload_schema
from poison_guard.ingest.raw_table import Limits, RawTable
from poison_guard.ingest.signatures import Proofs, check_rows, judge_proofs
from poison_guard.records import Batch, ObjectRef, Reason
from poison_guard.text import quoted, shown_url

__all__ = ["MappedRows", "Objects", "assemble_batch", "map_rows"]


_TIME_ROLES = ("observed_at", "source_since", "sent_at")
_TYPED_ROLES = ("rating", "reward", "observed_at", "source_since", "sent_at", "image")
_INFERRED_KINDS = ("number", "bool", "time", "empty")
"""Kinds that the text of a small batch may have by chance."""
_ID_ROLES = ("record_id", "source_id", "author_id", "item_id", "group")
_MANY_UNFIT = 0.05
"""Share of rows whose times fit no format of the contract from which a note says so."""

_BLOCK_ROWS = 100_000
"""Rows that are mapped at a time, so that what is needed on the way does not grow with a file."""
_NO_CELLS = pa.nulls(0)

Objects = Sequence[tuple[ObjectRef, RawTable]]
"""The objects of a batch with their rows."""


@dataclass(frozen=True, slots=True)
class MappedRows:
    """The readable rows of all objects under the columns of the records frame, before they have ids."""

    columns: Mapping[str, pd.Series]
    hashes: np.ndarray
    """``(n,)`` content hashes."""
    issues: Sequence[tuple[int, str, Mapping[str, Any]]]
    """``(position, code, args)``."""
    schema: Mapping[str, str]
    """Payload schema, as a batch stores it."""
    original: Mapping[str, pd.Series] = field(default_factory=dict)
    """``shape`` and ``was.NAME``: what the columns do not say of the rows as they came."""
    proofs: Proofs | None = None
    """What the signatures of the rows prove; None for a feed that has none."""


def map_rows(raws: Sequence[RawTable], contract: Contract, limits: Limits) -> MappedRows:
    """Join the rows of `raws` and bring them to the roles of `contract`; a column has one kind in the whole batch.

    Columns of the contract that no object has are missing in every row.
    """
    table = join_tables([raw.table for raw in raws if raw.table.num_columns] or [pa.table({})])
    mine = {*contract.columns.values(), *contract.features}
    ours = [name for name in table.column_names if name.startswith(ADDED) and name not in mine]
    table = table.drop_columns([*ours, *(name for name in contract.privacy.drop if name in table.column_names)])
    proofs = check_rows(table, contract)
    parse, naive = contract.parse, {f.name for f in table.schema if f.metadata == NAIVE_METADATA}
    times = [contract.columns[role] for role in _TIME_ROLES if role in contract.columns]
    numbers = {*contract.features, *(name for role, name in contract.columns.items() if role in ("rating", "reward"))}
    schema = payload_schema(table, parse, numbers, times)
    roles = [(role, contract.columns[role], role) for role in ROLES if role in contract.columns]
    features = [(f"feature.{name}", name, "feature") for name in contract.features]
    others = sorted(set(table.column_names) - {*contract.columns.values(), *contract.features})
    extras = [(f"extra.{name}", name, "extra") for name in others]
    wanted = [
        RoleColumn(name, data_name, role, _NO_CELLS, schema.get(data_name, "empty"), limits.max_cell_chars, parse,
                   data_name in naive)
        for name, data_name, role in (*roles, *features, *extras)
    ]  # fmt: skip
    columnar = any(text.startswith(('["parquet"', '["frame"')) for raw in raws for text in raw.shapes[:1])
    starts = range(0, max(1, table.num_rows), _BLOCK_ROWS)
    rows = [table.slice(start, min(_BLOCK_ROWS, table.num_rows - start)) for start in starts]
    blocks = [_map_block(some, wanted, empty_is_missing=not columnar) for some in rows]
    sparse = any(raw.sparse for raw in raws)
    hashes = np.concatenate([block.hashes for block in blocks])
    columns = _joined([block.columns for block in blocks], [len(block.hashes) for block in blocks])
    changed = _joined([block.changed for block in blocks], [len(block.hashes) for block in blocks])
    issues = _flaws(raws, starts, blocks)
    original = _original(raws, [column for column in wanted if column.data_name in schema], changed, contract)
    return MappedRows(columns, hashes, issues, _stored_schema(schema, contract, sparse=sparse), original, proofs)


def _flaws(
    raws: Sequence[RawTable], starts: Sequence[int], blocks: Sequence[_Block]
) -> list[tuple[int, str, Mapping[str, Any]]]:
    """Return what is wrong with cells, from mapping them, and with rows, from reading them: ``(position, code, args)``.

    `starts` are the positions of the first rows of the blocks.
    """
    found = [(at + i, code, args) for at, block in zip(starts, blocks, strict=True) for i, code, args in block.issues]
    first = 0
    for raw in raws:
        found += [(first + flag.position, flag.code, flag.args) for flag in raw.flags]
        first += len(raw.row_numbers)
    return found


def _original(
    raws: Sequence[RawTable], wanted: Sequence[RoleColumn], changed: Mapping[str, pd.Series], contract: Contract
) -> dict[str, pd.Series]:
    """Return ``shape`` and ``was.NAME``: what the columns do not say of the rows as they came.

    `changed` are the cells, by the user's column, that mapping changed; what the reader kept goes before them.
    """
    came: dict[str, str] = {}
    for column in wanted:
        came.setdefault(column.data_name, column.name)
    private = private_columns(contract) if contract.privacy.private else ()
    original = {SHAPE: with_shapes(raws, came, private)}
    original |= {WAS + name: exact for name, exact in exact_cells(raws).items() if name in came}
    for name in (name for name in came if name in changed):
        exactly = original.get(WAS + name)
        original[WAS + name] = changed[name] if exactly is None else exactly.fillna(changed[name])
    return original


@dataclass(frozen=True, slots=True)
class _Block:
    """Some of the rows, mapped."""

    columns: dict[str, pd.Series]
    hashes: np.ndarray
    issues: list[tuple[int, str, Mapping[str, Any]]]
    changed: dict[str, pd.Series]
    """By the user's column: cells that `columns` do not give back."""


def _map_block(table: pa.Table, wanted: Sequence[RoleColumn], *, empty_is_missing: bool) -> _Block:
    """Map a block of rows; the bytes that its identities are made of are several times its size, and end here."""
    log, n = IssueLog(np.zeros(table.num_rows, np.int8)), table.num_rows
    columns: dict[str, pd.Series] = {}
    canonical: dict[str, pa.Array] = {}
    given: dict[str, pd.Series] = {}
    changed: dict[str, pd.Series | None] = {}
    for column in wanted:
        there = column.data_name in table.column_names
        cells = table[column.data_name].combine_chunks() if there else pa.nulls(n)
        columns[column.name], canonical[column.name], written = coerce_column(replace(column, cells=cells), log)
        if written is not None:
            given[GIVEN + column.name] = pd.Series(written.to_pandas(), dtype="str")
        if there and column.data_name not in changed:
            kept, was = columns[column.name], given.get(GIVEN + column.name)
            changed[column.data_name] = changed_cells(
                cells, kept, was, limit=column.max_chars, empty_is_missing=empty_is_missing
            )
    others = {name: cells for name, cells in changed.items() if cells is not None}
    return _Block(columns | given, content_hashes(canonical, n), log.issues, others)


def _joined(blocks: Sequence[dict[str, pd.Series]], sizes: Sequence[int]) -> dict[str, pd.Series]:
    """Return the columns of all blocks; of one that only some have, the cells of the others are missing."""
    if len(blocks) == 1:
        return blocks[0]
    joined = {}
    for name in dict.fromkeys(name for block in blocks for name in block):
        absent = (pd.Series(None, index=range(size), dtype="str") for size in sizes)
        parts = [block.pop(name, none) for block, none in zip(blocks, absent, strict=True)]
        joined[name] = pd.concat(parts, ignore_index=True)
    return joined


def _stored_schema(schema: Mapping[str, str], contract: Contract, *, sparse: bool) -> dict[str, str]:
    """Return the payload schema; if rows may lack columns (JSON), each kind ends in ``?``: it may be absent.

    Columns of roles that hold text are text whatever they look like: a day whose answers are all digits is no drift.
    Bytes are text, too: other formats hold them so.
    """
    texts = {column for role, column in contract.columns.items() if role not in _TYPED_ROLES}
    kinds = {
        name: "text" if kind == "binary" or (name in texts and kind in _INFERRED_KINDS) else kind
        for name, kind in schema.items()
    }
    return {name: f"{kind}?" if sparse else kind for name, kind in kinds.items()}


def assemble_batch(
    objects: Objects,
    mapped: MappedRows,
    contract: Contract,
    received_at: dt.datetime,
    earlier: Earlier = NOTHING_EARLIER,
) -> Batch:
    """Return the batch: ids given or derived, repeats resolved, times clamped, every row of every object counted.

    Rows that an object repeats of one taken in `earlier` get the ids they had.
    """
    received = pd.Timestamp(received_at).as_unit("us")
    received = received.tz_localize("UTC") if received.tzinfo is None else received.tz_convert("UTC")
    named = _named_rows(objects, mapped, contract, earlier)
    records = _identified_rows(objects, mapped, contract.name, named)
    given_ids, places = records["record_id"], records[["object", "row"]]
    if contract.data.revisions and "observed_at" in mapped.columns:
        places = pd.concat([mapped.columns["observed_at"].rename("at"), places], axis=1)
    owners = owners_of(mapped.columns, len(records)) if contract.data.revisions else None
    resolved = resolve_repeats(given_ids, mapped.hashes, places, owners=owners)
    records["record_id"] = resolved.ids
    now = np.full(len(records), received.tz_localize(None).to_datetime64())
    records["received_at"] = pd.Series(now, dtype="datetime64[us]").dt.tz_localize("UTC")
    roles = {name: column for name, column in mapped.columns.items() if name != "record_id"}
    original = dict(mapped.original)
    late = move_times(roles, records, received, contract)
    if mapped.proofs is not None:
        roles["proof"], unproved = judge_proofs(mapped.proofs, contract, mapped.columns, records["record_id"], received)
        mapped = replace(mapped, issues=[*mapped.issues, *unproved])
    if "record_id" in mapped.columns:
        _note_changed_ids(original, contract, mapped.columns["record_id"], records["record_id"])
    records = pd.concat([records, pd.DataFrame({**roles, **original})], axis=1)
    batch_id = hashlib.sha256("\n".join([contract.name, *sorted(ref.digest for ref, _ in objects)]).encode())
    unreadable, n_bad = _unreadable(objects, contract), sum(len(raw.bad) for _, raw in objects)
    return Batch(
        feed=contract.name,
        batch_id=batch_id.hexdigest(),
        received_at=received.to_pydatetime(),
        objects=tuple(
            replace(ref, uri=shown_url(ref.uri), trail=rows.trail.to_json() if rows.trail else None)
            for (ref, _), rows in zip(objects, named, strict=True)
        ),  # what is kept holds no secret
        records=records if resolved.keep.all() else records[resolved.keep].reset_index(drop=True),
        issues=_issues(mapped, resolved, given_ids),
        unreadable=unreadable,
        schema=mapped.schema,
        duplicates=int((~resolved.keep).sum()) + n_bad - len(unreadable),
        notes=(*_notes(objects, named), *_parse_notes(mapped, records["row"].to_numpy(), contract), *late),
    )


def _note_changed_ids(original: dict[str, pd.Series], contract: Contract, before: pd.Series, now: pd.Series) -> None:
    """Note the ids of records that were changed after they were read: given twice, or not at all."""
    name = WAS + contract.columns["record_id"]
    changed = (before.notna() & (before != now)) | (before.isna() & now.notna())
    if changed.any():
        original[name] = mark_changed(original.get(name), before, changed.to_numpy(bool))


def _notes(objects: Objects, named: Sequence[RowNames]) -> tuple[Reason, ...]:
    """Return what is to be said of the objects: how they were read, and which other one they continue."""
    notes: list[Reason] = []
    for (ref, raw), rows in zip(objects, named, strict=True):
        uri = shown_url(ref.uri)
        notes += [Reason("object_read", {"object": uri, "said": said}) for said in raw.notes]
        if rows.continued:
            args = {"object": uri, "earlier": rows.continued, "n_rows": rows.repeated}
            notes.append(Reason("object_continues", args))
    return tuple(notes)


def _parse_notes(mapped: MappedRows, rows: np.ndarray, contract: Contract) -> tuple[Reason, ...]:
    """Return what is to be said of ids that are placeholders, and of times that fit no format of the contract."""
    notes = []
    for role in (role for role in ROLES if f"given.{role}" in mapped.columns and role in mapped.columns):
        words = mapped.columns[f"given.{role}"][mapped.columns[role].isna()].dropna()
        if role in _ID_ROLES and len(words):
            seen = ", ".join(quoted(word) for word in words.value_counts().index[:3])
            args = {"n": len(words), "rows": len(rows), "seen": seen, "column": contract.columns[role]}
            notes.append(Reason("placeholders", args))
    unfit: dict[str, list[tuple[int, Any]]] = {}
    for position, code, args in mapped.issues:
        if code == "bad_time" and "formats" in args:
            unfit.setdefault(args["column"], []).append((position, args))
    for found in unfit.values():
        if len(found) >= _MANY_UNFIT * len(rows):
            position, args = found[0]
            notes.append(
                Reason("times_unfit", {**args, "n": len(found), "rows": len(rows), "row": int(rows[position])})
            )
    return tuple(notes)


def _named_rows(objects: Objects, mapped: MappedRows, contract: Contract, earlier: Earlier) -> list[RowNames]:
    """Return for each object by which names the ids of its rows that came without one are made."""
    pieces, refs = _without_id(objects, mapped), [ref for ref, _ in objects]
    hashes = [mapped.hashes[rows].tolist() for rows in pieces]
    if contract.data.identity is Identity.CONTENT or not any(hashes):
        return [RowNames((("", len(some)),), np.zeros(len(some), np.int64), None) for some in hashes]
    return name_rows(refs, hashes, None if contract.has("record_id") else earlier)


def _without_id(objects: Objects, mapped: MappedRows) -> list[np.ndarray]:
    """Return for each object the positions of its rows without an id."""
    ends = np.cumsum([0, *(len(raw.row_numbers) for _, raw in objects)])
    missing = np.ones(ends[-1], bool)
    if (given := mapped.columns.get("record_id")) is not None:
        missing = given.isna().to_numpy()
    return [start + np.flatnonzero(missing[start:end]) for start, end in itertools.pairwise(ends)]


def _identified_rows(objects: Objects, mapped: MappedRows, feed: str, named: Sequence[RowNames]) -> pd.DataFrame:
    """Return ``record_id, content_hash, object, row`` of all readable rows; an id is the given one, else derived."""
    counts = [len(raw.row_numbers) for _, raw in objects]
    index = np.repeat(np.arange(len(objects)), counts)
    uris = pa.array([shown_url(ref.uri) for ref, _ in objects], pa.large_string()).take(pa.array(index, pa.int64()))
    given_ids = mapped.columns.get("record_id", pd.Series(None, index=range(len(index)), dtype="str"))
    ids = given_ids.to_numpy(dtype=object).copy()
    for rows, names in zip(_without_id(objects, mapped), named, strict=True):
        if len(rows):
            ids[rows] = derived_ids(feed, names.names, mapped.hashes[rows].tolist(), names.ordinals)
    return pd.DataFrame(
        {
            "record_id": pd.Series(ids, dtype="str"),
            "content_hash": pd.Series(mapped.hashes, dtype="str"),
            "object": pd.Series(uris.to_pandas(), dtype="str"),
            "row": np.concatenate([np.empty(0, np.int64), *(raw.row_numbers for _, raw in objects)]),
        }
    )


def _issues(mapped: MappedRows, resolved: ResolvedIds, given_ids: pd.Series) -> pd.DataFrame:
    """Return the issues of the records that are kept, under their final ids."""
    conflicts = np.flatnonzero(resolved.conflict).tolist()
    issues = [*mapped.issues, *((i, "id_conflict", {"record_id": given_ids.iloc[i]}) for i in conflicts)]
    issues = [issue for issue in issues if resolved.keep[issue[0]]]
    ids = resolved.ids.take([i for i, _, _ in issues]).reset_index(drop=True)
    codes = pd.Series([code for _, code, _ in issues], dtype="str")
    args = pd.Series([args for _, _, args in issues], dtype=object)
    return pd.DataFrame({"record_id": ids, "code": codes, "args": args})


def _unreadable(objects: Objects, contract: Contract) -> pd.DataFrame:
    """Return the rows that cannot be read, one of each text and its ordinal in an object.

    Where columns are never stored, their text may hold one and is not kept.
    """
    feed, keeps_text = contract.name, not contract.privacy.drop
    rows: list[tuple[Any, ...]] = []
    for ref, raw in objects:
        occurrences: Counter[str] = Counter()
        for bad in raw.bad:
            key = unreadable_id(feed, "" if bad.row else ref.uri, bad.digest, occurrences[bad.digest])
            occurrences[bad.digest] += 1
            code = "unreadable_row" if bad.row else "unreadable_object"
            args = {"line": bad.row, "why": bad.reason} if bad.row else {"why": bad.reason}
            rows.append((key, shown_url(ref.uri), bad.row, code, args, bad.text if keeps_text else ""))
    columns = FRAMES["unreadable"].columns
    frame = pd.DataFrame(rows, columns=list(columns), dtype=object)
    frame = frame.astype({name: column.dtype for name, column in columns.items()})
    return frame.drop_duplicates("record_id", ignore_index=True)
