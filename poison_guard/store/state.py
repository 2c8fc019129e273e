"""Read the state a run may know, exactly as it was at a version."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable

import pandas as pd
import sqlalchemy as sa

from poison_guard.config import Contract
from poison_guard.frames import among, empty_frame
from poison_guard.records import Place, State
from poison_guard.store import bulk, ground_truth, memory, status, tables, trusted
from poison_guard.store.bulk import bounded_key
from poison_guard.store.engine import Store
from poison_guard.store.ground_truth import load_verified

__all__ = ["load_known", "load_schema", "load_state", "load_sums"]


def load_state(
    store: Store,
    contract: Contract,
    *,
    record_ids: Iterable[str],
    item_ids: Iterable[str],
    version: int,
    controls: pd.DataFrame,
    source_ids: Iterable[str] | None = None,
    received_at: dt.datetime | None = None,
    known: pd.DataFrame | None = None,
) -> State:
    """Return the state of a feed as of `version`, whatever was written since; later reads give the same.

    `source_ids` keeps ledger and verified answers to those sources. Without a trusted set `reference` and `calibration`
    are empty. Earlier records are remembered only for a batch that says when it was `received_at`. `known` is what
    `load_known` gave of the same ids and version, where it was asked before.
    """
    record_ids = list(record_ids)
    with store.read() as conn:
        wanted = None if source_ids is None else [bounded_key(name) for name in dict.fromkeys(source_ids)]
        sums = ground_truth.ledger_sums(conn, contract.namespace, version=version, source_ids=wanted)
        known = _known_rows(conn, contract.name, record_ids, version) if known is None else known
        answers = _accepted_answers(conn, contract.name, item_ids, version)
        schema = load_schema(conn, contract.name, version)
        proven = load_verified(conn, contract.namespace, version=version, source_ids=wanted)
    frozen = trusted.load_trusted(store, contract.name, version=version)
    reference, calibration = frozen.split("reference"), frozen.split("calibration")
    if received_at is None:
        remembered = empty_frame("memory")
    else:
        at = {"version": version, "received_at": received_at, "trusted_hash": frozen.hash, "accepted": answers}
        without = bulk.bounded_keys(pd.Series(record_ids, dtype="str"))
        remembered = memory.load_memory(store, contract, **at, without=without)
    return State(
        feed=contract.name,
        version=version,
        ledger=sums,
        reference=reference,
        calibration=calibration,
        trusted_hash=frozen.hash,
        controls=controls,
        answers=answers,
        known=known[["record_id", "content_hash", "place"]],
        schema=schema,
        memory=remembered,
        verified=proven,
    )


def load_schema(conn: sa.Connection, feed: str, version: int | None = None) -> dict[str, str]:
    """Return the payload schema a feed was last accepted with, as of `version`; empty before the first."""
    c = tables.schemas.c
    query = sa.select(c.body).where(c.feed == feed).order_by(c.seq.desc()).limit(1)
    body = conn.execute(query if version is None else query.where(c.seq <= version)).scalar()
    return {} if body is None else json.loads(body)


def load_known(store: Store, contract: Contract, record_ids: Iterable[str], *, version: int) -> pd.DataFrame:
    """Return which of some ids the store has as of `version`, and who has them, sorted by id.

    Columns: ``record_id, content_hash, place, source_id, observed_at, source_since, received_at, owner`` (its source,
    or its author where it has none) and ``by_person`` (bool: a person decided it, or entered it into the trusted set).
    """
    with store.read() as conn:
        rows = _known_rows(conn, contract.name, record_ids, version)
        keys = bulk.bounded_keys(rows["record_id"])
        decided = status.decided_by_people(conn, contract.name, keys, version=version)
    columns = ["record_id", "content_hash", "place", "source_id", "observed_at", "source_since", "received_at"]
    owner = rows["source_id"].fillna(rows["author_id"])
    return rows[columns].assign(owner=owner, by_person=rows["trusted"] | keys.isin(decided))


def load_sums(store: Store, contract: Contract, source_ids: Iterable[str], *, version: int) -> pd.DataFrame:
    """Return the ledger of some sources as of `version`, see `ground_truth.ledger_sums`."""
    with store.read() as conn:
        names = [bounded_key(name) for name in source_ids]
        return ground_truth.ledger_sums(conn, contract.namespace, version=version, source_ids=names)


def _known_rows(conn: sa.Connection, feed: str, record_ids: Iterable[str], version: int) -> pd.DataFrame:
    """Return what the store has under these ids: the feed's records, and trusted ones that the feed has not sent.

    The latter are called staged: of them nothing is settled in the feed, yet their id stands for their content.
    """
    names = pd.Series(list(record_ids), dtype="str")
    ids = bulk.bounded_keys(names)
    rows = status.status_as_of(conn, feed, status.find_status(conn, feed, ids), version)
    t = tables.trusted.c
    query = sa.select(t.record_id, t.content_hash).where(t.feed == feed, t.seq <= version)
    vetted = bulk.select_many(conn, query, t.record_id, ids).assign(place=Place.STAGED.value)
    rows = rows.assign(trusted=among(rows["record_id"], vetted["record_id"]))
    vetted = vetted[~among(vetted["record_id"], rows["record_id"])].assign(trusted=False)
    known = pd.concat([rows, vetted], ignore_index=True) if len(vetted) else rows
    known = known.sort_values("record_id", ignore_index=True)
    if known.empty or ids.equals(names):
        return known
    return known.assign(record_id=known["record_id"].map(dict(zip(ids, names, strict=True))).astype("str"))


def _accepted_answers(conn: sa.Connection, feed: str, item_ids: Iterable[str], version: int) -> pd.DataFrame:
    c = tables.records.c
    shown = [c.record_id, c.item_id, c.source_id, c.answer.label("vote"), c.observed_at, c.source_since]
    query = sa.select(*shown, c.seq, c.place, c.verdict).where(c.feed == feed, c.readable.is_(True))
    ids = {bounded_key(name): name for name in item_ids}
    rows = status.status_as_of(conn, feed, bulk.select_many(conn, query, c.item_id, ids), version)
    rows = rows[(rows["place"] == Place.ACCEPTED.value) & rows["vote"].notna()]
    names = ["record_id", "item_id", "source_id", "vote", "observed_at", "source_since", "verdict"]
    rows = rows[names].sort_values("record_id", ignore_index=True)
    if all(key == name for key, name in ids.items()):
        return rows
    return rows.assign(item_id=rows["item_id"].map(ids).astype("str"))
