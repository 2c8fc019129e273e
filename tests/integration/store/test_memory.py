"""What is remembered of earlier records is bounded, as of a version, and no sender's choice."""

from __future__ import annotations

import datetime as dt
import shutil

import pandas as pd
import pytest

from poison_guard.errors import StaleStateError
from poison_guard.frames import FRAMES
from poison_guard.steps.review import recall, reject, release
from poison_guard.store import add_trusted, list_runs, load_state, memory, open_store, verify
from tests.integration.conftest import feed_of, sqlite_settings
from tests.thorough import also

NO_CONTROLS = pd.DataFrame({"item_id": pd.Series(dtype="str"), "answer": pd.Series(dtype="str")})

KEYS = [*FRAMES["remembered"].columns]


def take_in(store, made, batch, *ids, places=None, **changed):
    records = made.records(*ids).assign(**changed)
    return made.ingest(store, batch, records, places, remember=True)


def remembered(store, made, *, version=10**6, ids=(), at=None):
    state = load_state(
        store, made.contract, record_ids=ids, item_ids=[], version=version, controls=NO_CONTROLS,
        received_at=at or made.now,
    )  # fmt: skip
    return state.memory


@pytest.fixture
def trusting(store, made):
    """A store with a trusted set, so that vectors can be compared."""
    add_trusted(store, made.contract, made.records("t1", "t2"), by="ann", reason="audit", now=made.now)
    return store


def test_records_of_earlier_batches_come_back_as_they_were_scored(trusting, made):
    records = made.records("a1", "a2", "a3")
    made.ingest(trusting, "b1", records, {"a2": "quarantined", "a3": "rejected"}, remember=True)
    found = remembered(trusting, made)
    assert list(found.columns) == [*KEYS, "sketch", "vector.0", "place"]
    assert dict(zip(found["record_id"], found["place"], strict=True)) == {
        "a1": "accepted", "a2": "quarantined", "a3": "rejected",
    }  # fmt: skip
    expected = made.scored(records)
    pd.testing.assert_frame_equal(found[[*KEYS]], expected[[*KEYS]], check_dtype=False)
    assert found["sketch"].tolist() == expected["sketch"].tolist()
    assert found["vector.0"].tolist() == expected["vector.0"].tolist()


def test_the_memory_of_a_version_does_not_change_afterwards(trusting, made):
    take_in(trusting, made, "b1", "a1", "a2")
    version = made.begin(trusting, "b2").state_version
    then = remembered(trusting, made, version=version)
    recall(feed_of(trusting, made.contract), by="ann", reason="poison", record_ids=["a1"], now=made.now)
    take_in(trusting, made, "b2", "b1")
    pd.testing.assert_frame_equal(remembered(trusting, made, version=version), then)
    now = remembered(trusting, made).set_index("record_id")["place"].to_dict()
    assert now == {"a1": "recalled", "a2": "accepted", "b1": "accepted"}


def test_staged_records_and_those_of_the_batch_itself_are_left_out(store, made):
    take_in(store, made, "b1", "a1", "a2", "a3", places={"a2": "staged"})
    assert remembered(store, made, ids=["a3"])["record_id"].tolist() == ["a1"]
    take_in(store, made, "b2", "a2", places={"a2": "quarantined"})
    assert remembered(store, made)["record_id"].tolist() == ["a1", "a2", "a3"]


def test_a_record_seen_before_is_remembered_once_and_one_in_conflict_by_its_own_name(store, made):
    take_in(store, made, "b1", "a1")
    take_in(store, made, "b2", "a1", "a2")
    changed = made.records("a1", answer="one")
    made.ingest(store, "b3", changed, remember=True)
    found = remembered(store, made)
    named = f"a1~{changed['content_hash'].iloc[0][:8]}"
    assert found["record_id"].tolist() == ["a1", named, "a2"]
    assert found["vote"].tolist() == ["seven", "one", "seven"]


def history(store, made):
    """Many small batches, one of another trusted set, with some larger ones between; return what each left behind."""
    add_trusted(store, made.contract, made.records("t1", "t2"), by="ann", reason="audit", now=made.now)
    for k in range(14):
        if k == 6:
            add_trusted(store, made.contract, made.records("t3"), by="ann", reason="audit", now=made.now)
        take_in(store, made, f"b{k}", *(f"r{k}-{i}" for i in range(5 if k == 9 else 1 + k % 2)))
    versions = [run.commit_seq for run in list_runs(store, "captcha")][::3]
    late = made.now + dt.timedelta(days=made.contract.policy.memory_days, seconds=1)
    return [remembered(store, made, version=v) for v in versions], remembered(store, made, at=late)


def files(store):
    return [path for path in store.lake.list() if "/memory" in path]


@pytest.mark.parametrize("most", [12, *also(100)])
def test_a_file_that_holds_what_many_small_ones_do_changes_nothing_that_is_remembered(
    make_made, migrated_home, tmp_path, monkeypatch, most
):
    made, read = make_made(policy={"memory_rows": most}), []
    for k, few in enumerate((1000, 3)):
        monkeypatch.setattr(memory, "_FILES", few)
        with open_store(sqlite_settings(shutil.copytree(migrated_home, tmp_path / str(k)))) as store:
            read.append(history(store, made))
            assert any("/memory-" in path for path in files(store)) == (few == 3)
            runs = list_runs(store, "captcha")
            found = memory._memory_files(store, made.contract, runs[0].commit_seq, pd.Timestamp(made.now).floor("D"))
            assert verify(store).ok
    assert len(found) <= 8 < len(runs)
    (plain, plain_late), (joined, joined_late) = read
    assert [len(frame) for frame in plain] == [len(frame) for frame in joined]
    for one, other in zip(plain, joined, strict=True):
        pd.testing.assert_frame_equal(one, other[one.columns], check_dtype=False)
    assert len(plain_late) == len(joined_late) == 0


def test_a_run_that_joined_files_of_a_source_that_is_erased_meanwhile_is_scored_again(store, made, monkeypatch):
    monkeypatch.setattr(memory, "_FILES", 2)
    take_in(store, made, "b1", "a1")
    monkeypatch.setattr(memory, "are_listed", lambda *_: False)
    with pytest.raises(StaleStateError, match="erased meanwhile"):
        take_in(store, made, "b2", "b1")


def test_days_and_rows_bound_what_is_remembered(store, make_made):
    made = make_made(policy={"memory_rows": 3, "memory_days": 2})
    take_in(store, made, "b1", "a1", "a2")
    take_in(store, made, "b2", "b1", "b2")
    found = remembered(store, made)
    assert len(found) == 3
    assert {"b1", "b2"} < set(found["record_id"])  # the newest batch whole
    assert len(remembered(store, made, at=made.now + dt.timedelta(days=2))) == 3
    assert remembered(store, made, at=made.now + dt.timedelta(days=2, seconds=1)).empty
    assert list(remembered(store, made, at=made.now + dt.timedelta(days=3)).columns) == [*KEYS, "place"]


def test_what_a_large_batch_is_remembered_by_depends_on_the_key_and_not_on_the_order(
    tmp_path, migrated_home, make_made, settings_at
):
    made = make_made(policy={"memory_rows": 10})
    ids = [f"r{i:03}" for i in range(100)]
    kept = []
    for name, order, key in (("one", ids, "11" * 32), ("two", ids[::-1], "11" * 32), ("three", ids, "22" * 32)):
        home = shutil.copytree(migrated_home, tmp_path / name)
        (home / "key").write_text(key)
        with open_store(settings_at(home)) as store:
            take_in(store, made, "b1", *order)
            kept.append(remembered(store, made)["record_id"].tolist())
    assert len(kept[0]) == 10
    assert kept[0] == kept[1]
    assert kept[0] != kept[2]


def test_vectors_are_compared_only_within_one_trusted_set(trusting, made):
    take_in(trusting, made, "b1", "a1")
    add_trusted(trusting, made.contract, made.records("t3"), by="ann", reason="more", now=made.now)
    assert "vector.0" not in remembered(trusting, made)
    take_in(trusting, made, "b2", "a2")
    found = remembered(trusting, made).set_index("record_id")
    assert found["vector.0"].isna().to_dict() == {"a1": True, "a2": False}
    assert found["sketch"].notna().all()


def test_without_a_trusted_set_no_vectors_are_kept(store, made):
    take_in(store, made, "b1", "a1")
    assert "vector.0" not in remembered(store, made)


def test_what_another_version_wrote_is_not_read(store, made, monkeypatch):
    take_in(store, made, "b1", "a1")
    monkeypatch.setattr(memory, "MEMORY_FORMAT", 99)
    assert remembered(store, made).empty


def test_a_memory_of_no_rows_writes_nothing(store, make_made):
    made = make_made(policy={"memory_rows": 0})
    take_in(store, made, "b1", "a1")
    assert not [path for path in store.lake.list() if "/memory/" in path]
    assert remembered(store, made).empty


def test_only_a_batch_is_told_what_is_remembered(store, made):
    take_in(store, made, "b1", "a1")
    state = load_state(store, made.contract, record_ids=[], item_ids=[], version=10**6, controls=NO_CONTROLS)
    assert state.memory.empty


def test_what_a_reviewer_released_is_forgotten_from_then_on(store, made):
    take_in(store, made, "b1", "a1", "a2", places={"a1": "quarantined"})
    version = made.begin(store, "b2").state_version
    release(feed_of(store, made.contract), by="ann", reason="a class trip", record_ids=["a1"], now=made.now)
    assert remembered(store, made)["record_id"].tolist() == ["a2"]
    assert remembered(store, made, version=version)["record_id"].tolist() == ["a1", "a2"]


def test_a_reviewer_s_rejection_is_remembered_as_such(store, made):
    take_in(store, made, "b1", "a1")
    reject(feed_of(store, made.contract), by="ann", reason="spam", record_ids=["a1"], now=made.now)
    assert remembered(store, made)["place"].tolist() == ["rejected"]
