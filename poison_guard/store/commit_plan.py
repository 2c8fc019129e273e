"""Plan a commit: classify rows by what the store has, say where each goes, and write the payload files.

Rows are new, seen before, decided again, revised or in conflict. Quarantine files are written before all others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from poison_guard.config import Contract, Mode
from poison_guard.errors import StoreError
from poison_guard.records import Action, Decided, Place
from poison_guard.store import memory, quarantine
from poison_guard.store.bulk import bounded_keys, to_json
from poison_guard.store.engine import Store
from poison_guard.store.lake import LakeFile
from poison_guard.store.rows import AUDIT, evidence_rows, reasons_text
from poison_guard.store.runs import Run

__all__ = ["CommitPlan", "Lookup", "RowClasses", "classify_rows", "plan_commit"]


Lookup = Callable[[Sequence[str]], pd.DataFrame]
"""Record ids -> ``record_id, content_hash, place, …`` of those that the store has."""


@dataclass(frozen=True, slots=True)
class RowClasses:
    """Rows of a batch by what has to be done with them; frames have the columns that `classify_rows` was given."""

    new: pd.DataFrame
    redecided: pd.DataFrame
    """Were staged, and are decided once more."""
    revised: pd.DataFrame
    """Same id with other content, where the contract takes that for a revision."""
    n_known: int
    """Same id and same content, settled before."""
    renamed: Mapping[str, str]
    """Given id -> id under which content that contradicts a stored record is kept."""
    contested: tuple[str, ...]
    """Ids that were given to different contents; none of them may stay accepted."""


def classify_rows(rows: pd.DataFrame, look_up: Lookup, *, revisions: bool) -> RowClasses:
    """Sort `rows` (``record_id, content_hash, place, …``; `place` is missing where a record was not decided)."""
    rows = rows.reset_index(drop=True)
    known = look_up(rows["record_id"].tolist()).set_index("record_id")
    there = known.reindex(rows["record_id"])
    is_known = pd.Series(there["content_hash"].notna().to_numpy(), index=rows.index)
    same = is_known & (there["content_hash"].to_numpy() == rows["content_hash"].to_numpy())
    redecided = same & (there["place"].to_numpy() == Place.STAGED.value) & rows["place"].notna()
    other = is_known & ~same
    revised = rows[other] if revisions else rows.iloc[:0]
    clash = rows.iloc[:0] if revisions else rows[other]
    renamed = {
        name: _contested_name(name, content)
        for name, content in zip(clash["record_id"], clash["content_hash"], strict=True)
    }
    clash = clash.assign(record_id=clash["record_id"].map(renamed).astype("str"))
    fresh = pd.concat([rows[~is_known], clash]).sort_index()
    new, echoes, bases = _without_repeated_claims(fresh, look_up)
    n_known = int((same & ~redecided).sum()) + echoes
    _check_decided(pd.concat([new, revised], ignore_index=True))
    contested = tuple(sorted({*bases} - set(revised["record_id"])))
    return RowClasses(new, rows[redecided], revised, n_known, renamed, contested)


def _contested_name(name: str, content_hash: str) -> str:
    return f"{name}~{content_hash[:8]}"


def _without_repeated_claims(fresh: pd.DataFrame, look_up: Lookup) -> tuple[pd.DataFrame, int, tuple[str, ...]]:
    """Return the rows that are truly new, how many were not, and the ids that new rows contest.

    A row called ``ID~HASH8`` contests ID; it is an echo when it, or ID with the same content, is stored already.
    """
    suffix = "~" + fresh["content_hash"].str[:8]
    named = pd.Series(
        [n.endswith(s) for n, s in zip(fresh["record_id"].tolist(), suffix.tolist(), strict=True)],
        index=fresh.index,
        dtype=bool,
    )
    claims = fresh[named]
    if claims.empty:
        return fresh, 0, ()
    base = claims["record_id"].str[:-9]
    known = look_up([*claims["record_id"], *base]).set_index("record_id")["content_hash"]
    echo = claims["record_id"].isin(known.index) | (base.map(known) == claims["content_hash"]).fillna(False)
    rest = fresh.drop(index=claims.index[echo])
    return rest, int(echo.sum()), tuple(base[~echo])


def _check_decided(rows: pd.DataFrame) -> None:
    undecided = rows["place"].isna()
    if undecided.any():
        first = rows.loc[undecided, "record_id"].iloc[0]
        raise StoreError(f"{int(undecided.sum())} records have no decision, the first is {first!r}; nothing was stored")
    if rows["record_id"].duplicated().any():
        first = rows.loc[rows["record_id"].duplicated(), "record_id"].iloc[0]
        raise StoreError(f"the record {first!r} is in the batch twice; nothing was stored")


_HELD = (Place.QUARANTINED.value, Place.STAGED.value, Place.REJECTED.value)


@dataclass(frozen=True, slots=True)
class CommitPlan:
    """All that one commit will write, made before anything is written."""

    rows: pd.DataFrame
    """New and revised records, final; `file` numbers the lake file that each is in."""
    redecided: pd.DataFrame
    """Staged records and their new decision."""
    revised: frozenset[str]
    contested: tuple[str, ...]
    evidence: pd.DataFrame
    queue: pd.DataFrame
    counts: dict[str, int]
    files: tuple[tuple[str, LakeFile], ...]
    """(lane, file)."""


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
    forced = contract.mode is Mode.ENFORCE
    contested = classes.contested if forced else ()
    clashing = {*classes.renamed.values(), *contested} if forced else set()
    rows, redecided = pd.concat([classes.new, classes.revised], ignore_index=True), classes.redecided
    if clashing:
        rows, redecided = _hold_clashes(rows, clashing), _hold_clashes(redecided, clashing)
    both = pd.concat([rows, redecided], ignore_index=True)
    evidence = _rename_ids(decided.evidence, classes.renamed)
    decisions = _rename_ids(decided.decisions, classes.renamed)
    samples = set(evidence.loc[evidence["code"] == AUDIT, "record_id"])
    examined = both["place"].isin(_HELD) | (both["action"] != Action.ACCEPT.value) | both["record_id"].isin(samples)
    conflicts = sorted(clashing - set(evidence.loc[evidence["code"] == "id_conflict", "record_id"]))
    counts = _commit_counts(both, classes, decided.items, expected=len(records) + unreadable["record_id"].nunique())
    counts = {name: n + repeats if name in ("received", "seen_before") else n for name, n in counts.items()}
    rows, files = _write_files(store, run, contract, rows, records, unreadable, decided.sources)
    if len(decided.memory) and contract.policy.memory_rows:
        remembered = _rename_ids(decided.memory, classes.renamed)
        files += memory.write_memory(store, run, contract, remembered, both["record_id"])
    return CommitPlan(
        rows=rows,
        redecided=redecided,
        revised=frozenset(classes.revised["record_id"]),
        contested=contested,
        evidence=evidence_rows(decisions, evidence, decided.notes, both.loc[examined, "record_id"], conflicts),
        queue=quarantine.entries(both, samples),
        counts=counts,
        files=files,
    )


def _hold_clashes(rows: pd.DataFrame, contested: set[str]) -> pd.DataFrame:
    """Return rows with those whose id was given to different contents held: what contradicts is never accepted."""
    hit = rows["record_id"].isin(contested) & rows["place"].isin([Place.ACCEPTED.value, Place.STAGED.value])
    if not hit.any():
        return rows
    return rows.assign(
        place=rows["place"].mask(hit, Place.QUARANTINED.value),
        action=rows["action"].mask(hit, Action.QUARANTINE.value),
        risk=rows["risk"].mask(hit, 1.0),
        reasons=rows["reasons"].mask(hit, reasons_text(["id_conflict"])),
    )


def _rename_ids(frame: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    fitted = frame.assign(record_id=bounded_keys(frame["record_id"]))
    return fitted.assign(record_id=fitted["record_id"].replace(dict(names))) if names else fitted


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
            files.append((lane, store.lake.add_frame(frame.reset_index(drop=True), f"runs/{run.run_id}/{lane}")))
            number.loc[piece.index] = len(files) - 1
    if not sources.empty:
        files.append(("sources", store.lake.add_frame(sources.reset_index(drop=True), f"runs/{run.run_id}/sources")))
    return rows.assign(file=number), tuple(files)
