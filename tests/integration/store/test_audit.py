"""Whoever changes the store behind its back is found out, and the first bad event is named."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
import stat

import pytest
import sqlalchemy as sa

from poison_guard.config import parse_contract
from poison_guard.errors import NotFoundError, StoreError, TamperError
from poison_guard.steps.review import release
from poison_guard.store import add_trusted, count_places, open_store, tables, verify
from poison_guard.store.mark import read_marks
from tests.integration.conftest import TABLE, Made, feed_of, sqlite_settings


@pytest.fixture(scope="module")
def history(migrated_home, tmp_path_factory):
    """A home with four events: trust, a run, a run with a conflict and a recall, and a release; to be copied."""
    home = shutil.copytree(migrated_home, tmp_path_factory.mktemp("history") / "home")
    made = Made(parse_contract(TABLE))
    with open_store(sqlite_settings(home)) as store:
        add_trusted(store, made.contract, made.records("t1"), by="ann", reason="audit", now=made.now)
        made.ingest(store, "b1", made.records("a1", "a2", "a3"), {"a2": "quarantined"})
        made.ingest(store, "b2", made.records("a1", answer="one"), recalls=("a3",))
        release(feed_of(store, made.contract), by="ann", reason="fine", record_ids=["a2"], now=made.now)
    return home


@pytest.fixture
def written(history, tmp_path):
    with open_store(sqlite_settings(shutil.copytree(history, tmp_path / "home"))) as store:
        yield store


def tamper(store, statement, **values):
    with store.engine.begin() as conn:
        conn.execute(sa.text(statement), values)


def test_an_untouched_chain_is_whole(written):
    result = verify(written)
    assert (result.ok, result.events, result.first_bad, result.why) == (True, 4, None, "")


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("UPDATE events SET actor = 'bob' WHERE seq = 4", 4),
        ("UPDATE events SET body = '{}' WHERE seq = 2", 2),
        ("UPDATE events SET at = at + 1 WHERE seq = 3", 3),
        ("DELETE FROM events WHERE seq = 2", 2),
        ("DELETE FROM events WHERE seq = 4", 4),
        ("UPDATE events SET prev = hash WHERE seq = 3", 3),
        ("UPDATE chain SET seq = 3", 5),
        ("UPDATE chain SET mac = ''", 5),
        ("DELETE FROM chain", 5),
        ("UPDATE moves SET from_place = 'rejected' WHERE seq = 4", 4),
        ("DELETE FROM moves WHERE seq = 3", 3),
        ("UPDATE ledger SET controls_right = 99 WHERE seq = 2", 2),
        ("DELETE FROM ledger WHERE seq = 4", 4),
        ("UPDATE records SET place = 'quarantined' WHERE record_id = 'a1'", 2),
        ("UPDATE records SET content_hash = 'x' WHERE record_id LIKE 'a1~%'", 3),
        ("DELETE FROM records WHERE record_id = 'a2'", 4),
    ],
)
def test_every_tampering_is_found(written, statement, first_bad):
    tamper(written, statement)
    result = verify(written)
    assert not result.ok
    assert result.first_bad == first_bad
    assert result.why


def test_a_truncated_chain_whose_head_was_moved_too_needs_the_key(written):
    with written.read() as conn:
        third = conn.execute(sa.select(tables.events.c.hash).where(tables.events.c.seq == 3)).scalar_one()
    tamper(written, "DELETE FROM events WHERE seq = 4")
    tamper(written, "UPDATE chain SET seq = 3, hash = :hash", hash=third)
    assert verify(written).first_bad == 4


def test_a_chain_cannot_be_checked_with_another_key(written):
    result = verify(dataclasses.replace(written, key=b"x" * 32))
    assert result.first_bad == 1


def test_no_name_of_a_record_or_source_stands_in_the_chain(written):
    with written.read() as conn:
        bodies = " ".join(conn.execute(sa.select(tables.events.c.body)).scalars())
    for name in ('"a1"', '"a2"', '"user-', '"fine', '"audit'):  # a hash may begin with a1
        assert name not in bodies


def older_copy(store, folder):
    """Return the database as it is now, in one file."""
    older = folder / "older.db"
    with sqlite3.connect(store.engine.url.database) as source, sqlite3.connect(older) as copy:
        source.backup(copy)
    return older


def put_back(home, older):
    for file in home.glob("store.db*"):
        file.unlink()
    shutil.copy(older, home / "store.db")


def test_an_older_database_is_not_written_on_and_says_what_to_do(tmp_path, made, settings_at):
    settings = settings_at(tmp_path / "home")
    with open_store(settings) as store:
        made.ingest(store, "b1", made.records("a1"))
        older = older_copy(store, tmp_path)
        made.ingest(store, "b2", made.records("a2"))
        assert [mark.seq for mark in read_marks(settings.home / "key.head")] == [2]
        assert stat.S_IMODE((settings.home / "key.head").stat().st_mode) == 0o600
    put_back(settings.home, older)
    with open_store(settings) as store:
        assert count_places(store, "captcha")["accepted"] == 1  # it can be read
        with pytest.raises(TamperError, match=r"an older copy of the database was put back.*or remove .*key.head"):
            made.ingest(store, "b3", made.records("a3"))
        assert verify(store).table == "mark"
        (settings.home / "key.head").unlink()
        made.ingest(store, "b3", made.records("a3"))
        assert verify(store).ok


def test_another_history_of_the_same_length_is_noticed(tmp_path, made, settings_at):
    settings = settings_at(tmp_path / "home")
    with open_store(settings) as store:
        made.ingest(store, "b1", made.records("a1"))
        older = older_copy(store, tmp_path)
        made.ingest(store, "b2", made.records("a2"))
        mark = (settings.home / "key.head").read_bytes()
    put_back(settings.home, older)
    (settings.home / "key.head").unlink()
    with open_store(settings) as store:
        made.ingest(store, "b9", made.records("a9"))
        made.ingest(store, "b10", made.records("a10"))
        (settings.home / "key.head").write_bytes(mark)
        assert "has another event 2" in verify(store).why


@pytest.mark.parametrize("killed", [True, False])
def test_a_database_ahead_of_its_mark_is_fine(tmp_path, made, settings_at, killed):
    settings = settings_at(tmp_path / "home")
    with open_store(settings) as store:
        made.ingest(store, "b1", made.records("a1"))
        mark = (settings.home / "key.head").read_bytes()
        made.ingest(store, "b2", made.records("a2"))
        (settings.home / "key.head").write_bytes(mark) if killed else (settings.home / "key.head").unlink()
        assert verify(store).ok
        made.ingest(store, "b3", made.records("a3"))
        assert [mark.seq for mark in read_marks(settings.home / "key.head")] == [3]


@pytest.mark.parametrize("n", [1, 9, 60, 127, 128, 129, 200, 255])
def test_a_mark_whose_write_ended_half_way_is_the_one_before_or_the_new_one(tmp_path, made, settings_at, n):
    settings = settings_at(tmp_path / "home")
    mark = settings.home / "key.head"
    with open_store(settings) as store:
        made.ingest(store, "b1", made.records("a1"))
        before = mark.read_bytes()
        made.ingest(store, "b2", made.records("a2"))
        new = mark.read_bytes()
        mark.write_bytes(new[:n] + before[n:])
        assert verify(store).ok
        store.renew_mark()
        assert mark.read_bytes() == new


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b'{"seq": "x", "hash": 1}', b"[" * 5000])
def test_a_damaged_mark_is_one_sentence(tmp_path, made, settings_at, body):
    settings = settings_at(tmp_path / "home")
    with open_store(settings) as store:
        made.ingest(store, "b1", made.records("a1"))
        (settings.home / "key.head").write_bytes(body)
        with pytest.raises(TamperError, match="cannot be read"):
            made.ingest(store, "b2", made.records("a2"))
        assert verify(store).table == "mark"


def test_an_empty_database_in_the_place_of_one_that_had_events_is_refused(tmp_path, made, settings_at):
    settings = settings_at(tmp_path / "home")
    with open_store(settings) as store:
        made.ingest(store, "b1", made.records("a1"))
    for file in settings.home.glob("store.db*"):
        file.unlink()
    with pytest.raises((TamperError, NotFoundError, StoreError)), open_store(settings):
        pass


def test_a_key_from_the_environment_has_no_mark(tmp_path, made, settings_at, monkeypatch):
    monkeypatch.setenv("POISON_GUARD_KEY", "ab" * 32)
    with open_store(settings_at(tmp_path / "home")) as store:
        made.ingest(store, "b1", made.records("a1"))
        assert store.mark is None
        assert verify(store).ok
    assert not list((tmp_path / "home").glob("*.head"))


def test_a_policy_that_no_event_speaks_of_is_whole_by_its_own_hash(sqlite_store, made, make_sealing):
    made.begin(sqlite_store, "b1")  # killed before its commit
    assert verify(sqlite_store).ok
    make_sealing(made.contract).seal(sqlite_store)  # of a feed without a run
    result = verify(sqlite_store)
    assert result.ok, result.why
