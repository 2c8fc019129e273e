"""Compare: a held record beside what is trusted, what it was copied from, and what its release would change."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from poison_guard.errors import DataError, NotFoundError
from poison_guard.ingest.original import masked
from poison_guard.records import Place
from poison_guard.results import Result
from poison_guard.steps.examples import content_of, load_item_content
from poison_guard.steps.opening import Feed
from poison_guard.steps.payloads import payloads_of
from poison_guard.store import load_trusted
from poison_guard.store.bulk import bounded_key
from poison_guard.store.reading import find_records, load_items
from poison_guard.store.snapshots import snapshots_holding
from poison_guard.text import to_jsonable

__all__ = ["Comparison", "ItemContent", "Neighbour", "Range", "Text", "Votes", "compare", "item_content"]

_MOST_TRUSTED = 20_000
"""Trusted records that one is compared with: those of the reference split, the first by id."""
_BINS = 24
_NEIGHBOURS, _COPIES = 4, 5
_MOST_CHARS = 4_000
"""Of a text that is compared."""


@dataclass(frozen=True, slots=True)
class Range:
    """Where a record's value lies among the trusted ones."""

    feature: str
    value: float
    n: int
    """Trusted values."""
    low: float
    """5 % of the trusted values are below it."""
    median: float
    high: float
    """5 % are above it."""
    below: float
    """Share of the trusted values that are smaller than the record's."""
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    """Of the trusted values between the edges, the outermost 1 % on each side left out."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A trusted record, and how far away it is."""

    record_id: str
    distance: float
    """For features: robust standard deviations, root mean square over columns; for texts: share of words they do not
    have in common."""
    values: Mapping[str, Any]
    """Its vote, text or features, private columns left out."""


@dataclass(frozen=True, slots=True)
class Text:
    """The text of another record of the campaign."""

    record_id: str
    source_id: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Votes:
    """What accepted records say of an item, and what one more would change."""

    item_id: str
    label: str | None
    """The label that the item has now; None where it has none."""
    adopted: bool
    probability: float | None
    before: Mapping[str, int]
    """Accepted votes by label, most first."""
    vote: str | None
    """What the record says."""


@dataclass(frozen=True, slots=True)
class Comparison(Result):
    """What `Guard.compare` returns."""

    record_id: str
    text_column: str | None
    """The role whose texts are compared: ``text``, ``response`` or ``prompt``."""
    text: str | None
    ranges: tuple[Range, ...]
    """Of the numeric features, the farthest out first."""
    neighbours: tuple[Neighbour, ...]
    """The nearest trusted records."""
    copies: tuple[Text, ...]
    """Texts of others of its campaign, the most alike first."""
    votes: Votes | None
    """None where the record is about no item."""
    on_release: tuple[str, ...]
    """What a release would do, a sentence each."""
    on_reject: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ItemContent(Result):
    """What `Guard.item_content` returns: what the contract's items' file says of items."""

    kind: str
    """``image``, ``text`` or ``table``; empty where there is no such file, or it cannot be read."""
    rows: Mapping[str, Mapping[str, Any]]
    """By item, column to value."""
    why: str = ""
    """Why there are none."""
    pixel_max: float = 255.0


def compare(feed: Feed, record_id: str) -> Comparison:
    """Return a record beside the trusted ones; what cannot be compared is left empty. `NotFoundError` for no record."""
    name = bounded_key(record_id)
    row = find_records(feed.store, feed.contract.name, record_ids=[name])
    if row.empty:
        raise NotFoundError(f"there is no record {record_id!r} in {feed.contract.name}")
    try:
        mine = payloads_of(feed, [name])
    except DataError:  # its file is gone
        mine = pd.DataFrame()
    hidden = masked(mine["shape"]) if "shape" in mine else frozenset()
    trusted = _trusted(feed) if len(mine) else pd.DataFrame()
    role = next((r for r in ("text", "response", "prompt") if r in mine and r not in hidden), None)
    text = None if role is None else _text(mine[role].iloc[0])
    ranges, neighbours = _among_trusted(mine, trusted, hidden, role)
    return Comparison(
        record_id=name,
        text_column=role,
        text=text,
        ranges=ranges,
        neighbours=neighbours,
        copies=_copies(feed, row.iloc[0], role, text),
        votes=_votes(feed, row.iloc[0]),
        on_release=_on_release(row.iloc[0]),
        on_reject=_on_reject(feed, row.iloc[0]),
    )


def item_content(feed: Feed) -> ItemContent:
    """Return what the items' file of the contract shows; where it cannot be read, why."""
    if feed.contract.items is None:
        return ItemContent("", {})
    try:
        content = content_of(feed.contract)
        table = load_item_content(feed.contract, feed.settings, content)
    except (DataError, NotFoundError, OSError) as error:
        return ItemContent("", {}, str(error))
    rows = table.drop(columns="item_id").to_dict("records")
    by_item = {str(item): to_jsonable(row) for item, row in zip(table["item_id"], rows, strict=True)}
    return ItemContent(content.kind, by_item, pixel_max=content.pixel_max)


def _trusted(feed: Feed) -> pd.DataFrame:
    return load_trusted(feed.store, feed.contract.name).split("reference").head(_MOST_TRUSTED)


def _among_trusted(
    mine: pd.DataFrame, trusted: pd.DataFrame, hidden: frozenset[str], role: str | None
) -> tuple[tuple[Range, ...], tuple[Neighbour, ...]]:
    columns = [c for c in trusted.columns if str(c).startswith("feature.") and c in mine and c not in hidden]
    if columns and len(trusted) > 1:
        return _ranges(mine, trusted, columns), _nearest_by_features(mine, trusted, columns)
    if role is not None and role in trusted and len(trusted):
        return (), _nearest_by_words(mine[role].iloc[0], trusted, role)
    return (), ()


def _ranges(mine: pd.DataFrame, trusted: pd.DataFrame, columns: Sequence[str]) -> tuple[Range, ...]:
    from poison_guard.signals.anomaly.features import as_numbers

    found = []
    for column in columns:
        value, values = float(as_numbers(mine[column])[0]), as_numbers(trusted[column])
        values = values[np.isfinite(values)]
        if np.isfinite(value) and len(values) > 1:
            found.append(_range(column.removeprefix("feature."), value, values))
    return tuple(sorted(found, key=lambda r: -abs(r.below - 0.5)))


def _range(feature: str, value: float, values: np.ndarray) -> Range:
    first, low, median, high, last = (float(v) for v in np.quantile(values, (0.01, 0.05, 0.5, 0.95, 0.99)))
    edges = np.linspace(first, last if last > first else first + 1, _BINS + 1)
    counts, _ = np.histogram(values, edges)
    below = float((values < value).mean() + (values == value).mean() / 2)
    shape = tuple(map(float, edges)), tuple(map(int, counts))
    return Range(feature, value, len(values), low, median, high, below, *shape)


def _nearest_by_features(mine: pd.DataFrame, trusted: pd.DataFrame, columns: Sequence[str]) -> tuple[Neighbour, ...]:
    from poison_guard.signals.anomaly.features import FeatureMap

    features = FeatureMap().fit(trusted[list(columns)])
    at, near = features.transform(mine[list(columns)]), features.transform(trusted[list(columns)])
    distance = np.sqrt(((near - at) ** 2).mean(axis=1))
    shown = [c for c in ("label", "answer", "rating", *columns) if c in trusted]
    return _neighbours(trusted, distance, shown)


def _nearest_by_words(text: object, trusted: pd.DataFrame, role: str) -> tuple[Neighbour, ...]:
    mine = _words(text)
    shares = [len(mine & other) / max(len(mine | other), 1) for other in map(_words, trusted[role])]
    shown = [c for c in ("label", "answer", "rating", role) if c in trusted]
    return _neighbours(trusted, 1 - np.array(shares), shown)


def _neighbours(trusted: pd.DataFrame, distance: np.ndarray, columns: Sequence[str]) -> tuple[Neighbour, ...]:
    nearest = np.argsort(distance, kind="stable")[:_NEIGHBOURS]
    rows = trusted.iloc[nearest]
    hidden = masked(rows["shape"]) if "shape" in rows else frozenset()
    values = rows[[c for c in columns if c not in hidden]].to_dict("records")
    return tuple(
        Neighbour(str(one), float(distance[k]), to_jsonable(value, max_text=_MOST_CHARS))
        for one, k, value in zip(rows["record_id"], nearest, values, strict=True)
    )


def _copies(feed: Feed, record: pd.Series, role: str | None, text: str | None) -> tuple[Text, ...]:
    if role is None or text is None or not isinstance(record["campaign_id"], str):
        return ()
    others = find_records(feed.store, feed.contract.name, campaign_id=record["campaign_id"], limit=200)
    ids = [one for one in others["record_id"] if one != record["record_id"]]
    try:
        rows = payloads_of(feed, ids)
    except DataError:
        return ()
    if role not in rows:
        return ()
    mine = _words(text)
    texts = [Text(r["record_id"], r.get("source_id"), _text(r[role]) or "") for r in rows.to_dict("records")]
    alike = sorted(texts, key=lambda t: -len(mine & _words(t.text)) / max(len(mine | _words(t.text)), 1))
    return tuple({t.text: t for t in reversed(alike[:50])}.values())[::-1][:_COPIES]


def _votes(feed: Feed, record: pd.Series) -> Votes | None:
    item = record["item_id"]
    if not isinstance(item, str):
        return None
    accepted = find_records(feed.store, feed.contract.name, item_id=item, places=[Place.ACCEPTED])
    counts = accepted["answer"].dropna().value_counts()
    known = load_items(feed.store, feed.contract.name)
    known = known[known["item_id"] == item]
    label = known.iloc[0] if len(known) else None
    vote = record["answer"]
    return Votes(
        item_id=item,
        label=None if label is None else to_jsonable(label["label"]),
        adopted=bool(label is not None and label["adopted"]),
        probability=None if label is None else float(label["probability"]),
        before={str(answer): int(n) for answer, n in counts.items()},
        vote=vote if isinstance(vote, str) else None,
    )


def _on_release(record: pd.Series) -> tuple[str, ...]:
    source = record["source_id"]
    credited = f"one right answer more for its source {source}" if isinstance(source, str) else ""
    if record["place"] == Place.ACCEPTED.value:
        return tuple(filter(None, ("it stays accepted, and counts as looked at", credited)))
    return tuple(filter(None, ("it is accepted, and reaches training only through the next snapshot", credited)))


def _on_reject(feed: Feed, record: pd.Series) -> tuple[str, ...]:
    source = record["source_id"]
    said = ["no snapshot will hold it"]
    if isinstance(source, str):
        said.append(f"one wrong answer more for its source {source}")
    holding = snapshots_holding(feed.store, feed.contract.name, [record["record_id"]])
    if holding:
        said.append(f"the snapshots that hold it are revoked: {', '.join(holding[:5])}")
    return tuple(said)


def _text(cell: object) -> str | None:
    return cell[:_MOST_CHARS] if isinstance(cell, str) else None


def _words(text: object) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", (_text(text) or "").lower()))
