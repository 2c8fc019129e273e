"""The trusted set: vetted records, entered by a named person, split by content hash, frozen and hashed.

A record that a person later finds wrong leaves the set.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import sqlalchemy as sa

from poison_guard.canonical_json import utc_or_now
from poison_guard.config import Contract
from poison_guard.errors import DataError, NotFoundError, UsageError
from poison_guard.store import bulk, chain, tables
from poison_guard.store.bulk import bounded_key, bounded_keys, from_json, to_json
from poison_guard.store.engine import Store
from poison_guard.store.lake import LakeFile, add_files, file_rows
from poison_guard.store.runs import register_feed

__all__ = [
    "SPLITS",
    "TrustedSet",
    "TrustedSummary",
    "add_trusted",
    "check_may_be_trusted",
    "check_trusted",
    "count_trusted",
    "first_trusted_ids",
    "judge_trusted",
    "load_trusted",
    "load_trusted_verdicts",
    "split_of",
    "trusted_verdicts",
]


_VERDICT_BY_VERB = {"trust-wrong": -1, "trust-right": 1}


def judge_trusted(
    store: Store, feed: str, record_ids: Sequence[str], *, wrong: bool, by: str, reason: str, at: dt.datetime
) -> int:
    """Note in a person's name that trusted records are wrong (or right after all); return the event's number.

    The event can be undone like any decision. The same said again adds nothing. `NotFoundError` for an id that was
    never trusted.
    """
    ids = [bounded_key(name) for name in dict.fromkeys(record_ids)]
    verb = "trust-wrong" if wrong else "trust-right"
    selector = to_json({"record_ids": ids})
    with store.write() as conn:
        _check_are_trusted(conn, feed, ids)
        seq, c = chain.next_seq(conn), tables.reviews.c
        same = (c.feed == feed, c.verb == verb, c.actor == by, c.reason == reason, c.selector == selector)
        before = conn.execute(sa.select(sa.func.max(c.seq)).where(*same, c.undone_by.is_(None))).scalar()
        now = trusted_verdicts(conn, feed)
        if before is not None and all(now.get(name) == _VERDICT_BY_VERB[verb] for name in ids):
            return int(before)
        facts = {"n": len(ids), "reason": chain.keyed_hash(store.key, reason)}
        body = {**facts, "selector": chain.keyed_hash(store.key, selector), "undoes": None}
        row = {"seq": seq, "feed": feed, "verb": verb, "actor": by, "reason": reason, "at": at, "n": len(ids)}
        conn.execute(sa.insert(tables.reviews), [{**row, "selector": selector}])
        chain.append(conn, store.key, kind=f"review.{verb}", at=at, body=body, feed=feed, actor=by)
    return seq


def check_trusted(store: Store, feed: str, record_ids: Sequence[str]) -> None:
    """Raise what `judge_trusted` would raise for an id that was never trusted."""
    with store.read() as conn:
        _check_are_trusted(conn, feed, [bounded_key(name) for name in record_ids])


def trusted_verdicts(conn: sa.Connection, feed: str, version: int | None = None) -> dict[str, int]:
    """Return what was said last of each trusted record that people looked at, as of `version`: 1 right, -1 wrong."""
    c = tables.reviews.c
    query = (
        sa.select(c.verb, c.selector, c.undone_by).where(c.feed == feed, c.verb.in_(_VERDICT_BY_VERB)).order_by(c.seq)
    )
    if version is not None:
        query = query.where(c.seq <= version)
    verdicts: dict[str, int] = {}
    for verb, selector, undone_by in conn.execute(query):
        if undone_by is None or (version is not None and undone_by > version):
            verdicts |= dict.fromkeys(from_json(selector)["record_ids"], _VERDICT_BY_VERB[verb])
    return verdicts


def load_trusted_verdicts(store: Store, feed: str, *, version: int | None = None) -> dict[str, int]:
    """Return `trusted_verdicts` of a feed."""
    with store.read() as conn:
        return trusted_verdicts(conn, feed, version)


def _check_are_trusted(conn: sa.Connection, feed: str, ids: Sequence[str]) -> None:
    t = tables.trusted.c
    query = sa.select(t.record_id).where(t.feed == feed)
    missing = set(ids) - set(bulk.select_many(conn, query, t.record_id, ids)["record_id"])
    if missing or not ids:
        raise NotFoundError(f"there is no trusted record {min(missing, default='')!r} in {feed}")


def first_trusted_ids(conn: sa.Connection, feed: str) -> set[str]:
    """Return the ids that were entered into the trusted set first, at once: the anchor, which never changes."""
    t = tables.trusted.c
    first = sa.select(sa.func.min(t.seq)).where(t.feed == feed).scalar_subquery()
    return set(conn.execute(sa.select(t.record_id).where(t.feed == feed, t.seq == first)).scalars())


SPLITS = {"reference": 50, "calibration": 30, "holdout": 20}
"""Percent of the trusted records in each split."""


@dataclass(frozen=True, slots=True)
class TrustedSummary:
    """What a feed's trusted set holds after an addition."""

    added: int
    already: int
    """Records of this addition that were in the set before."""
    reference: int
    calibration: int
    holdout: int
    hash: str
    """Hash of the frozen set."""
    seq: int
    """Sequence number of the event; the state version from which the addition counts."""

    @property
    def n(self) -> int:
        """Records in the set."""
        return self.reference + self.calibration + self.holdout


@dataclass(frozen=True, slots=True)
class TrustedSet:
    """The trusted set as of a version: `records` has the columns of `Batch.records` and ``split``."""

    records: pd.DataFrame
    hash: str
    """Empty when there is none."""

    def split(self, name: str) -> pd.DataFrame:
        """Return the records of one split, ordered by id."""
        return self.records[self.records["split"] == name].drop(columns="split").reset_index(drop=True)


def split_of(content_hash: str) -> str:
    """Return the split a content belongs to, for ever: half reference, three tenths calibration, the rest holdout."""
    draw = int.from_bytes(hashlib.blake2b(f"split:{content_hash}".encode(), digest_size=8).digest()) % 100
    edge = 0
    for name, share in SPLITS.items():
        edge += share
        if draw < edge:
            return name
    return "holdout"


def add_trusted(
    store: Store,
    contract: Contract,
    records: pd.DataFrame,
    *,
    by: str,
    reason: str,
    from_review: bool = False,
    now: dt.datetime | None = None,
) -> TrustedSummary:
    """Add vetted records (columns of `Batch.records`) to the feed's trusted set and return what it holds.

    Entered records never change, and leave only when a person finds one wrong. `UsageError` without a name or reason;
    `DataError` for records that the feed has seen (unless `from_review`: then the event says so), and for an id that is
    trusted with other content.
    """
    if not str(by or "").strip() or not str(reason or "").strip():
        raise UsageError("a trusted set is entered by a named person with a reason; give both `by` and `reason`")
    if records.empty:
        raise DataError(f"there are no records to trust for {contract.name}")
    records = records.assign(record_id=bounded_keys(records["record_id"])).reset_index(drop=True)
    _check_unique_ids(records)
    with store.read() as conn:
        fresh = _not_yet_trusted(conn, contract.name, records, from_review=from_review)
    file = store.lake.add_frame(fresh, f"trusted/{contract.name}") if len(fresh) else None
    with store.write() as conn:
        last = chain.next_seq(conn) - 1
        if not _not_yet_trusted(conn, contract.name, records, from_review=from_review)["record_id"].equals(
            fresh["record_id"]
        ):
            raise UsageError(f"someone else added to the trusted set of {contract.name} meanwhile; run this again")
        entry = _Entry(by.strip(), reason.strip(), from_review, utc_or_now(now))
        seq = last if file is None else _write_entry(conn, store.key, contract, fresh, file, entry)
        rows = _trusted_rows(conn, contract.name)
    counts = rows["split"].value_counts()
    splits = {name: int(counts.get(name, 0)) for name in SPLITS}
    return TrustedSummary(added=len(fresh), already=len(records) - len(fresh), hash=_set_hash(rows), seq=seq, **splits)


def check_may_be_trusted(store: Store, contract: Contract, records: pd.DataFrame, *, from_review: bool = True) -> None:
    """Raise what `add_trusted` would: for an id trusted with other content, and unless `from_review` for a seen one."""
    records = records.assign(record_id=bounded_keys(records["record_id"])).reset_index(drop=True)
    _check_unique_ids(records)
    with store.read() as conn:
        _not_yet_trusted(conn, contract.name, records, from_review=from_review)


@dataclass(frozen=True, slots=True)
class _Entry:
    """Who adds to the trusted set, why, and when."""

    by: str
    reason: str
    from_review: bool
    at: dt.datetime


def _write_entry(
    conn: sa.Connection, key: bytes, contract: Contract, fresh: pd.DataFrame, file: LakeFile, entry: _Entry
) -> int:
    """Write the rows and the event of an addition; return the event's number."""
    feed, seq = contract.name, chain.next_seq(conn)
    register_feed(conn, contract, entry.at)
    file_id = add_files(conn, feed, [("trusted", file)], run_id=None, seq=seq)
    rows = fresh[["record_id", "content_hash"]].assign(
        split=fresh["content_hash"].map(split_of), feed=feed, file_id=file_id, reviewed=entry.from_review, seq=seq
    )
    bulk.insert_frame(conn, tables.trusted, rows)
    body = {
        "added": len(fresh),
        "from_review": entry.from_review,
        "file": file.sha256,
        "reason": chain.keyed_hash(key, entry.reason),
        "hash": _set_hash(_trusted_rows(conn, feed)),
    }
    row = {"seq": seq, "feed": feed, "verb": "trust", "actor": entry.by, "reason": entry.reason, "at": entry.at}
    conn.execute(sa.insert(tables.reviews), [{**row, "n": len(fresh), "selector": "{}"}])
    named = ((tables.feeds, [feed]), (tables.policies, [contract.policy.hash]))
    chain.append(conn, key, kind="trust.added", at=entry.at, body=body, feed=feed, actor=entry.by, rows=named)
    return seq


def load_trusted(store: Store, feed: str, *, version: int | None = None) -> TrustedSet:
    """Return the trusted records of a feed as of `version`, ordered by id, whatever order they were added in."""
    with store.read() as conn:
        rows = _trusted_rows(conn, feed, version)
        files = file_rows(conn, rows["file_id"].unique().tolist())
    if rows.empty:
        columns = {"record_id": "str", "content_hash": "str", "split": "str"}
        return TrustedSet(pd.DataFrame({n: pd.Series(dtype=t) for n, t in columns.items()}), "")
    frames = [
        store.lake.read_frame(path, sha256=digest) for path, digest in zip(files["path"], files["sha256"], strict=True)
    ]
    held = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    held = held.set_index("record_id", drop=False).reindex(rows["record_id"]).reset_index(drop=True)
    return TrustedSet(held.assign(split=rows["split"]), _set_hash(rows))


def trusted_hash(conn: sa.Connection, feed: str, version: int) -> str:
    """Return the hash of a feed's trusted set as of `version`; empty without one."""
    return _set_hash(_trusted_rows(conn, feed, version))


def count_trusted(store: Store, feed: str) -> dict[str, int]:
    """Return how many trusted records each split of a feed has."""
    with store.read() as conn:
        counts = _trusted_rows(conn, feed)["split"].value_counts()
    return {name: int(counts.get(name, 0)) for name in SPLITS}


def _check_unique_ids(records: pd.DataFrame) -> None:
    twice = records["record_id"].duplicated()
    if twice.any():
        raise DataError(f"the record {records.loc[twice, 'record_id'].iloc[0]!r} is in the trusted set twice; keep one")


def _trusted_rows(conn: sa.Connection, feed: str, version: int | None = None) -> pd.DataFrame:
    query = sa.select(tables.trusted).where(tables.trusted.c.feed == feed)
    if version is not None:
        query = query.where(tables.trusted.c.seq <= version)
    rows = bulk.fetch_frame(conn, query)
    verdicts = trusted_verdicts(conn, feed, version)
    wrong = rows["record_id"].isin([name for name, verdict in verdicts.items() if verdict < 0])
    return rows[~wrong].sort_values("record_id", ignore_index=True)


def _not_yet_trusted(conn: sa.Connection, feed: str, records: pd.DataFrame, *, from_review: bool) -> pd.DataFrame:
    """Return the records that are not trusted yet; refuse those the set or the feed contradicts."""
    t, r = tables.trusted.c, tables.records.c
    there = bulk.select_many(
        conn, sa.select(t.record_id, t.content_hash).where(t.feed == feed), t.record_id, records["record_id"]
    ).set_index("record_id")["content_hash"]
    held = records["record_id"].map(there)
    clash = held.notna() & (held != records["content_hash"])
    if clash.any():
        first = records.loc[clash, "record_id"].iloc[0]
        raise DataError(f"{first!r} is in the trusted set of {feed} with other content; trusted records never change")
    fresh = records[held.isna()].reset_index(drop=True)
    if not from_review:
        by_id = bulk.select_many(conn, sa.select(r.record_id).where(r.feed == feed), r.record_id, fresh["record_id"])
        by_content = bulk.select_many(
            conn, sa.select(r.content_hash).where(r.feed == feed), r.content_hash, fresh["content_hash"].unique()
        )
        seen = fresh["record_id"].isin(by_id["record_id"]) | fresh["content_hash"].isin(by_content["content_hash"])
        if seen.any():
            first = fresh.loc[seen, "record_id"].iloc[0]
            raise DataError(
                f"{int(seen.sum())} of these records were already seen in the feed {feed}, the first is {first!r}; "
                "a feed's own records become trusted only through review: `poison-guard review release --trust` enters "
                "them as your decision"
            )
    return fresh


def _set_hash(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    lines = "\n".join(
        f"{r}\t{c}\t{s}" for r, c, s in zip(rows["record_id"], rows["content_hash"], rows["split"], strict=True)
    )
    return hashlib.sha256(lines.encode()).hexdigest()
