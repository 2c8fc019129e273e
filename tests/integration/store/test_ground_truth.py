"""What turned out right or wrong counts once a record, whoever says it and however often, and can be taken back."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poison_guard.errors import BusyError, NotFoundError, UsageError
from poison_guard.records import ObjectRef
from poison_guard.steps.review import recall, reject, release, undo
from poison_guard.store import load_sources, load_state, open_store, seen_objects, tables, verify
from poison_guard.store.outcomes import OutcomesAdded, add_outcomes, outcome_digest
from poison_guard.store.reading import load_verified_answers
from tests.integration.conftest import feed_of
from tests.thorough import examples

IDS = ("r0", "r1", "r2", "r3", "r4")
HOUR = dt.timedelta(hours=1)


def tell(store, made, said, *, at=None, visible=None):
    """Store outcomes, an hour after the records came."""
    frame = pd.DataFrame(
        {
            "record_id": pd.Series(list(said), dtype="str"),
            "correct": pd.Series(list(said.values()), dtype=bool),
            "visible_at": pd.Series([visible] * len(said), dtype="datetime64[us, UTC]"),
        }
    )
    ref = ObjectRef("outcomes.csv", f"digest-{at}-{sorted(said.items())}", 1, len(said))
    return add_outcomes(store, made.contract, frame, objects=[ref], now=at or made.now + HOUR)


def sums(store, made):
    ledger = load_sources(store, made.contract)
    return int(ledger["outcomes_right"].sum()), int(ledger["outcomes_wrong"].sum())


def lines(store, made):
    """The verified answers of each source, oldest first."""
    found = load_verified_answers(store, made.contract)
    return {name: part["right"].tolist() for name, part in found.groupby("source_id")}


@pytest.fixture
def full(store, made):
    """Five accepted records of five sources on items of their own."""
    made.ingest(store, "b1", own_items(made.records(*IDS)))
    return store


def own_items(records):
    return records.assign(source_id="u-" + records["record_id"], item_id="w-" + records["record_id"])


def test_outcomes_are_credited_once_and_a_changed_one_is_a_revision(full, made):
    first = tell(full, made, {"r0": True, "r1": False})
    assert first == OutcomesAdded(right=1, wrong=1)
    assert sums(full, made) == (1, 1)
    again = tell(full, made, {"r0": True, "r1": True}, at=made.now + 2 * HOUR)
    assert again == OutcomesAdded(right=1, revised=1, repeated=1)
    assert sums(full, made) == (2, 0)
    assert lines(full, made) == {"u-r0": [True], "u-r1": [True]}
    assert verify(full).ok


def test_a_file_of_outcomes_is_remembered_and_the_chain_tells_of_it(full, made):
    tell(full, made, {"r0": True})
    with full.read() as conn:
        kinds = list(conn.execute(sa.select(tables.events.c.kind).order_by(tables.events.c.seq)).scalars())
        digest = conn.execute(sa.select(tables.objects.c.digest).where(tables.objects.c.uri == "outcomes.csv")).scalar()
        conn.rollback()
    assert kinds == ["run.committed", "outcomes.read"]
    assert digest in seen_objects(full, "captcha")
    assert digest.startswith(outcome_digest(""))
    with full.write() as conn:
        conn.execute(sa.update(tables.verified).values(verdict=-1))
    assert verify(full).first_bad == 2


def test_an_answer_given_after_its_outcome_was_visible_tells_nothing_of_its_source(full, made):
    early = made.now - HOUR
    assert tell(full, made, {"r0": True, "r1": False}, visible=early) == OutcomesAdded(late=2)
    assert sums(full, made) == (0, 0)


def test_nor_does_one_on_an_item_whose_outcome_was_visible_before(full, made):
    tell(full, made, {"r0": True})
    later = made.now + 2 * HOUR
    copies = own_items(made.records("x1", "x2")).assign(received_at=later, item_id="w-r0")
    made.ingest(full, "b2", copies)
    told = tell(full, made, {"x1": True, "x2": False}, at=later + HOUR)
    assert told == OutcomesAdded(late=2)
    assert not {"u-x1", "u-x2"} & set(lines(full, made))


def test_an_outcome_told_before_its_record_came_tells_nothing_then(full, made):
    assert tell(full, made, {"later": True, "worse": False}).unknown == 2
    records = own_items(made.records("later", "worse")).assign(received_at=made.now + 2 * HOUR)
    made.ingest(full, "b2", records)
    told = tell(full, made, {"later": True, "worse": False}, at=made.now + 3 * HOUR)
    assert told == OutcomesAdded(repeated=2)
    assert sums(full, made) == (0, 0)


def test_a_record_that_a_reviewer_and_an_outcome_speak_of_counts_once(full, made):
    person = {"by": "ann", "reason": "looked", "now": made.now}
    done = reject(feed_of(full, made.contract), record_ids=["r0"], **person)
    assert sums(full, made) == (0, 1)
    tell(full, made, {"r0": True})
    assert sums(full, made) == (1, 0)  # the outcome is believed
    undo(feed_of(full, made.contract), done.seq, **person)
    assert sums(full, made) == (1, 0)
    assert lines(full, made) == {"u-r0": [True]}


def test_a_group_released_as_one_earns_each_source_one_right_answer(store, made):
    made.ingest(
        store, "b1", made.records("q1", "q2", "q3", source="eve"), dict.fromkeys(("q1", "q2", "q3"), "quarantined")
    )
    done = release(feed_of(store, made.contract), source_id="eve", by="ann", reason="a class trip", now=made.now)
    assert sums(store, made) == (1, 0)
    undo(feed_of(store, made.contract), done.seq, by="ann", reason="no", now=made.now)
    assert sums(store, made) == (0, 0)
    reject(feed_of(store, made.contract), source_id="eve", by="ann", reason="a raid", now=made.now)
    assert sums(store, made) == (0, 3)


def test_a_release_that_says_nothing_of_the_content_earns_nothing(store, made):
    made.ingest(store, "b1", made.records("q1"), {"q1": "quarantined"})
    release(feed_of(store, made.contract), record_ids=["q1"], by="ann", reason="schema", right=False, now=made.now)
    assert sums(store, made) == (0, 0)
    assert lines(store, made) == {}


def test_answers_to_controls_are_noted_one_by_one(store, made):
    records = own_items(made.records("a1", "a2", "a3", "s1")).assign(source_id="u", answer=["one", "two", "one", "one"])
    records = pd.concat([records, own_items(made.records("a4", answer="two")).assign(source_id="u", item_id="w-a1")])
    controls = pd.DataFrame({"item_id": ["w-a1", "w-a2", "w-s1", "w-none"], "answer": ["one", "two", "one", "x"]})
    run = made.begin(store, "b1")
    decided = made.decided(records, {"s1": "staged", "a2": "quarantined"})
    made.commit(store, run, records.reset_index(drop=True), decided, controls=controls)
    assert lines(store, made) == {"u": [False, True]}  # a1 and a4 contradict each other; s1 is still to be decided
    assert sums(store, made) == (0, 0)
    staged = records[records["record_id"] == "s1"].reset_index(drop=True)
    made.commit(store, made.begin(store, "b2"), staged, controls=controls)
    assert lines(store, made) == {"u": [False, True, True]}


def test_a_state_has_the_newest_answers_in_the_order_they_were_given(store, made):
    ids = [f"r{i:03}" for i in range(520)]
    at = [made.now - dt.timedelta(minutes=520 - i) for i in range(520)]
    records = own_items(made.records(*ids)).assign(
        source_id="u", observed_at=pd.Series(at, dtype="datetime64[us, UTC]")
    )
    made.ingest(store, "b1", records.sample(frac=1, random_state=0).reset_index(drop=True))
    tell(store, made, {name: i % 7 != 0 for i, name in enumerate(ids)})
    state = load_state(
        store, made.contract, record_ids=[], item_ids=[], version=10**6, controls=pd.DataFrame(), source_ids=["u"]
    )
    assert list(state.verified.columns) == ["source_id", "at", "right"]
    assert state.verified["right"].tolist() == [i % 7 != 0 for i in range(20, 520)]
    assert state.verified["at"].is_monotonic_increasing
    before = load_state(store, made.contract, record_ids=[], item_ids=[], version=1, controls=pd.DataFrame())
    assert before.verified.empty


SAID = st.dictionaries(st.sampled_from(IDS), st.booleans(), min_size=1)
VERB = st.tuples(st.sampled_from([release, reject, recall]), st.lists(st.sampled_from(IDS), min_size=1, unique=True))
STEPS = st.lists(st.one_of(SAID, VERB, st.integers(2, 8)), min_size=1, max_size=8)


class Model:
    """What should hold: the last word of each voice on each record, and what every review had replaced."""

    def __init__(self):
        self.outcome, self.review, self.was = {}, {}, {}

    def set(self, seq, words):
        self.was[seq] = {name: self.review.get(name, 0) for name in words}
        self.review |= words

    def believed(self):
        names = {*self.outcome, *self.review}
        return {n: self.outcome.get(n) or self.review.get(n, 0) for n in names}


@given(steps=STEPS)
@settings(max_examples=examples(6), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_ledger_is_the_sum_of_what_is_believed_whatever_happens(steps, made, settings_at):
    with tempfile.TemporaryDirectory() as folder, open_store(settings_at(Path(folder))) as store:
        made.ingest(store, "b1", own_items(made.records(*IDS)), {"r0": "quarantined", "r1": "quarantined"})
        model = Model()
        for number, step in enumerate(steps):
            take(store, made, model, step, made.now + (number + 1) * HOUR)
        believed = model.believed()
        assert sums(store, made) == (sum(v == 1 for v in believed.values()), sum(v == -1 for v in believed.values()))
        expected = {f"u-{name}": [word > 0] for name, word in believed.items() if word}
        assert lines(store, made) == expected
        assert verify(store).ok


def take(store, made, model, step, at):
    person = {"by": "ann", "reason": "looked", "now": made.now}
    try:
        match step:
            case dict():
                tell(store, made, step, at=at)
                tell(store, made, step, at=at + HOUR / 2)
                model.outcome |= {name: 1 if right else -1 for name, right in step.items()}
            case int():
                words = model.was.get(step, {})
                model.set(undo(feed_of(store, made.contract), step, **person).seq, words)
            case (verb, ids):
                word = {release: 1, reject: -1, recall: None}[verb]
                seq = verb(feed_of(store, made.contract), record_ids=ids, **person).seq
                model.set(seq, {} if word is None else dict.fromkeys(ids, word))
    except (BusyError, NotFoundError, UsageError):
        return


def test_outcomes_of_one_file_are_one_event_or_none(full, made, monkeypatch):
    from poison_guard.store import chain

    def fail(*args, **kwargs):
        raise RuntimeError("killed")

    before = sums(full, made)
    monkeypatch.setattr(chain, "append", fail)
    with pytest.raises(RuntimeError):
        tell(full, made, {"r0": True})
    assert sums(full, made) == before
    assert lines(full, made) == {}
