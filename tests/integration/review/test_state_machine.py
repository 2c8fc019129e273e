"""The reviewer's state machine, driven at random: nobody's decision is overwritten, and a feed moves none."""

from __future__ import annotations

import dataclasses

from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from poison_guard.config import open_settings, parse_contract
from poison_guard.errors import BusyError, UsageError
from poison_guard.review.filters import QueueFilter
from poison_guard.steps.bulk import bulk, bulk_preview, run_job, undo_job
from poison_guard.steps.claims import claim
from poison_guard.steps.queue import list_queue
from poison_guard.steps.review import reject, release, undo
from poison_guard.store import find_records, open_store, verify
from tests.integration.conftest import TABLE, Made, feed_of

IDS = tuple(f"r{k}" for k in range(8))
NAMES = ("ann", "bob", "eve")
PLACE = {"release": "accepted", "reject": "rejected"}
WAITING = ("quarantined", "recalled")
one, name = strategies.sampled_from(IDS), strategies.sampled_from(NAMES)
verb = strategies.sampled_from(("release", "reject"))
VERBS = {"release": release, "reject": reject}


class Reviewing(RuleBasedStateMachine):
    """People decide what they were shown at some time; `said` is what the store has to hold."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.opened = open_store(open_settings(self.folder.name, environ={}))
        self.store = self.opened.__enter__()
        table = {**TABLE, "policy": {"second_review_rate": 0.5}}
        self.made = Made(parse_contract(table))
        self.feed = feed_of(self.store, self.made.contract)
        self.made.ingest(self.store, "b0", self.made.records(*IDS), dict.fromkeys(IDS, "quarantined"))
        self.said: dict[str, str] = dict.fromkeys(IDS, "quarantined")
        self.by_person: set[str] = set()
        self.shown: dict[str, int] = {}
        self.undoable: list[tuple[int, dict[str, str], set[str]]] = []
        self.jobs: list[str] = []
        self.held: dict[str, str] = {}
        self.batch = 0

    def teardown(self) -> None:
        assert verify(self.store).ok
        self.opened.__exit__(None, None, None)
        self.folder.cleanup()

    @rule()
    def look(self) -> None:
        """All see the queue as it is now; what was shown before stays in their windows."""
        rows = find_records(self.store, "captcha")
        self.shown = dict(zip(rows["record_id"], (int(v) for v in rows["changed_seq"]), strict=True))

    @precondition(lambda self: self.shown)
    @rule(which=one, who=name, what=verb, overrule=strategies.booleans())
    def decide(self, which: str, who: str, what: str, overrule: bool) -> None:
        """Decide what was shown: either as it was shown, or not at all."""
        now = find_records(self.store, "captcha", record_ids=[which]).iloc[0]
        stale = int(now["changed_seq"]) != self.shown[which]
        asked = {"by": who, "reason": "looked", "record_ids": [which], "expected": self.shown, "overrule": overrule}
        try:
            done = VERBS[what](self.feed, now=self.made.now, **asked)
        except BusyError:
            return
        assert done.again or not stale, "a stale decision went through"
        if not done.again:
            self.undoable.append((int(done.seq or 0), {which: self.said[which]}, set(self.by_person)))
            self.said[which] = PLACE[what]
            self.by_person.add(which)
            self.held.pop(which, None)

    @rule(who=name, which=one)
    def hold(self, who: str, which: str) -> None:
        """Claim a record: no time passes here, so that the claim holds until it is decided."""
        if which != "r0":
            mine = claim(self.feed, by=who, record_ids=[which], lease_seconds=0.001, now=self.made.now)
            self.held |= dict.fromkeys(mine.record_ids, who)

    @precondition(lambda self: self.undoable)
    @rule(who=name)
    def take_back(self, who: str) -> None:
        """Undo the last decision."""
        event, before, people = self.undoable.pop()
        try:
            undo(self.feed, event, by=who, reason="too early", now=self.made.now)
        except UsageError:  # decided again since
            return
        self.said |= before
        self.by_person = people

    @rule(what=verb, who=name)
    def as_one(self, what: str, who: str) -> None:
        """Decide all that waits as one, without what colleagues hold; then perhaps take it back."""
        try:
            frozen = bulk_preview(self.feed, QueueFilter(), now=self.made.now)
        except UsageError:
            return
        waits = set(list_queue(self.feed, now=self.made.now).entries["record_id"])
        waits = {one for one in waits if self.held.get(one, who) == who}
        bulk(self.feed, frozen.job_id, what, by=who, reason="all alike", now=self.made.now)
        run_job(self.feed, frozen.job_id, now=self.made.now)
        self.held = {one: by for one, by in self.held.items() if one not in waits}
        if len(self.jobs) % 2:
            undo_job(self.feed, frozen.job_id, by=who, reason="too early", now=self.made.now)
        else:
            self.said |= dict.fromkeys(waits, PLACE[what])
            self.by_person |= waits
            self.undoable.clear()
        self.jobs.append(frozen.job_id)

    @rule(what=strategies.sampled_from(("accepted", "quarantined", "rejected")), back=strategies.booleans())
    def feed_speaks(self, what: str, back: bool) -> None:
        """The feed sends the same records again, and finds a campaign among the accepted ones."""
        self.batch += 1
        fresh = f"n{self.batch}"
        records = self.made.records(*IDS, fresh)
        run = self.made.begin(self.store, f"b{self.batch}")
        accepted = tuple(sorted(i for i in IDS if self.said[i] == "accepted")) if back else ()
        decided = self.made.decided(records, {**dict.fromkeys(IDS, what)}, campaign=(fresh,), recalls=accepted)
        if not accepted:
            decided = dataclasses.replace(decided, campaigns=(), recalls=decided.recalls.iloc[:0])
        self.made.commit(self.store, run, records, decided)
        self.said |= {i: "recalled" for i in accepted if i not in self.by_person}

    @invariant()
    def the_store_holds_what_was_said(self) -> None:
        rows = find_records(self.store, "captcha", record_ids=IDS).set_index("record_id")["place"].to_dict()
        assert rows == self.said

    @invariant()
    def the_queue_holds_what_waits_and_counts_it(self) -> None:
        queue = list_queue(self.feed, size=2000, now=self.made.now)
        waits = {i for i in IDS if self.said[i] in WAITING}
        assert waits == set(queue.entries["record_id"]) & set(IDS)
        assert queue.total == len(queue.entries)
        groups = list_queue(self.feed, group_by="source", now=self.made.now)
        assert groups.entries["records"].sum() == queue.total


TestReviewing = Reviewing.TestCase
TestReviewing.settings = settings(
    max_examples=3, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
)
