"""Every row, column and file that training rests on: edited, removed, added, moved or put back, the audit names it."""

from __future__ import annotations

import datetime as dt
import shutil
import sqlite3
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from poison_guard.config import Settings, parse_contract
from poison_guard.config.policies import GatePolicy
from poison_guard.records import ObjectRef
from poison_guard.steps.review import recall, reject, release, undo
from poison_guard.store import add_trusted, open_store, tables, verify
from poison_guard.store.admissions import add_admission, add_approval, add_verdict
from poison_guard.store.audit import Anchor
from poison_guard.store.blocks import set_blocked
from poison_guard.store.models import add_model, promote, set_metrics
from poison_guard.store.outcomes import add_outcomes
from poison_guard.store.people import add_user
from poison_guard.store.seals import SEALED
from poison_guard.store.source_rules import add_rule
from tests.integration.conftest import TABLE, Made, feed_of, sqlite_settings
from tests.integration.store.conftest import Sealing

CONTROLS = pd.DataFrame({"item_id": ["word-1"], "answer": ["seven"]})
WEEK = dt.timedelta(days=7)


def write_history(store, made: Made) -> None:
    """Write at least one row into each table: runs, conflicts, reviews, undo, seal, gate, models, recall, outcomes."""
    feed, sealing = feed_of(store, made.contract), Sealing(made.contract)
    who = {"by": "ann", "reason": "looked at them", "now": made.now}
    add_trusted(store, made.contract, made.records("t1", "t2", "t3"), **who)
    first = made.records("a1", "a2", "a3", "a4", "a5", source="user-1")
    made.commit(
        store,
        made.begin(store, "b1"),
        first,
        made.decided(first, {"a2": "quarantined", "a3": "rejected", "a4": "staged"}, samples=("a1",), remember=True),
        lost=("x1",),
        controls=CONTROLS,
        nonces=pd.DataFrame({"nonce": ["n1", "n2"], "record_id": ["h1", "h2"], "sent_at": [made.now, made.now - WEEK]}),
    )
    made.ingest(store, "b2", made.records("a5", "b1", "b2", answer="one"), {"b2": "quarantined"}, campaign=("b1", "b2"))
    made.ingest(store, "b3", made.records("a4", "c1", "c2"), remember=True)
    release(feed, record_ids=["a2"], **who)
    done = reject(feed, record_ids=["b2"], **who)
    undo(feed, done.seq, **who)
    where = {"feed": "captcha", "namespace": made.contract.namespace, "source_id": "user-2"}
    set_blocked(store, **where, by="ann", reason="bot", at=made.now, blocked=True)
    said = pd.DataFrame({"record_id": ["a1", "c1"], "correct": [True, False], "visible_at": [made.now + WEEK] * 2})
    add_outcomes(store, made.contract, said, objects=[ObjectRef("o.csv", "d-o", 1, 2)], now=made.now + WEEK)
    sealed = sealing.seal(store, now=made.now)
    policy = GatePolicy()
    verdict = add_verdict(
        store, "captcha", snapshot_id=sealed.snapshot_id, outcome="inconclusive", verdict={"checks": []},
        policy_hash=policy.hash, policy=policy, now=made.now,
    )  # fmt: skip
    given = {"snapshot_id": sealed.snapshot_id, "verdict_seq": verdict}
    add_approval(store, "captcha", **given, by="bob", reason="small", same=str.__eq__, now=made.now)
    admission = add_admission(
        store, "captcha", **given, envelope="{}", digest="d" * 64, issued=made.now, expires=made.now + WEEK
    )
    model = add_model(
        store, "captcha", snapshot_id=sealed.snapshot_id, admission_seq=admission, path="m", sha256="00", config={},
        now=made.now,
    )  # fmt: skip
    set_metrics(store, model.model_id, {"accuracy": 0.9}, now=made.now)
    promote(store, model.model_id, why="better", now=made.now)
    made.ingest(store, "b4", made.records("d1", "d2"), campaign=("d1",), recalls=("c2",))
    recall(feed, record_ids=["c1"], **who)
    add_user(store, "ann", "hash", {"*": "admin"}, by="ann", at=made.now, first=True)
    for name in ("user-0", "user-1"):
        add_rule(store, "captcha", name, "block", expires=None, by="ann", reason="spam", at=made.now)


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> Path:
    """Return a home with a long history, to be copied."""
    home = tmp_path_factory.mktemp("history") / "home"
    with open_store(sqlite_settings(home)) as store:
        write_history(store, Made(parse_contract(TABLE)))
        result = verify(store)
        assert result.ok, result.why
        assert result.rows > 60
        assert result.files > 10
    with sqlite3.connect(home / "store.db") as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return home


@pytest.fixture
def home(history, tmp_path) -> Path:
    """Return a copy of the home, to be tampered with."""
    return shutil.copytree(history, tmp_path / "home")


def edit(home: Path, *statements: str) -> int:
    """Run SQL past the guard and return how many rows it changed."""
    with sqlite3.connect(home / "store.db") as raw:
        raw.execute("PRAGMA ignore_check_constraints = ON")
        return sum(raw.execute(statement).rowcount for statement in statements)


def audited(home: Path, **more):
    with open_store(sqlite_settings(home)) as store:
        return verify(store, **more)


def test_nonces_too_old_to_come_again_leave_and_the_audit_is_whole(tmp_path):
    made = Made(parse_contract(TABLE))
    with open_store(sqlite_settings(tmp_path / "home")) as store:
        for k in range(2):
            now = made.now + k * 6 * WEEK
            nonces = pd.DataFrame({"nonce": [f"n{k}"], "record_id": [f"h{k}"], "sent_at": [now]})
            made.commit(store, made.begin(store, f"b{k}"), made.records(f"a{k}"), nonces=nonces, now=now)
        with store.read() as conn:
            assert conn.scalars(sa.select(tables.nonces.c.nonce)).all() == ["n1"]
        assert verify(store).ok


FREE = {
    ("queue", "entry_id"),
    ("queue", "preview"),
    ("queue", "claimed_by"),
    ("queue", "token"),
    ("queue", "lease_until"),
    ("seals", "tags"),
    ("chain", "secret"),
}
"""Columns that change without an event; tags only help to name a row, and the secret is for salts to come."""
UNSEALED = ("queue_counts", "jobs", "sessions", "sign_ins", "views", "checks")
"""What follows from other rows, comes and goes by itself, or moves no record."""
WATCHED = [
    table
    for table in tables.METADATA.tables.values()
    if table.name not in ("store", "outbox", "chain", *UNSEALED)  # opening refuses another format or head
]
COLUMNS = [
    (table.name, column.name) for table in WATCHED for column in table.columns if (table.name, column.name) not in FREE
]


def changed_value(column: sa.Column) -> str:
    """Return SQL for another value of a column's kind."""
    name = f'"{column.name}"'
    match column.type:
        case sa.Boolean():
            return f"1 - {name}"
        case sa.Float():
            return f"{name} + 0.25"
        case sa.Text():
            return f"coalesce({name}, '') || 'x'"
        case _:
            return f"coalesce({name}, 0) + 1000"


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_a_changed_cell_is_found_and_its_row_is_named(home, table, column):
    values = changed_value(tables.METADATA.tables[table].c[column])
    where = {"runs": "status = 'committed'"}.get(table, "1")
    pick = f'SELECT max(rowid) FROM "{table}" WHERE {where}'
    assert edit(home, f'UPDATE "{table}" SET "{column}" = {values} WHERE rowid = ({pick})') == 1
    result = audited(home)
    assert not result.ok
    assert result.table == table or column == "salt"  # then the rows that it salts do not fit any more
    assert result.key
    assert result.first_bad
    assert result.why


@pytest.mark.parametrize("table", [table.name for table in WATCHED])
@pytest.mark.parametrize("which", ["min", "max"])
def test_a_removed_row_is_found(home, table, which):
    where = {"runs": "status = 'committed'"}.get(table, "1")
    pick = f'SELECT {which}(rowid) FROM "{table}" WHERE {where}'
    assert edit(home, f'DELETE FROM "{table}" WHERE rowid = ({pick})') == 1
    result = audited(home)
    assert not result.ok
    assert result.table in (table, "chain")
    assert result.first_bad


@pytest.mark.parametrize("table", [table.name for table in WATCHED])
def test_an_added_row_is_found(home, table):
    columns = tables.METADATA.tables[table].columns
    keys = [
        c.name
        for c in columns
        if c.primary_key or (table, c.name) in (("manifests", "path"), ("runs", "batch_id"), ("queue", "record_id"))
    ]
    first = "feed" if "feed" in keys and len(keys) == 1 else next((k for k in reversed(keys) if k != "feed"), None)
    shown = ", ".join(changed_value(c) if (c.name in keys and c.name not in ("feed", "seq")) or c.name == first
                      else f'"{c.name}"' for c in columns)  # fmt: skip
    where = {"runs": "status = 'committed'", "models": "status <> 'champion'"}.get(table, "1")
    if table == "models":  # a feed has one champion
        shown = shown.replace('"status"', "'retired'")
        where = "1"
    names = ", ".join(f'"{c.name}"' for c in columns)
    assert edit(home, f'INSERT INTO "{table}" ({names}) SELECT {shown} FROM "{table}" WHERE {where} LIMIT 1') == 1
    result = audited(home)
    assert not result.ok
    assert result.table in (table, "chain", "events")
    assert result.first_bad


@pytest.mark.parametrize("table", [sealed.name for sealed in SEALED.values()])
def test_a_row_under_the_number_of_another_event_is_found(home, table):
    group = SEALED[table].group
    other = "(SELECT seq FROM events WHERE kind = 'gate.verdict')"
    where = "commit_seq IS NOT NULL" if table == "runs" else "1"
    pick = f'SELECT min(rowid) FROM "{table}" WHERE {where}'
    assert edit(home, f'UPDATE "{table}" SET {group} = {other} WHERE rowid = ({pick})') == 1
    result = audited(home)
    assert not result.ok
    assert result.table == table
    assert result.key


@pytest.mark.parametrize("table", [sealed.name for sealed in SEALED.values()])
def test_all_rows_of_a_table_gone_is_found(home, table):
    assert edit(home, f'DELETE FROM "{table}"') > 0
    assert audited(home).table == table


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("UPDATE items SET label = '9' WHERE adopted = 1", "items"),
        ("UPDATE records SET place = 'accepted' WHERE place = 'quarantined'", "records"),
        ("UPDATE records SET verdict = 1 WHERE place = 'rejected'", "records"),
        ("UPDATE trusted SET split = 'holdout'", "trusted"),
        ("UPDATE snapshots SET revoked_seq = NULL, revoked_why = NULL", "snapshots"),
        ("UPDATE models SET status = 'retired'", "models"),
        ("UPDATE ledger SET blocked = 0", "ledger"),
        ("DELETE FROM reviews WHERE verb = 'recall'", "reviews"),
        ("UPDATE queue SET state = 'done' WHERE state = 'open'", "queue"),
        ("DELETE FROM seals", "seals"),
        ("UPDATE seals SET salt = NULL", "trusted"),
        ("UPDATE seals SET seq = seq + 1 WHERE seq = (SELECT max(seq) FROM seals)", "seals"),
        ("UPDATE feeds SET last_seq = 1", "feeds"),
        ("UPDATE records SET seq = 2, changed_seq = 1 WHERE record_id = 'c1'", "records"),
        ("UPDATE evidence SET p = 1", "evidence"),
        ("UPDATE verdicts SET outcome = 'pass'", "verdicts"),
        ("UPDATE approvals SET actor = 'eve'", "approvals"),
        ("UPDATE admissions SET expires = expires + 1", "admissions"),
        ("UPDATE policies SET body = '{}'", "policies"),
        ("UPDATE objects SET digest = digest || '0'", "objects"),
        ("UPDATE events SET at = 'yesterday' WHERE seq = 3", "events"),
        ("UPDATE events SET body = x'00ff' WHERE seq = 3", "events"),
        ("UPDATE events SET seq = 'three' WHERE seq = 3", "events"),
        ("UPDATE events SET hash = 7 WHERE seq = 3", "events"),
        ("UPDATE chain SET secret = 3", "chain"),
        ("UPDATE seals SET total = 'x' WHERE seq = 2", "seals"),
        ("UPDATE seals SET grp = 'x' WHERE seq = 2 AND tbl = 'records'", "seals"),
        ("UPDATE records SET changed_seq = 'two' WHERE record_id = 'a1'", "records"),
        ("UPDATE records SET risk = 'high' WHERE record_id = 'a1'", "records"),
        ("UPDATE records SET answer = x'ff00' WHERE record_id = 'a1'", "records"),
        ("UPDATE records SET answer = CAST(x'ff80' AS TEXT) WHERE record_id = 'a1'", "records"),
        ("UPDATE records SET answer = zeroblob(20000000) WHERE record_id = 'a1'", "records"),
        ("UPDATE manifests SET seq = 'x', path = 3 WHERE file_id = 1", "manifests"),
        ("UPDATE manifests SET path = '../../etc/passwd' WHERE file_id = 1", "manifests"),
        ("UPDATE runs SET commit_seq = NULL WHERE rowid = 1", "runs"),
        ("UPDATE runs SET status = 'open', commit_seq = NULL WHERE rowid = 1", "runs"),
        ("UPDATE reviews SET undone_by = 'x' WHERE verb = 'release'", "reviews"),
        ("UPDATE feeds SET created_at = 'x'", "feeds"),
        ("UPDATE models SET seq = 'x', made_at = 'x'", "models"),
    ],
)  # fmt: skip
def test_what_decides_training_or_is_garbage_is_found(home, statement, table):
    assert edit(home, statement) >= 1
    result = audited(home)
    assert not result.ok
    assert result.table == table
    assert result.why


def test_a_row_put_back_to_an_older_version_is_found(home):
    with sqlite3.connect(home / "store.db") as raw:
        row = raw.execute("SELECT * FROM records WHERE record_id = 'd2'").fetchone()
        marks = ", ".join("?" * len(row))
    with open_store(sqlite_settings(home)) as store:
        recall(
            feed_of(store, parse_contract(TABLE)),
            record_ids=["d2"],
            by="ann",
            reason="late",
            now=Made(None).now,  # type: ignore[arg-type]
        )
        assert verify(store).ok
    with sqlite3.connect(home / "store.db") as raw:
        raw.execute("DELETE FROM records WHERE record_id = 'd2'")
        raw.execute(f"INSERT INTO records VALUES ({marks})", row)
    result = audited(home)
    assert (result.ok, result.table) == (False, "records")


def test_what_was_tampered_with_stays_found_after_the_guard_moved_it(home):
    edit(home, "UPDATE records SET answer = 'nine' WHERE record_id = 'd2'")
    with open_store(sqlite_settings(home)) as store:
        made = Made(parse_contract(TABLE))
        recall(feed_of(store, made.contract), record_ids=["d2"], by="ann", reason="late", now=made.now)
        result = verify(store)
    assert (result.ok, result.table) == (False, "records")


LAKE_EDITS = {
    "gone": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "one byte": lambda file: file.write_bytes(file.read_bytes()[:-1] + b"\0"),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize("change", LAKE_EDITS)
@pytest.mark.parametrize("lane", ["accepted", "quarantine", "unreadable", "memory", "sources", "trusted", "snapshot"])
def test_a_changed_lake_file_is_found_and_named(home, lane, change):
    with sqlite3.connect(home / "store.db") as raw:
        path, seq = raw.execute("SELECT path, seq FROM manifests WHERE lane = ? ORDER BY seq", (lane,)).fetchone()
    LAKE_EDITS[change](home / "lake" / path)
    result = audited(home)
    assert (result.ok, result.table, result.key, result.first_bad) == (False, "lake", path, seq)


def test_two_files_that_change_places_are_found(home):
    with sqlite3.connect(home / "store.db") as raw:
        one, two = (home / "lake" / path for (path,) in raw.execute("SELECT path FROM manifests LIMIT 2"))
    body = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(body)
    assert audited(home).table == "lake"


def test_a_store_cut_at_its_head_is_found_by_the_mark_and_by_an_anchor(home, history, tmp_path):
    older = shutil.copytree(history, tmp_path / "older")
    with open_store(sqlite_settings(home)) as store:
        made = Made(parse_contract(TABLE))
        made.ingest(store, "b9", made.records("z1"))
        with store.read() as conn:
            seq, top = conn.execute(sa.text("SELECT seq, hash FROM chain")).one()
        assert verify(store).ok
    for name in ("store.db", "store.db-wal", "store.db-shm"):
        (home / name).unlink(missing_ok=True)
        if (older / name).exists():
            shutil.copy(older / name, home / name)
    result = audited(home)
    assert (result.ok, result.table) == (False, "mark")
    assert "an older copy of the database was put back" in result.why
    (home / "key.head").unlink()
    assert audited(home).ok  # nothing beside the key, nothing kept elsewhere: it cannot be seen
    result = audited(home, anchors=[Anchor(seq, top, "", "the anchor")])
    assert (result.ok, result.table, result.first_bad) == (False, "anchor", seq)


def test_the_last_runs_alone_are_recomputed(home):
    edit(home, "UPDATE records SET answer = 'nine' WHERE record_id = 'a1'")
    assert not audited(home).ok
    assert audited(home, last_runs=1).ok
    assert not audited(home, last_runs=4).ok
    edit(home, "UPDATE records SET answer = 'nine' WHERE record_id = 'd1'")
    assert audited(home, last_runs=1).key == "captcha/d1"


@pytest.fixture(scope="module")
def history_on_postgres(tmp_path_factory, reused_database):
    """A whole history on Postgres: its database, how to open it, and all of its rows."""
    database, first = reused_database
    database.put_back(first)
    home = tmp_path_factory.mktemp("history-on-postgres")
    settings = Settings(home, str(home / "lake"), database.url, home / "key")
    with open_store(settings) as store:
        write_history(store, Made(parse_contract(TABLE)))
        assert verify(store).ok
    return database, settings, database.rows()


@pytest.mark.parametrize(
    ("statement", "key"),
    [
        ("UPDATE records SET answer = 'nine' WHERE record_id = 'a1'", "records"),
        ("UPDATE items SET label = '9' WHERE adopted", "items"),
        ("DELETE FROM ledger WHERE seq = (SELECT min(seq) FROM ledger)", "ledger"),
        ("UPDATE trusted SET split = 'holdout' WHERE record_id = 't1'", "trusted"),
        ("UPDATE reviews SET actor = 'eve' WHERE verb = 'release'", "reviews"),
        ("UPDATE queue SET changed_seq = 1", "queue"),
        ("UPDATE models SET status = 'retired'", "models"),
        ("DELETE FROM seals WHERE tbl = 'records'", "seals"),
        ("UPDATE runs SET counts = '{}'", "runs"),
        ("INSERT INTO policies VALUES ('x', '{}', 0)", "policies"),
    ],
)  # fmt: skip
def test_postgres_is_audited_alike(history_on_postgres, statement, key):
    database, settings, rows = history_on_postgres
    database.put_back(rows)
    with open_store(settings) as store:
        with store.engine.begin() as conn:
            assert conn.execute(sa.text(statement)).rowcount >= 1
        result = verify(store)
        assert (result.ok, result.table) == (False, key)
