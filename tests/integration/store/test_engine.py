"""Opening the store: made and migrated once, by several at a time, and one sentence when it cannot be had."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from poison_guard.errors import ConfigError, StoreError
from poison_guard.store import count_places, open_store, tables
from poison_guard.store.engine import alembic_config, keep_open, sqlite_file
from poison_guard.store.key import read_key


def comparable(_thing, name, _kind, _reflected, _twin):
    """Return False for what cannot be read back: the full text of the queue, and SQLite's orders (`risk DESC`)."""
    return not str(name).startswith(("queue_text", "ix_queue_text", "ix_queue_open", "ix_records_riskiest"))


def test_the_migrations_make_exactly_the_tables(store):
    with store.read() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True, "include_object": comparable})
        assert compare_metadata(context, tables.METADATA) == []
        made = {index["name"] for index in sa.inspect(conn).get_indexes("queue")}
        assert made - {"ix_queue_text"} >= {index.name for index in tables.queue.indexes}
        script = ScriptDirectory.from_config(alembic_config(conn))
        assert context.get_current_revision() == script.get_current_head()


def test_the_migrations_can_be_taken_back_and_run_again(store, dump):
    from alembic import command

    before = dump(store)
    with store.write() as conn:
        config = alembic_config(conn)
        command.downgrade(config, "base")
        assert sa.inspect(conn).get_table_names() == ["alembic_version"]
        command.upgrade(config, "head")
        conn.execute(sa.update(tables.chain).values(secret=before["chain"][0][-1]))  # drawn anew for each store
        conn.execute(sa.update(tables.store_format).values(id=before["store"][0][-1]))
    assert dump(store) == before


def test_several_processes_may_open_a_new_store_at_once(tmp_path, settings_at):
    settings, errors = settings_at(tmp_path / "home"), []
    read_key(settings)

    def work():
        try:
            with open_store(settings) as store:
                assert count_places(store, "captcha")["accepted"] == 0
        except Exception as error:  # noqa: BLE001  handed to the test
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_sqlite_is_opened_so_that_a_power_cut_loses_nothing(sqlite_store):
    with sqlite_store.read() as conn:
        pragmas = [conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert pragmas == ["wal", 2]


def test_a_file_that_is_no_database_is_named(tmp_path, settings_at):
    (tmp_path / "store.db").write_bytes(b"this is a diary, not a database" * 100)
    with (
        pytest.raises(StoreError, match=r"store\.db cannot be used: the file is not an SQLite database"),
        open_store(settings_at(tmp_path)),
    ):
        pass


def test_a_home_under_a_file_cannot_be_made(tmp_path, settings_at):
    (tmp_path / "file").write_text("x")
    settings = dataclasses.replace(settings_at(tmp_path / "file" / "home"), key_file=tmp_path / "key")
    with pytest.raises(StoreError, match="cannot be made"), open_store(settings):
        pass


def test_a_full_disk_is_one_sentence_and_stores_nothing(sqlite_store, made, dump):
    made.ingest(sqlite_store, "b1", made.records("a1"))
    run = made.begin(sqlite_store, "b2")
    before = dump(sqlite_store)
    with sqlite_store.engine.connect() as conn:
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar()

    def no_more_pages(connection, _record):
        connection.execute(f"PRAGMA max_page_count = {pages}")

    sa.event.listen(sqlite_store.engine, "connect", no_more_pages)
    sqlite_store.engine.dispose()
    with pytest.raises(StoreError, match="the disk is full; free some space"):
        made.commit(sqlite_store, run, made.records(*(f"n{i}" for i in range(3000))))
    sa.event.remove(sqlite_store.engine, "connect", no_more_pages)
    sqlite_store.engine.dispose()
    assert dump(sqlite_store) == before
    assert made.commit(sqlite_store, run, made.records("a2"))["accepted"] == 1


def test_a_read_only_store_is_one_sentence(tmp_path, settings_at, made):
    with open_store(settings_at(tmp_path)) as store:
        made.ingest(store, "b1", made.records("a1"))
    url = f"sqlite:///file:{tmp_path / 'store.db'}?mode=ro&uri=true"
    with open_store(dataclasses.replace(settings_at(tmp_path), store_url=url)) as store:
        assert count_places(store, "captcha")["accepted"] == 1
        with pytest.raises(StoreError, match="read-only"):
            made.begin(store, "b2")
    assert not Path("file:").exists(), "a URI is no relative path: no folder of that name is made"


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:////srv/store.db", "/srv/store.db"),
        ("sqlite:////srv/store.db?timeout=5", "/srv/store.db"),
        ("sqlite:///file:/srv/store.db?mode=ro&uri=true", "/srv/store.db"),
        ("postgresql://guard@db/guard", None),
        ("not a url", None),
    ],
)
def test_the_file_of_a_store_is_found_in_its_url(url, file):
    assert sqlite_file(url) == (None if file is None else Path(file))


@pytest.mark.parametrize("url", ["sqlite://", "mysql://root:hunter2@host/db", "not a url"])
def test_other_stores_are_refused(tmp_path, settings_at, url):
    with pytest.raises(ConfigError) as caught, open_store(dataclasses.replace(settings_at(tmp_path), store_url=url)):
        pass
    assert "hunter2" not in str(caught.value)


def test_an_unreachable_store_is_named_without_its_password(tmp_path, settings_at):
    pytest.importorskip("psycopg", reason="psycopg is not installed here")
    url = "postgresql://guard:hunter2@127.0.0.1:1/guard"
    with (
        pytest.raises(StoreError, match=r"postgresql\+psycopg://…@127\.0\.0\.1:1/guard cannot be used") as caught,
        open_store(dataclasses.replace(settings_at(tmp_path), store_url=url)),
    ):
        pass
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_shown_of_a_store_holds_no_secret(sqlite_store):
    assert sqlite_store.key.hex() not in repr(sqlite_store)
    assert "lake" not in repr(sqlite_store.lake).removeprefix("Lake")


def test_what_expired_is_counted_by_its_own_index(tmp_path, settings_at):
    query = "EXPLAIN QUERY PLAN SELECT count(*) FROM queue WHERE feed = 'chat' AND state = 'expired'"
    with open_store(settings_at(tmp_path / "home")) as store, store.read() as conn:
        assert "ix_queue_expired" in str(conn.exec_driver_sql(query).fetchall())


def test_a_store_that_is_kept_open_is_opened_anew_where_its_file_is_another_one(tmp_path, settings_at):
    settings = settings_at(tmp_path / "home")
    keep_open(settings)
    try:
        with open_store(settings) as first, open_store(settings) as second:
            assert first is second
        file = sqlite_file(settings.store_url)
        copy = file.with_name("copy.db")
        with contextlib.closing(sqlite3.connect(file)) as conn:
            conn.execute("VACUUM INTO ?", (str(copy),))
        for log in (file.with_name("store.db-wal"), file.with_name("store.db-shm")):
            log.unlink(missing_ok=True)
        copy.rename(file)
        with open_store(settings) as third:
            assert third is not first
            assert count_places(third, "captcha")["accepted"] == 0
    finally:
        keep_open(settings_at(tmp_path / "another"))
    with open_store(settings) as fourth, open_store(settings) as fifth:
        assert fourth is not fifth
