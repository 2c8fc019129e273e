"""A store that the first migration made is brought up to date with all it holds."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
import sqlalchemy as sa

from poison_guard.records import Place
from poison_guard.steps.review import recall, reject, release, undo
from poison_guard.store import find_records, last_snapshot, open_store, verify
from poison_guard.store.engine import TABLES_REVISION, alembic_config
from poison_guard.store.reading import load_sources, load_verified_answers


def downgrade(store, revision):
    from alembic import command

    config = alembic_config()
    with store.write() as conn:
        config.attributes["connection"] = conn
        command.downgrade(config, revision)


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request, tmp_path, migrated_home, settings_at):
    """Return the settings of a store."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_settings")
    return settings_at(shutil.copytree(migrated_home, tmp_path / "old"))


def test_a_store_of_the_first_migration_keeps_its_data_and_can_seal(settings, make_made, make_sealing, dump):
    made = make_made(kind="telemetry", columns={"record_id": "id", "source_id": "user", "features": ["speed"]})
    with open_store(settings) as store:
        made.ingest(store, "b1", made.records("r1", "r2", "r3"), {"r3": "quarantined"})
        recall(store, made.contract, by="ann", reason="poison", record_ids=["r1"], now=made.now)
        before = dump(store)
        downgrade(store, "0001")
        with store.read() as conn:
            seen = sa.inspect(conn)
            assert "snapshots" not in seen.get_table_names()
            assert "ix_records_feed_seq" not in {index["name"] for index in seen.get_indexes("records")}
    with open_store(settings) as store:
        with store.read() as conn:
            assert conn.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == TABLES_REVISION
        assert dump(store) == before
        assert verify(store).ok
        sealing = make_sealing(made.contract)
        snapshot = sealing.seal(store)
        accepted = find_records(store, "captcha", places=[Place.ACCEPTED])
        assert sealing.members(store, snapshot) == dict(
            zip(accepted["record_id"], accepted["content_hash"], strict=True)
        )
        assert last_snapshot(store, "captcha") == snapshot


def test_a_store_of_the_second_migration_keeps_what_reviewers_said(settings, make_made):
    made = make_made()
    who = {"by": "ann", "reason": "looked", "now": made.now}
    records = made.records("r1", "r2", "r3", "r4").assign(source_since=made.now)
    with open_store(settings) as store:
        made.ingest(store, "b1", records, {"r3": "quarantined", "r4": "quarantined"})
        wrong = reject(store, made.contract, record_ids=["r1", "r3"], **who)
        release(store, made.contract, record_ids=["r4"], **who)
        undo(store, made.contract, wrong.seq, **who)
        reject(store, made.contract, record_ids=["r3"], **who)
        said, ledger = load_verified_answers(store, made.contract), load_sources(store, made.contract)
        assert said["right"].tolist().count(True) == said["right"].tolist().count(False) == 1
        downgrade(store, "0002")
    with open_store(settings) as store:
        pd.testing.assert_frame_equal(load_verified_answers(store, made.contract), said)
        pd.testing.assert_frame_equal(load_sources(store, made.contract), ledger)
        assert verify(store).ok
        assert find_records(store, "captcha")["source_since"].isna().all(), "the payloads still know"
        assert made.ingest(store, "b1", records)["accepted"] == 2
        made.ingest(store, "b2", made.records("r5").assign(source_since=made.now))
        assert find_records(store, "captcha", record_ids=["r5"])["source_since"].iloc[0] == made.now
