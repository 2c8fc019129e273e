"""Commit a run: quarantine files, then accepted files, then one transaction with everything else and the marker.

Killed anywhere before the transaction ends, nothing is visible, and running again gives what one run would have given.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import sqlalchemy as sa

from poison_guard.canonical_json import utc_or_now
from poison_guard.config import Contract, Mode
from poison_guard.errors import StaleStateError
from poison_guard.records import ID_CONFLICT, Decided, ObjectRef, Place
from poison_guard.store import bulk, chain, ground_truth, memory, outbox, quarantine, snapshots, status, tables
from poison_guard.store.bulk import bounded_keys, to_json
from poison_guard.store.commit_plan import CommitPlan, classify_rows, plan_commit
from poison_guard.store.engine import Store
from poison_guard.store.lake import add_files
from poison_guard.store.mended import mended_rows
from poison_guard.store.nonces import add_nonces
from poison_guard.store.rows import campaign_rows, item_rows, record_rows
from poison_guard.store.runs import Run, load_run_in, register_feed

__all__ = ["commit_run"]


def commit_run(
    store: Store,
    run: Run,
    contract: Contract,
    *,
    records: pd.DataFrame,
    unreadable: pd.DataFrame,
    decided: Decided,
    objects: Sequence[ObjectRef],
    cost: Callable[[], Mapping[str, Any]],
    repeats: int = 0,
    controls: pd.DataFrame | None = None,
    staging: str | None = None,
    nonces: pd.DataFrame | None = None,
    now: dt.datetime | None = None,
) -> Mapping[str, int]:
    """Store a decided batch and return its counts; a run that was committed before changes nothing.

    `records` are those of the batch, with any staged ones taken up again (`reading.frames_in`), and `repeats` how
    often the batch itself held one of them once more; ``received`` counts all and equals ``staged + accepted +
    quarantined + rejected + seen_before``; ``recalled`` are accepted records of earlier batches taken back. New answers
    to `controls` (``item_id, answer``) are noted one by one. `staging` is a folder of the lake that nobody needs
    once the run is committed: the outbox has it removed. `nonces` (``nonce, record_id, sent_at``) are those of its
    signed records. `cost` is asked when all else is written. `StaleStateError` when another run of the feed was
    committed, or a reviewer moved one of these records, after this run looked.
    """
    with store.read() as conn:
        current, seen = load_run_in(conn, run.run_id), chain.head(conn)
        if current.status == "committed":
            return current.counts
        rows = record_rows(contract, records, unreadable, decided.decisions, run.received_at)
        before = _known_records(conn, contract.name, rows)
    classes = classify_rows(rows, before, revisions=contract.data.revisions)
    plan = plan_commit(store, run, contract, classes, records, unreadable, decided, repeats)
    seen_rows = records[records["record_id"].isin(set(before["record_id"]))]
    mended = mended_rows(store, contract.name, objects, seen_rows, unreadable)
    with store.write() as conn:
        seq, at = chain.next_seq(conn), utc_or_now(now)
        current = load_run_in(conn, run.run_id)
        if current.status == "committed":
            return current.counts
        moved = seq != seen + 1 and not _known_records(conn, contract.name, rows).equals(before)  # no event, no change
        if why := _why_stale(conn, run, current, plan, moved=moved):
            raise StaleStateError(f"{why}; score the batch again and retry")
        run = _under_policy(conn, run, current, contract, at)
        _write_batch(conn, run, contract, plan, decided, seq=seq, at=at)
        quarantine.close_entries(conn, run.feed, mended, seq=seq, state="expired")
        _write_ledger(conn, contract, plan, decided, controls, seq=seq, at=at)
        _write_intake(conn, contract, run, decided, objects, nonces, seq=seq, at=at)
        recalls = _recall_late(conn, contract, run, decided, seq=seq, at=at)
        counts = _write_marker(store, conn, run, plan, decided, recalls, cost=cost, at=at)
        _revoke_snapshots(store, conn, run.feed, recalls, at=at)
        if staging is not None:
            outbox.add(conn, outbox.REMOVAL, {"paths": [staging]}, at)
    return counts


def _under_policy(conn: sa.Connection, run: Run, current: Run, contract: Contract, at: dt.datetime) -> Run:
    """Return the run with the policy that its records were decided by, where the contract was edited since it began."""
    if current.policy_hash == contract.policy_hash:
        return run
    register_feed(conn, contract, at)
    return dataclasses.replace(run, policy_hash=contract.policy_hash)


def _why_stale(conn: sa.Connection, run: Run, current: Run, plan: CommitPlan, *, moved: bool) -> str:
    """Return what happened since the run looked that its decisions do not know of; empty where nothing did."""
    last = conn.execute(sa.select(tables.feeds.c.last_seq).where(tables.feeds.c.name == run.feed)).scalar() or 0
    if last > run.state_version or current.state_version != run.state_version:
        return f"another run of {run.feed} was committed after {run.run_id} began"
    if moved or status.decided_by_people(conn, run.feed, sorted(plan.revised)):
        return "a reviewer decided some of these records meanwhile"
    return "" if memory.are_listed(conn, plan.joined) else "a source was erased meanwhile"


def _known_records(conn: sa.Connection, feed: str, rows: pd.DataFrame) -> pd.DataFrame:
    known = status.find_status(conn, feed, rows["record_id"])
    return known[["record_id", "content_hash", "place"]].sort_values("record_id", ignore_index=True)


def _write_batch(
    conn: sa.Connection, run: Run, contract: Contract, plan: CommitPlan, decided: Decided, *, seq: int, at: dt.datetime
) -> None:
    """Write the records, what was found out about them, and the entries that people are to look at."""
    _write_records(conn, run.feed, run.run_id, plan, seq=seq)
    _write_findings(conn, run.feed, run.run_id, plan, decided, seq=seq)
    quarantine.open_entries(conn, run.feed, plan.queue, seq=seq, at=at)


def _write_records(conn: sa.Connection, feed: str, run_id: str, plan: CommitPlan, *, seq: int) -> None:
    first = add_files(conn, feed, plan.files, run_id=run_id, seq=seq)
    rows = plan.rows.assign(feed=feed, run_id=run_id, seq=seq, file_id=plan.rows["file"] + first)
    is_revised = rows["record_id"].isin(plan.revised)
    rows = rows.assign(changed_seq=seq, verdict=0)
    if is_revised.any():
        _revise(conn, feed, rows[is_revised], seq=seq)
    bulk.insert_frame(conn, tables.records, rows[~is_revised])
    redecided = plan.redecided[plan.redecided["place"] != Place.STAGED.value]
    if len(redecided):  # what stays staged stays as it is
        _decide_again(conn, feed, run_id, redecided, seq=seq)


def _revise(conn: sa.Connection, feed: str, rows: pd.DataFrame, *, seq: int) -> None:
    """Put new contents in the place of old ones; the move keeps what was there."""
    old = _move(conn, feed, rows, seq=seq)
    c = tables.records.c
    replaced = bulk.is_one_of(conn, c.record_id, rows["record_id"].tolist())
    conn.execute(sa.delete(tables.records).where(c.feed == feed, replaced))
    bulk.insert_frame(conn, tables.records, rows.assign(seq=old["seq"].to_numpy()))


def _decide_again(conn: sa.Connection, feed: str, run_id: str, moved: pd.DataFrame, *, seq: int) -> None:
    """Move staged records to where they were decided to be."""
    _move(conn, feed, moved, seq=seq)
    c, columns = tables.records.c, ("action", "risk", "reasons", "campaign_id")
    statement = (
        sa.update(tables.records)
        .where(c.feed == feed, c.record_id == sa.bindparam("which"))
        .values(run_id=run_id, **{name: sa.bindparam(f"new_{name}") for name in columns})
    )
    rows = moved[["record_id", *columns]].astype(object)
    rows = rows.where(rows.notna(), None).rename(columns={"record_id": "which"} | {n: f"new_{n}" for n in columns})
    conn.execute(statement, rows.to_dict("records"))


def _move(conn: sa.Connection, feed: str, rows: pd.DataFrame, *, seq: int) -> pd.DataFrame:
    """Move stored records to their new ``place``; return where they were, in the order of `rows`."""
    old = status.find_status(conn, feed, rows["record_id"]).set_index("record_id").reindex(rows["record_id"])
    old = old.reset_index()
    moves = status.moves_of(old.assign(to_place=rows["place"].to_numpy(), to_verdict=0))
    status.move_records(conn, feed, moves, seq=seq)
    return old


def _write_findings(
    conn: sa.Connection, feed: str, run_id: str, plan: CommitPlan, decided: Decided, *, seq: int
) -> None:
    """Write evidence, campaigns and labels; a campaign that an earlier run found stays as it is."""
    bulk.insert_frame(conn, tables.evidence, plan.evidence.assign(feed=feed, run_id=run_id, seq=seq))
    if decided.campaigns:
        rows = campaign_rows(decided.campaigns).assign(feed=feed, run_id=run_id, seq=seq)
        c = tables.campaigns.c
        known = bulk.select_many(
            conn, sa.select(c.campaign_id).where(c.feed == feed), c.campaign_id, rows["campaign_id"]
        )
        bulk.insert_frame(conn, tables.campaigns, rows[~rows["campaign_id"].isin(known["campaign_id"])])
    if not decided.items.empty:
        bulk.insert_frame(conn, tables.items, item_rows(decided.items).assign(feed=feed, seq=seq))


def _write_ledger(
    conn: sa.Connection,
    contract: Contract,
    plan: CommitPlan,
    decided: Decided,
    controls: pd.DataFrame | None,
    *,
    seq: int,
    at: dt.datetime,
) -> None:
    """Add what each source sent and what was counted of it; note new answers to controls one by one.

    A batch without a record that was not settled before adds nothing, so that repeated deliveries weigh once. A record
    whose id was given before answers no control: it does not prove its source.
    """
    settled = pd.concat([plan.rows, plan.redecided], ignore_index=True)
    if settled.empty:
        return
    who, sources = {"feed": contract.name, "namespace": contract.namespace}, decided.sources
    new = plan.rows[~plan.rows["record_id"].isin(plan.revised)]
    by_source = new.groupby("source_id")["received_at"]
    sent = pd.DataFrame({"n": by_source.size(), "first_seen": by_source.min()})
    names = [name for name in tables.LEDGER_COUNTS if name in sources.columns and name not in ("n", "blocked")]
    if names:
        counted = sources.assign(source_id=bounded_keys(sources["source_id"])).groupby("source_id")[names].sum()
        sent = sent.join(counted, how="outer")
    if len(sent):
        sent = sent.assign(first_seen=sent["first_seen"].fillna(settled["received_at"].min()))
        deltas = sent.rename_axis("source_id").reset_index()
        ground_truth.add_ledger_deltas(conn, deltas, **who, seq=seq)
    if controls is not None and len(controls):
        contested = plan.evidence.loc[plan.evidence["code"] == ID_CONFLICT, "record_id"]
        answers = pd.concat([new[new["readable"]], plan.redecided], ignore_index=True)
        answers = answers[~answers["record_id"].isin(contested)]
        verdicts = ground_truth.control_verdicts(answers, controls, decided.near_controls)
        said = ground_truth.said_in(verdicts)
        ground_truth.note_verdicts(conn, said, **who, kind=ground_truth.CONTROL, seq=seq, at=at)


def _recall_late(
    conn: sa.Connection, contract: Contract, run: Run, decided: Decided, *, seq: int, at: dt.datetime
) -> pd.DataFrame:
    """Take back what was accepted before of campaigns that show now; a feed that is only observed holds nothing."""
    if decided.recalls.empty:
        return decided.recalls
    if contract.mode is Mode.OBSERVE:
        status.mark_late(conn, contract.name, run.run_id, decided, seq=seq)
        return decided.recalls.iloc[:0]
    return status.recall_late(conn, contract.name, run.run_id, decided, seq=seq, at=at)


def _revoke_snapshots(store: Store, conn: sa.Connection, feed: str, recalls: pd.DataFrame, *, at: dt.datetime) -> None:
    """Revoke the snapshots that hold what was taken back; the event follows the commit's."""
    if recalls.empty:
        return
    why = f"{len(recalls)} records taken back with {', '.join(sorted(recalls['campaign_id'].unique())[:5])}"
    snapshots.revoke_holding(conn, store.key, feed, recalls["record_id"], by="poison-guard", why=why, at=at)


def _write_intake(
    conn: sa.Connection,
    contract: Contract,
    run: Run,
    decided: Decided,
    objects: Sequence[ObjectRef],
    nonces: pd.DataFrame | None,
    *,
    seq: int,
    at: dt.datetime,
) -> None:
    """Note objects and nonces as taken in, and the payload schema unless the batch was held because of it."""
    if nonces is not None and len(nonces):
        add_nonces(conn, contract, nonces, seq=seq, at=at)
    rows = [
        {"feed": run.feed, "digest": o.digest, "uri": o.uri, "size": o.size, "rows": o.rows, "watermark": o.watermark,
         "trail": o.trail, "run_id": run.run_id, "seq": seq}
        for o in objects
    ]  # fmt: skip
    bulk.insert_missing(conn, tables.objects, rows)
    drifted = "schema_drift" in {note.code for note in decided.notes} | set(decided.evidence["code"])
    if drifted or not run.schema:
        return
    c = tables.schemas.c
    last = conn.execute(sa.select(c.body).where(c.feed == run.feed).order_by(c.seq.desc()).limit(1)).scalar()
    body = to_json(run.schema, bounded=False)
    if body != last:
        conn.execute(sa.insert(tables.schemas), [{"feed": run.feed, "seq": seq, "run_id": run.run_id, "body": body}])


def _write_marker(
    store: Store,
    conn: sa.Connection,
    run: Run,
    plan: CommitPlan,
    decided: Decided,
    recalls: pd.DataFrame,
    *,
    cost: Callable[[], Mapping[str, Any]],
    at: dt.datetime,
) -> Mapping[str, int]:
    """Seal the commit: the audit event, the feed's last run, and the marker; return the run's counts."""
    counts = {**plan.counts, "recalled": len(recalls)}
    taken = recalls.groupby("campaign_id").size()
    notes = [{"code": note.code, "args": note.args} for note in decided.notes]
    notes += [{"code": "took_back", "args": {"n_records": int(n), "campaign_id": name}} for name, n in taken.items()]
    seq = chain.next_seq(conn)
    body = {
        "counts": counts,
        "files": [file.sha256 for _, file in plan.files],
        "policy": run.policy_hash,
        "state_version": run.state_version,
    }
    conn.execute(sa.update(tables.feeds).where(tables.feeds.c.name == run.feed).values(last_seq=seq))
    conn.execute(
        sa.update(tables.runs)
        .where(tables.runs.c.run_id == run.run_id)
        .values(
            status="committed",
            policy_hash=run.policy_hash,
            commit_seq=seq,
            finished_at=at,
            counts=to_json(counts),
            cost=to_json(dict(cost())),
            measurements=to_json({**decided.measurements, "phase": decided.phase.value}, bounded=False),
            notes=to_json(notes),
        )
    )
    named = ((tables.feeds, [run.feed]), (tables.policies, [run.policy_hash]))
    chain.append(conn, store.key, kind="run.committed", at=at, body=body, feed=run.feed, run_id=run.run_id, rows=named)
    return counts
