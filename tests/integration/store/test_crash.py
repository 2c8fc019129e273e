"""Law 2: killed at any write and run again equals never killed; nothing half-written is ever visible."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from poison_guard.store import Lake, accepted_frames, bulk, count_places, last_snapshot, open_store, verify
from tests.thorough import some

CONTROLS = pd.DataFrame({"item_id": [f"word-{i}" for i in range(3)], "answer": ["one", "two", "one"]})
PLACES = {"a1": "accepted", "a2": "quarantined", "a3": "rejected", "a4": "staged", "old": "accepted"}


class Killed(BaseException):
    """Stands for a process that ends here."""


def watched(run, on_statement):
    """Return `run` of our own SQL, which SQLAlchemy's events do not see, with `on_statement` called before."""

    def watch(conn, statement, *values):
        on_statement(conn, None, statement, values, None, False)
        return run(conn, statement, *values)

    return watch


@contextmanager
def killed_at(store, write: int) -> Iterator[list[str]]:
    """End at the given write (counted from 0) of a file or a row, before it is done; yield the writes that happened."""
    done: list[str] = []

    def strike(what: str) -> None:
        if len(done) == write:
            raise Killed(what)
        done.append(what)

    def on_statement(conn, cursor, statement, parameters, context, executemany):
        if not statement.startswith(("SELECT", "PRAGMA", "BEGIN")):
            strike(statement[:40])

    def on_commit(conn):
        if conn.get_execution_options().get("guard_writes"):
            strike("commit")

    put = Lake._put

    def on_put(self, path, body, rows, digest):
        half = self._full(path)
        self._files.makedirs(half.rsplit("/", 1)[0], exist_ok=True)
        if len(done) == write:
            self._files.pipe_file(half, body[: len(body) // 2])  # what a kill in the middle leaves behind
        strike(path)
        return put(self, path, body, rows, digest)

    raw, raw_many = bulk.raw, bulk.raw_many

    sa.event.listen(store.engine, "before_cursor_execute", on_statement)
    sa.event.listen(store.engine, "commit", on_commit)
    Lake._put = on_put
    bulk.raw, bulk.raw_many = watched(raw, on_statement), watched(raw_many, on_statement)
    try:
        yield done
    finally:
        Lake._put, bulk.raw, bulk.raw_many = put, raw, raw_many
        sa.event.remove(store.engine, "before_cursor_execute", on_statement)
        sa.event.remove(store.engine, "commit", on_commit)


def feed_twice(store, made) -> None:
    """Commit the batch under test: new, held, staged, conflicting, lost and recalled rows and controls at once."""
    records = made.records(*PLACES, answer="one")
    run = made.begin(store, "b2")
    made.commit(
        store,
        run,
        records,
        made.decided(records, PLACES, campaign=("a2", "a3"), samples=("a1",), recalls=("older",), remember=True),
        lost=("x1",),
        controls=CONTROLS,
    )


@pytest.fixture
def prepared(tmp_path, made, make_sealing, settings_at):
    """A home with one committed run and a snapshot of it, to be copied."""
    home = tmp_path / "prepared"
    with open_store(settings_at(home)) as store:
        made.ingest(store, "b1", made.records("old", "older"))
        make_sealing(made.contract).seal(store)
    return home


def test_killed_at_any_write_and_run_again_equals_never_killed(tmp_path, prepared, made, settings_at, dump):
    with open_store(settings_at(shutil.copytree(prepared, tmp_path / "whole"))) as store:
        before = dump(store)
        with killed_at(store, -1) as writes:
            feed_twice(store, made)
        expected, files = dump(store), store.lake.list()
        assert count_places(store, "captcha")["recalled"] == 1
        assert last_snapshot(store, "captcha") is None  # what held the recalled record is revoked
    assert len(writes) > 15
    for write in some(len(writes), 7):
        with open_store(settings_at(shutil.copytree(prepared, tmp_path / f"killed-{write}"))) as store:
            with pytest.raises(Killed), killed_at(store, write):
                feed_twice(store, made)
            halfway = dump(store)
            assert halfway["records"] == before["records"], writes[write]
            assert verify(store).ok
            feed_twice(store, made)
            assert dump(store) == expected, writes[write]
            assert store.lake.list() == files


def test_quarantine_is_written_before_the_accepted_files(sqlite_store, made):
    with killed_at(sqlite_store, -1) as writes:
        feed_twice(sqlite_store, made)
    files = [w.split("/")[2] for w in writes if w.startswith("runs/")]
    assert files.index("quarantine") < files.index("accepted")
    last_file = max(i for i, w in enumerate(writes) if w.startswith("runs/"))
    first_row = min(i for i, w in enumerate(writes) if w.startswith("INSERT INTO records"))
    assert last_file < first_row


CHILD = """
import os, signal, sys
import sqlalchemy as sa
sys.path.insert(0, {folder!r})
import importlib.util
spec = importlib.util.spec_from_file_location("guard_builders", {builders!r})
builders = importlib.util.module_from_spec(spec)
sys.modules["guard_builders"] = builders
spec.loader.exec_module(builders)
from pathlib import Path
from poison_guard.config import parse_contract
from poison_guard.store import bulk, open_store
opened = open_store(builders.sqlite_settings(Path({home!r})))
store = opened.__enter__()
made = builders.Made(parse_contract(builders.TABLE))
def strike(conn, cursor, statement, parameters, context, many):
    if statement.startswith({at!r}):
        os.kill(os.getpid(), signal.SIGKILL)
sa.event.listen(store.engine, "after_cursor_execute", strike)
raw_many = bulk.raw_many
def insert(conn, statement, rows):
    raw_many(conn, statement, rows)
    strike(conn, None, statement, rows, None, True)
bulk.raw_many = insert
made.ingest(store, "b2", made.records("a1", "a2"), {{"a2": "quarantined"}})
"""


@pytest.mark.parametrize("at", ["INSERT INTO records", "UPDATE runs"])
def test_a_process_killed_in_its_transaction_leaves_the_store_as_it_was(prepared, made, settings_at, dump, at):
    with open_store(settings_at(prepared)) as store:
        before = dump(store)
    code = CHILD.format(
        folder=os.fspath(Path.cwd()), builders=str(Path(__file__).parents[1] / "conftest.py"), home=str(prepared), at=at
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=120)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    with open_store(settings_at(prepared)) as store:
        after = dump(store)
        assert after["runs"] != before["runs"]  # it had begun
        assert {k: v for k, v in after.items() if k != "runs"} == {k: v for k, v in before.items() if k != "runs"}
        counts = made.ingest(store, "b2", made.records("a1", "a2"), {"a2": "quarantined"})
        assert (counts["accepted"], counts["quarantined"]) == (1, 1)
        assert count_places(store, "captcha")["accepted"] == 3
        assert sum(map(len, accepted_frames(store, "captcha"))) == 3
