"""What a run settled is undone by a campaign found later or by a person; what a person decided, by a person alone."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from poison_guard.errors import BusyError, NotFoundError, UsageError
from poison_guard.steps.review import recall, reject, release, undo
from poison_guard.store import count_places, find_records, open_store, verify
from tests.integration.conftest import feed_of, sqlite_settings
from tests.thorough import examples

IDS = st.sampled_from([f"r{i}" for i in range(5)])
PLACED = st.sampled_from(["accepted", "accepted", "quarantined", "rejected", "staged"])
BATCHES = st.dictionaries(IDS, PLACED, min_size=1)
ANSWERS = st.sampled_from(["one", "two", "three"])
SENDERS = st.sampled_from([None, None, "mallory"])
"""None: each record from the source that always sends its id."""
REFUSED = (BusyError, NotFoundError, UsageError)


class Feed(RuleBasedStateMachine):
    """A feed that gets batches, repeats, conflicts, revisions and late campaigns, and people who review it."""

    def __init__(self, made, home: Path) -> None:
        super().__init__()
        self.made = made
        self.folder = tempfile.TemporaryDirectory(prefix="poison-guard-settled-")
        self.opened = open_store(sqlite_settings(shutil.copytree(home, Path(self.folder.name) / "home")))
        self.store = self.opened.__enter__()
        self.batches: list[tuple] = []
        self.runs = 0
        self.events: dict[int, set[str]] = {}
        """What people decided and did not undo: event to its records."""

    def teardown(self) -> None:
        assert verify(self.store).ok
        self.opened.__exit__(None, None, None)
        self.folder.cleanup()

    def records(self):
        rows = find_records(self.store, "captcha").set_index("record_id")
        return rows[["place", "verdict", "content_hash", "source_id"]].to_dict("index")

    @rule(places=BATCHES, answer=ANSWERS, late=st.lists(IDS, max_size=2, unique=True), sender=SENDERS)
    def batch(self, places, answer, late, sender):
        self.batches.append((places, answer, late, sender))
        self.take_in(places, answer, late, sender)

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def repeat(self, data):
        self.take_in(*data.draw(st.sampled_from(self.batches)))

    def take_in(self, places, answer, late, sender):
        before, by_person = self.records(), set().union(*self.events.values())
        sent = self.made.records(*places, answer=answer, source=sender)
        self.runs += 1
        counts = self.made.ingest(self.store, f"b{self.runs}", sent, places, recalls=tuple(late))
        settled = sum(counts[name] for name in ("staged", "accepted", "quarantined", "rejected", "seen_before"))
        assert counts["received"] == settled == len(sent)
        after, contents = self.records(), dict(zip(sent["record_id"], sent["content_hash"], strict=True))
        for name, old in before.items():
            new = after[name]
            if new == old:
                continue
            assert name not in by_person
            revised = (
                self.made.contract.data.revisions
                and contents.get(name, old["content_hash"]) == new["content_hash"]
                and new["source_id"] == old["source_id"]
            )
            again = old["place"] == "staged" and contents.get(name) == old["content_hash"]
            taken_back = name in late and old["place"] == "accepted" and new["place"] == "recalled"
            assert revised or again or taken_back

    @rule(verb=st.sampled_from([release, reject, recall]), ids=st.lists(IDS, min_size=1, max_size=3, unique=True))
    def review(self, verb, ids):
        before = self.records()
        try:
            who = {"by": "ann", "reason": "looked at it", "now": self.made.now}
            done = verb(feed_of(self.store, self.made.contract), record_ids=ids, **who)
        except REFUSED:
            assert self.records() == before
        else:
            self.events[done.seq] = set(ids)

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def undo(self, data):
        seq = data.draw(st.sampled_from(sorted(self.events)))
        before = self.records()
        try:
            undo(feed_of(self.store, self.made.contract), seq, by="ann", reason="no", now=self.made.now)
        except REFUSED:
            assert self.records() == before
        else:
            del self.events[seq]

    @invariant()
    def every_record_is_in_one_place(self):
        assert sum(count_places(self.store, "captcha").values()) == len(self.records())


@pytest.mark.parametrize("revisions", [False, True])
def test_feed_data_undoes_nothing_that_was_settled(revisions, make_made, migrated_home):
    made = make_made(data={"path": "x.csv", "revisions": revisions})
    run_state_machine_as_test(
        lambda: Feed(made, migrated_home),
        settings=settings(
            max_examples=examples(2), stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
