"""Erasing a source destroys what it sent, everywhere, and nothing else; the audit accepts what is left."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from poison_guard.config import parse_contract
from poison_guard.errors import StaleStateError, TamperError, UsageError
from poison_guard.steps.erase import erase
from poison_guard.steps.review import release, undo
from poison_guard.store import (
    accepted_frames,
    add_trusted,
    count_places,
    erasure,
    explain,
    find_records,
    load_snapshot,
    open_store,
    outbox,
    tables,
    verify,
)
from tests.integration.conftest import TABLE, Made, feed_of, sqlite_settings
from tests.integration.store.conftest import Sealing
from tests.integration.store.test_audit_tampering import write_history
from tests.integration.store.test_crash import Killed, killed_at
from tests.thorough import some

MALLORY = "mallory-7d1f"
WHO = {"by": "ann", "reason": "the person asked for it"}


@pytest.fixture
def made() -> Made:
    return Made(parse_contract(TABLE))


def fill(store, made) -> None:
    """Write a long history, and in the middle of it what mallory sent."""
    mine = made.records("evil-1", "evil-2", "evil-3", "evil-4", answer="mallory-says", source=MALLORY)
    mine["item_id"] = pd.Series(["word-1", "word-1", "mallory-item", "word-2"], dtype="str")
    write_history(store, made)
    both = pd.concat([mine, made.records("ok-1", "ok-2")], ignore_index=True)
    places = {"evil-2": "quarantined", "evil-4": "staged"}
    made.ingest(store, "m1", both, places, samples=("evil-1",), remember=True)
    made.ingest(store, "m2", made.records("evil-1", answer="mallory-again", source=MALLORY))
    release(feed_of(store, made.contract), record_ids=["evil-2"], by="ann", reason="fine", now=made.now)
    vetted = find_records(store, "captcha", record_ids=["evil-2"])
    payload = next(part for part in accepted_frames(store, "captcha") if "evil-2" in set(part["record_id"]))
    add_trusted(
        store, made.contract, payload[payload["record_id"].isin(vetted["record_id"])], by="ann", reason="good",
        from_review=True, now=made.now,
    )  # fmt: skip
    Sealing(made.contract).seal(store, now=made.now)


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("filled") / "home"
    with open_store(sqlite_settings(home)) as store:
        fill(store, Made(parse_contract(TABLE)))
        assert verify(store).ok
    return home


@pytest.fixture
def home(filled, tmp_path) -> Path:
    return shutil.copytree(filled, tmp_path / "home")


def bytes_of(home: Path) -> bytes:
    """Return all bytes of the store and the lake, with the cells of the lake's files as text."""
    cells = [pd.read_parquet(file).astype("str").to_csv().encode() for file in (home / "lake").rglob("*.parquet")]
    return b"".join([*(file.read_bytes() for file in home.rglob("*") if file.is_file()), *cells])


def places(store):
    return count_places(store, "captcha")


def test_nothing_of_the_source_is_left_in_store_and_lake_and_the_audit_accepts_it(home, made):
    assert b"mallory" in bytes_of(home)
    with open_store(sqlite_settings(home)) as store:
        feed, before = feed_of(store, made.contract), places(store)
        plan = erase(feed, MALLORY, **WHO, dry_run=True, now=made.now)
        done = erase(feed, MALLORY, **WHO, now=made.now)
        assert (plan.records, plan.trusted, plan.files) == (done.records, done.trusted, done.files)
        assert plan.revocation.revoked == done.revocation.revoked
        assert (done.records, done.trusted) == (5, 1)
        assert done.revocation.revoked
        result = verify(store)
        assert result.ok, result.why
        assert sum(places(store).values()) == sum(before.values())
        assert all(load_snapshot(store, name).revoked_seq for name in done.revocation.revoked)
    left = bytes_of(home)
    for word in (b"mallory", b"evil-"):
        assert word not in left


@pytest.mark.parametrize("writers", [1, 5])
def test_an_erasure_is_planned_again_where_somebody_writes_meanwhile_and_five_times_at_most(
    home, made, monkeypatch, writers
):
    plan, left = erasure.plan_of, list(range(writers))

    def plan_and_be_overtaken(store, conn, contract, source):
        planned = plan(store, conn, contract, source)
        if left:
            made.ingest(store, f"meanwhile-{left[0]}", made.records(f"new-{left.pop(0)}"))
        return planned

    monkeypatch.setattr(erasure, "plan_of", plan_and_be_overtaken)
    with open_store(sqlite_settings(home)) as store:
        feed = feed_of(store, made.contract)
        if writers < 5:
            assert erase(feed, MALLORY, **WHO, now=made.now).records == 5
            assert verify(store).ok
        else:
            with pytest.raises(StaleStateError, match="stop its runs and try again"):
                erase(feed, MALLORY, **WHO, now=made.now)


def test_what_others_sent_stays_as_it_is(home, made):
    def others(store):
        frames = [part[part["source_id"] != MALLORY] for part in accepted_frames(store, "captcha")]
        whole = pd.concat(frames, ignore_index=True).sort_values("record_id", ignore_index=True)
        rows = find_records(store, "captcha")
        rows = rows[(rows["source_id"] != MALLORY) & ~rows["record_id"].str.startswith("erased-")]
        return whole, rows.drop(columns=["file_id"]).sort_values("record_id", ignore_index=True)

    with open_store(sqlite_settings(home)) as store:
        payloads, rows = others(store)
        erase(feed_of(store, made.contract), MALLORY, **WHO, now=made.now)
        after, left = others(store)
        pd.testing.assert_frame_equal(after, payloads)
        pd.testing.assert_frame_equal(left, rows)


def test_the_feed_goes_on_after_an_erasure(home, made):
    with open_store(sqlite_settings(home)) as store:
        feed = feed_of(store, made.contract)
        done = erase(feed, MALLORY, **WHO, now=made.now)
        with pytest.raises(UsageError, match="cannot be undone"):
            undo(feed, done.event, by="ann", reason="oh", now=made.now)
        tomb = find_records(store, "captcha", record_ids=None)
        tomb = tomb[tomb["record_id"].str.startswith("erased-")]
        assert set(tomb["place"]) <= {"recalled", "rejected"}
        assert explain(store, "captcha", tomb["record_id"].iloc[0])["payload"] == {}
        made.ingest(store, "m3", made.records("evil-1", "new-1", source=MALLORY), remember=True)  # is a new record now
        Sealing(made.contract).seal(store, now=made.now)
        again = erase(feed, MALLORY, **WHO, now=made.now)
        assert again.records == 2
        result = verify(store)
        assert result.ok, result.why


def test_erasing_again_changes_nothing(home, made, dump):
    with open_store(sqlite_settings(home)) as store:
        feed = feed_of(store, made.contract)
        erase(feed, MALLORY, **WHO, now=made.now)
        before, files = dump(store), store.lake.list()
        again = erase(feed, MALLORY, **WHO, now=made.now)
        assert (again.event, again.records, again.files) == (None, 0, 0)
        assert "nothing is held" in str(again)
        assert (dump(store), store.lake.list()) == (before, files)


def test_killed_anywhere_and_run_again_an_erasure_ends(filled, made, tmp_path):
    with open_store(sqlite_settings(shutil.copytree(filled, tmp_path / "whole"))) as store:
        with killed_at(store, -1) as writes:
            erase(feed_of(store, made.contract), MALLORY, **WHO, now=made.now)
        expected, files = places(store), len(store.lake.list())
    assert len(writes) > 30
    for write in some(len(writes), 16):
        home = shutil.copytree(filled, tmp_path / f"killed-{write}")
        with open_store(sqlite_settings(home)) as store:
            feed = feed_of(store, made.contract)
            with pytest.raises(Killed), killed_at(store, write):
                erase(feed, MALLORY, **WHO, now=made.now)
            assert verify(store).ok, writes[write]
            erase(feed, MALLORY, **WHO, now=made.now)
            assert verify(store).ok, writes[write]
            assert (places(store), outbox.pending(store)) == (expected, [])
            assert len(store.lake.list()) == files
        assert b"mallory" not in bytes_of(home), writes[write]
        shutil.rmtree(home)


def test_no_salt_of_what_was_erased_is_left(home, made):
    c = tables.seals.c
    with open_store(sqlite_settings(home)) as store:
        with store.read() as conn:
            groups = set(
                conn.execute(sa.text("SELECT changed_seq FROM records WHERE record_id LIKE 'evil-%'")).scalars()
            )
            old = set(conn.execute(sa.select(c.salt).where(c.tbl == "records", c.grp.in_(groups))).scalars())
            secret = conn.execute(sa.select(tables.chain.c.secret)).scalar_one()
        erase(feed_of(store, made.contract), MALLORY, **WHO, now=made.now)
        with store.read() as conn:
            new = set(conn.execute(sa.select(c.salt)).scalars())
            assert conn.execute(sa.select(tables.chain.c.secret)).scalar_one() != secret
    assert old
    assert not (old - {None}) & new
    left = bytes_of(home)
    assert not any(salt.encode() in left for salt in old if salt)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET answer = 'nine' WHERE record_id = 'ok-1'",
        "DELETE FROM records WHERE record_id = 'ok-2'",
        "UPDATE manifests SET sha256 = 'x' WHERE lane = 'accepted'",
        "UPDATE ledger SET n = 7",
    ],
)
def test_an_erasure_seals_nothing_that_was_changed_past_the_guard(home, made, statement):
    with open_store(sqlite_settings(home)) as store:
        with store.engine.begin() as conn:
            conn.execute(sa.text(statement))
        with pytest.raises(TamperError):
            erase(feed_of(store, made.contract), MALLORY, **WHO, now=made.now)
        assert not verify(store).ok


def test_a_tombstone_that_is_edited_is_found(home, made):
    with open_store(sqlite_settings(home)) as store:
        erase(feed_of(store, made.contract), MALLORY, **WHO, now=made.now)
        with store.engine.begin() as conn:
            conn.execute(sa.text("UPDATE records SET place = 'accepted' WHERE record_id LIKE 'erased-%'"))
        assert verify(store).table == "records"


def test_an_erasure_on_postgres(postgres_store, made):
    store = postgres_store
    fill(store, made)
    done = erase(feed_of(store, made.contract), MALLORY, **WHO, now=made.now)
    assert done.records == 5
    result = verify(store)
    assert result.ok, result.why
    with store.read() as conn:
        for table in tables.METADATA.tables.values():
            for row in conn.execute(sa.select(table)):
                assert "mallory" not in repr(tuple(row)), table.name
