"""What is remembered of earlier records: the scored frames of the last weeks, bounded, so that late campaigns show.

A file holds one batch in an order that only the store's key foresees: what is left out of a bounded memory is no
sender's choice.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable

import pandas as pd
import sqlalchemy as sa

from poison_guard.config import Contract
from poison_guard.frames import among, empty_frame
from poison_guard.records import Place
from poison_guard.store import bulk, status, tables, trusted
from poison_guard.store.engine import Store
from poison_guard.store.lake import LakeFile
from poison_guard.store.runs import Run

__all__ = ["LANE", "MEMORY_FORMAT", "load_memory", "write_memory"]

LANE = "memory"
MEMORY_FORMAT = 1
"""Raise it when a remembered column means something else (a sketch, how vectors are scaled): then older files are not
compared with newer ones."""
_REMEMBERED_PLACES = (Place.ACCEPTED.value, Place.QUARANTINED.value, Place.REJECTED.value, Place.RECALLED.value)
_VECTOR_PREFIX = "vector."


def _vector_space(contract: Contract, trusted_hash: str) -> str:
    """Return the name of what vectors are scaled by; empty without a trusted set: then no two batches are alike."""
    if not trusted_hash:
        return ""
    parts = (trusted_hash, *contract.features, str(MEMORY_FORMAT))
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def write_memory(
    store: Store, run: Run, contract: Contract, remembered: pd.DataFrame, ids: pd.Series
) -> tuple[tuple[str, LakeFile], ...]:
    """Write what later batches may know of the rows of `remembered` whose id is among `ids`; return ``(lane, file)``.

    At most ``policy.memory_rows``, drawn by keyed hash; vectors only where they can be compared later.
    """
    with store.read() as conn:
        space = _vector_space(contract, trusted.trusted_hash(conn, contract.name, run.state_version))
    columns = [name for name in remembered if space or not name.startswith(_VECTOR_PREFIX)]
    rows = remembered.loc[among(remembered["record_id"], ids), columns]
    if rows.empty:
        return ()
    secret = hashlib.blake2b(b"memory", key=store.key[:64], digest_size=8).hexdigest()
    drawn = pd.util.hash_array(rows["record_id"].to_numpy(object), hash_key=secret, categorize=False)
    rows = rows.assign(drawn=drawn).sort_values(["drawn", "record_id"]).drop(columns="drawn")
    rows = rows.head(contract.policy.memory_rows).assign(space=space, version=MEMORY_FORMAT).reset_index(drop=True)
    return ((LANE, store.lake.add_frame(rows, f"runs/{run.run_id}/{LANE}")),)


def load_memory(
    store: Store,
    contract: Contract,
    *,
    version: int,
    received_at: dt.datetime,
    trusted_hash: str,
    without: Iterable[str] = (),
) -> pd.DataFrame:
    """Return what is remembered as of `version`, without some ids: the columns of ``remembered`` and ``place``.

    Records of batches received in the ``policy.memory_days`` before `received_at`, at most ``policy.memory_rows``, the
    newest batches first; vectors are missing where they were scaled by another trusted set. What a reviewer released or
    confirmed is forgotten: a person has answered for it. Sorted by ``record_id``.
    """
    space = _vector_space(contract, trusted_hash)
    parts: list[pd.DataFrame] = []
    left = contract.policy.memory_rows
    for path, digest in _memory_files(store, contract, version, received_at):
        if left <= 0:
            break
        part = store.lake.read_frame(path, sha256=digest)
        if (part["version"] != MEMORY_FORMAT).any():
            continue  # its sketches may mean something else
        part = _comparable(part.head(left), space)
        left -= len(part)
        parts.append(part)
    if not parts:
        return empty_frame("memory")
    memory = pd.concat(parts, ignore_index=True).drop_duplicates("record_id", ignore_index=True)
    memory = memory[~among(memory["record_id"], without)]
    with store.read() as conn:
        places = status.status_as_of(
            conn, contract.name, status.find_status(conn, contract.name, memory["record_id"]), version
        )
    where = places.loc[places["verdict"] <= 0].set_index("record_id")["place"]
    memory = memory.assign(place=memory["record_id"].map(where).astype("str"))
    return memory[memory["place"].isin(_REMEMBERED_PLACES)].sort_values("record_id", ignore_index=True)


def _memory_files(store: Store, contract: Contract, version: int, received_at: dt.datetime) -> list[tuple[str, str]]:
    """Return path and SHA-256 of the files that may be remembered, the newest first."""
    m, r = tables.manifests.c, tables.runs.c
    since = received_at - dt.timedelta(days=contract.policy.memory_days)
    query = (
        sa.select(m.path, m.sha256)
        .join_from(tables.manifests, tables.runs, m.run_id == r.run_id)
        .where(m.feed == contract.name, m.lane == LANE, m.seq <= version, r.received_at >= since)
        .order_by(m.seq.desc(), m.file_id.desc())
    )
    with store.read() as conn:
        rows = bulk.fetch_frame(conn, query)
    return list(zip(rows["path"].tolist(), rows["sha256"].tolist(), strict=True))


def _comparable(part: pd.DataFrame, space: str) -> pd.DataFrame:
    """Return a file's rows without vectors that were scaled by something else."""
    same = bool(space) and bool((part["space"] == space).all())
    vectors = [] if same else [name for name in part.columns if name.startswith(_VECTOR_PREFIX)]
    return part.drop(columns=["space", "version", *vectors])
