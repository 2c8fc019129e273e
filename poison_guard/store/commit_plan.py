"""Plan a commit: classify rows by what the store has, say where each goes, and write the payload files.

Rows are new, seen before, decided again or revised. Quarantine files are written before all others.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pandas as pd

from poison_guard.config import Contract
from poison_guard.errors import StaleStateError, StoreError
from poison_guard.records import Action, Decided, Place
from poison_guard.store import memory, quarantine
from poison_guard.store.bulk import bounded_keys, to_json
from poison_guard.store.engine import Store
from poison_guard.store.lake import LakeFile
from poison_guard.store.rows import AUDIT, PREVIEW_CHARS, evidence_rows, previews
from poison_guard.store.runs import Run

__all__ = ["CommitPlan", "RowClasses", "classify_rows", "plan_commit"]


@dataclass(frozen=True, slots=True)
class RowClasses:
    """Rows of a batch by what has to be done with them; frames have the columns that `classify_rows` was given."""

    new: pd.DataFrame
    redecided: pd.DataFrame
    """Were staged, and are decided once more."""
    revised: pd.DataFrame
    """Same id with other content of the same owner, where the contract takes that for a revision."""
    n_known: int
    """Same id and same content, settled before."""


def classify_rows(rows: pd.DataFrame, known: pd.DataFrame, *, revisions: bool) -> RowClasses:
    """Sort `rows` (``record_id, content_hash, place, …``; `place` is missing where a record was not decided).

    `known` are ``record_id, content_hash, place`` of those that the store has.

    A row whose id the store has with other content got a name of its own before it was decided; one that has none came
    to be known after the run looked: `StaleStateError`.
    """
    rows = rows.reset_index(drop=True)
    there = known.set_index("record_id").reindex(rows["record_id"])
    is_known = pd.Series(there["content_hash"].notna().to_numpy(), index=rows.index)
    same = is_known & (there["content_hash"].to_numpy() == rows["content_hash"].to_numpy())
    redecided = same & (there["place"].to_numpy() == Place.STAGED.value) & rows["place"].notna()
    other = is_known & ~same
    if other.any() and not revisions:
        first = rows.loc[other, "record_id"].iloc[0]
        raise StaleStateError(
            f"the store has {first!r} with other content since the run looked; score it again and retry"
        )
    fresh = rows[~same]
    flaws = {"has no decision": fresh["place"].isna(), "is in the batch twice": fresh["record_id"].duplicated()}
    for why, flawed in flaws.items():
        if flawed.any():
            first = fresh.loc[flawed, "record_id"].iloc[0]
            raise StoreError(f"the record {first!r} {why}, the first of {flawed.sum():,} such; nothing was stored")
    return RowClasses(rows[~is_known], rows[redecided], rows[other], int((same & ~redecided).sum()))


_HELD = (Place.QUARANTINED.value, Place.STAGED.value, Place.REJECTED.value)


@dataclass(frozen=True, slots=True)
class CommitPlan:
    """All that one commit will write, made before anything is written."""

    rows: pd.DataFrame
    """New and revised records, final; `file` numbers the lake file that each is in."""
    redecided: pd.DataFrame
    """Staged records and their new decision."""
    revised: frozenset[str]
    evidence: pd.DataFrame
    queue: pd.DataFrame
    counts: dict[str, int]
    files: tuple[tuple[str, LakeFile], ...]
    """(lane, file)."""
    joined: tuple[str, ...]
    """SHA-256 of earlier files whose rows a new one holds too."""


def plan_commit(
    store: Store,
    run: Run,
    contract: Contract,
    classes: RowClasses,
    records: pd.DataFrame,
    unreadable: pd.DataFrame,
    decided: Decided,
    repeats: int,
) -> CommitPlan:
    """Write the payloads into the lake, where no manifest lists them yet; return what the transaction writes."""
    rows, redecided = pd.concat([classes.new, classes.revised], ignore_index=True), classes.redecided
    both = pd.concat([rows, redecided], ignore_index=True)
    evidence, decisions = _with_keys(decided.evidence), _with_keys(decided.decisions)
    samples = set(evidence.loc[evidence["code"] == AUDIT, "record_id"])
    examined = both["place"].isin(_HELD) | (both["action"] != Action.ACCEPT.value) | both["record_id"].isin(samples)
    counts = _commit_counts(both, classes, decided.items, expected=len(records) + unreadable["record_id"].nunique())
    counts = {name: n + repeats if name in ("received", "seen_before") else n for name, n in counts.items()}
    queue = _with_previews(quarantine.entries(both, samples, decided.campaigns), both, contract, records, unreadable)
    rows, files = _write_files(store, run, contract, rows, records, unreadable, decided.sources)
    remembered = memory.Written()
    if len(decided.memory) and contract.policy.memory_rows:
        remembered = memory.write_memory(store, run, contract, _with_keys(decided.memory), both["record_id"])
    return CommitPlan(
        rows=rows,
        redecided=redecided,
        revised=frozenset(classes.revised["record_id"]),
        evidence=evidence_rows(decisions, evidence, decided.notes, both.loc[examined, "record_id"]),
        queue=queue,
        counts=counts,
        files=(*files, *remembered.files),
        joined=remembered.joined,
    )


def _with_previews(
    entries: pd.DataFrame, both: pd.DataFrame, contract: Contract, records: pd.DataFrame, unreadable: pd.DataFrame
) -> pd.DataFrame:
    """Return queue entries with the beginnings of their payloads; of a row that could not be read, of its text."""
    where = both[["record_id", "readable", "payload"]].drop_duplicates("record_id").set_index("record_id")
    where = where.loc[entries["record_id"]]
    good = where["readable"].to_numpy()
    shown = pd.Series("", index=where.index, dtype="str")
    shown[good] = previews(contract, records.iloc[where["payload"].to_numpy()[good]]).to_numpy()
    if contract.data.copy and not contract.privacy.private:
        raw = unreadable.drop_duplicates("record_id")["raw"].iloc[where["payload"].to_numpy()[~good]]
        shown[~good] = raw.astype("str").str.slice(0, PREVIEW_CHARS).str.replace("\0", "␀", regex=False).to_numpy()
    return entries.assign(preview=shown.to_numpy())


def _with_keys(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(record_id=bounded_keys(frame["record_id"]))


def _commit_counts(both: pd.DataFrame, classes: RowClasses, items: pd.DataFrame, *, expected: int) -> dict[str, int]:
    by_place = Counter(both["place"])
    counts = {place.value: by_place.get(place.value, 0) for place in Place if place is not Place.RECALLED}
    counts |= {
        "received": len(both) + classes.n_known,
        "seen_before": classes.n_known,
        "unreadable": int((~both["readable"]).sum()),
        "unstaged": len(classes.redecided),
        "revised": len(classes.revised),
        "adopted_items": int(items["adopted"].astype(bool).sum()),
        "deferred_items": int((~items["adopted"].astype(bool)).sum()),
    }
    settled = counts["seen_before"] + sum(by_place.values())
    if counts["received"] != expected or settled != expected:
        raise StoreError(f"{expected} records came in and {settled} were settled; nothing was stored")
    return counts


_CONTENT = ("text", "prompt", "response", "chosen", "rejected", "image", "shape")


def _is_content(column: str) -> bool:
    """Whether a column of a record is what a feed without a copy reads again from the record's file."""
    return column in _CONTENT or column.startswith(("feature.", "extra.", "given.", "was."))


def _write_files(
    store: Store,
    run: Run,
    contract: Contract,
    rows: pd.DataFrame,
    records: pd.DataFrame,
    unreadable: pd.DataFrame,
    sources: pd.DataFrame,
) -> tuple[pd.DataFrame, tuple[tuple[str, LakeFile], ...]]:
    """Write the payloads, quarantine before anything else; return the rows with the number of their file."""
    lost = unreadable.drop_duplicates("record_id")
    lost = lost.assign(args=[to_json(a) for a in lost["args"]])
    accepted = rows["place"] == Place.ACCEPTED.value
    lanes = (
        ("unreadable", ~rows["readable"], lost),
        ("quarantine", rows["readable"] & ~accepted, records),
        ("accepted", rows["readable"] & accepted, records),
    )
    number = pd.Series(-1, index=rows.index, dtype="int64")
    files: list[tuple[str, LakeFile]] = []
    for lane, mask, payload in lanes:
        part = rows[mask]
        for start in range(0, len(part), contract.data.partition_rows):
            piece = part.iloc[start : start + contract.data.partition_rows]
            frame = payload.iloc[piece["payload"].to_numpy()].assign(record_id=piece["record_id"].to_numpy())
            if not contract.data.copy and lane != "unreadable":
                frame = frame.drop(columns=[name for name in frame if _is_content(name)])
            files.append((lane, store.lake.add_frame(frame.reset_index(drop=True), f"runs/{run.run_id}/{lane}")))
            number.loc[piece.index] = len(files) - 1
    if not sources.empty:
        files.append(("sources", store.lake.add_frame(sources.reset_index(drop=True), f"runs/{run.run_id}/sources")))
    return rows.assign(file=number), tuple(files)
