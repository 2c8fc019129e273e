"""A store that the first migration made is brought up to date with all it holds."""

from __future__ import annotations

import shutil

import pytest
import sqlalchemy as sa

from poison_guard.records import Place
from poison_guard.review import recall
from poison_guard.store import find_records, last_snapshot, open_store, verify
from poison_guard.store.migrate import HEAD, alembic_config


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
            assert conn.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == HEAD
        assert dump(store) == before
        assert verify(store).ok
        sealing = make_sealing(made.contract)
        snapshot = sealing.seal(store)
        accepted = find_records(store, "captcha", places=[Place.ACCEPTED])
        assert sealing.members(store, snapshot) == dict(
            zip(accepted["record_id"], accepted["content_hash"], strict=True)
        )
        assert last_snapshot(store, "captcha") == snapshot
