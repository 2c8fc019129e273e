"""A batch: every row of every object is a record, a repeat, or unreadable; what is wrong is listed."""

from __future__ import annotations

import datetime as dt

import fsspec
import numpy as np
import pandas as pd
import pytest

from poison_guard.errors import DataError, ReadError, UsageError
from poison_guard.frames import check_frame, check_frames
from poison_guard.ingest import assemble
from poison_guard.ingest import collect as module
from poison_guard.ingest.collect import batch_from_frame, collect_frames, empty_batch
from poison_guard.ingest.objects import resolve_paths
from poison_guard.ingest.raw_table import Limits
from tests.unit.ingest.conftest import NOW, accounted, contract_of

GOOD = "id,user,item,answer\n1,u,i,a\n2,v,i,b\n"
TELEMETRY = {"record_id": "id", "source_id": "user", "observed_at": "at", "features": ["speed", "agent"]}


def codes(batch) -> dict[str, list[str]]:
    return batch.issues.groupby("record_id")["code"].apply(list).to_dict()


def test_a_batch_has_the_columns_its_contract_promises(collect):
    contract = contract_of()
    batch = collect(contract, {"a.csv": GOOD})
    bookkeeping = ["record_id", "content_hash", "object", "row", "received_at"]
    assert list(batch.records.columns) == [*bookkeeping, "source_id", "item_id", "answer", "shape"]
    check_frame("records", batch.records)
    assert batch.records[["record_id", "object", "row"]].to_numpy().tolist() == [
        ["1", batch.objects[0].uri, 2],
        ["2", batch.objects[0].uri, 3],
    ]
    assert batch.schema == {"id": "text", "user": "text", "item": "text", "answer": "text"}
    assert accounted(batch)


def test_an_empty_batch_has_the_columns_and_types_of_a_full_one(collect):
    contract = contract_of(TELEMETRY, kind="telemetry")
    frame = pd.DataFrame({"id": ["1"], "user": "u", "at": "2026-03-01", "speed": 1.0, "agent": "x"})
    full = batch_from_frame(contract, frame, object_uri=None, received_at=NOW)
    empty = empty_batch(contract, received_at=NOW)
    assert [*empty.records.columns, "was.at"] == list(full.records.columns)  # what is kept of a time that was text
    differ = {c for c in empty.records if full.records[c].dtype != empty.records[c].dtype}
    assert differ == {"feature.agent", "shape"}  # a feature is numeric until it holds text; categories differ
    assert (len(empty.records), empty.objects) == (0, ())


def test_rows_that_are_mapped_block_by_block_are_what_they_are_at_once(collect, monkeypatch):
    contract = contract_of(TELEMETRY, kind="telemetry")
    times = ["2026-03-01", "no time", "2026-03-02T10:00Z", "", "2026-03-03"]
    frame = pd.DataFrame({"id": ["1", "2", "3", "3", "5"], "user": ["U", "v", None, " w", "x"], "at": times})
    frame = frame.assign(
        speed=["1", "2.5", "fast", "4", "5"], agent=["a", "7", None, "b", "c"], more=[1, None, 3, 4, 5]
    )
    whole = collect(contract, {"a.csv": frame.to_csv(index=False)})
    monkeypatch.setattr(assemble, "_BLOCK_ROWS", 2)
    parts = collect(contract, {"a.csv": frame.to_csv(index=False)})
    pd.testing.assert_frame_equal(parts.records, whole.records[parts.records.columns])
    assert codes(parts) == codes(whole) != {}


def test_a_batch_that_the_memory_left_cannot_hold_is_refused_in_a_sentence(collect, monkeypatch):
    monkeypatch.setattr(module, "free_memory", lambda: 1000)
    with pytest.raises(ReadError, match=r"a\.csv and 1 more could not be read: judging 4 rows takes .* fewer rows"):
        collect(contract_of(), {"a.csv": GOOD, "b.csv": GOOD.replace("1", "9")})


def test_objects_seen_before_are_left_out(collect):
    first = collect(contract_of(), {"a.csv": GOOD})
    again = collect(contract_of(), {"b.csv": GOOD, "c.csv": GOOD.replace("1", "9")}, seen={first.objects[0].digest})
    assert [o.uri.endswith("c.csv") for o in again.objects] == [True]
    nothing = collect(contract_of(), {"a.csv": GOOD}, seen={first.objects[0].digest})
    assert (nothing.objects, len(nothing.records)) == ((), 0)


def test_copies_of_one_object_in_a_batch_are_taken_once(collect):
    batch = collect(contract_of(), {"a.csv": GOOD, "b.csv": GOOD})
    assert len(batch.objects) == 1
    assert len(batch.records) == 2


def test_a_batch_is_named_by_what_is_in_it(collect):
    a, b = GOOD, GOOD.replace("1,u", "3,w")
    ids = {collect(contract_of(), files).batch_id for files in ({"a.csv": a, "b.csv": b}, {"a.csv": b, "b.csv": a})}
    assert len(ids) == 1
    assert collect(contract_of(), {"a.csv": a}).batch_id not in ids


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("bad.parquet", b"PAR1 cut", "not a readable Parquet"),
        ("bad.csv.gz", b"\x1f\x8b\x08", "damaged or cut short"),
        ("bad.csv", b"", "empty"),
        ("bad.csv", ",".join(f"c{i}" for i in range(5_000)), "more than max_columns"),
        ("bad.csv", "id,user\n1,u\n", "it has no column item, which [columns] maps to item_id; it has id, user"),
        ("bad.jsonl", '{"other": 1}\n', "it has no column id, which [columns] maps to record_id; it has other"),
        ("bad.png", b"\x89PNG\r\n", "neither csv, jsonl nor parquet"),
    ],
)
def test_one_bad_object_among_many_is_quarantined_and_the_others_go_on(collect, tmp_path, name, content, why):
    collect(contract_of(), {"a.csv": GOOD})
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    batch = collect(contract_of(), {}, source=[str(tmp_path / "*")])
    check_frames(batch)
    assert len(batch.records) == 2
    (row,) = batch.unreadable.to_dict("records")
    assert (row["code"], row["row"], row["object"]) == ("unreadable_object", 0, str(tmp_path / name))
    assert why in row["args"]["why"]
    assert accounted(batch)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.csv", None, "none.csv does not exist"),
        ("a.csv", b"", "a.csv is empty"),
        ("a.csv", b"id,user,item,answer\n", "a.csv holds no records"),
        ("a.csv", b"id,user\n1,u\n", "a.csv cannot be used: it has no column item"),
    ],
)
def test_one_file_named_by_hand_that_cannot_be_used_is_an_error(collect, tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        collect(contract_of(), {}, source=[str(tmp_path / name)])


def test_a_truncated_file_named_by_hand_is_quarantined_as_such(collect, tmp_path):
    frame = pd.DataFrame({"id": range(100), "user": "u", "item": "i", "answer": "a"})
    frame.to_parquet(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    batch = collect(contract_of(), {"a.parquet": whole[: len(whole) // 2]})
    assert batch.unreadable["code"].tolist() == ["unreadable_object"]
    assert accounted(batch)


def test_a_folder_and_a_pattern_without_files_are_errors(collect, tmp_path):
    with pytest.raises(DataError, match="is not a file; name files, or a pattern such as"):
        collect(contract_of(), {}, source=[str(tmp_path)])
    with pytest.raises(DataError, match="matches no file"):
        collect(contract_of(), {}, source=[str(tmp_path / "*.csv")])
    with pytest.raises(UsageError, match="contains a password"):
        collect(contract_of(), {}, source=["ftp://me:secret@host/a.csv"])
    with pytest.raises(DataError, match="cannot be opened"):
        collect(contract_of(), {}, source=["nosuch://x/a.csv"])


def test_the_contracts_own_pattern_may_match_nothing_yet(tmp_path):
    contract = contract_of(path="inbox/*.csv")
    assert collect_frames(contract, None, home=tmp_path, received_at=NOW).objects == ()
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "a.csv").write_text(GOOD)
    assert len(collect_frames(contract, None, home=tmp_path, received_at=NOW).records) == 2
    with pytest.raises(UsageError, match="reads a query"):
        collect_frames(contract_of(), None, home=tmp_path, received_at=NOW)


def test_objects_behind_a_url_are_read(tmp_path):
    fs = fsspec.filesystem("memory")
    for name, text in (("/box/a.csv", GOOD), ("/box/b.csv", GOOD.replace("1,u", "3,w"))):
        fs.pipe(name, text.encode())
    refs = resolve_paths(["memory://box/*.csv"], Limits(), by_hand=True)
    assert [r.uri for r in refs] == ["memory:///box/a.csv", "memory:///box/b.csv"]
    batch = collect_frames(contract_of(), ["memory://box/*.csv"], home=tmp_path, received_at=NOW)
    assert sorted(batch.records["record_id"]) == ["1", "2", "3"]
    assert batch.duplicates == 1
    fs.rm("/box", recursive=True)


def test_an_object_that_changed_since_it_was_listed_is_left_for_the_next_time(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    (tmp_path / "b.csv").write_text(GOOD.replace("1,u", "3,w"))
    path.write_text(GOOD)

    listed = resolve_paths([str(tmp_path / "*.csv")], Limits(), by_hand=True)
    path.write_text(GOOD + "3,w,i,c\n")
    monkeypatch.setattr(module, "resolve_paths", lambda *_, **__: listed)
    batch = collect_frames(contract_of(), [str(tmp_path / "*.csv")], home=tmp_path, received_at=NOW)
    assert [o.uri for o in batch.objects] == [str(tmp_path / "b.csv")]
    with pytest.raises(DataError, match="changed while it was being read; run again"):
        collect_frames(contract_of(), [str(path)], home=tmp_path, received_at=NOW)


def test_nan_is_missing_and_infinity_and_words_are_issues(collect):
    contract = contract_of(TELEMETRY, kind="telemetry")
    lines = [f"{i},u,2026-03-01T10:00:00Z,1.5,x" for i in range(20)]
    odd = ["a,u,2026-03-01,nan,x", "b,u,2026-03-01,inf,x", "c,u,2026-03-01,fast,x", "d,u,yesterday,,x"]
    batch = collect(contract, {"a.csv": "id,user,at,speed,agent\n" + "\n".join([*lines, *odd])})
    assert codes(batch) == {"b": ["not_finite"], "c": ["wrong_type"], "d": ["bad_time"]}
    args = batch.issues.set_index("record_id")["args"]
    assert args["c"] == {"column": "speed", "value": "fast", "expected": "a number"}
    assert args["d"] == {"column": "at", "value": "yesterday"}
    records = batch.records.set_index("record_id")
    assert records.loc[["a", "b", "c", "d"], "feature.speed"].isna().all()
    assert pd.isna(records.loc["d", "observed_at"])
    assert records["feature.speed"].dtype == np.float64


def test_missing_identities_are_issues_and_get_a_derived_id(collect):
    batch = collect(contract_of(), {"a.csv": "id,user,item,answer\n,u,i,a\n2,,i,a\n3,u,,a\n4,u,i,\n"})
    assert batch.issues["code"].tolist() == ["missing_id"] * 3
    assert [a["column"] for a in batch.issues["args"]] == ["id", "user", "item"]
    assert batch.issues["record_id"].tolist() == batch.records["record_id"][:3].tolist()
    assert len(batch.records["record_id"][0]) == 32


def test_cells_past_the_bound_are_cut_and_listed(collect):
    contract = contract_of({"record_id": "id", "source_id": "user", "text": "note"}, kind="messages")
    long = "x" * 10_000_000
    batch = collect(contract, {"a.csv": f"id,user,note\n1,u,{long}\n2,{'v' * 300},ok\n3,{'v' * 301},ok\n"})
    assert [(a["column"], a["length"], a["limit"]) for a in batch.issues["args"]] == [
        ("user", 300, 256),
        ("user", 301, 256),
        ("note", 10_000_000, 100_000),
    ]
    assert batch.records["text"].str.len().tolist() == [100_000, 2, 2]
    assert batch.records["source_id"].str.len().tolist() == [1, 256, 256]
    assert batch.records["source_id"].is_unique


def test_nesting_past_the_bound_quarantines_its_row(collect):
    contract = contract_of({"source_id": "user", "text": "messages"}, kind="messages", max_depth=2)
    batch = collect(contract, {"a.jsonl": '{"user": "u", "messages": [[1]]}\n{"user": "u", "messages": [[[1]]]}\n'})
    assert batch.issues["code"].tolist() == ["nested_too_deep"]
    assert batch.issues["record_id"].tolist() == [batch.records["record_id"][1]]


def test_sender_clocks_are_held_within_the_lateness_window(collect):
    contract = contract_of(TELEMETRY, kind="telemetry")
    rows = ["1,u,2020-01-01,1,x", "2,u,2026-03-01T11:00:00Z,1,x", "3,u,2027-01-01,1,x"]
    batch = collect(contract, {"a.csv": "id,user,at,speed,agent\n" + "\n".join(rows)})
    at = batch.records["observed_at"].tolist()
    assert at == [
        NOW - dt.timedelta(days=contract.policy.lateness_days),
        NOW - dt.timedelta(hours=1),
        NOW + dt.timedelta(hours=1),
    ]
    assert str(batch.records["observed_at"].dtype) == "datetime64[us, UTC]"


def test_a_batch_that_is_mostly_older_than_the_window_is_history_and_keeps_its_times(collect):
    rows = ["1,u,2020-01-01,1,x", "2,u,2020-01-02,1,x", "3,u,2027-01-01,1,x"]
    batch = collect(contract_of(TELEMETRY, kind="telemetry"), {"a.csv": "id,user,at,speed,agent\n" + "\n".join(rows)})
    assert batch.records["observed_at"].tolist() == [
        dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
        dt.datetime(2020, 1, 2, tzinfo=dt.UTC),
        NOW + dt.timedelta(hours=1),
    ]


def test_numbers_as_ids_read_the_same_from_every_format(collect):
    frame = pd.DataFrame({"id": [1.0, 2.0], "user": [7, 8], "item": [3.0, None], "answer": [4, 5]})
    one = collect(contract_of(), {"a.parquet": frame}).records
    other = collect(contract_of(), {"a.csv": frame.to_csv(index=False)}).records
    assert one["answer"].tolist() == other["answer"].tolist() == ["4", "5"]
    assert one["record_id"].tolist() == other["record_id"].tolist() == ["1", "2"]
    assert one["content_hash"].tolist() == other["content_hash"].tolist()


def test_columns_without_a_role_are_kept_as_extras(collect):
    batch = collect(contract_of(), {"a.csv": "id,user,item,answer,zip,score\n1,u,i,a,01234x,5\n"})
    assert batch.records[["extra.score", "extra.zip"]].to_numpy().tolist() == [[5.0, "01234x"]]


def test_images_stay_bytes(collect):
    contract = contract_of({"record_id": "id", "image": "png", "label": "label"}, kind="examples", max_cell_chars=10)
    frame = pd.DataFrame({"id": ["1", "2"], "png": [b"\x89PNG\x00", b"x" * 11], "label": "l"})
    batch = collect(contract, {"a.parquet": frame})
    assert batch.records["image"].tolist() == [b"\x89PNG\x00", None]
    assert batch.issues["code"].tolist() == ["cell_too_long"]


def test_frames_are_bounded_and_checked():
    contract = contract_of(max_rows=2, max_columns=5)
    good = pd.DataFrame({"id": ["1"], "user": "u", "item": "i", "answer": "a"})
    for frame, says in (
        (good.iloc[:0], "has no rows"),
        (pd.concat([good] * 3), "3 rows, more than max_rows"),
        (good.assign(a=1, b=2), "6 columns, more than max_columns"),
        (pd.concat([good, good[["id"]]], axis=1), "names the column id twice"),
        (good.drop(columns="user"), "it has no column user, which"),
    ):
        with pytest.raises(DataError, match=says):
            batch_from_frame(contract, frame, object_uri=None, received_at=NOW)


def test_frames_of_odd_python_values_are_read():
    contract = contract_of({"source_id": "user", "text": "note", "features": ["speed"]}, kind="messages")
    values = [{"a": [1]}, "half \ud800", dt.date(2026, 1, 1), np.float64(2.0), pd.NA, None, b"x"]
    frame = pd.DataFrame({"user": "u", "note": pd.Series(values, dtype=object), "speed": np.arange(7)})
    batch = batch_from_frame(contract, frame, object_uri=None, received_at=NOW)
    assert batch.records["text"].fillna("-").tolist() == [
        *('{"a":[1]}', "half \\ud800", "2026-01-01", "2", "-", "-", "x"),
    ]


def test_answers_that_happen_to_be_digits_are_text_in_the_schema_all_the_same(collect):
    words = collect(contract_of(), {"a.csv": "id,user,item,answer\n1,u1,w1,seven\n2,u2,w1,nine\n"})
    digits = collect(contract_of(), {"a.csv": "id,user,item,answer\n3,7,8,7\n4,9,8,9\n"})
    assert dict(digits.schema) == dict(words.schema)
