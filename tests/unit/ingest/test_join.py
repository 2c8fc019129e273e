import datetime as dt
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from poison_guard.config import Contract, parse_contract
from poison_guard.errors import DataError
from poison_guard.ingest.collect import batch_from_frame, collect_frames
from poison_guard.records import Batch

NOW = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
TRACES = [{"id": "t1", "user": {"id": "u1"}, "input": "Hi"}, {"id": "t2", "user": {"id": "u2"}, "input": "Yo"}]
COLUMNS = {"record_id": "id", "source_id": "trace.user.id", "prompt": "trace.input", "label": "value"}


def contract_of(path: str, columns: dict[str, str], **join: str) -> Contract:
    keys = {"path": path, "key": "trace_id", "to": "id", "name": "trace", **join}
    return parse_contract({"name": "x", "kind": "preferences", "data": {"join": keys}, "columns": columns})


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(tmp_path: Path, scores: list[Any], traces: list[Any] = TRACES, **join: str) -> Batch:
    (tmp_path / "traces.jsonl").write_text(lines(traces))
    (tmp_path / "scores.jsonl").write_text(lines(scores))
    contract = contract_of(str(tmp_path / "traces.jsonl"), COLUMNS, **join)
    return collect_frames(contract, [str(tmp_path / "scores.jsonl")], home=tmp_path, received_at=NOW)


def score(i: int, trace: Any) -> dict[str, Any]:
    return {"id": f"s{i}", "trace_id": trace, "value": "up"}


def test_a_second_file_gives_its_columns_to_the_rows_of_its_key(tmp_path: Path) -> None:
    records = read(tmp_path, [score(1, "t2"), score(2, "t1"), score(3, "t2")]).records

    assert records["source_id"].tolist() == ["u2", "u1", "u2"]
    assert records["prompt"].tolist() == ["Yo", "Hi", "Yo"]
    assert not [name for name in records if name.startswith("extra.trace.")]


def test_keys_are_the_same_where_ids_are(tmp_path: Path) -> None:
    traces = [{**TRACES[0], "id": 7}]

    assert read(tmp_path, [score(1, " 7 "), score(2, 7.0)], traces).records["source_id"].tolist() == ["u1", "u1"]


def test_rows_without_a_partner_are_held_and_counted_with_the_first_key(tmp_path: Path) -> None:
    batch = read(tmp_path, [score(1, "t1"), score(2, "t9"), score(3, None)])

    assert batch.issues[["record_id", "code"]].to_numpy().tolist() == [["s2", "missing_id"], ["s3", "missing_id"]]
    assert batch.notes[0].args["said"] == (
        "2 of its rows have no partner in the joined file by trace_id = id, the first: 't9'"
    )


def test_partners_that_differ_are_none_and_partners_that_say_the_same_are_one(tmp_path: Path) -> None:
    traces = [TRACES[0], TRACES[1], TRACES[1], {**TRACES[0], "input": "Buy now"}]

    batch = read(tmp_path, [score(1, "t1"), score(2, "t2")], traces)

    assert batch.records["source_id"].fillna("").tolist() == ["", "u2"]
    assert batch.notes[0].args["said"] == (
        "1 of its rows have several partners that differ by trace_id = id, the first: 't1' in rows 1 and 4; "
        "keep one of them"
    )


def test_a_key_that_the_second_file_lacks_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_text(lines(TRACES))
    (tmp_path / "scores.jsonl").write_text(lines([score(1, "t1")]))
    contract = contract_of(str(tmp_path / "traces.jsonl"), COLUMNS, to="trace_id")

    batch = collect_frames(contract, [str(tmp_path / "scores.jsonl")], home=tmp_path, received_at=NOW)

    assert batch.unreadable["args"].iloc[0]["why"] == (
        "the file that it is joined with cannot be used: it has no trace_id, which to in [data.join] names"
    )


def test_a_second_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").write_text(lines([score(1, "t1")]))
    contract = contract_of("none.jsonl", COLUMNS)

    with pytest.raises(DataError, match=r"\[data.join\] names cannot be used: .*none.jsonl does not exist"):
        collect_frames(contract, [str(tmp_path / "scores.jsonl")], home=tmp_path, received_at=NOW)


def test_a_frame_is_joined_as_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_text(lines(TRACES))
    contract = contract_of(str(tmp_path / "traces.jsonl"), COLUMNS)

    batch = batch_from_frame(contract, pd.DataFrame([score(1, "t2")]), object_uri=None, received_at=NOW)

    assert batch.records["source_id"].tolist() == ["u2"]


def test_csv_rows_are_joined_to_parquet_rows(tmp_path: Path) -> None:
    pd.DataFrame(TRACES).to_parquet(tmp_path / "traces.parquet")
    pd.DataFrame([score(1, "t1"), score(2, "t2")]).to_csv(tmp_path / "scores.csv", index=False)
    contract = contract_of(str(tmp_path / "traces.parquet"), COLUMNS)

    batch = collect_frames(contract, [str(tmp_path / "scores.csv")], home=tmp_path, received_at=NOW)

    assert batch.records["source_id"].tolist() == ["u1", "u2"]
