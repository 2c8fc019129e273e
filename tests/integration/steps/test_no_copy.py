"""copy = false: no second copy of a record; what needs its content reads the file again, or says why it cannot."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from poison_guard.config.contract import parse_contract
from poison_guard.errors import ConfigError, DataError
from poison_guard.guard import Guard
from poison_guard.steps.examples import load_examples
from poison_guard.steps.opening import open_feed
from poison_guard.store.snapshots import last_snapshot

_CONTRACT = """
name = "notes"
kind = "examples"
mode = "observe"
[data]
path = "in.jsonl"
copy = false
[columns]
record_id = "id"
text = "body"
label = "tag"
[policy]
required = ["validation"]
"""


@pytest.fixture(scope="module")
def guard(tmp_path_factory) -> Guard:
    tmp_path = tmp_path_factory.mktemp("notes")
    rows = [{"id": i, "body": f"unique words {i}", "tag": "ab"[i % 2], "more": {"b": i, "a": [i]}} for i in range(12)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "notes.toml").write_text(_CONTRACT)
    opened = Guard.open(tmp_path / "notes.toml", home=tmp_path / "home")
    opened.ingest()
    return opened


def test_no_content_is_in_the_lake_and_a_record_is_shown_whole(guard):
    for file in (guard.home / "lake" / "runs").rglob("*.parquet"):
        if "memory" not in file.parts:
            assert "unique words" not in str(pq.read_table(file).to_pylist())
    payload = guard.explain("3").payload
    assert (payload["text"], payload["label"], payload["row"]) == ("unique words 3", "b", 4)


def test_a_snapshot_is_ids_and_rows_and_its_examples_are_read_from_the_file(guard):
    guard.seal()
    (part,) = (guard.home / "lake" / "snapshots").rglob("*.parquet")
    frame = pd.read_parquet(part)
    assert set(frame.columns) == {
        f"guard.{name}" for name in ("example_id", "label", "slice", "record_id", "object", "content_hash", "row")
    }
    with open_feed(guard.contract, guard.settings) as feed:
        snapshot = last_snapshot(feed.store, "notes")
        assert snapshot is not None
        examples = load_examples(feed, snapshot)
    assert sorted(examples.inputs) == sorted(f"unique words {i}" for i in range(12))
    out = guard.contract_path.parent / "out.jsonl"
    guard.export(out, snapshot_id="last")
    assert out.read_text() == (guard.contract_path.parent / "in.jsonl").read_text()


def test_a_file_that_changed_or_went_away_is_named(guard):
    path = guard.contract_path.parent / "in.jsonl"
    text = path.read_text()
    path.write_text(text.replace("unique words 3", "other words 3"))
    with pytest.raises(DataError, match=r"row 4 of .*in.jsonl is not what was taken in as '3': its hash differs"):
        guard.export()
    assert "its hash differs" in guard.explain("3").payload["content"]
    path.unlink()
    with pytest.raises(DataError, match=r"12 records of notes lie in .*in.jsonl, which cannot be read again"):
        guard.export()
    path.write_text(text)
    assert len(guard.export().frame) == 12, "put back, it is read again"


def test_what_cannot_be_read_again_is_not_taken_in(guard):
    with pytest.raises(DataError, match="records of a frame or query lie in no file"):
        guard.ingest(pd.DataFrame({"id": ["x"], "body": ["y"], "tag": ["a"]}))
    table = {"name": "x", "kind": "examples", "columns": {"text": "t"}}
    with pytest.raises(ConfigError, match=r"copy = false in .data. of the contract needs files"):
        parse_contract({**table, "data": {"query": "select 1", "watermark": "a", "copy": False}})
