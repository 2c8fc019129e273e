"""A store that another version made is refused in one sentence, and left as it was."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa

from poison_guard.errors import StoreError
from poison_guard.store import open_store, tables


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request, tmp_path, settings_at):
    """Return the settings of a store."""
    return request.getfixturevalue("postgres_settings") if request.param == "postgres" else settings_at(tmp_path)


def older_tables(conn):
    """Make of the store one without a format, as the unreleased versions made it."""
    conn.execute(sa.text("DROP TABLE store"))
    conn.execute(sa.text("UPDATE alembic_version SET version_num = '0004'"))


def no_number(conn):
    conn.execute(sa.text("DELETE FROM store"))


def older_number(conn):
    conn.execute(sa.text(f"UPDATE store SET format = {tables.STORE_FORMAT - 1}"))


def newer_number(conn):
    conn.execute(sa.text(f"UPDATE store SET format = {tables.STORE_FORMAT + 1}"))


@pytest.mark.parametrize(
    ("change", "age"),
    [(older_tables, "an older"), (no_number, "an older"), (older_number, "an older"), (newer_number, "a newer")],
)
def test_a_store_of_another_format_is_refused_and_left_alone(settings, made, change, age):
    with open_store(settings) as store:
        made.ingest(store, "b1", made.records("a1"))
        with store.write() as conn:
            change(conn)
    with pytest.raises(StoreError) as refusal, open_store(settings):
        pass
    sentence = str(refusal.value)
    assert f"was made by {age} poison-guard" in sentence
    assert "start a new home and keep the old folder" in sentence
    assert sentence.count("\n") == sentence.count(". ") == 0
    assert settings.store_url.partition("?")[0].rpartition("/")[2] in sentence
    engine = sa.create_engine(settings.store_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as conn:
        assert conn.execute(sa.text("SELECT count(*) FROM records")).scalar() == 1
    engine.dispose()


def test_the_refusal_does_not_show_the_password(postgres_settings):
    with open_store(postgres_settings) as store, store.write() as conn:
        newer_number(conn)
    url = sa.make_url(postgres_settings.store_url).set(password="hunter2")
    named = dataclasses.replace(postgres_settings, store_url=url.render_as_string(hide_password=False))
    with pytest.raises(StoreError) as refusal, open_store(named):
        pass
    assert "hunter2" not in str(refusal.value)


def test_a_new_store_has_one_number_however_often_it_is_opened(settings):
    for _ in range(2):
        with open_store(settings) as store, store.read() as conn:
            assert list(conn.execute(sa.select(tables.store_format.c.format)).scalars()) == [tables.STORE_FORMAT]
