"""Erase what a source sent: payloads and names go from tables and lake, tombstones stay, and the chain still verifies.

One transaction, one event. Lake files are written anew without the erased rows before it, and the old ones are removed
after it by the outbox, so that a process killed anywhere leaves an erasure that the next command that writes finishes.
The groups of rows it touches are sealed anew and their salts destroyed: no hash that stays shows what the rows were.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from poison_guard.canonical_json import utc_or_now
from poison_guard.config import Contract
from poison_guard.errors import StaleStateError, TamperError
from poison_guard.records import Action, Place
from poison_guard.store import bulk, chain, outbox, quarantine, seals, snapshots
from poison_guard.store import tables as t
from poison_guard.store.bulk import bounded_key, to_json
from poison_guard.store.engine import Store
from poison_guard.store.erasure_plan import ErasurePlan, is_erased, ledger_of, plan_of
from poison_guard.store.lake import LakeFile

__all__ = ["Erased", "erase_source", "plan_erasure", "remove_unlisted"]

_PLACE_AFTER = {Place.ACCEPTED.value: Place.RECALLED.value, Place.STAGED.value: Place.REJECTED.value,
                Place.QUARANTINED.value: Place.REJECTED.value}  # fmt: skip
_BY_RECORD = (t.moves, t.evidence, t.queue, t.verified, t.trusted)


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure did, or would do."""

    event: int | None
    """Number of the event; None where nothing was changed."""
    records: int
    trusted: int
    files: int
    """Lake files that are written anew without the erased rows, or removed."""
    snapshots: tuple[str, ...]
    """Those that held the records, and are revoked."""


def plan_erasure(store: Store, contract: Contract, source_id: str) -> Erased:
    """Return what `erase_source` would do."""
    with store.read() as conn:
        plan = plan_of(store, conn, contract, bounded_key(source_id))
    return Erased(None, len(plan.records), len(plan.trusted), len(plan.files), plan.held)


def erase_source(
    store: Store, contract: Contract, source_id: str, *, by: str, reason: str, at: dt.datetime | None = None
) -> Erased:
    """Erase what a source sent and wrote to a feed; where nothing is held of it (any more), nothing changes.

    `TamperError` where the rows are not as they were left: an erasure must not seal what was changed past the guard.
    `StaleStateError` where something was written between its planning and its transaction.
    """
    with store.read() as conn:
        before = chain.head(conn)
        plan = plan_of(store, conn, contract, bounded_key(source_id))
    if plan.is_empty:
        return Erased(None, 0, 0, 0, ())
    fresh = {row.file_id: _rewritten(store, plan, row.path, row.lane) for row in plan.files.itertuples()}
    with store.write() as conn:
        seq = chain.next_seq(conn)
        if seq != before + 1:
            raise StaleStateError(f"{contract.name} changed while it was erased from; stop its runs and try again")
        _erase(store, conn, contract, plan, fresh, by=by, reason=reason, at=utc_or_now(at), seq=seq)
    with store.read() as conn:
        if conn.dialect.name == "sqlite":
            conn.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")  # what was overwritten stays in no log
    return Erased(seq, len(plan.records), len(plan.trusted), len(plan.files), plan.held)


def remove_unlisted(store: Store, paths: Iterable[str]) -> None:
    """Remove lake files that no manifest lists any more; those gone already are fine."""
    wanted, c = list(paths), t.manifests.c
    with store.read() as conn:
        listed = set(bulk.select_many(conn, sa.select(c.path), c.path, wanted)["path"])
    for path in wanted:
        if path not in listed:
            store.lake.remove(path)


def _rewritten(store: Store, plan: ErasurePlan, path: str, lane: str) -> LakeFile | None:
    """Write a file without the rows to erase, under a new name; None where nothing is left of it."""
    mask = is_erased(store.lake.read_frame(path), plan, lane).to_numpy()
    return None if mask.all() else store.lake.add_filtered(path, ~mask)


def _erase(
    store: Store, conn: sa.Connection, contract: Contract, plan: ErasurePlan, fresh: Mapping[int, LakeFile | None],
    *, by: str, reason: str, at: dt.datetime, seq: int,
) -> None:  # fmt: skip
    feed, key = contract.name, store.key
    if conn.dialect.name == "sqlite":
        conn.exec_driver_sql("PRAGMA secure_delete = ON")  # what is deleted is overwritten
    groups = _groups(conn, contract, plan)
    for table, numbers in groups.items():
        for number in numbers:
            if not seals.group_is_whole(conn, key, table, number):
                raise TamperError(
                    f"rows of {table} that event {number} wrote were changed past the guard; run `poison-guard audit "
                    "verify` before anything is erased"
                )
    names = {name: f"erased-{secrets.token_hex(8)}" for name in sorted(plan.ids)}
    seals.rotate_secret(conn, secrets.token_hex(32))
    tomb = f"erased-{secrets.token_hex(8)}"
    _erase_records(conn, feed, plan, names, tomb, seq=seq)
    _erase_named(conn, contract, plan, names, tomb)
    _erase_items(conn, feed, plan)
    _erase_selectors(conn, feed, {**names, plan.source: tomb})
    _replace_files(conn, feed, plan, fresh)
    for table, numbers in groups.items():
        for number in numbers:
            seals.reseal_group(conn, key, table, number, seq=seq)
    n = len(plan.records)
    row = {"seq": seq, "feed": feed, "verb": "erase", "actor": by, "reason": reason, "at": at, "n": n}
    conn.execute(sa.insert(t.reviews), [{**row, "selector": "{}"}])
    body = {"n": n, "reason": chain.keyed_hash(key, reason)}
    chain.append(conn, key, kind="source.erased", at=at, body=body, feed=feed, actor=by)
    if plan.held:
        snapshots.revoke_snapshots(conn, key, feed, plan.held, by=by, why=f"erase: {reason}", at=at)
    outbox.add(conn, outbox.REMOVAL, {"paths": plan.files["path"].tolist()}, at)


def _groups(conn: sa.Connection, contract: Contract, plan: ErasurePlan) -> dict[str, list[int]]:
    """Return, of each sealed table, the groups that the erasure changes."""
    feed, ids = contract.name, sorted(plan.ids)
    found: dict[str, set[int]] = {"records": set(plan.records["changed_seq"].astype(int))}
    for table in _BY_RECORD:
        c = table.c
        group = c.changed_seq if "changed_seq" in c else c.seq
        found[table.name] = {int(n) for n in _distinct(conn, sa.select(group).where(c.feed == feed), c.record_id, ids)}
    n, v, i, p = t.ledger.c, t.verified.c, t.items.c, t.snapshot_parts.c
    found["ledger"] = set(conn.execute(sa.select(n.seq).where(*ledger_of(contract, plan.source))).scalars())
    named = sa.select(v.seq).where(v.feed == feed, v.source_id == plan.source)
    found["verified"] |= set(conn.execute(named).scalars())
    found["items"] = {
        int(s) for s in _distinct(conn, sa.select(i.seq).where(i.feed == feed), i.item_id, plan.own_items)
    }
    found["manifests"] = set(plan.files["seq"].astype(int))
    found["snapshot_parts"] = {
        int(s) for s in _distinct(conn, sa.select(p.seq).where(p.feed == feed), p.path, plan.parts)
    }
    found["campaigns"] = set(_campaigns(conn, feed, plan)["seq"].astype(int))
    rows = bulk.fetch_frame(conn, sa.select(t.reviews.c.seq, t.reviews.c.selector).where(t.reviews.c.feed == feed))
    words = plan.ids | {plan.source}
    hit = [bool(words & set(_words(_loads(text)))) for text in rows["selector"]]
    found["reviews"] = set(rows.loc[np.array(hit, dtype=bool), "seq"].astype(int))
    return {table: sorted(numbers) for table, numbers in found.items() if numbers}


def _distinct(conn: sa.Connection, query: bulk.Query, column: Any, values: Collection[str]) -> set[Any]:
    if not values:
        return set()
    frame = bulk.select_many(conn, query, column, values)
    return set(frame.iloc[:, 0])


def _campaigns(conn: sa.Connection, feed: str, plan: ErasurePlan) -> pd.DataFrame:
    r, c = t.records.c, t.campaigns.c
    query = sa.select(r.campaign_id).where(r.feed == feed, r.campaign_id.is_not(None))
    named = _distinct(conn, query, r.record_id, plan.records["record_id"].tolist())
    return bulk.select_many(conn, sa.select(c.campaign_id, c.seq).where(c.feed == feed), c.campaign_id, named)


def _erase_records(
    conn: sa.Connection, feed: str, plan: ErasurePlan, names: Mapping[str, str], tomb: str, *, seq: int
) -> None:
    """Leave of each record a tombstone: when it came, where it is, and what was decided; no name and no content."""
    campaigns = _campaigns(conn, feed, plan)["campaign_id"].tolist()
    if campaigns:
        some = bulk.is_one_of(conn, t.campaigns.c.campaign_id, campaigns)
        conn.execute(sa.update(t.campaigns).where(t.campaigns.c.feed == feed, some).values(args="{}"))
    c = t.records.c
    own = plan.records["item_id"].isin(plan.own_items)
    statement = (
        sa.update(t.records)
        .where(c.feed == feed, c.record_id == sa.bindparam("which"))
        .values(
            record_id=sa.bindparam("name"), place=sa.bindparam("goes"), item_id=sa.bindparam("item"),
            source_id=sa.case((c.source_id == plan.source, tomb), else_=c.source_id),
            author_id=sa.case((c.author_id == plan.source, tomb), else_=c.author_id),
            content_hash="", action=Action.REJECT.value, readable=False, file_id=0, changed_seq=seq,
            **dict.fromkeys(("answer", "group", "observed_at", "source_since")),
        )
    )  # fmt: skip
    rows = plan.records.assign(
        item_id=plan.records["item_id"].mask(own).astype(object), to_place=plan.records["place"].replace(_PLACE_AFTER)
    )
    values = [
        {"which": row.record_id, "name": names[row.record_id], "goes": row.to_place,
         "item": row.item_id if isinstance(row.item_id, str) else None}
        for row in rows.itertuples()
    ]  # fmt: skip
    if values:
        conn.execute(statement, values)
    moved = rows[rows["place"] != rows["to_place"]]
    columns = {"place": "from_place", "verdict": "from_verdict"}
    moves = moved.drop(columns="seq").rename(columns=columns).assign(
        record_id=moved["record_id"].map(names), to_verdict=moved["verdict"], from_hash="", from_file=0,
        feed=feed, seq=seq,
    )  # fmt: skip
    bulk.insert_frame(conn, t.moves, moves)


def _erase_named(
    conn: sa.Connection, contract: Contract, plan: ErasurePlan, names: Mapping[str, str], tomb: str
) -> None:
    """Rename the records in the tables that speak of them, and the source; what says something of contents goes."""
    feed = contract.name
    for start in range(0, len(names), 20_000):
        quarantine.forget(conn, feed, list(names)[start : start + 20_000])
    _erase_desk(conn, feed, plan.source, list(names), tomb)
    for table in (t.evidence, t.trusted):
        for start in range(0, len(names), 20_000):
            some = bulk.is_one_of(conn, table.c.record_id, list(names)[start : start + 20_000])
            conn.execute(sa.delete(table).where(table.c.feed == feed, some))
    which = [{"which": name, "name": new} for name, new in names.items()]
    for table, values in ((t.moves, {"from_hash": "", "from_file": 0}), (t.verified, dict[str, Any]())):
        if which:
            c = table.c
            renamed = sa.update(table).where(c.feed == feed, c.record_id == sa.bindparam("which"))
            conn.execute(renamed.values(record_id=sa.bindparam("name"), **values), which)
    c = t.verified.c
    conn.execute(sa.update(t.verified).where(c.feed == feed, c.source_id == plan.source).values(source_id=tomb))
    conn.execute(sa.update(t.ledger).where(*ledger_of(contract, plan.source)).values(source_id=tomb))


def _erase_desk(conn: sa.Connection, feed: str, source: str, ids: Sequence[str], tomb: str) -> None:
    """Remove what reviewers' tools kept: frozen sets of records, saved filters by source, answers about the records."""
    some = bulk.is_one_of(conn, t.checks.c.record_id, ids)
    conn.execute(sa.delete(t.checks).where(t.checks.c.feed == feed, some))
    j, v, r = t.jobs.c, t.views.c, t.source_rules.c
    conn.execute(sa.delete(t.jobs).where(j.feed == feed, j.state == "frozen"))
    stopped = {"state": "cancelled", "ids": None, "fault": "a source was erased meanwhile"}
    conn.execute(sa.update(t.jobs).where(j.feed == feed, j.state == "running").values(**stopped))
    quoted = json.dumps(source)
    conn.execute(
        sa.update(t.jobs).where(j.feed == feed, j.filters.contains(quoted, autoescape=True)).values(filters="{}")
    )
    conn.execute(sa.delete(t.views).where(v.feed == feed, v.params.contains(quoted, autoescape=True)))
    conn.execute(sa.update(t.source_rules).where(r.feed == feed, r.source_id == source).values(source_id=tomb))


def _erase_items(conn: sa.Connection, feed: str, plan: ErasurePlan) -> None:
    """Take back the labels of items that only erased records were about."""
    c = t.items.c
    values = {"label": None, "probability": 0.0, "adopted": False}
    for name in sorted(plan.own_items):
        tomb = f"erased-{secrets.token_hex(8)}"
        conn.execute(sa.update(t.items).where(c.feed == feed, c.item_id == name).values(item_id=tomb, **values))


def _erase_selectors(conn: sa.Connection, feed: str, names: Mapping[str, str]) -> None:
    """Replace erased names in what reviewers chose by."""
    c = t.reviews.c
    for seq, text in conn.execute(sa.select(c.seq, c.selector).where(c.feed == feed)).all():
        before = _loads(text)
        after = _renamed(before, names)
        if after != before:
            conn.execute(sa.update(t.reviews).where(c.seq == seq).values(selector=to_json(after, bounded=False)))


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _words(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _words([*value.values()])
    elif isinstance(value, list):
        for each in value:
            yield from _words(each)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, names) for each in value]
    return names.get(value, value) if isinstance(value, str) else value


def _replace_files(conn: sa.Connection, feed: str, plan: ErasurePlan, fresh: Mapping[int, LakeFile | None]) -> None:
    """Let manifests and parts name the new files; a file of which nothing is left is named no more."""
    m, p = t.manifests.c, t.snapshot_parts.c
    paths = [file.path for file in fresh.values() if file is not None]
    taken = set(bulk.select_many(conn, sa.select(m.path), m.path, paths)["path"]) if paths else set()
    for row in plan.files.itertuples():
        file = fresh[row.file_id]
        if file is None or file.path in taken:
            conn.execute(sa.delete(t.manifests).where(m.file_id == row.file_id))
        else:
            values = {"path": file.path, "rows": file.rows, "size": file.size, "sha256": file.sha256}
            conn.execute(sa.update(t.manifests).where(m.file_id == row.file_id).values(**values))
            taken.add(file.path)
        if row.path in plan.parts:
            part = LakeFile("", 0, 0, "") if file is None else file
            values = {"path": part.path, "sha256": part.sha256, "size": part.size, "rows": part.rows, "members": ""}
            conn.execute(sa.update(t.snapshot_parts).where(p.feed == feed, p.path == row.path).values(**values))
