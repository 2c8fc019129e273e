"""Personal columns: what is dropped is never stored, what is private is masked and stays out of what is trained on."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from poison_guard.config.contract import parse_contract
from poison_guard.errors import ConfigError
from poison_guard.guard import Guard

_CONTRACT = """
name = "people"
kind = "examples"
mode = "observe"
[data]
path = "in.jsonl"
[columns]
record_id = "id"
prompt = "ask"
response = "reply"
[privacy]
drop = ["email"]
private = ["phone", "ask"]
[policy]
required = ["validation"]
"""


@pytest.fixture(scope="module")
def guard(tmp_path_factory) -> Guard:
    folder = tmp_path_factory.mktemp("people")
    rows = [
        {"id": i, "email": f"hush{i}@x.org", "ask": f"my name is Nym{i}", "reply": f"hello {i}", "phone": f"+49{i}"}
        for i in range(20)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "in.jsonl").write_text(text + '{"id": 99, "email": "hush99@x.org", "ask": tru\n')
    (folder / "people.toml").write_text(_CONTRACT)
    opened = Guard.open(folder / "people.toml", home=folder / "home")
    opened.ingest()
    return opened


def test_what_is_dropped_is_nowhere_in_the_home(guard):
    for file in guard.home.rglob("*"):
        assert not file.is_file() or b"hush" not in file.read_bytes()
    for file in (guard.home / "lake").rglob("*.parquet"):
        assert "hush" not in str(pq.read_table(file).to_pylist())


def test_what_is_private_is_masked_where_a_record_is_shown(guard):
    payload = guard.explain("3").payload
    assert payload["prompt"] == payload["extra.phone"] == "(private)"
    assert payload["response"] == "hello 3"


def test_what_is_private_is_exported_only_where_it_is_asked_for(guard):
    assert list(guard.export().frame.columns) == ["id", "reply"]
    whole = guard.export(private=True).frame
    assert list(whole.columns) == ["id", "ask", "reply", "phone"]
    assert whole["phone"].tolist()[:2] == ["+490", "+491"]


def test_what_is_private_is_in_no_snapshot(guard):
    guard.seal()
    (part,) = (guard.home / "lake" / "snapshots").rglob("*.parquet")
    assert set(pd.read_parquet(part).columns) == {
        "guard.example_id", "guard.label", "guard.slice", "id", "reply"
    }  # fmt: skip
    assert list(guard.export(snapshot_id="last").frame.columns) == ["id", "reply"]


@pytest.mark.parametrize(
    ("privacy", "said"),
    [
        ({"drop": ["ask"]}, "drop in .privacy. of the contract names ask, which .columns. maps to prompt"),
        ({"drop": ["a"], "private": ["a"]}, "has a in drop and in private"),
    ],
)
def test_a_column_that_is_needed_cannot_be_dropped(privacy, said):
    table = {"name": "x", "kind": "examples", "columns": {"prompt": "ask[0].text"}, "privacy": privacy}
    with pytest.raises(ConfigError, match=said):
        parse_contract(table)
