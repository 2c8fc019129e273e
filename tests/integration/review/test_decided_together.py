"""Decisions that are written in one transaction are what they would be one after the other."""

from __future__ import annotations

import datetime as dt

import pytest

from poison_guard.errors import BusyError, GuardError, NotFoundError, StaleDecisionError
from poison_guard.records import Place
from poison_guard.review.rules import VERBS
from poison_guard.store import find_records, load_sources, verify
from poison_guard.store.deciding import ReviewDecision
from poison_guard.store.reviews import apply_decision, apply_decisions
from poison_guard.store.undo import undo

IDS = [f"q{k:02d}" for k in range(12)]


@pytest.fixture
def full(store, made):
    made.ingest(store, "b1", made.records(*IDS, "a1"), dict.fromkeys(IDS, "quarantined"), samples=("a1",))
    return store


@pytest.fixture
def decision(made):
    def of(verb: str, *ids: str, by: str = "ann", minute: int = 0, **more) -> ReviewDecision:
        rule = VERBS[verb]
        where = {"place": rule.destination, "allowed": (*rule.places, Place.ACCEPTED), "verdict": rule.verdict}
        at = made.now + dt.timedelta(minutes=minute)
        who = {"feed": "captcha", "namespace": made.contract.namespace, "by": by, "reason": f"{by} looked", "at": at}
        return ReviewDecision(**who, **where, verb=verb, record_ids=ids, selector={"record_ids": [*ids]}, **more)

    return of


def seen(store, made) -> tuple:
    rows = find_records(store, "captcha").sort_values("record_id")[["record_id", "place", "verdict"]]
    sums = load_sources(store, made.contract).drop(columns="first_seen")
    return rows.to_numpy().tolist(), sums.to_dict("list")


def test_each_has_its_own_outcome_and_its_own_event(full, made, decision):
    before = seen(full, made)
    done = apply_decisions(
        full,
        [
            decision("release", "q00"),
            decision("reject", "q01", by="bob", minute=1),
            decision("release", "q02", "q03", minute=2),
            decision("reject", "q99"),
            decision("release", "q04", expected={"q04": 0}),
            decision("reject", "q00", by="bob"),
            decision("reject", "a1", minute=3),
        ],
    )
    assert [type(one) for one in done if isinstance(one, GuardError)] == [NotFoundError, StaleDecisionError, BusyError]
    events = [one.seq for one in done if not isinstance(one, GuardError)]
    assert events == list(range(events[0], events[0] + 4))
    place = find_records(full, "captcha").set_index("record_id")["place"]
    assert place[["q00", "q01", "q02", "q04", "a1"]].tolist() == [
        "accepted", "rejected", "accepted", "quarantined", "rejected",
    ]  # fmt: skip
    assert verify(full).ok
    for event in events:  # in any order: each stands for itself
        undo(full, "captcha", event, by="ann", reason="all back", at=made.now)
    assert seen(full, made) == before
    assert verify(full).ok


def test_together_is_as_one_after_the_other(full, made, decision):
    asked = [decision("release" if k % 3 else "reject", name, by=f"r{k % 4}") for k, name in enumerate(IDS)]
    apply_decisions(full, asked[:8])
    for one in asked[8:]:
        apply_decision(full, one)
    together = seen(full, made)
    events = [row["seq"] for row in _reviews(full)]
    for event in reversed(events):
        undo(full, "captcha", event, by="ann", reason="again, alone", at=made.now)
    for one in asked:
        apply_decision(full, one)
    assert seen(full, made) == together
    assert verify(full).ok


def _reviews(store) -> list[dict]:
    from poison_guard.store.standing import list_reviews

    return list_reviews(store, "captcha").sort_values("seq").to_dict("records")


def test_an_error_in_the_middle_undoes_them_all(full, made, decision, monkeypatch):
    from poison_guard.store import ground_truth

    before = seen(full, made)
    monkeypatch.setattr(ground_truth, "note_verdicts", _fails)
    with pytest.raises(ZeroDivisionError):
        apply_decisions(full, [decision("release", "q00"), decision("reject", "q01")])
    assert seen(full, made) == before
    assert verify(full).ok


def _fails(*_args, **_more):
    raise ZeroDivisionError


def test_more_than_a_statement_of_postgres_takes_at_once_are_decided_too(store, made, decision):
    ids = [f"q{k:03d}" for k in range(150)]
    made.ingest(store, "b1", made.records(*ids), dict.fromkeys(ids, "quarantined"))
    done = apply_decisions(store, [decision("release" if k % 2 else "reject", name) for k, name in enumerate(ids)])
    assert not any(isinstance(one, GuardError) for one in done)
    assert len({one.seq for one in done}) == len(ids)
    assert verify(store).ok
