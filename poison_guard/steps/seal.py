"""Seal a snapshot: the accepted records and adopted labels as of now, in parts that are written once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import pyarrow as pa

from poison_guard.config import Mode
from poison_guard.errors import DataError
from poison_guard.frames import empty_frame
from poison_guard.ingest.collect import read_controls
from poison_guard.ingest.original import own_table
from poison_guard.pipeline.item_content import item_content
from poison_guard.pipeline.relabel import settle_labels
from poison_guard.records import Place
from poison_guard.results import Result
from poison_guard.steps.coverage import why_unjudged
from poison_guard.steps.examples import Content, content_of, load_item_content, read_parts, record_content
from poison_guard.steps.item_labels import DENIED, deny_labels, items_to_ask_again, trusted_mark
from poison_guard.steps.lineage import NAMESPACE, snapshot_dataset, trace
from poison_guard.steps.opening import Feed, again_if_stale
from poison_guard.steps.outbox import drain
from poison_guard.steps.part_files import part_table, reference_table
from poison_guard.steps.payloads import payloads_of, show_in_queue
from poison_guard.store import audit, load_sources
from poison_guard.store.membership import (
    accepted_votes,
    find_changes,
    first_votes,
    held_votes,
    item_buckets,
    item_members,
    record_members,
)
from poison_guard.store.quarantine import ITEM
from poison_guard.store.reading import count_places, find_items
from poison_guard.store.snapshots import Part, Snapshot, last_snapshot
from poison_guard.store.snapshots import seal as store_seal

__all__ = ["NothingToSealError", "SealResult", "seal"]


class NothingToSealError(DataError):
    """No record is accepted, or no item has a label, yet."""


@dataclass(frozen=True, slots=True)
class SealResult(Result):
    """What `Guard.seal` returns: a snapshot, and whether this call made it."""

    feed: str
    snapshot_id: str
    new: bool
    """False: nothing changed since the last snapshot, which this is."""
    counts: Mapping[str, int]
    items_file: str | None = None
    """Digest of the items' file that the examples show, where the feed has one."""
    left_out: int = 0
    """Adopted items without content, or accepted records without a label: no example can be made of them."""
    left_out_ids: tuple[str, ...] = ()
    """The first of these items."""
    why_left_out: str = ""
    labels_alone: bool = False
    """Whether the examples hold no content: neither records nor an items' file say what the items are."""
    unjudged: str = ""
    """Why nothing judged what an observing feed accepted in its last run; empty where it was judged."""
    denied: int = 0
    """Items whose adopted label trusted items deny: they wait for a person, and are no examples."""
    not_compared: str = ""
    """Why adopted labels were not compared with trusted items, or denied ones were kept; empty where they were."""

    def __str__(self) -> str:
        """Return what was sealed in a sentence: ``sealed chat-4-…: 1,203 examples, 1 part, 40 deferred``."""
        counts = {"examples": 0, **self.counts}
        shown = (f"{n:,} {_noun(name, n)}" for name, n in counts.items() if n or name == "examples")
        sealed = f"{'sealed' if self.new else 'nothing changed since'} {self.snapshot_id}: {', '.join(shown)}"
        alone = (
            "\nits examples are labels alone; [items] in the contract says what the items are, for gate and training"
        )
        return (
            f"{sealed}{alone if self.labels_alone else ''}"
            + (f"\nleft out: {self.why_left_out}" if self.left_out else "")
            + (f"\n{_denied(self.denied)}" if self.denied else "")
            + (f"\nnote: accepted without being judged: {self.unjudged}" if self.unjudged else "")
            + (f"\nnote: {self.not_compared}" if self.not_compared else "")
        )


def _noun(name: str, n: int) -> str:
    return name.removesuffix("s") if n == 1 else name.replace("_", " ")


def _denied(n: int) -> str:
    return (
        f"{n:,} item{' has a label' if n == 1 else 's have labels'} that trusted items deny and wait{'s' * (n == 1)} "
        f"for a person: `poison-guard review list --kind {ITEM}`"
    )


def seal(feed: Feed) -> SealResult:
    """Seal what is accepted now; the last snapshot again where nothing has changed since.

    Only parts whose members may have changed are looked at again. Raises `NothingToSealError` for nothing accepted,
    `StaleStateError` when runs or reviews keep being committed meanwhile.
    """
    return again_if_stale(lambda: _seal(feed))


def _seal(feed: Feed) -> SealResult:
    store, contract = feed.store, feed.contract
    before = last_snapshot(store, contract.name)
    with store.read() as conn:
        seq = audit.head(conn)
    content = content_of(contract)
    items, mark = _items_file(feed, content)
    trusted = trusted_mark(feed, content, seq)
    previous = {part.bucket: part for part in before.parts} if before else {}
    asked, buckets = _to_settle(feed, before, mark, trusted, seq)
    labels = _settled(feed, asked, seq)
    examples = _examples(feed, buckets, seq, labels, items)
    denied = deny_labels(feed, examples.frame, content, seq)
    examples = replace(examples, frame=examples.frame[~examples.frame["example_id"].isin(denied.items["item_id"])])
    labels = _news(feed, labels, denied.items)
    parts = [part for bucket, part in previous.items() if bucket not in set(buckets)]
    for bucket, frame in examples.frame.groupby("bucket", sort=True):
        parts.append(_part(feed, int(bucket), frame.drop(columns="bucket"), examples, previous.get(int(bucket))))
    parts.sort(key=lambda part: part.bucket)
    if not parts:
        raise NothingToSealError(_why_nothing(feed, labels, seq))
    counts = {"examples": sum(part.rows for part in parts), "parts": len(parts), "items_file": mark, _TRUSTED: trusted}
    sealed = store_seal(store, contract, seq=seq, parts=parts, items=labels, counts=counts, asked=denied.asked)
    if len(denied.asked):
        show_in_queue(feed)
    _trace(feed, sealed)
    drain(store, feed.settings)
    new = before is None or sealed.snapshot_id != before.snapshot_id
    counted = {name: n for name, n in sealed.counts.items() if name not in ("items_file", _TRUSTED)}
    digest = f"{mark:012x}" if mark else None
    left_out = _left_out(feed, parts, labels, seq)
    unjudged = (why_unjudged(feed) or "") if contract.mode is Mode.OBSERVE else ""
    waiting = len(find_items(store, contract.name, why=DENIED))
    said = (not content.kind, unjudged, waiting, denied.note)
    return SealResult(contract.name, sealed.snapshot_id, new, counted, digest, *left_out, *said)


def _to_settle(feed: Feed, before: Snapshot | None, mark: int, trusted: int, seq: int) -> tuple[list[str], list[int]]:
    """Return the items whose labels are settled again, and the buckets whose parts are written again.

    All of them where there is no snapshot before, or where its items or what their labels were compared with are not
    today's; a part that the lake has lost, too.
    """
    store, contract = feed.store, feed.contract
    same_items = before is not None and before.counts.get("items_file", 0) == mark
    same_trusted = before is not None and before.counts.get(_TRUSTED, 0) == trusted
    since = before.seq if before and same_items and same_trusted else 0
    changed = find_changes(store, contract, since=since, seq=seq)
    again = items_to_ask_again(feed, everything=not same_trusted)
    lost = [part.bucket for part in before.parts if not store.lake.exists(part.path)] if before else []
    with store.read() as conn:
        of_again = item_buckets(conn, contract.name, again, since=seq, seq=seq) if again else set()
    return sorted({*changed.items, *again}), sorted({*changed.buckets, *of_again, *lost})


_TRUSTED = "trusted_items"
"""Among the counts of a snapshot: the number that names what its labels were compared with."""


def _trace(feed: Feed, sealed: Snapshot) -> None:
    records, facts = (NAMESPACE, f"{sealed.feed}/records", None), {"examples": sealed.counts["examples"]}
    ends = {"inputs": [records], "outputs": [snapshot_dataset(sealed)], "ended": sealed.sealed_at}
    trace(feed, "seal", sealed.snapshot_id, **ends, facts=facts)


_NAMED = 10
"""Items that are named of those left out."""


def _left_out(feed: Feed, parts: Sequence[Part], labels: pd.DataFrame, seq: int) -> tuple[int, tuple[str, ...], str]:
    """Return how many items or records can be no example, the first of these items, and a sentence that says why."""
    sealed = sum(part.rows for part in parts)
    if not feed.contract.vote:
        n = max(0, count_places(feed.store, feed.contract.name)[Place.ACCEPTED.value] - sealed)
        return n, (), f"{n:,} accepted record{'' if n == 1 else 's'} without a label"
    if not content_of(feed.contract).columns and feed.contract.items is None:
        return 0, (), ""  # labels alone are sealed: no item can lack content
    adopted = _adopted(feed, labels, seq)
    if len(adopted) <= sealed:
        return 0, (), ""
    shown = read_parts(feed, tuple(parts), columns=["example_id"])["example_id"]
    ids = tuple(sorted(set(adopted) - set(shown)))
    lacking = "the items' file does not describe" if feed.contract.items else "no accepted record shows"
    more = ", …" if len(ids) > _NAMED else ""
    return (
        len(ids),
        ids[:_NAMED],
        f"{len(ids):,} item{'' if len(ids) == 1 else 's'} with an adopted label whose content {lacking}: "
        f"{', '.join(ids[:_NAMED])}{more}",
    )


def _adopted(feed: Feed, labels: pd.DataFrame, seq: int) -> list[str]:
    """Return the items with an adopted label as of `seq`."""
    name = feed.contract.name
    with feed.store.read() as conn:
        buckets = item_buckets(conn, name, (), since=0, seq=seq)
    return item_members(feed.store, name, buckets=buckets, seq=seq, items=labels)["item_id"].tolist()


def _why_nothing(feed: Feed, labels: pd.DataFrame, seq: int) -> str:
    """Return the sentence that says why there is no example: no label, or no content."""
    name = feed.contract.name
    n = len(_adopted(feed, labels, seq)) if feed.contract.vote else 0
    if not n:
        return f"nothing of {name} is accepted with a label yet: nothing to seal"
    if feed.contract.items:
        return f"{n:,} items of {name} have an adopted label, and the items' file describes none of them"
    return (
        f"{n:,} items of {name} have an adopted label, and no accepted record shows the content of one; name their "
        'file in the contract: [items] with path = "…" (one row an item: item_id, and image, text or features)'
    )


def _settled(feed: Feed, item_ids: Sequence[str], seq: int) -> pd.DataFrame:
    """Return new label rows of the items whose records people moved since their label was last decided."""
    if not len(item_ids):
        return empty_frame("items")
    store, contract = feed.store, feed.contract
    yes, no = (load(store, contract.name, item_ids, seq=seq) for load in (accepted_votes, held_votes))
    ledger = load_sources(store, contract, version=seq)
    around = first_votes(store, contract.name, seq=seq)
    return settle_labels(yes, no, ledger, read_controls(contract, feed.settings.home), contract, around)


def _news(feed: Feed, labels: pd.DataFrame, denied: pd.DataFrame) -> pd.DataFrame:
    """Return the label rows to be sealed: `denied` ones in the place of others, but for those denied before."""
    known = find_items(feed.store, feed.contract.name, why=DENIED)
    before = set(zip(known["item_id"], known["label"], strict=True))
    new = [pair not in before for pair in zip(denied["item_id"], denied["label"], strict=True)]
    kept = labels[~labels["item_id"].isin(denied["item_id"])]
    return pd.concat([kept, denied[new]], ignore_index=True) if len(denied) else labels


def _items_file(feed: Feed, content: Content) -> tuple[pd.DataFrame | None, int]:
    """Return the items' file and a number that names its content (0: none): when it changes, all is looked at again."""
    if not (feed.contract.vote and content.of_items):
        return None, 0
    items = load_item_content(feed.contract, feed.settings, content)
    digest = hashlib.sha256("\n".join(sorted(_row_digests(items))).encode()).hexdigest()
    return items, int(digest[:12], 16)


def _examples(
    feed: Feed, buckets: Sequence[int], seq: int, labels: pd.DataFrame, items: pd.DataFrame | None
) -> _Examples:
    """Return ``example_id, label, slice, bucket, digest`` and the content columns of all examples of some buckets.

    An item that the items' file does not describe yet is left out until it does.
    """
    name, content = feed.contract.name, content_of(feed.contract)
    if not feed.contract.vote:
        return _record_examples(feed, record_members(feed.store, name, buckets=buckets, seq=seq), content)
    members = item_members(feed.store, name, buckets=buckets, seq=seq, items=labels)
    if members.empty:
        return _Examples(pd.DataFrame({"example_id": [], "label": [], "slice": [], "bucket": [], "digest": []}))
    records, of_answers = None, frozenset[str]()
    if items is not None:
        shown = items.assign(slice="")
    else:
        shown, records, of_answers = _content_of_votes(feed, members["item_id"].tolist(), content, seq)
    columns = [column for column in shown.columns if column not in ("item_id", "slice", _RECORD)]
    frame = members[["item_id", "label", "bucket"]].merge(shown, on="item_id", how="inner")
    frame = frame.rename(columns={"item_id": "example_id"}).sort_values("example_id", ignore_index=True)
    return _Examples(frame.assign(digest=_row_digests(frame[["label", "slice", *columns]])), records, of_answers)


_LEAD = ("example_id", "label", "slice")
_RECORD = "\0record"
"""Column with the record whose row shows an example."""
_OF_ANSWERS = ("record_id", "source_id", "author_id", "answer", "label", "rating", "observed_at", "source_since")
"""Roles that say how an answer was given, and not what its item is."""


@dataclass(frozen=True, slots=True)
class _Examples:
    """Examples of some buckets, and the records whose rows they are."""

    frame: pd.DataFrame
    """``example_id, label, slice, bucket, digest``, the content columns and, with `records`, `_RECORD`."""
    records: pd.DataFrame | None = None
    """Payloads; None where an items' file shows the items."""
    leave_out: frozenset[str] = frozenset()
    """Columns of the records that are no part of an example."""


def _record_examples(feed: Feed, members: pd.DataFrame, content: Content) -> _Examples:
    payload = payloads_of(feed, members["record_id"].tolist())
    frame = members.merge(payload.drop(columns="content_hash"), on="record_id", how="inner")
    frame = frame.sort_values("record_id", ignore_index=True)
    label = next((role for role in ("label", "answer", "rating") if role in frame), None)
    shown = pd.DataFrame(
        {
            "example_id": frame["record_id"],
            "label": frame[label] if label else pd.Series("", index=frame.index, dtype="str"),
            "slice": _slices(frame),
            "bucket": frame["bucket"],
            "digest": frame["content_hash"],
            _RECORD: frame["record_id"],
        }
    )
    rows = pd.concat([shown, record_content(frame, content)], axis=1)
    rows = rows[rows["label"].notna()].reset_index(drop=True).astype({"label": "str"})
    return _Examples(rows, payload)


def _content_of_votes(
    feed: Feed, item_ids: Sequence[str], content: Content, seq: int
) -> tuple[pd.DataFrame, pd.DataFrame, frozenset[str]]:
    """Return ``item_id, slice`` and the content that most established sources of the accepted records showed.

    Also the payloads of the records that show it, and those of their columns that say nothing of an item: that answers
    to one item have otherwise.
    """
    from poison_guard.signals.sources import established

    store, contract = feed.store, feed.contract
    votes = accepted_votes(store, contract.name, item_ids, seq=seq)
    ledger = load_sources(store, contract, version=seq)
    trusty = established(votes, ledger, votes["received_at"]) | (votes["verdict"] > 0)
    payload = payloads_of(feed, votes["record_id"].tolist())
    shown = pd.concat([payload[["record_id"]], record_content(payload, content)], axis=1).assign(slice=_slices(payload))
    known = votes[["record_id", "item_id", "source_id", "seq"]].assign(old=trusty.to_numpy(bool))
    shown = known.merge(shown, on="record_id", how="inner").sort_values("record_id", ignore_index=True)
    chosen = item_content(shown, content.columns, established=shown["old"])
    chosen = chosen[["item_id", "slice", "record_id", *content.columns]].rename(columns={"record_id": _RECORD})
    of_answers = {contract.columns[role] for role in _OF_ANSWERS if contract.has(role)} | {*contract.features}
    of_answers |= _differing(payload) | {contract.columns["item_id"]}
    records = payload[payload["record_id"].isin(chosen[_RECORD])].reset_index(drop=True)
    return chosen, records, frozenset(of_answers)


def _differing(payload: pd.DataFrame) -> set[str]:
    """Return the names of the columns without a role that differ between records of one item."""
    extras = [name for name in payload if name.startswith("extra.")]
    if not len(payload) or not extras:
        return set()
    several = payload.groupby("item_id")[extras].nunique(dropna=True).max()
    return {name.removeprefix("extra.") for name in extras if several[name] > 1}


def _part(feed: Feed, bucket: int, frame: pd.DataFrame, examples: _Examples, previous: Part | None) -> Part:
    """Return the part of one bucket, the `previous` one where nothing in it changed, else written."""
    digest = _digest(frame)
    if previous is not None and previous.members == digest and feed.store.lake.exists(previous.path):
        return previous
    shown, own = frame.drop(columns="digest").reset_index(drop=True), pa.table({})
    if examples.records is not None:
        at = examples.records["record_id"].reset_index().set_index("record_id")["index"].reindex(shown[_RECORD])
        records = examples.records.iloc[at.to_numpy(int)].reset_index(drop=True)
        if not feed.contract.data.copy:
            file = feed.store.lake.add_table(reference_table(shown, records), f"snapshots/{feed.contract.name}")
            return Part(bucket, file.path, file.sha256, file.size, file.rows, digest)
        own = own_table(records, leave_out=examples.leave_out | set(feed.contract.privacy.private))
        shown = shown.drop(columns=_RECORD)
    hidden = feed.contract.privacy.private
    private = {*hidden, *(role for role, name in feed.contract.columns.items() if name in hidden)} - {*_LEAD}
    kept = feed.contract.columns if examples.records is not None else {}
    table = part_table(shown.drop(columns=[c for c in shown if c in private]), own, kept)
    file = feed.store.lake.add_table(table, f"snapshots/{feed.contract.name}")
    return Part(bucket, file.path, file.sha256, file.size, file.rows, digest)


def _slices(payload: pd.DataFrame) -> pd.Series:
    if "group" not in payload:
        return pd.Series("", index=payload.index, dtype="str")
    return payload["group"].fillna("").astype("str")


def _row_digests(frame: pd.DataFrame) -> list[str]:
    rows = frame.astype(object).itertuples(index=False, name=None)
    return [hashlib.blake2b(repr([_plain(cell) for cell in row]).encode(), digest_size=16).hexdigest() for row in rows]


def _plain(cell: object) -> object:
    return cell.tolist() if hasattr(cell, "tolist") else cell


def _digest(frame: pd.DataFrame) -> str:
    """Return the SHA-256 over the sorted lines ``example_id, digest``."""
    lines = sorted(f"{name}\t{digest}" for name, digest in zip(frame["example_id"], frame["digest"], strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
