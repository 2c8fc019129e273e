"""The outbox: what a transaction calls for outside the store is done at least once, and never twice at a time."""

from __future__ import annotations

import datetime as dt
import threading

import pytest

from poison_guard.steps.review import recall, reject, release, undo
from poison_guard.store import last_snapshot, open_store
from poison_guard.store.outbox import REVOCATIONS, add, drain, pending
from poison_guard.store.snapshots import revoke_snapshot
from tests.integration.conftest import feed_of

LATER = dt.timedelta(days=1)


@pytest.fixture(autouse=True)
def killed(monkeypatch):
    """Let every step die between its commit and what follows it."""
    monkeypatch.setattr("poison_guard.steps.review.drain", lambda *_: None)


def put(store, made, kind="note", **payload):
    with store.write() as conn:
        add(conn, kind, payload, made.now)


@pytest.fixture
def sealed(store, made, sealing):
    """Return a store with a snapshot of two records."""
    made.ingest(store, "b1", made.records("a1", "a2"))
    sealing.seal(store)
    return store


@pytest.fixture
def who(made):
    return {"by": "ann", "reason": "poison", "now": made.now}


def kinds(store):
    return [task.kind for task in pending(store)]


def test_revoking_a_snapshot_calls_for_a_new_list(sealed, who):
    assert kinds(sealed) == []
    revoke_snapshot(sealed, last_snapshot(sealed, "captcha").snapshot_id, **who)
    assert kinds(sealed) == [REVOCATIONS]


@pytest.mark.parametrize("decide", [recall, reject])
def test_a_decision_that_revokes_a_snapshot_calls_for_a_new_list(sealed, made, who, decide):
    decide(feed_of(sealed, made.contract), record_ids=["a1"], **who)
    assert last_snapshot(sealed, "captcha") is None
    assert kinds(sealed) == [REVOCATIONS]


def test_undoing_calls_for_a_new_list_only_where_it_revokes(store, made, sealing, who):
    made.ingest(store, "b1", made.records("a1", "a2"), {"a2": "quarantined"})
    released = release(feed_of(store, made.contract), record_ids=["a2"], **who)
    undo(feed_of(store, made.contract), released.seq, **who)
    assert kinds(store) == [], "no snapshot held it"
    again = release(feed_of(store, made.contract), record_ids=["a2"], **who)
    sealing.seal(store)
    undo(feed_of(store, made.contract), again.seq, **who)
    assert kinds(store) == [REVOCATIONS]


def test_a_run_that_recalls_calls_for_a_new_list(sealed, made):
    made.ingest(sealed, "b2", made.records("b1"), recalls=("a1",))
    assert kinds(sealed) == [REVOCATIONS]


def test_a_transaction_that_fails_calls_for_nothing(store, made):
    def add_and_fail():
        with store.write() as conn:
            add(conn, "note", {}, made.now)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        add_and_fail()
    assert pending(store) == []


def test_what_a_killed_process_left_is_done_by_the_next_writer(tmp_path, settings_at, made, make_sealing):
    with open_store(settings_at(tmp_path)) as store:
        made.ingest(store, "b1", made.records("a1", "a2"))
        make_sealing(made.contract).seal(store)
        recall(feed_of(store, made.contract), record_ids=["a1"], by="ann", reason="poison", now=made.now)
    lists = []
    with open_store(settings_at(tmp_path)) as store:
        assert drain(store, {REVOCATIONS: lists.append}, made.now).done == 1
        assert drain(store, {REVOCATIONS: lists.append}, made.now + LATER).done == 0
        assert pending(store) == []
    assert lists == [{}]


def test_what_is_done_at_once_waits_for_no_turn(store, made):
    def fail(_):
        raise OSError("the disk is full")

    put(store, made)
    assert drain(store, {"note": fail}, made.now, at_once=["note"]).failed == ("note: the disk is full",)
    tried = []
    assert drain(store, {"note": tried.append}, made.now).done == 0, "another kind of task rests after it failed"
    assert drain(store, {"note": tried.append}, made.now, at_once=["note"]).done == 1
    assert tried == [{}]


def test_the_same_task_is_there_once_until_it_is_tried(store, made):
    put(store, made)
    put(store, made)
    put(store, made, about="another thing")
    assert [dict(task.payload) for task in pending(store)] == [{}, {"about": "another thing"}]


def test_a_task_added_while_the_same_is_being_done_is_done_after_it(store, made):
    runs = []

    def handle(payload):
        runs.append(payload)
        if len(runs) == 1:
            put(store, made)  # what is new came after this handler looked

    put(store, made)
    assert drain(store, {"note": handle}, made.now).done == 1
    assert len(pending(store)) == 1
    assert drain(store, {"note": handle}, made.now).done == 1
    assert (len(runs), pending(store)) == (2, [])


def test_a_task_that_is_not_due_or_has_no_handler_waits(store, made):
    with store.write() as conn:
        add(conn, "note", {}, made.now + LATER)
        add(conn, "other", {}, made.now)
    assert drain(store, {"note": lambda payload: None}, made.now).done == 0
    assert drain(store, {"note": lambda payload: None}, made.now + LATER).done == 1
    assert kinds(store) == ["other"]


def test_a_failed_task_is_named_and_tried_again_ever_later(store, made):
    put(store, made)
    now, waits = made.now, []

    def fail(payload):
        raise OSError("the disk is full")

    for _ in range(12):
        assert drain(store, {"note": fail}, now).failed == ("note: the disk is full",)
        (task,) = pending(store)
        waits.append(task.due - now)
        assert drain(store, {"note": fail}, task.due - dt.timedelta(seconds=1)).failed == ()
        now = task.due
    assert waits[:3] == [dt.timedelta(minutes=n) for n in (1, 2, 4)]
    assert waits[-1] == dt.timedelta(hours=6)
    assert pending(store)[0].tries == 12
    assert drain(store, {"note": lambda payload: None}, now).done == 1


def test_a_task_that_is_done_settles_the_same_one_that_failed_before(store, made):
    put(store, made)

    def fail(payload):
        raise ValueError

    drain(store, {"note": fail}, made.now)
    put(store, made)
    put(store, made, about="another thing")
    assert drain(store, {"note": lambda payload: None}, made.now).done == 2
    assert pending(store) == []


def test_two_drainers_never_do_one_task_at_a_time(store, made):
    for number in range(6):
        put(store, made, number=number)
    ready, running, runs, together = threading.Barrier(2), set(), [], []

    def handle(payload):
        number = payload["number"]
        together.append(number in running)
        running.add(number)
        runs.append(number)
        running.discard(number)

    def work():
        ready.wait()
        drain(store, {"note": handle}, made.now)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(runs) == list(range(6))
    assert not any(together)
    assert pending(store) == []


def test_a_second_drainer_leaves_a_task_that_is_being_done(store, made):
    put(store, made)
    inner = []

    def handle(payload):
        inner.append(drain(store, {"note": inner.append}, made.now).done)

    assert drain(store, {"note": handle}, made.now).done == 1
    assert inner == [0]
