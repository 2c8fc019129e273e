"""What is remembered of earlier records: the scored frames of the last weeks, bounded, so that late campaigns show.

A file holds one batch in an order that only the store's key foresees: what is left out of a bounded memory is no
sender's choice. What many small files hold, a later one holds too.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from poison_guard.config import Contract
from poison_guard.frames import among, empty_frame, look_up
from poison_guard.records import Place
from poison_guard.store import bulk, status, tables, trusted
from poison_guard.store.engine import Store
from poison_guard.store.lake import LakeFile
from poison_guard.store.runs import Run

__all__ = ["LANE", "MEMORY_FORMAT", "Written", "are_listed", "load_memory", "write_memory"]

LANE = "memory"
MEMORY_FORMAT = 1
"""Raise it when a remembered column means something else (a sketch, how vectors are scaled): then older files are not
compared with newer ones."""
_REMEMBERED_PLACES = (Place.ACCEPTED.value, Place.QUARANTINED.value, Place.REJECTED.value, Place.RECALLED.value)
_VECTOR_PREFIX = "vector."
_FILES = 16
"""Files that a memory is read from, about: a 16th of ``policy.memory_rows`` makes a file that is left as it is, and
after so many smaller ones the next file holds their rows too."""


def _vector_space(contract: Contract, trusted_hash: str) -> str:
    """Return the name of what vectors are scaled by; empty without a trusted set: then no two batches are alike."""
    if not trusted_hash:
        return ""
    parts = (trusted_hash, *contract.features, str(MEMORY_FORMAT))
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Written:
    """What a run wrote of its memory."""

    files: tuple[tuple[str, LakeFile], ...] = ()
    """(lane, file)."""
    joined: tuple[str, ...] = ()
    """SHA-256 of the earlier files whose rows the file holds too: they must be listed still when it is committed."""


def write_memory(store: Store, run: Run, contract: Contract, remembered: pd.DataFrame, ids: pd.Series) -> Written:
    """Write what later batches may know of the rows of `remembered` whose id is among `ids`.

    At most ``policy.memory_rows``, drawn by keyed hash; vectors only where they can be compared later. After many small
    batches the file holds what the files of those before it hold, so that the next run reads one file for all of them.
    """
    with store.read() as conn:
        space = _vector_space(contract, trusted.trusted_hash(conn, contract.name, run.state_version))
    columns = [name for name in remembered if space or not name.startswith(_VECTOR_PREFIX)]
    rows = remembered.loc[among(remembered["record_id"], ids), columns]
    if rows.empty:
        return Written()
    secret = hashlib.blake2b(b"memory", key=store.key[:64], digest_size=8).hexdigest()
    drawn = pd.util.hash_array(rows["record_id"].to_numpy(object), hash_key=secret, categorize=False)
    rows = rows.assign(drawn=drawn).sort_values(["drawn", "record_id"]).drop(columns="drawn")
    rows = rows.head(contract.policy.memory_rows).assign(space=space, version=MEMORY_FORMAT).reset_index(drop=True)
    small = _small_files(store, contract, run, len(rows))
    if not small:
        return Written(((LANE, store.lake.add_frame(rows, f"runs/{run.run_id}/{LANE}")),))
    parts = [rows.assign(batch_at=pd.Timestamp(run.received_at)), *(_read(store, file) for file in small)]
    joined = pd.concat(parts, ignore_index=True).head(contract.policy.memory_rows)
    folder = f"runs/{run.run_id}/{LANE}-{min(file.first_seq for file in small)}"
    return Written(((LANE, store.lake.add_frame(joined, folder)),), tuple(file.sha256 for file in small))


def are_listed(conn: sa.Connection, digests: Sequence[str]) -> bool:
    """Return whether files that a run joined are still what the manifests list: an erasure may have replaced some."""
    c = tables.manifests.c
    found = set(bulk.select_many(conn, sa.select(c.sha256).where(c.lane == LANE), c.sha256, digests)["sha256"])
    return found >= set(digests)


def load_memory(
    store: Store,
    contract: Contract,
    *,
    version: int,
    received_at: dt.datetime,
    trusted_hash: str,
    accepted: pd.DataFrame,
    without: Iterable[str] = (),
) -> pd.DataFrame:
    """Return what is remembered as of `version`, without some ids: the columns of ``remembered`` and ``place``.

    Records of batches received in the ``policy.memory_days`` before `received_at`, at most ``policy.memory_rows``, the
    newest batches first; vectors are missing where they were scaled by another trusted set. What a reviewer released or
    confirmed is forgotten: a person has answered for it. `accepted` (``record_id, verdict``) are records known to be
    accepted as of `version`, which the store is not asked about again. Sorted by ``record_id``.
    """
    space = _vector_space(contract, trusted_hash)
    parts: list[pa.Table] = []
    left = contract.policy.memory_rows
    since = _since(contract, received_at)
    for file in _memory_files(store, contract, version, since):
        if left <= 0:
            break
        part = _comparable(_recent(store.lake.read_table(file.path, sha256=file.sha256), since).slice(0, left), space)
        left -= len(part)
        if len(part):
            parts.append(part)
    if not parts:
        return empty_frame("memory")
    memory = pa.concat_tables(parts, promote_options="permissive").to_pandas()
    memory = memory.drop_duplicates("record_id", ignore_index=True)
    memory = memory[~among(memory["record_id"], without)]
    others = memory.loc[~among(memory["record_id"], accepted["record_id"]), "record_id"]
    with store.read() as conn:
        now = status.find_status(conn, contract.name, others, ("record_id", "seq", "place", "verdict"))
        places = status.status_as_of(conn, contract.name, now, version)
    places = pd.concat([places, accepted[["record_id", "verdict"]].assign(place=Place.ACCEPTED.value)])
    where = places.loc[places["verdict"] <= 0].set_index("record_id")["place"]
    memory = memory.assign(place=look_up(memory["record_id"], where).astype("str"))
    return memory[memory["place"].isin(_REMEMBERED_PLACES)].sort_values("record_id", ignore_index=True)


@dataclass(frozen=True, slots=True)
class _File:
    """A file of the memory."""

    path: str
    sha256: str
    rows: int
    seq: int
    """Number of the commit that listed it."""
    at: pd.Timestamp
    """When the batch of its run was received."""

    @property
    def first_seq(self) -> int:
        """Number of the first commit whose rows it holds: the name of its folder says it where that is another's."""
        first = PurePosixPath(self.path).parent.name.removeprefix(f"{LANE}-")
        return int(first) if first.isdigit() else self.seq


def _memory_files(store: Store, contract: Contract, version: int, since: pd.Timestamp) -> list[_File]:
    """Return the files that may be remembered, the newest first, without those whose rows a newer one holds."""
    m, r = tables.manifests.c, tables.runs.c
    query = (
        sa.select(m.path, m.sha256, m.rows, m.seq, r.received_at)
        .join_from(tables.manifests, tables.runs, m.run_id == r.run_id)
        .where(m.feed == contract.name, m.lane == LANE, m.seq <= version, r.received_at >= since.to_pydatetime())
        .order_by(m.seq.desc(), m.file_id.desc())
    )
    with store.read() as conn:
        rows = bulk.fetch_frame(conn, query)
    files, held = list[_File](), math.inf
    for path, digest, n, seq, at in rows.itertuples(index=False):
        if seq < held:
            files.append(_File(path, digest, int(n), int(seq), pd.Timestamp(at)))
            held = files[-1].first_seq
    return files


def _small_files(store: Store, contract: Contract, run: Run, rows: int) -> list[_File]:
    """Return the files that a new file of `rows` rows takes up: the last ones, once they are many and all small."""
    most = contract.policy.memory_rows // _FILES
    if rows >= most:
        return []
    files = _memory_files(store, contract, run.state_version, _since(contract, run.received_at))
    small = list(itertools.takewhile(lambda file: file.rows < most, files))
    return small if len(small) >= _FILES - 1 else []


def _since(contract: Contract, received_at: dt.datetime) -> pd.Timestamp:
    return pd.Timestamp(received_at - dt.timedelta(days=contract.policy.memory_days))


def _read(store: Store, file: _File) -> pd.DataFrame:
    """Return the rows of a file with ``batch_at``: when each one's batch was received."""
    part = store.lake.read_frame(file.path, sha256=file.sha256)
    return part if "batch_at" in part else part.assign(batch_at=file.at)


def _recent(table: pa.Table, since: pd.Timestamp) -> pa.Table:
    """Return a file's rows of batches since then whose sketches mean what today's do."""
    keep = pc.equal(table["version"], MEMORY_FORMAT)
    if "batch_at" in table.column_names:  # one that holds the rows of several batches
        keep = pc.and_(keep, pc.greater_equal(table["batch_at"], pa.scalar(since, table.schema.field("batch_at").type)))
    return table.filter(keep)


def _comparable(table: pa.Table, space: str) -> pa.Table:
    """Return a file's rows without vectors that were scaled by something else."""
    vectors = [name for name in table.column_names if name.startswith(_VECTOR_PREFIX)]
    same = pc.equal(table["space"], space) if space else pa.array(np.zeros(len(table), bool))
    dropped = {"space", "version", "batch_at"}
    if not pc.any(same).as_py():
        dropped.update(vectors)
    elif not pc.all(same).as_py():
        for name in vectors:
            kept = pc.if_else(same, table[name], None)
            table = table.set_column(table.column_names.index(name), name, kept)
    return table.drop_columns([name for name in table.column_names if name in dropped])
