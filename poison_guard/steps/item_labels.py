"""Ask the trusted items whether an item can have the label that its votes adopted; one they deny waits for a person."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from poison_guard.config import Mode
from poison_guard.decide.reasons import sentence
from poison_guard.frames import empty_frame
from poison_guard.ingest.collect import read_controls
from poison_guard.pipeline.content import Content
from poison_guard.records import Reason
from poison_guard.steps.examples import trusted_rows
from poison_guard.steps.opening import Feed
from poison_guard.store.bulk import bounded_key, to_json
from poison_guard.store.membership import accepted_votes, held_votes
from poison_guard.store.reading import find_items
from poison_guard.store.trusted import trusted_hash

__all__ = ["DENIED", "Denied", "deny_labels", "items_to_ask_again", "trusted_mark"]

DENIED = "denied"
"""Why an item waits whose label the trusted items deny."""


@dataclass(frozen=True, slots=True)
class Denied:
    """Items whose adopted label trusted items deny."""

    items: pd.DataFrame
    """``item_id, label, probability, adopted, why``: none is adopted."""
    asked: pd.DataFrame
    """``record_id, risk, p, code, args``: of each item that a person has not looked at yet, a vote for its label."""
    note: str = ""
    """Why the labels were not compared, or that a feed which only observes keeps them; empty where they were."""


_NO_ITEMS, _NO_VOTES = (
    empty_frame("items"),
    pd.DataFrame(columns=["record_id", "risk", "p", "code", "args"]),
)


def trusted_mark(feed: Feed, content: Content, seq: int) -> int:
    """Return a number that names what adopted labels are compared with; where it changes, all are compared again."""
    if not (feed.contract.vote and content.kind):
        return 0
    policy = feed.contract.policy
    with feed.store.read() as conn:
        known = trusted_hash(conn, feed.contract.name, seq)
    said = repr((known, policy.false_quarantine_rate, policy.encoder, feed.contract.mode.value))
    return int(hashlib.sha256(said.encode()).hexdigest()[:12], 16) if known else 0


def items_to_ask_again(feed: Feed, *, everything: bool) -> list[str]:
    """Return the denied items whose label must be settled again: those whose answer is known now, or every one."""
    denied = find_items(feed.store, feed.contract.name, why=DENIED)["item_id"]
    if everything or denied.empty:
        return denied.tolist()
    return denied[denied.isin(_known(feed))].tolist()


def deny_labels(feed: Feed, frame: pd.DataFrame, content: Content, seq: int) -> Denied:
    """Return which of the examples `frame` (``example_id, label, slice`` and content) have a label that cannot be.

    An item is denied where so small a chance of its label is as rare among trusted items as ``false_quarantine_rate``.
    It is let through where its answer is known (a control), where it is a trusted item with this label, and where a
    person said of a vote for the label that it is right.
    """
    from poison_guard.pipeline.label_evidence import fit_label_rows

    contract = feed.contract
    if not (contract.vote and content.kind and len(frame)):
        return _kept()
    rows, split = trusted_rows(feed)
    if not len(rows):
        return _kept("adopted labels were compared with no trusted items: there are none")
    reference, calibration = (rows[split == name].reset_index(drop=True) for name in ("reference", "calibration"))
    model = fit_label_rows(reference, calibration, content, contract.policy)
    if isinstance(model, Reason):
        return _kept(f"adopted labels were not compared with trusted items: {sentence(model.code, model.args)}")
    found = model.judged(frame)
    at = np.flatnonzero(found.p <= contract.policy.false_quarantine_rate)
    suspects = frame[["example_id", "label"]].iloc[at].rename(columns={"example_id": "item_id"})
    suspects = suspects.assign(p=found.p[at], reason=[found.reasons[int(row)] for row in at])
    if len(suspects):
        vetted = pd.MultiIndex.from_frame(rows[["example_id", "label"]])
        sure = suspects["item_id"].isin(_known(feed)) | pd.MultiIndex.from_frame(suspects[["item_id", "label"]]).isin(
            vetted
        )
        suspects = suspects[~sure]
    return _asked(feed, suspects.reset_index(drop=True), seq)


def _known(feed: Feed) -> set[str]:
    """Return the items whose answer is known."""
    return {bounded_key(name) for name in read_controls(feed.contract, feed.settings.home)["item_id"]}


def _kept(note: str = "") -> Denied:
    return Denied(_NO_ITEMS, _NO_VOTES, note)


def _asked(feed: Feed, suspects: pd.DataFrame, seq: int) -> Denied:
    """Return the suspects that no person vouched for, and the vote by which a person is asked about each."""
    ids = suspects["item_id"].tolist()
    yes, no = (load(feed.store, feed.contract.name, ids, seq=seq) for load in (accepted_votes, held_votes))
    yes, no = (votes.merge(suspects, left_on=["item_id", "vote"], right_on=["item_id", "label"]) for votes in (yes, no))
    vouched = set(yes.loc[yes["verdict"] > 0, "item_id"])
    refuted = set(no.loc[no["verdict"] < 0, "item_id"])
    denied = suspects[~suspects["item_id"].isin(vouched)]
    if feed.contract.mode is Mode.OBSERVE:
        n = len(denied)
        return _kept(f"trusted items deny the label of {n:,} items; a feed that only observes keeps them" if n else "")
    asked = yes[~yes["item_id"].isin(vouched | refuted)].drop_duplicates("item_id")
    reasons = asked["reason"].to_numpy(object)
    return Denied(
        denied[["item_id", "label"]].assign(probability=0.0, adopted=False, why=DENIED).reset_index(drop=True),
        pd.DataFrame(
            {
                "record_id": asked["record_id"].to_numpy(object),
                "risk": 1.0 - asked["p"].to_numpy(float),
                "p": asked["p"].to_numpy(float),
                "code": [reason.code for reason in reasons],
                "args": [to_json(reason.args) for reason in reasons],
            }
        ),
    )
