"""A query feed: every row once, nothing written, no secret told."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest
import sqlalchemy as sa

from poison_guard.errors import ConfigError, DataError, StoreError
from poison_guard.store.warehouse import read_query, watermark_of

QUERY = "SELECT id, note, at FROM votes WHERE note <> 'a:b';"


@pytest.fixture(params=["sqlite", "postgres"])
def warehouse(request, tmp_path) -> str:
    """A database of six votes, two of which share a time."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'warehouse.db'}"
    else:
        url = request.getfixturevalue("postgres_settings").store_url
    engine = sa.create_engine(
        sa.make_url(url).set(drivername="postgresql+psycopg") if request.param == "postgres" else url
    )
    day = dt.datetime(2026, 1, 1)  # noqa: DTZ001  as a warehouse without zones has it
    with engine.begin() as conn:
        table = sa.Table(
            "votes",
            sa.MetaData(),
            sa.Column("id", sa.Integer),
            sa.Column("note", sa.Text),
            sa.Column("at", sa.DateTime),
        )
        table.create(conn)
        rows = [(1, "x", 1), (2, "y", 2), (3, "z", 3), (4, "z", 3), (5, "a:b", 4), (6, "w", 5), (7, "late", None)]
        conn.execute(
            table.insert(),
            [{"id": i, "note": n, "at": None if d is None else day + dt.timedelta(days=d)} for i, n, d in rows],
        )
    engine.dispose()
    return url


def test_windows_follow_each_other_without_losing_ties(warehouse):
    seen, after = [], None
    while len(frame := read_query(warehouse, QUERY, watermark="at", after=after, limit=3)):
        seen.append(frame["id"].tolist())
        after = watermark_of(frame, "at")
    assert seen == [[1, 2], [3, 4, 6]]


def test_whole_numbers_are_watermarks_too(warehouse):
    frame = read_query(warehouse, "SELECT id FROM votes", watermark="id", after=None, limit=5)
    assert watermark_of(frame, "id") == "5"
    assert read_query(warehouse, "SELECT id FROM votes", watermark="id", after="5", limit=5)["id"].tolist() == [6, 7]


def test_more_ties_than_the_limit_are_an_error_not_a_loss(warehouse):
    with pytest.raises(DataError, match="raise max_rows"):
        read_query(warehouse, "SELECT id, at FROM votes WHERE id IN (3, 4)", watermark="at", after=None, limit=1)


@pytest.mark.parametrize("query", ["DELETE FROM votes", "SELECT 1; DROP TABLE votes", "", "UPDATE votes SET id = 1"])
def test_only_one_select_is_run(warehouse, query):
    with pytest.raises(ConfigError, match="one SELECT"):
        read_query(warehouse, query, watermark="at", after=None, limit=5)


def test_a_query_cannot_write(warehouse):
    writes = "WITH gone AS (DELETE FROM votes RETURNING id) SELECT id FROM gone"
    with pytest.raises(StoreError):
        read_query(warehouse, writes, watermark="id", after=None, limit=9)
    assert len(read_query(warehouse, "SELECT id FROM votes", watermark="id", after=None, limit=9)) == 7


def test_a_watermark_is_a_name_and_no_sql(warehouse):
    with pytest.raises((StoreError, ConfigError), match=r"failed|watermark in"):
        read_query(warehouse, QUERY, watermark='id" OR 1=1 --', after="1", limit=5)


def test_an_unreachable_warehouse_is_named_without_its_password():
    pytest.importorskip("psycopg", reason="psycopg is not installed here")
    with pytest.raises(StoreError, match="failed") as caught:
        read_query("postgresql://u:hunter2@127.0.0.1:1/db", QUERY, watermark="at", after=None, limit=5)
    assert "hunter2" not in str(caught.value)


def test_watermarks_keep_their_type():
    assert watermark_of(pd.DataFrame({"at": ["0015", "0007"]}), "at") == '"0015"'
    assert watermark_of(pd.DataFrame({"at": pd.Series([], dtype="str")}), "at") is None
    assert watermark_of(pd.DataFrame({"at": [dt.date(2026, 1, 2)]}), "at") == '{"date": "2026-01-02"}'
