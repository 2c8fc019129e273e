"""Plan a commit: where every row goes, what is told of it, and the payload files, quarantine before anything else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from poison_guard.config import Contract, Mode
from poison_guard.errors import StoreError
from poison_guard.records import Action, Decided, Place
from poison_guard.store import memory, quarantine, trusted
from poison_guard.store.engine import Store
from poison_guard.store.intake import Intake
from poison_guard.store.lake import LakeFile
from poison_guard.store.names import fit_names
from poison_guard.store.plain import to_json
from poison_guard.store.rows import AUDIT, evidence_rows
from poison_guard.store.runs import Run

__all__ = ["Plan", "make_plan"]

_HELD = (Place.QUARANTINED.value, Place.STAGED.value, Place.REJECTED.value)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that one commit will write, made before anything is written."""

    rows: pd.DataFrame
    """New and revised records, final; `file` numbers the lake file that each is in."""
    again: pd.DataFrame
    revised: frozenset[str]
    contested: tuple[str, ...]
    evidence: pd.DataFrame
    queue: pd.DataFrame
    counts: dict[str, int]
    files: tuple[tuple[str, LakeFile], ...]
    """(lane, file)."""


def make_plan(
    store: Store,
    run: Run,
    contract: Contract,
    intake: Intake,
    records: pd.DataFrame,
    unreadable: pd.DataFrame,
    decided: Decided,
    repeats: int,
) -> Plan:
    """Write the payloads into the lake, where no manifest lists them yet; return what the transaction writes."""
    forced = contract.mode is Mode.ENFORCE
    contested = intake.contested if forced else ()
    clashing = {*intake.renamed.values(), *contested} if forced else set()
    rows = _hold(pd.concat([intake.new, intake.revised], ignore_index=True), clashing)
    again = _hold(intake.again, clashing)
    both = pd.concat([rows, again], ignore_index=True)
    evidence = _renamed(decided.evidence, intake.renamed)
    decisions = _renamed(decided.decisions, intake.renamed)
    told = Decided(decisions, evidence, decided.items, decided.sources, decided.campaigns, decided.phase, decided.notes)
    samples = set(evidence.loc[evidence["code"] == AUDIT, "record_id"])
    looked_at = both["place"].isin(_HELD) | (both["action"] != Action.ACCEPT.value) | both["record_id"].isin(samples)
    conflicts = sorted(clashing - set(evidence.loc[evidence["code"] == "id_conflict", "record_id"]))
    counts = _counts(both, intake, decided.items, asked=len(records) + unreadable["record_id"].nunique())
    counts = {name: n + repeats if name in ("received", "seen_before") else n for name, n in counts.items()}
    rows, files = _write_files(store, run, contract, rows, records, unreadable, decided.sources)
    files += _remember(store, run, contract, _renamed(decided.memory, intake.renamed), both["record_id"])
    return Plan(
        rows=rows,
        again=again,
        revised=frozenset(intake.revised["record_id"]),
        contested=contested,
        evidence=evidence_rows(told, unreadable, both.loc[looked_at, "record_id"], conflicts),
        queue=quarantine.entries(both, samples),
        counts=counts,
        files=files,
    )


def _hold(rows: pd.DataFrame, contested: set[str]) -> pd.DataFrame:
    """Return rows with those whose id was given to different contents held."""
    hit = rows["record_id"].isin(contested) & rows["place"].isin([Place.ACCEPTED.value, Place.STAGED.value])
    if not hit.any():
        return rows
    return rows.assign(
        place=rows["place"].mask(hit, Place.QUARANTINED.value),
        action=rows["action"].mask(hit, Action.QUARANTINE.value),
        risk=rows["risk"].mask(hit, 1.0),
    )


def _renamed(frame: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    fitted = frame.assign(record_id=fit_names(frame["record_id"]))
    return fitted.assign(record_id=fitted["record_id"].replace(dict(names))) if names else fitted


def _counts(both: pd.DataFrame, intake: Intake, items: pd.DataFrame, *, asked: int) -> dict[str, int]:
    by_place = Counter(both["place"])
    counts = {place.value: by_place.get(place.value, 0) for place in Place if place is not Place.RECALLED}
    counts |= {
        "received": len(both) + intake.seen,
        "seen_before": intake.seen,
        "unreadable": int((~both["readable"]).sum()),
        "unstaged": len(intake.again),
        "revised": len(intake.revised),
        "adopted_items": int(items["adopted"].astype(bool).sum()),
        "deferred_items": int((~items["adopted"].astype(bool)).sum()),
    }
    settled = counts["seen_before"] + sum(by_place.values())
    if counts["received"] != asked or settled != asked:
        raise StoreError(f"{asked} records came in and {settled} were settled; nothing was stored")
    return counts


def _remember(
    store: Store, run: Run, contract: Contract, scored: pd.DataFrame, ids: pd.Series
) -> tuple[tuple[str, LakeFile], ...]:
    """Write what later batches remember of this one's new records."""
    if scored.empty or not contract.policy.memory_rows:
        return ()
    with store.read() as conn:
        space = memory.vector_space(contract, trusted.trusted_hash(conn, contract.name, run.state_version))
    frame = memory.to_remember(scored, ids, contract, space=space, key=store.key)
    if frame.empty:
        return ()
    return ((memory.LANE, store.lake.add_frame(frame, f"runs/{run.run_id}/{memory.LANE}")),)


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
