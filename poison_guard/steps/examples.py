"""Load what models are trained and judged on: the examples of a snapshot, and the trusted ones with their splits.

A contract says which columns carry an example's content; here their cells become arrays.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from poison_guard.config import Contract, Settings
from poison_guard.errors import ConfigError, DataError
from poison_guard.ingest.collect import read_controls
from poison_guard.ingest.objects import find_path
from poison_guard.ingest.read import read_raw, read_table
from poison_guard.pipeline.content import (
    LEAD,
    Content,
    content_columns,
    content_of,
    has_no_label,
    inputs_of,
    record_content,
    to_examples,
    with_pixels,
)
from poison_guard.pipeline.item_content import item_content
from poison_guard.records import Examples
from poison_guard.results import Result
from poison_guard.steps.opening import Feed
from poison_guard.steps.part_files import read_part, record_ids
from poison_guard.steps.payloads import payloads_of
from poison_guard.store import load_trusted
from poison_guard.store.snapshots import Part, Snapshot
from poison_guard.store.trusted import split_of
from poison_guard.text import shown_url

if TYPE_CHECKING:
    from poison_guard.gate.replies import Sides

__all__ = [
    "CandidateInputs",
    "Content",
    "TrustedExamples",
    "candidate_inputs",
    "content_of",
    "count_labels",
    "for_training",
    "inputs_of",
    "load_examples",
    "load_item_content",
    "load_sides",
    "load_trusted_examples",
    "load_trusted_sides",
    "read_parts",
    "record_content",
    "trusted_rows",
    "what_a_model_lacks",
]


def load_item_content(contract: Contract, settings: Settings, content: Content) -> pd.DataFrame:
    """Return ``item_id`` and the content columns of the items' file; `DataError` names the file and what is wrong."""
    path = find_path(str(contract.items), contract_file=contract.path, home=settings.home)
    ids = read_table(path, columns=("item_id",))["item_id"]
    raw = read_raw([path])
    twice = ids.duplicated()
    if twice.any():
        raise DataError(f"{shown_url(path)} describes the item {ids[twice].iloc[0]!r} twice; keep one row an item")
    columns = content.columns or _only_column(raw, path)
    absent = next((name for name in columns if name not in raw.columns), None)
    if absent is not None:
        raise DataError(
            f"{shown_url(path)} has no column {absent}, which [items] names; it has {', '.join(map(str, raw.columns))}"
        )
    return pd.concat([ids.rename("item_id"), with_pixels(raw[list(columns)], content)], axis=1)


def _only_column(raw: pd.DataFrame, path: str) -> tuple[str, ...]:
    others = [str(name) for name in raw.columns if name != "item_id"]
    if len(others) != 1:
        raise DataError(
            f"{shown_url(path)} has the columns {', '.join(others) or 'item_id alone'}; say in [items] which one is "
            'the item: image = "…", text = "…" or features = […]'
        )
    return (others[0],)


@dataclass(frozen=True, slots=True)
class TrustedExamples:
    """Trusted examples and the split of each, ``(n,)`` of reference, calibration and holdout."""

    examples: Examples
    split: np.ndarray

    def held_out(self) -> Examples:
        """Return those that no training ever sees: calibration and holdout."""
        return self.examples.take(self.split != "reference")


def load_examples(feed: Feed, snapshot: Snapshot, since: Snapshot | None = None) -> Examples:
    """Return the examples of a snapshot, new where `since` lacks them or has them with another label.

    `TamperError` when a part is not the file that was sealed; `DataError` where a cell is not what the model takes.
    """
    content = _trainable(feed)
    frame, is_new = _rows(feed, snapshot, since)
    trusted = _trusted_rows(feed, content)[0] if content.kind == "table" else frame
    return to_examples(frame, content, is_new, trusted if len(trusted) else frame)


def load_sides(feed: Feed, snapshot: Snapshot, since: Snapshot | None = None) -> Sides:
    """Return the examples of a snapshot of a feed without labels, new where `since` lacks them."""
    frame, is_new = _rows(feed, snapshot, since)
    from poison_guard.gate.replies import Sides

    return Sides.of(frame.assign(is_new=is_new))


def load_trusted_sides(feed: Feed) -> Sides:
    """Return the trusted set of a feed without labels."""
    from poison_guard.gate.replies import Sides

    return Sides.of(_trusted_rows(feed, _trainable(feed))[0])


def _rows(feed: Feed, snapshot: Snapshot, since: Snapshot | None) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the rows of a snapshot's parts, and which ``(n,)`` `since` lacks, or has with another label."""
    frame = read_parts(feed, snapshot.parts)
    parts_before = {part.sha256 for part in since.parts} if since else set()
    old = read_parts(feed, since.parts, columns=LEAD)[LEAD[:2]] if since else frame[LEAD[:2]].iloc[:0]
    if since and all(part.sha256 in parts_before for part in snapshot.parts):
        is_new = np.zeros(len(frame), bool)
    else:
        before = pd.MultiIndex.from_frame(old)
        is_new = ~pd.MultiIndex.from_frame(frame[LEAD[:2]]).isin(before)
    return frame, is_new


def count_labels(feed: Feed, snapshot: Snapshot) -> dict[str, int]:
    """Return label to number of examples of a snapshot; reads no content."""
    labels = read_parts(feed, snapshot.parts, columns=LEAD)["label"].astype("str")
    return {str(label): int(n) for label, n in labels.value_counts().items()}


def read_parts(feed: Feed, parts: tuple[Part, ...], columns: list[str] | None = None) -> pd.DataFrame:
    """Return ``example_id, label, slice`` and the content of some parts, or the given ones of these columns.

    Content has the names of the roles (of features and items: their own). Each file is checked by its hash.
    """
    frames = [_with_content(feed, part, read_part(feed.store.lake, part, columns), columns) for part in parts]
    if not frames:
        return pd.DataFrame({name: pd.Series(dtype="str") for name in LEAD})
    return pd.concat(frames, ignore_index=True)


def _with_content(feed: Feed, part: Part, frame: pd.DataFrame, columns: list[str] | None) -> pd.DataFrame:
    """Return the rows of a part with their content, read again from its files where the part copies none."""
    content = content_of(feed.contract)
    if columns is not None or feed.contract.data.copy or content.of_items:
        return frame
    named = record_ids(feed.store.lake, part)
    if named is None:
        return frame
    payload = payloads_of(feed, named["record_id"].tolist())
    at = payload.reset_index().set_index("record_id")["index"].reindex(named["record_id"])
    if at.isna().any():
        raise DataError(f"records of a part of {feed.contract.name} are not in the store any more; seal a new snapshot")
    shown = record_content(payload.iloc[at.to_numpy(int)].reset_index(drop=True), content)
    return pd.concat([frame, shown], axis=1)


def load_trusted_examples(feed: Feed) -> TrustedExamples:
    """Return the feed's trusted set as examples: vetted records, or the items that vetted votes agree on.

    An item's split follows from its id, for ever; a known answer (control) outweighs votes, and an item whose vetted
    votes are tied is left out.
    """
    content = _trainable(feed)
    frame, split = _trusted_rows(feed, content)
    return TrustedExamples(to_examples(frame, content, np.zeros(len(frame), bool), frame), split)


def trusted_rows(feed: Feed) -> tuple[pd.DataFrame, np.ndarray]:
    """Return ``example_id, label, slice`` and the content of the trusted examples, and the split of each ``(n,)``."""
    return _trusted_rows(feed, _trainable(feed))


def _trusted_rows(feed: Feed, content: Content) -> tuple[pd.DataFrame, np.ndarray]:
    held = load_trusted(feed.store, feed.contract.name)
    if not held.hash:
        return _no_rows(content), np.empty(0, object)
    records = held.records
    if not feed.contract.vote:
        frame = _of_records(records, content)
        return frame.reset_index(drop=True), records["split"].to_numpy(object)[frame.index]
    labels = _agreed(records, feed)
    frame = labels.merge(_item_content(feed, records, content), on="item_id", how="inner")
    frame = frame.rename(columns={"item_id": "example_id"})
    split = [split_of(hashlib.sha256(f"item:{name}".encode()).hexdigest()) for name in frame["example_id"]]
    return frame, np.array(split, dtype=object)


@dataclass(frozen=True, slots=True)
class CandidateInputs(Result):
    """What a candidate model is asked to predict."""

    feed: str
    frame: pd.DataFrame
    """``example_id`` and content of the held-out trusted examples, without labels."""


def candidate_inputs(feed: Feed) -> CandidateInputs:
    """Return the held-out trusted examples as a candidate's user sees them."""
    name, content = feed.contract.name, _trainable(feed)
    if content.kind == "table":
        frame, split = _trusted_rows(feed, content)
        shown = frame.loc[split != "reference", ["example_id", *content_columns(frame)]]
        return CandidateInputs(name, shown.reset_index(drop=True))
    held = load_trusted_examples(feed).held_out()
    ids = held.frame[["example_id"]]
    cells = list(held.inputs) if held.kind == "text" else [image.tolist() for image in held.inputs]
    return CandidateInputs(name, ids.assign(**{held.kind: pd.Series(cells, dtype=object)}))


def what_a_model_lacks(contract: Contract) -> str | None:
    """Return what a feed does not map that a model needs to learn from it; None when there is nothing."""
    if has_no_label(contract):
        return None
    if not any(contract.has(role) for role in ("label", "answer", "rating")):
        return "label, answer or rating"
    if content_of(contract).kind:
        return None
    return "[items]" if contract.vote else "image, text or features"


def for_training(snapshot: Examples, trusted: TrustedExamples) -> Examples:
    """Return the examples a model may learn from: those of a snapshot that no judgement is based on.

    An item that is held out is dropped by its id, and so is any example with the very content of a held-out one.
    """
    held = trusted.held_out()
    same = np.isin(snapshot.frame["example_id"].to_numpy(object), held.frame["example_id"].to_numpy(object))
    copies = set(_fingerprints(held))
    copied = np.array([mark in copies for mark in _fingerprints(snapshot)], dtype=bool)
    return snapshot.take(~(same | copied)) if len(snapshot) else snapshot


def _fingerprints(examples: Examples) -> list[bytes]:
    if examples.kind == "text":
        return [str(text).encode("utf-8", "surrogatepass") for text in examples.inputs]
    return [np.ascontiguousarray(row).tobytes() for row in examples.inputs]


def _trainable(feed: Feed) -> Content:
    contract = feed.contract
    content = content_of(contract)
    if not content.kind and contract.vote:
        raise ConfigError(
            f"{contract.path or contract.name} does not say what its items are: no record carries their text or image; "
            '[items] with path = "…" (a file of one row an item: item_id, and image, text or features) says it'
        )
    if not content.kind:
        raise ConfigError(
            f"{contract.path or contract.name} names no image, text or features, so there is nothing a model "
            "could be trained on; map one of them in [columns] or [items]"
        )
    return content


def _no_rows(content: Content) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=object) for name in (*LEAD, *(content.columns or ("content",)))})


def _of_records(records: pd.DataFrame, content: Content) -> pd.DataFrame:
    label = next((role for role in ("label", "answer", "rating") if role in records), None)
    if label is None and content.kind != "text":
        raise DataError("the trusted set has no label to judge by; map `label` in [columns]")
    lead = pd.DataFrame(
        {
            "example_id": records["record_id"],
            "label": records[label] if label else "",
            "slice": records["group"].fillna("") if "group" in records else "",
        }
    )
    rows = pd.concat([lead, record_content(records, content).set_axis(records.index)], axis=1)
    return rows[rows["label"].notna()]


def _agreed(records: pd.DataFrame, feed: Feed) -> pd.DataFrame:
    """Return ``item_id, label, slice`` of the items that trusted votes agree on."""
    vote = str(feed.contract.vote)
    votes = records[["item_id", vote]].dropna().astype("str")
    counts = votes.value_counts().rename("n").reset_index()
    counts["top"] = counts.groupby("item_id")["n"].transform("max")
    best = counts[counts["n"] == counts["top"]]
    best = best[~best["item_id"].duplicated(keep=False)]
    labels = dict(zip(best["item_id"], best[vote], strict=True))
    controls = read_controls(feed.contract, feed.settings.home)
    known = set(votes["item_id"])
    labels |= {i: a for i, a in zip(controls["item_id"], controls["answer"], strict=True) if i in known}
    group = (
        records.drop_duplicates("item_id").set_index("item_id")["group"]
        if "group" in records
        else pd.Series(dtype="str")
    )
    items = sorted(labels)
    return pd.DataFrame(
        {"item_id": items, "label": [labels[i] for i in items], "slice": [str(group.get(i) or "") for i in items]}
    )


def _item_content(feed: Feed, records: pd.DataFrame, content: Content) -> pd.DataFrame:
    if content.of_items:
        return load_item_content(feed.contract, feed.settings, content)
    sent = records[[name for name in ("item_id", "source_id") if name in records]]
    shown = pd.concat([sent, record_content(records, content).set_axis(records.index)], axis=1)
    return item_content(shown, content.columns)[["item_id", *content.columns]]
