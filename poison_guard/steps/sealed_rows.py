"""Give the rows of a snapshot as they came, and prove that they are those that were sealed."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from poison_guard.errors import TamperError, UsageError
from poison_guard.ingest.original import original_rows
from poison_guard.steps.examples import read_parts
from poison_guard.steps.opening import Feed
from poison_guard.steps.part_files import read_own
from poison_guard.steps.payloads import payloads_of
from poison_guard.steps.row_files import Rows, together
from poison_guard.store.snapshots import Part, Snapshot

__all__ = ["sealed_rows"]


def sealed_rows(feed: Feed, snapshot: Snapshot, *, leave_out: frozenset[str], whole: bool = True) -> Rows:
    """Return the rows of the examples of a snapshot, in the order in which they came.

    With `whole`, those that `explode` took apart are together again. Of a feed of votes an example is an item: its row
    is what was sealed of it, with the adopted label. `TamperError` where a record is not as it was sealed.
    """
    if feed.contract.vote:
        return _item_rows(feed, snapshot, leave_out)
    found: list[pd.DataFrame] = []
    for part in snapshot.parts:
        ids = read_parts(feed, (part,), columns=["example_id"])["example_id"].astype("str")
        records = payloads_of(feed, ids.tolist())
        _check(part, ids, records, snapshot.snapshot_id)
        found.append(records)
    records = pd.concat(found, ignore_index=True)
    records = records.sort_values(["received_at", "object", "row"], kind="stable", ignore_index=True)
    groups = original_rows(records, leave_out=leave_out)
    known = sum(len(group.at) for group in groups)
    if known < len(records):
        raise UsageError(
            f"{len(records) - known:,} records of {snapshot.snapshot_id} do not say what their rows looked like: they "
            "were stored by an earlier version"
        )
    rows = Rows.of(groups, {at: at for at in range(len(records))})
    keys = list(zip(records["object"], records["row"], strict=True))
    return together(rows, keys, feed.contract.data.explode) if whole else rows


def _check(part: Part, ids: pd.Series, records: pd.DataFrame, name: str) -> None:
    """Compare the content of the records with what the part says of its members."""
    hashes = records.set_index("record_id")["content_hash"].reindex(ids)
    if hashes.isna().any():
        first = ids[hashes.isna().to_numpy()].iloc[0]
        raise TamperError(f"record {first!r} of {name} is not in the store any more; seal a new snapshot")
    lines = sorted(f"{each}\t{digest}" for each, digest in zip(ids, hashes, strict=True))
    if hashlib.sha256("\n".join(lines).encode()).hexdigest() != part.members:
        raise TamperError(f"records of {name} are not as they were sealed (one was revised); seal a new snapshot")


def _item_rows(feed: Feed, snapshot: Snapshot, leave_out: frozenset[str]) -> Rows:
    """Return a row an item: its content under its own names, its id and its label under those of the contract."""
    contract = feed.contract
    frame = pd.concat([read_own(feed.store.lake, part) for part in snapshot.parts], ignore_index=True)
    names = {"example_id": contract.columns["item_id"], "label": contract.columns[str(contract.vote)]}
    if frame["slice"].astype("str").ne("").any() and contract.has("group"):
        names["slice"] = contract.columns["group"]
    shown = frame.drop(columns=[c for c in ("slice",) if c not in names]).rename(columns=names)
    shown = shown[[c for c in shown.columns if c not in leave_out]]
    cells = shown.astype(object).where(shown.notna(), None)
    rows = [{name: _plain(value) for name, value in row.items()} for row in cells.to_dict("records")]
    return Rows(rows)


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray) else value
