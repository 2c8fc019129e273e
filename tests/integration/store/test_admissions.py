"""Verdicts, approvals and admissions: each is one event, and a revoked snapshot gets none."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
import sqlalchemy as sa

from poison_guard.config.policies import GatePolicy
from poison_guard.errors import ClosedError, NotFoundError, UsageError
from poison_guard.gate.admission import same_person
from poison_guard.steps.review import recall
from poison_guard.store import chain, verify
from poison_guard.store.admissions import (
    add_admission,
    add_approval,
    add_verdict,
    due_snapshot,
    last_verdict,
    list_admissions,
    list_approvals,
    revoked_snapshots,
)
from poison_guard.store.facts import load_policy
from poison_guard.store.models import add_model
from poison_guard.store.snapshots import revoke_snapshot
from tests.integration.conftest import feed_of

TELEMETRY = {
    "kind": "telemetry",
    "columns": {"record_id": "id", "source_id": "user", "observed_at": "at", "features": ["speed"]},
}
POLICY = GatePolicy(max_drop=0.04)
WEEK = dt.timedelta(days=7)


@pytest.fixture
def made(make_made):
    return make_made(**TELEMETRY)


@pytest.fixture
def sealed(store, made, make_sealing):
    """Return a sealer that takes in one more record first; the id of the snapshot."""

    def seal_next(name="a"):
        made.ingest(store, f"b-{name}", made.records(name))
        return make_sealing(made.contract).seal(store, now=made.now).snapshot_id

    return seal_next


def head(store):
    with store.read() as conn:
        return chain.head(conn)


def judge(store, name, outcome="inconclusive", **more):
    said = {"checks": [{"name": "canary", "value": 0.01, "limit": float("nan")}]}
    more = {"policy": POLICY, **more}
    return add_verdict(
        store, "captcha", snapshot_id=name, outcome=outcome, verdict=said, policy_hash=POLICY.hash, **more
    )


def approve(store, made, name, verdict, by="ann", **more):
    more = {"now": made.now, "same": same_person, **more}
    return add_approval(store, "captcha", snapshot_id=name, verdict_seq=verdict, by=by, reason="looked", **more)


def admit(store, name, verdict, issued, expires=None, digest="d1"):
    until = issued + WEEK if expires is None else expires
    more = {"envelope": "{}", "digest": digest, "issued": issued, "expires": until}
    return add_admission(store, "captcha", snapshot_id=name, verdict_seq=verdict, **more)


def test_the_last_verdict_over_a_snapshot_is_read_back(store, made, sealed):
    name = sealed()
    judge(store, name, "fail", now=made.now)
    seq = judge(store, name, "pass", now=made.now)
    judge(store, name, "fail", candidate="candidate.parquet")
    last = last_verdict(store, name)
    assert (last["seq"], last["outcome"], last["at"], last["candidate"]) == (seq, "pass", made.now, None)
    assert last["verdict"] == {"checks": [{"name": "canary", "value": 0.01, "limit": None}]}
    assert last_verdict(store, name, candidate="candidate.parquet")["outcome"] == "fail"
    assert last_verdict(store, name, candidate="other.parquet") is None
    assert last_verdict(store, "nothing") is None


def test_the_policy_of_a_verdict_is_stored_whole(store, sealed):
    name = sealed()
    judge(store, name)
    judge(store, name)
    assert load_policy(store, POLICY.hash) == dataclasses.asdict(POLICY)


def test_a_verdict_that_cannot_be_is_refused(store, sealed, dump):
    name = sealed()
    before = dump(store)
    with pytest.raises(UsageError, match="got 'maybe'"):
        judge(store, name, "maybe")
    with pytest.raises(UsageError, match="has the hash"):
        judge(store, name, policy=dataclasses.replace(POLICY, seed=1))
    with pytest.raises(NotFoundError, match="no snapshot"):
        judge(store, "nothing")
    assert dump(store) == before


def test_one_person_approves_of_a_verdict_once(store, made, sealed):
    name = sealed()
    verdict = judge(store, name)
    seq = approve(store, made, name, verdict, by="Ann  Lee", expires=made.now + WEEK)
    with pytest.raises(UsageError, match="approved of this verdict already"):
        approve(store, made, name, verdict, by=" ann lee ")
    second = approve(store, made, name, verdict, by="bob")
    later = approve(store, made, name, verdict, by="ann lee", now=made.now + 2 * WEEK)  # hers had lapsed
    assert [(a["by"], a["expires"], a["seq"]) for a in list_approvals(store, verdict)] == [
        ("Ann  Lee", made.now + WEEK, seq),
        ("bob", None, second),
        ("ann lee", None, later),
    ]
    assert list_approvals(store, verdict)[0]["reason"] == "looked"
    assert list_approvals(store, judge(store, name)) == []  # a new verdict wants new approvals


def test_an_approval_that_cannot_be_is_refused(store, made, sealed, dump):
    name, other = sealed("a"), sealed("b")
    verdict, broken = judge(store, name), judge(store, other, "error")
    before = dump(store)
    with pytest.raises(UsageError, match="named person"):
        approve(store, made, name, verdict, by="  ")
    with pytest.raises(UsageError, match="later than now"):
        approve(store, made, name, verdict, expires=made.now)
    with pytest.raises(UsageError, match="no verdict over"):
        approve(store, made, other, verdict)
    with pytest.raises(ClosedError, match="nobody can approve"):
        approve(store, made, other, broken)
    assert dump(store) == before


def test_a_snapshot_has_one_live_admission_a_verdict(store, made, sealed):
    name = sealed()
    verdict = judge(store, name, "pass")
    seq = admit(store, name, verdict, made.now)
    assert admit(store, name, verdict, made.now + WEEK / 2, digest="d2") == seq
    renewed = admit(store, name, verdict, made.now + WEEK, digest="d3")
    assert [(a["seq"], a["digest"], a["revoked"]) for a in list_admissions(store, "captcha")] == [
        (renewed, "d3", False),
        (seq, "d1", False),
    ]
    again = admit(store, name, judge(store, name, "pass"), made.now, digest="d4")
    assert [a["seq"] for a in list_admissions(store, "captcha", limit=1)] == [again]
    assert set(list_admissions(store, "captcha")[0]) == {
        *("snapshot_id", "verdict_seq", "envelope", "digest", "issued", "expires", "revoked", "seq")
    }


def test_an_admission_that_cannot_be_is_refused(store, made, sealed, dump):
    name = sealed()
    verdict, broken = judge(store, name, "pass"), judge(store, name, "error")
    before = dump(store)
    with pytest.raises(ClosedError, match="ended in an error"):
        admit(store, name, broken, made.now)
    with pytest.raises(UsageError, match="no verdict over"):
        admit(store, name, 1, made.now)
    with pytest.raises(UsageError, match="must expire after"):
        admit(store, name, verdict, made.now, made.now)
    assert dump(store) == before


def test_a_revoked_snapshot_gets_no_verdict_approval_or_admission(store, made, sealed, dump):
    name = sealed()
    verdict = judge(store, name, "pass")
    admit(store, name, verdict, made.now)
    seq = recall(feed_of(store, made.contract), by="ann", reason="poison", record_ids=["a"], now=made.now).seq
    before = dump(store)
    for call in (
        lambda: judge(store, name),
        lambda: approve(store, made, name, verdict),
        lambda: admit(store, name, verdict, made.now + 2 * WEEK),
    ):
        with pytest.raises(ClosedError, match="was revoked \\(recall: poison\\)"):
            call()
    assert dump(store) == before
    assert [a["revoked"] for a in list_admissions(store, "captcha")] == [True]
    told = {"snapshot_id": name, "feed": "captcha", "why": "recall: poison", "at": made.now, "admissions": ["d1"]}
    assert revoked_snapshots(store) == [told]
    assert head(store) == seq + 1
    assert verify(store).ok


def test_what_is_due_is_the_newest_admitted_snapshot_that_nothing_was_trained_on(store, made, sealed):
    one, two = sealed("a"), sealed("b")
    assert due_snapshot(store, "captcha", now=made.now) is None
    first = admit(store, one, judge(store, one, "pass"), made.now)
    assert due_snapshot(store, "captcha", now=made.now) == one
    assert due_snapshot(store, "captcha", now=made.now + WEEK) is None  # it has expired
    second = admit(store, two, judge(store, two, "pass"), made.now)
    assert due_snapshot(store, "captcha", now=made.now) == two
    model = {"path": "m", "sha256": "00", "config": {}, "now": made.now}
    add_model(store, "captcha", snapshot_id=two, admission_seq=None, **model)
    assert due_snapshot(store, "captcha", now=made.now) == two  # a measurement does not count
    add_model(store, "captcha", snapshot_id=two, admission_seq=second, **model)
    assert due_snapshot(store, "captcha", now=made.now) is None
    assert first < second
    assert due_snapshot(store, "chat", now=made.now) is None


def test_a_revoked_snapshot_is_not_due(store, made, sealed):
    one, two = sealed("a"), sealed("b")
    for name in (one, two):
        admit(store, name, judge(store, name, "pass"), made.now)
    revoke_snapshot(store, two, by="ann", reason="bad", now=made.now)
    assert due_snapshot(store, "captcha", now=made.now) == one


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("UPDATE verdicts SET outcome = 'pass'", 3),
        ("DELETE FROM verdicts", 3),
        ("UPDATE approvals SET actor = 'bob'", 4),
        ("UPDATE approvals SET expires = NULL", 4),
        ("UPDATE admissions SET expires = expires + 1", 5),
        ("UPDATE admissions SET snapshot_id = 'x'", 5),
        ("INSERT INTO approvals VALUES (9, 'captcha', 'x', 3, 'bob', 'unverified', 'why not', 0, NULL)", 6),
    ],
)
def test_every_tampering_with_what_the_gate_said_is_found(sqlite_store, made, make_sealing, statement, first_bad):
    made.ingest(sqlite_store, "b1", made.records("a"))
    name = make_sealing(made.contract).seal(sqlite_store).snapshot_id
    verdict = judge(sqlite_store, name)
    approve(sqlite_store, made, name, verdict, expires=made.now + WEEK)
    admit(sqlite_store, name, verdict, made.now)
    assert fault(sqlite_store) is None
    with sqlite_store.write() as conn:
        conn.execute(sa.text(statement))
    assert fault(sqlite_store)[0] == first_bad


def fault(store):
    found = verify(store)
    return None if found.ok else (found.first_bad, found.why)
