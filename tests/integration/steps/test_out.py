"""[out]: what was decided about each record stands in a table and in files of the user's, once, as it is now."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from poison_guard.guard import Guard

_CONTRACT = """
name = "people"
kind = "examples"
mode = "observe"
[data]
path = "in/*.jsonl"
[columns]
record_id = "id"
source_id = "who"
prompt = "ask"
[policy]
required = ["validation"]
[out]
path = "decisions"
table = "guard_decisions"
"""


def _day(folder, number: int, ids: range) -> None:
    rows = [{"id": f"r{i}", "who": f"u{i % 3}", "ask": f"text {i}"} for i in ids]
    (folder / "in").mkdir(exist_ok=True)
    (folder / "in" / f"day{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def guard(tmp_path, monkeypatch) -> Guard:
    monkeypatch.setenv("POISON_GUARD_OUT_URL", f"sqlite:///{tmp_path}/own.db")
    (tmp_path / "people.toml").write_text(_CONTRACT)
    _day(tmp_path, 1, range(10))
    opened = Guard.open(tmp_path / "people.toml", home=tmp_path / "home")
    opened.ingest()
    return opened


def _table(guard: Guard) -> pd.DataFrame:
    engine = sa.create_engine(f"sqlite:///{guard.contract_path.parent}/own.db")
    try:
        return pd.read_sql("select * from guard_decisions order by record_id", engine)
    finally:
        engine.dispose()


def _files(guard: Guard) -> pd.DataFrame:
    """Return the rows that count: of each record the one with the highest number."""
    found = sorted((guard.contract_path.parent / "decisions" / "people").glob("*.parquet"))
    rows = pd.concat([pd.read_parquet(file) for file in found]).sort_values("seq")
    return rows.drop_duplicates("record_id", keep="last").sort_values("record_id", ignore_index=True)


def test_each_record_has_one_row_that_says_where_it_is(guard):
    for rows in (_table(guard), _files(guard)):
        assert rows["record_id"].tolist() == [f"r{i}" for i in range(10)]
        assert set(rows["place"]) == {"accepted"}
        assert rows["row"].tolist() == list(range(1, 11))
        assert rows["object"].str.endswith("day1.jsonl").all()
        assert rows["run"].str.startswith("people-").all()


def test_the_same_again_writes_nothing_twice_and_later_events_replace_a_row(guard):
    before = _files(guard)
    guard.ingest()
    pd.testing.assert_frame_equal(_files(guard), before)
    assert len(list((guard.contract_path.parent / "decisions" / "people").iterdir())) == 1
    _day(guard.contract_path.parent, 2, range(10, 15))
    guard.ingest()
    guard.recall(record_ids=["r3"], by="ann", reason="wrong")
    for rows in (_table(guard), _files(guard)):
        assert len(rows) == 15
        assert dict(zip(rows["record_id"], rows["place"], strict=True))["r3"] == "recalled"
        assert (rows["place"] == "accepted").sum() == 14


def test_what_is_erased_is_erased_there_too(guard):
    guard.seal()
    guard.erase("u1", by="ann", reason="asked to")
    for file in (guard.home / "lake").rglob("*.parquet"):
        assert "text 4" not in str(pq.read_table(file).to_pylist())
    for rows in (_table(guard), _files(guard)):
        assert not {"r1", "r4", "r7"} & set(rows["record_id"])
        assert {"r0", "r2"} <= set(rows["record_id"])


def test_a_place_that_fails_holds_nothing_up_and_is_caught_up_with_later(guard, monkeypatch, caplog):
    right = f"sqlite:///{guard.contract_path.parent}/own.db"
    monkeypatch.setenv("POISON_GUARD_OUT_URL", f"sqlite:///{guard.contract_path.parent}/nowhere/own.db")
    _day(guard.contract_path.parent, 2, range(10, 15))
    assert len(guard.ingest().decisions) == 5
    assert "cannot be written" in caplog.text
    monkeypatch.setenv("POISON_GUARD_OUT_URL", right)
    _day(guard.contract_path.parent, 3, range(15, 17))
    guard.ingest()
    assert len(_table(guard)) == len(_files(guard)) == 17
