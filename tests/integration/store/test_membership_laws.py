"""Law 6 over arbitrary histories: a snapshot holds what is accepted and nothing else, however it was put together."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poison_guard.errors import BusyError, NotFoundError, StaleStateError, UsageError
from poison_guard.steps.review import recall, reject, release, undo
from poison_guard.store import chain, find_records, list_snapshots, open_store, verify
from poison_guard.store.membership import (
    accepted_votes,
)
from poison_guard.store.status import find_status
from tests.integration.conftest import feed_of
from tests.thorough import examples

IDS = st.sampled_from([f"r{i}" for i in range(6)])
PLACED = st.sampled_from(["accepted", "quarantined", "rejected", "staged"])
BATCH = st.tuples(st.dictionaries(IDS, PLACED, min_size=1), st.sampled_from(["one", "two"]))
VERB = st.tuples(st.sampled_from([release, reject, recall]), st.lists(IDS, min_size=1, max_size=3, unique=True))
MEANWHILE = st.tuples(BATCH, VERB)
STEP = st.one_of(BATCH, VERB, MEANWHILE, st.integers(1, 12), st.just("seal"))
STEPS = st.lists(STEP, min_size=2, max_size=9)
TELEMETRY = {
    "kind": "telemetry",
    "columns": {"record_id": "id", "source_id": "user", "observed_at": "at", "features": ["speed"]},
}
REVISED = {"data": {"path": "inbox/*.csv", "revisions": True}}


def accepted_now(store):
    rows = find_records(store, "captcha")
    return rows[rows["place"] == "accepted"]


class History:
    """A feed to which one thing after another happens."""

    def __init__(self, store, made, sealing):
        self.store, self.made, self.sealing = store, made, sealing
        self.batches = 0
        self.held = {}

    def take(self, step):
        match step:
            case "seal":
                self.seal()
            case int():
                self.review(undo, step)
            case ((dict() as places, str() as answer), (verb, ids)):
                self.ingest(places, answer, meanwhile=lambda: self.review(verb, ids))
            case (dict() as places, str() as answer):
                self.ingest(places, answer)
            case (verb, ids):
                self.review(verb, ids)

    def ingest(self, places, answer, meanwhile=lambda: None):
        self.batches += 1
        records = self.made.records(*places, answer=answer)
        if self.made.contract.data.revisions:
            records = records.assign(item_id=records["item_id"] + f"-{answer}")
        run = self.made.begin(self.store, f"{self.batches:03}")
        decided = self.made.decided(records, places)
        labels = self.labels(records, places, run.state_version) if self.made.contract.vote else decided.items.iloc[:0]
        meanwhile()
        self.made.commit(self.store, run, records, dataclasses.replace(decided, items=labels))

    def labels(self, records, places, pin):
        """Return the labels a run gives its items: from what it pinned, and what it accepts itself."""
        contract, items = self.made.contract, sorted(set(records["item_id"]))
        before = accepted_votes(self.store, contract.name, items, seq=pin)
        with self.store.read() as conn:
            known = find_status(conn, contract.name, records["record_id"]).set_index("record_id")
        new = records.assign(place=records["record_id"].map(places))
        there = new["record_id"].map(known["content_hash"])
        clash = there.notna() & (there != new["content_hash"]) & (not contract.data.revisions)
        settled = (there == new["content_hash"]) & (new["record_id"].map(known["place"]) != "staged")
        mine = new[(new["place"] == "accepted") & ~clash & ~settled]
        if contract.data.revisions:
            gone = new.loc[there.notna() & ~settled, "record_id"]
            before = before[~before["record_id"].isin(gone)]
        mine = mine.rename(columns={"answer": "vote"})
        votes = pd.concat([before[["item_id", "vote"]], mine[["item_id", "vote"]]], ignore_index=True)
        best = votes.groupby("item_id")["vote"].max()
        label = pd.Series([best.get(item) for item in items], dtype="str")
        return pd.DataFrame(
            {"item_id": items, "label": label, "probability": 0.9, "adopted": label.notna(), "why": "clear"}
        )

    def review(self, verb, what):
        before, live = set(accepted_now(self.store)["record_id"]), self.live()
        try:
            if isinstance(what, int):
                undo(feed_of(self.store, self.made.contract), what, by="ann", reason="looked again", now=self.made.now)
            else:
                verb(
                    feed_of(self.store, self.made.contract),
                    by="ann",
                    reason="looked",
                    record_ids=what,
                    now=self.made.now,
                )
        except (BusyError, NotFoundError, UsageError):
            assert self.live() == live
            return
        lost = before - set(accepted_now(self.store)["record_id"])
        assert self.live() == {name for name in live if not lost & self.held[name]}

    def live(self):
        return {s.snapshot_id for s in list_snapshots(self.store, "captcha") if s.revoked_seq is None}

    def seal(self):
        whole, now = self.scratch(), accepted_now(self.store)
        snapshot = self.sealing.seal(self.store, now=self.made.now)
        self.held[snapshot.snapshot_id] = set(now["record_id"])
        members = self.sealing.members(self.store, snapshot)
        assert members == whole
        if self.made.contract.vote:
            assert members == now.groupby("item_id")["answer"].max().to_dict()
        else:
            assert members == dict(zip(now["record_id"], now["content_hash"], strict=True))
        assert self.sealing.seal(self.store).snapshot_id == snapshot.snapshot_id

    def scratch(self):
        with self.store.read() as conn:
            buckets, _ = self.sealing.look(self.store, since=0, seq=chain.head(conn))
        return dict(member for members in buckets.values() for member in members)


@pytest.mark.parametrize("changed", [{}, REVISED, TELEMETRY], ids=["items", "revised items", "records"])
@given(steps=STEPS)
@settings(max_examples=examples(2), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_snapshot_holds_what_is_accepted_and_a_reseal_equals_a_seal_from_scratch(
    changed, steps, make_made, make_sealing, settings_at, migrated_home
):
    made = make_made(**changed)
    with tempfile.TemporaryDirectory() as folder:
        home = shutil.copytree(migrated_home, Path(folder) / "home")
        with open_store(settings_at(home)) as store:
            check_history(store, made, make_sealing(made.contract), steps)


def check_history(store, made, sealing, steps):
    history = History(store, made, sealing)
    for step in (*steps, "seal"):
        try:
            history.take(step)
        except StaleStateError:
            continue
    assert verify(store).ok
