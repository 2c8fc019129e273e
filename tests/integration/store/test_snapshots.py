"""Sealing is one event over a state that did not change; a recall takes back what held the record."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
import sqlalchemy as sa

from poison_guard.errors import NotFoundError, StaleStateError, StoreError, UsageError
from poison_guard.steps.review import recall, reject, release, undo
from poison_guard.store import chain, last_snapshot, list_snapshots, load_snapshot, tables, verify
from poison_guard.store.snapshots import Part, revoke_snapshot, seal, snapshot_hash, snapshots_holding
from tests.integration.conftest import feed_of

TELEMETRY = {
    "kind": "telemetry",
    "columns": {"record_id": "id", "source_id": "user", "observed_at": "at", "features": ["speed"]},
}


@pytest.fixture
def made(make_made):
    return make_made(**TELEMETRY)


@pytest.fixture
def sealing(make_sealing, made):
    return make_sealing(made.contract)


def head(store):
    with store.read() as conn:
        return chain.head(conn)


def look(verb, store, made, *ids):
    return verb(feed_of(store, made.contract), by="ann", reason="looked", record_ids=list(ids), now=made.now)


def seal_nothing(store, made, seq, parts=()):
    labels = made.decided(made.records("x")).items.iloc[:0]
    return seal(store, made.contract, seq=seq, parts=parts, items=labels, counts={}, now=made.now)


def faults(store):
    found = verify(store)
    return None if found.ok else (found.first_bad, found.why)


def test_a_snapshot_is_read_back_as_it_was_sealed(store, made, sealing):
    made.ingest(store, "b1", made.records("a", "b"))
    made.ingest(store, "b2", made.records("c"))
    sealed = sealing.seal(store, now=made.now)
    assert sealed == load_snapshot(store, sealed.snapshot_id) == last_snapshot(store, "captcha")
    assert sealed.snapshot_id == f"captcha-{sealed.seq}-{sealed.hash[:8]}"
    assert (sealed.seq, head(store), sealed.previous, sealed.revoked_seq) == (2, 3, None, None)
    assert (sealed.sealed_at, dict(sealed.counts)) == (made.now, {"examples": 3})
    assert sealed.hash == snapshot_hash(sealed.parts)
    lines = "\n".join(sorted(f"{part.sha256}\t{part.rows}" for part in sealed.parts))
    assert sealed.hash == hashlib.sha256(lines.encode()).hexdigest()
    assert [dataclasses.replace(sealed, parts=())] == list_snapshots(store, "captcha")


def test_sealing_again_writes_nothing_until_something_changes(store, made, sealing, dump):
    made.ingest(store, "b1", made.records("a"))
    first = sealing.seal(store)
    before = dump(store)
    assert sealing.seal(store) == first
    assert dump(store) == before
    made.ingest(store, "b2", made.records("b"))
    second = sealing.seal(store)
    assert second.previous == first.snapshot_id
    assert second.parts[0] == first.parts[0]
    with store.read() as conn:
        lanes = conn.execute(sa.select(tables.manifests.c.path).where(tables.manifests.c.lane == "snapshot")).scalars()
        assert sorted(lanes) == sorted(part.path for part in second.parts)
        written = conn.execute(sa.select(sa.func.count()).select_from(tables.snapshot_parts)).scalar()
    assert written == 2  # one row a change, not one a part and seal
    assert load_snapshot(store, first.snapshot_id).parts == first.parts


def test_a_part_that_emptied_is_gone_and_may_come_back(store, made, sealing):
    made.ingest(store, "b1", made.records("a"))
    made.ingest(store, "b2", made.records("b"))
    first = sealing.seal(store)
    seq = look(recall, store, made, "a").seq
    second = sealing.seal(store)
    assert [part.bucket for part in second.parts] == [2]
    undo(feed_of(store, made.contract), seq, by="ann", reason="was right", now=made.now)
    third = sealing.seal(store)
    assert (third.parts, third.hash) == (first.parts, first.hash)
    assert third.snapshot_id != first.snapshot_id
    assert load_snapshot(store, second.snapshot_id).parts == second.parts


@pytest.mark.parametrize("change", ["run", "review", "label"])
def test_a_state_that_changed_meanwhile_is_not_sealed(store, made, change, dump):
    made.ingest(store, "b1", made.records("a"))
    seq = head(store)
    match change:
        case "run":
            made.ingest(store, "b2", made.records("b"))
        case "review":
            look(recall, store, made, "a")
        case "label":
            labels = made.decided(made.records("a")).items
            seal(store, made.contract, seq=seq, parts=[], items=labels, counts={})
    before = dump(store)
    with pytest.raises(StaleStateError, match="changed after state"):
        seal_nothing(store, made, seq)
    assert dump(store) == before


def test_other_feeds_do_not_keep_a_state_from_being_sealed(store, made, make_made):
    made.ingest(store, "b1", made.records("a"))
    seq = head(store)
    other = make_made(name="chat")
    other.ingest(store, "b1", other.records("z"))
    assert seal_nothing(store, made, seq).seq == seq


def test_a_state_that_is_not_there_yet_and_two_parts_of_one_bucket_are_refused(store, made):
    made.ingest(store, "b1", made.records("a"))
    with pytest.raises(UsageError, match="state 2 cannot be sealed: the store is at 1"):
        seal_nothing(store, made, 2)
    part = Part(1, "snapshots/x.parquet", "00", 1, 1, "00")
    with pytest.raises(UsageError, match="same bucket"):
        seal_nothing(store, made, 1, [part, dataclasses.replace(part, path="snapshots/y.parquet")])


@pytest.mark.parametrize("verb", [recall, reject])
def test_a_recalled_record_takes_back_the_snapshots_that_hold_it(store, made, sealing, verb):
    made.ingest(store, "b1", made.records("a"), samples=("a",))
    before = sealing.seal(store)
    made.ingest(store, "b2", made.records("b"), samples=("b",))
    after = sealing.seal(store)
    assert snapshots_holding(store, "captcha", ["b", "nobody"]) == [after.snapshot_id]
    assert snapshots_holding(store, "captcha", ["a"]) == [before.snapshot_id, after.snapshot_id]
    seq = look(verb, store, made, "b").seq
    revoked = load_snapshot(store, after.snapshot_id)
    assert (revoked.revoked_seq, revoked.revoked_why) == (seq + 1, f"{verb.__name__}: looked")
    assert load_snapshot(store, before.snapshot_id).revoked_seq is None
    assert last_snapshot(store, "captcha") == before
    assert last_snapshot(store, "captcha", revoked=True) == revoked
    assert snapshots_holding(store, "captcha", ["b"]) == []
    assert verify(store).ok
    assert faults(store) is None


def test_undoing_a_release_takes_back_what_was_sealed_since_and_undoing_a_recall_restores_nothing(store, made, sealing):
    made.ingest(store, "b1", made.records("a", "b"), {"b": "quarantined"})
    before = sealing.seal(store)
    released = look(release, store, made, "b").seq
    after = sealing.seal(store)
    undone = undo(feed_of(store, made.contract), released, by="bob", reason="no", now=made.now)
    assert load_snapshot(store, after.snapshot_id).revoked_why == "undo: no"
    assert load_snapshot(store, before.snapshot_id).revoked_seq is None
    undo(feed_of(store, made.contract), undone.seq, by="bob", reason="yes", now=made.now)
    assert load_snapshot(store, after.snapshot_id).revoked_seq is not None


def test_a_decision_over_records_that_were_never_sealed_revokes_nothing(store, made, sealing):
    made.ingest(store, "b1", made.records("a", "b"), {"b": "quarantined"})
    sealed = sealing.seal(store)
    seq = look(reject, store, made, "b").seq
    assert head(store) == seq
    assert last_snapshot(store, "captcha") == sealed


def test_a_revoked_snapshot_stays_revoked(store, made, sealing, dump):
    made.ingest(store, "b1", made.records("a"))
    name = sealing.seal(store).snapshot_id
    first = revoke_snapshot(store, name, by="ann", reason="bad items file", now=made.now)
    before = dump(store)
    assert revoke_snapshot(store, name, by="bob", reason="again") == first
    assert dump(store) == before
    again = sealing.seal(store)
    assert again.hash == first.hash
    assert again.snapshot_id != name
    revoke_snapshot(store, again.snapshot_id, by="ann", reason="bad too")
    with pytest.raises(StaleStateError, match="was sealed before"):
        seal_nothing(store, made, first.seq, first.parts)
    with pytest.raises(UsageError, match="named person"):
        revoke_snapshot(store, name, by=" ", reason="x")
    with pytest.raises(NotFoundError, match="no snapshot 'nothing'"):
        revoke_snapshot(store, "nothing", by="ann", reason="x")


def test_no_reason_or_record_stands_in_the_chain(store, made, sealing):
    made.ingest(store, "b1", made.records("record-7"))
    revoke_snapshot(store, sealing.seal(store).snapshot_id, by="ann", reason="leaked the diary")
    with store.read() as conn:
        bodies = " ".join(conn.execute(sa.select(tables.events.c.body)).scalars())
    assert "record-7" not in bodies
    assert "diary" not in bodies


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("UPDATE snapshots SET revoked_seq = NULL WHERE revoked_seq = 5", 5),
        ("UPDATE snapshots SET hash = 'x' WHERE sealed_seq = 2", 2),
        ("UPDATE snapshots SET seq = 0 WHERE sealed_seq = 2", 2),
        ("DELETE FROM snapshots WHERE sealed_seq = 2", 2),
        ("INSERT INTO snapshots VALUES ('new', 'captcha', 1, 6, 0, '', '{}', NULL, NULL, NULL)", 6),
        ("UPDATE snapshot_parts SET sha256 = 'x' WHERE seq = 2", 2),
        ("DELETE FROM snapshot_parts WHERE seq = 4", 4),
        ("INSERT INTO snapshot_parts VALUES ('captcha', 9, 3, 'x', 'x', 1, 1, 'x')", 3),
        ("UPDATE items SET label = 'x' WHERE seq = 2 AND item_id = 'word-1'", 2),
        ("DELETE FROM items WHERE seq = 2 AND item_id = 'word-2'", 2),
    ],
)
def test_every_tampering_with_what_was_sealed_is_found(sqlite_store, make_made, make_sealing, statement, first_bad):
    made = make_made()
    made.ingest(sqlite_store, "b1", made.records("a"))
    labels = made.decided(made.records("a")).items
    part = make_sealing(made.contract).part(sqlite_store, 1, [("word-1", "seven")])
    seal(sqlite_store, made.contract, seq=1, parts=[part], items=labels, counts={"examples": 1})
    made.ingest(sqlite_store, "b2", made.records("b"))
    other = dataclasses.replace(part, bucket=3)
    name = seal_nothing(sqlite_store, made, 3, [part, other]).snapshot_id
    revoke_snapshot(sqlite_store, name, by="ann", reason="bad")
    assert faults(sqlite_store) is None
    with sqlite_store.write() as conn:
        assert conn.execute(sa.text(statement)).rowcount >= 1
    fault = faults(sqlite_store)
    assert fault is not None
    assert fault[0] == first_bad


def test_a_seal_is_all_or_nothing(sqlite_store, made, sealing, dump, monkeypatch):
    made.ingest(sqlite_store, "b1", made.records("a"))
    before = dump(sqlite_store)

    def fail(*_args, **_more):
        raise StoreError("the machine stopped")

    monkeypatch.setattr("poison_guard.store.chain.append", fail)
    with pytest.raises(StoreError):
        sealing.seal(sqlite_store)
    assert dump(sqlite_store) == before
