"""Models: one champion a feed, made so by rule or by a named person, and never a measurement."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa

from poison_guard.errors import ClosedError, NotFoundError, StoreError, UsageError
from poison_guard.steps.review import recall
from poison_guard.store import champion, list_models, load_model, tables, verify
from poison_guard.store.admissions import add_admission, add_verdict
from poison_guard.store.models import (
    add_model,
    find_revoked_ancestor,
    models_of,
    promote,
    refuse_model,
    rollback,
    set_metrics,
)
from poison_guard.store.snapshots import revoke_snapshot
from tests.integration.conftest import feed_of

TELEMETRY = {
    "kind": "telemetry",
    "columns": {"record_id": "id", "source_id": "user", "observed_at": "at", "features": ["speed"]},
}


@pytest.fixture
def made(make_made):
    return make_made(**TELEMETRY)


@pytest.fixture
def admitted(store, made, make_sealing):
    """Return a maker of admitted snapshots, each with one more record: (snapshot id, admission)."""

    def make(record):
        made.ingest(store, f"b-{record}", made.records(record))
        name = make_sealing(made.contract).seal(store, now=made.now).snapshot_id
        verdict = add_verdict(store, "captcha", snapshot_id=name, outcome="pass", verdict={}, policy_hash="p")
        until = made.now + dt.timedelta(days=7)
        times = {"envelope": "{}", "digest": f"d-{record}", "issued": made.now, "expires": until}
        return name, add_admission(store, "captcha", snapshot_id=name, verdict_seq=verdict, **times)

    return make


@pytest.fixture
def train(store, made, admitted):
    """Return a maker of models, each on one more record."""

    def make(record, *, measured=False, **config):
        name, admission = admitted(record)
        return enter(store, made, name, None if measured else admission, **config)

    return make


def enter(store, made, snapshot_id, admission, path="m/model.safetensors", **config):
    more = {"path": path, "sha256": "00", "config": {"seed": 0, **config}, "now": made.now}
    return add_model(store, "captcha", snapshot_id=snapshot_id, admission_seq=admission, **more)


def back(store, to, **more):
    return rollback(store, "captcha", to=to, by="ann", reason="worse on chat", **more)


def fault(store):
    found = verify(store)
    return None if found.ok else (found.first_bad, found.why)


def test_a_model_is_entered_once_for_a_snapshot_and_config(store, made, admitted, dump):
    name, admission = admitted("a")
    model = enter(store, made, name, admission, cost={"cpu_s": 1.0})
    assert (model.status, model.feed, model.snapshot_id, model.made_at) == ("trained", "captcha", name, made.now)
    assert (model.config, model.metrics, model.why) == ({"seed": 0, "cost": {"cpu_s": 1.0}}, {}, None)
    before = dump(store)
    assert enter(store, made, name, admission, path="elsewhere", cost={"cpu_s": 9.0}) == model
    assert dump(store) == before
    other = enter(store, made, name, admission, epochs=3)
    measured = enter(store, made, name, None)
    assert measured.status == "measurement"
    assert list_models(store, "captcha") == [measured, other, model]
    assert models_of(store, [name, "nothing"]) == [model, other, measured]
    assert load_model(store, model.model_id) == model
    assert list_models(store, "chat") == models_of(store, []) == []


def test_a_model_needs_an_admission_of_its_own_snapshot(store, made, admitted, make_made, dump):
    one, admission = admitted("a")
    two, _ = admitted("b")
    before = dump(store)
    with pytest.raises(ClosedError, match="no admission of"):
        enter(store, made, two, admission)
    with pytest.raises(UsageError, match="is not a snapshot of chat"):
        add_model(store, "chat", snapshot_id=one, admission_seq=None, path="", sha256="", config={})
    with pytest.raises(NotFoundError, match="no snapshot"):
        enter(store, made, "nothing", None)
    assert dump(store) == before
    recall(feed_of(store, made.contract), by="ann", reason="poison", record_ids=["a"], now=made.now)
    with pytest.raises(ClosedError, match="was revoked"):
        enter(store, made, one, admission)  # recalled while it was trained


def test_metrics_are_kept_and_the_same_again_change_nothing(store, train, dump):
    model = train("a")
    seen = set_metrics(store, model.model_id, {"accuracy": 0.9, "robust": float("nan")})
    assert (seen.status, dict(seen.metrics), seen.seq) == ("evaluated", {"accuracy": 0.9, "robust": None}, model.seq)
    before = dump(store)
    assert set_metrics(store, model.model_id, {"accuracy": 0.9, "robust": None}) == seen
    assert dump(store) == before
    measured = train("b", measured=True)
    assert set_metrics(store, measured.model_id, {"accuracy": 0.9}).status == "measurement"


def test_a_new_champion_retires_the_one_before(store, train):
    one, two = train("a"), train("b")
    assert champion(store, "captcha") is None
    first = promote(store, one.model_id, why="better than trusted only")
    assert (first.status, first.why) == ("champion", "better than trusted only")
    assert promote(store, one.model_id, why="again") == first
    promote(store, two.model_id, why="no class lost")
    assert champion(store, "captcha").model_id == two.model_id
    assert load_model(store, one.model_id).status == "retired"
    with pytest.raises(UsageError, match="rollback"):
        promote(store, one.model_id, why="again")
    assert verify(store).ok
    assert fault(store) is None


def test_a_measurement_a_refused_model_and_a_recalled_one_are_never_promoted(store, made, train, dump):
    measured, refused, recalled = train("a", measured=True), train("b"), train("c")
    assert refuse_model(store, refused.model_id, "a class lost 20 points").why == "a class lost 20 points"
    assert refuse_model(store, refused.model_id, "again").why == "a class lost 20 points"
    recall(feed_of(store, made.contract), by="ann", reason="poison", record_ids=["c"], now=made.now)
    before = dump(store)
    for model, why in ((measured, "to measure"), (refused, "a class lost"), (recalled, "was revoked")):
        with pytest.raises(ClosedError, match=why):
            promote(store, model.model_id, why="please")
    with pytest.raises(UsageError, match="nothing to refuse"):
        refuse_model(store, measured.model_id, "no")
    with pytest.raises(NotFoundError, match="no model"):
        promote(store, "nothing", why="please")
    assert dump(store) == before


def test_a_rollback_brings_back_an_earlier_champion(store, train):
    one, two, never = train("a"), train("b"), train("c")
    for model in (one, two):
        promote(store, model.model_id, why="better")
    restored = back(store, one.model_id)
    assert (restored.status, restored.why) == ("champion", "worse on chat")
    assert champion(store, "captcha").model_id == one.model_id
    assert load_model(store, two.model_id).status == "retired"
    assert back(store, two.model_id).status == "champion"
    with pytest.raises(UsageError, match="only an earlier champion"):
        back(store, never.model_id)
    with pytest.raises(UsageError, match="is champion"):
        back(store, two.model_id)
    with pytest.raises(UsageError, match="named person"):
        rollback(store, "captcha", to=one.model_id, by="", reason="x")
    with pytest.raises(UsageError, match="not of chat"):
        rollback(store, "chat", to=one.model_id, by="ann", reason="x")
    with store.read() as conn:
        c = tables.events.c
        actors = conn.execute(sa.select(c.actor).where(c.kind == "model.rolled_back")).scalars().all()
    assert actors == ["ann", "ann"]
    assert fault(store) is None


def test_a_champion_whose_snapshot_was_revoked_comes_back_only_by_force(store, made, train):
    one, two = train("a"), train("b")
    for model in (one, two):
        promote(store, model.model_id, why="better")
    recall(feed_of(store, made.contract), by="ann", reason="poison", record_ids=["a"], now=made.now)
    assert champion(store, "captcha").model_id == two.model_id  # named, not unseated
    with pytest.raises(ClosedError, match="recall: poison"):
        back(store, one.model_id)
    assert back(store, one.model_id, force=True).status == "champion"


def test_the_database_itself_holds_one_champion_a_feed(store, train):
    one, two = train("a"), train("b")
    promote(store, one.model_id, why="better")
    c = tables.models.c
    with pytest.raises(StoreError), store.write() as conn:
        conn.execute(sa.update(tables.models).where(c.model_id == two.model_id).values(status="champion"))


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize("values", [{"status": "champion"}, {"metrics": "{}"}, {"sha256": "01"}, {"promoted_seq": 1}])
def test_every_tampering_with_a_model_is_found(store, train, values):
    model = train("a")
    set_metrics(store, model.model_id, {"accuracy": 0.5})
    assert fault(store) is None
    with store.write() as conn:
        conn.execute(sa.update(tables.models).values(**values))
    seq, why = fault(store)
    assert seq == model.seq + 1
    assert model.model_id in why


def test_what_started_from_a_tainted_model_is_tainted_too(store, train):
    one = train("a")
    two = train("b", warm=one.model_id)
    three = train("c", warm=two.model_id)
    promote(store, one.model_id, why="first")
    promote(store, two.model_id, why="better")
    assert models_of(store, [one.snapshot_id]) == [load_model(store, m.model_id) for m in (one, two, three)]
    assert find_revoked_ancestor(store, three.model_id) is None
    revoke_snapshot(store, one.snapshot_id, by="ann", reason="judged again")
    assert find_revoked_ancestor(store, three.model_id) == (one.model_id, one.snapshot_id, "judged again")
    with pytest.raises(ClosedError, match=f"{three.model_id} started from {one.model_id}, which was trained on"):
        promote(store, three.model_id, why="best")
    four = train("d")
    promote(store, four.model_id, why="clean")
    with pytest.raises(ClosedError, match="choose another champion"):
        back(store, two.model_id)
    assert back(store, two.model_id, force=True).status == "champion"
