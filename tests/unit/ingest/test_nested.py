import datetime as dt
import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poison_guard.config import Contract, parse_contract
from poison_guard.errors import ConfigError, DataError
from poison_guard.ingest.cells import simplify
from poison_guard.ingest.collect import batch_from_frame, collect_frames
from poison_guard.ingest.nested import Reshaper, Shape, path_fault
from poison_guard.ingest.nested_values import listed
from poison_guard.ingest.raw_table import Limits
from poison_guard.records import Batch

NOW = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)


def contract_of(columns: dict[str, str], **data: Any) -> Contract:
    return parse_contract({"name": "x", "kind": "answers", "data": data, "columns": columns})


def read(tmp_path: Path, rows: list[Any], columns: dict[str, str], **data: Any) -> Batch:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return collect_frames(contract_of(columns, **data), [str(path)], home=tmp_path, received_at=NOW)


ROLES = {"record_id": "id + #", "source_id": "votes[].by", "answer": "votes[].says"}


def vote(by: Any, says: Any = "yes", **more: Any) -> dict[str, Any]:
    return {"by": by, "says": says, **more}


def test_explode_makes_a_record_of_each_element_and_keeps_the_row_with_one_element_in_each(tmp_path: Path) -> None:
    rows = [{"id": 1, "note": "n", "votes": [vote("u1"), vote("u2", "no")]}, {"id": 2, "votes": [vote("u3")]}]

    records = read(tmp_path, rows, ROLES, explode="votes[]").records

    assert records["record_id"].tolist() == ["1:1", "1:2", "2:1"]
    assert records["source_id"].tolist() == ["u1", "u2", "u3"]
    assert records["answer"].tolist() == ["yes", "no", "yes"]
    assert records["row"].tolist() == [1, 1, 2]
    assert [json.loads(cell) for cell in records["extra.votes"]] == [[vote("u1")], [vote("u2", "no")], [vote("u3")]]
    assert records["extra.note"].fillna("").tolist() == ["n", "n", ""]


def test_rows_without_an_element_make_no_record_and_are_counted_in_a_note(tmp_path: Path) -> None:
    batch = read(
        tmp_path, [{"id": 1, "votes": []}, {"id": 2}, {"id": 3, "votes": [vote("u")]}], ROLES, explode="votes[]"
    )

    assert batch.records["record_id"].tolist() == ["3:1"]
    assert [note.args["said"] for note in batch.notes] == ["2 of its rows hold nothing in votes[] and make no record"]


def test_equal_elements_of_one_row_without_an_id_are_two_records(tmp_path: Path) -> None:
    roles = {"source_id": "votes[].by", "answer": "votes[].says"}

    batch = read(tmp_path, [{"votes": [vote("u"), vote("u")]}], roles, explode="votes[]")

    assert batch.records["record_id"].nunique() == 2
    assert batch.duplicates == 0


def test_lists_side_by_side_belong_together_and_one_that_is_longer_makes_the_row_unreadable(tmp_path: Path) -> None:
    roles = {"text": "steps[]", "label": "labels[]"}
    rows = [{"steps": ["a", "b"], "labels": [True, False]}, {"steps": ["c"], "labels": [True, True]}]

    batch = read(tmp_path, rows, roles, explode="steps[], labels[]")

    assert batch.records["text"].tolist() == ["a", "b"]
    assert batch.records["label"].tolist() == ["true", "false"]
    assert batch.unreadable["args"].iloc[0]["why"] == "its lists are not equally long: 1 in steps[] and 2 in labels[]"


def test_a_tree_is_read_message_by_message(tmp_path: Path) -> None:
    tree = {"id": "a", "replies": [{"id": "b", "replies": [{"id": "c", "replies": []}]}, {"id": "d", "replies": []}]}

    batch = read(tmp_path, [{"root": tree}], {"record_id": "root.id"}, explode="root.replies[**]")

    assert batch.records["record_id"].tolist() == ["a", "b", "c", "d"]
    assert batch.issues.empty


def test_a_deep_tree_is_no_deep_record(tmp_path: Path) -> None:
    tree: dict[str, Any] = {"id": "0"}
    for i in range(1, 40):
        tree = {"id": str(i), "replies": [tree]}

    batch = read(tmp_path, [{"root": tree}], {"record_id": "root.id"}, explode="root.replies[**]")

    assert len(batch.records) == 40
    assert batch.issues.empty


def test_an_element_that_is_nested_too_deep_is_held_and_its_neighbours_are_not(tmp_path: Path) -> None:
    deep: Any = "x"
    for _ in range(12):
        deep = [deep]

    batch = read(tmp_path, [{"id": 1, "votes": [vote("u1"), vote("u2", more=deep)]}], ROLES, explode="votes[]")

    assert batch.issues[["record_id", "code"]].to_numpy().tolist() == [["1:2", "nested_too_deep"]]


def test_an_explode_of_a_million_costs_its_own_row(tmp_path: Path) -> None:
    rows = [{"id": 1, "votes": [0] * 1_000_000}, {"id": 2, "votes": [vote("u")]}]
    start = time.perf_counter()

    batch = read(tmp_path, rows, ROLES, explode="votes[]")

    assert batch.records["record_id"].tolist() == ["2:1"]
    assert batch.unreadable["args"].iloc[0]["why"] == "votes[] holds more than max_explode = 100,000 elements in it"
    assert time.perf_counter() - start < 30


def test_elements_that_repeat_a_long_row_are_bounded_by_what_they_make_together(tmp_path: Path) -> None:
    rows = [{"id": 1, "body": "x" * 1_000_000, "votes": [vote("u")] * 1_000}, {"id": 2, "votes": [vote("u")]}]

    batch = read(tmp_path, rows, ROLES, explode="votes[]")

    assert batch.records["record_id"].tolist() == ["2:1"]
    assert "1,000 records that votes[] makes of it have more than 64,000,000 characters" in str(
        batch.unreadable["args"].iloc[0]["why"]
    )


def test_a_path_that_matches_nothing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"nothing in it is at votes\[\].who, which \[columns\] maps to source_id; it has id, votes$"
    ):
        read(tmp_path, [{"id": 1, "votes": [vote("u")]}], {"source_id": "votes[].who"})


def test_one_path_of_several_that_matches_nothing_in_a_file_of_several_is_a_note(tmp_path: Path) -> None:
    for name, what in (("a", {"what": "x"}), ("b", {})):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"id": name, "votes": [vote("u", **what)]}))
    contract = contract_of({**ROLES, "answer": "votes[].what"}, explode="votes[]")

    [note] = collect_frames(contract, [str(tmp_path / "*.jsonl")], home=tmp_path, received_at=NOW).notes

    assert note.args["said"] == "votes[].what, which [columns] maps to answer, matches nothing in it"
    assert note.args["object"].endswith("b.jsonl")


def test_rows_of_other_types_are_held_one_by_one(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "votes": [vote("u")]}, {"id": 2, "votes": "none yet"}, {"id": 3, "votes": {"by": "u"}},
        {"id": 4, "votes": [5, vote("v")]}, {"id": 5, "votes": "N/A"}, {"id": 6, "votes": []}, {"id": 7},
    ]  # fmt: skip

    batch = read(tmp_path, rows, ROLES, explode="votes[]")

    assert batch.records["record_id"].tolist() == ["1:1", "4:1", "4:2"]
    assert batch.issues[["record_id", "code"]].to_numpy().tolist() == [["4:1", "missing_id"]]
    assert batch.notes[0].args["said"].startswith("3 of its rows hold nothing in votes[]")
    assert batch.unreadable["row"].tolist() == [2, 3]
    assert [args["why"] for args in batch.unreadable["args"]] == [
        "there is 'none yet' in it where [data] explode says that a list is",
        """there is '{"by": "u"}' in it where [data] explode says that a list is""",
    ]


def test_a_record_id_that_all_records_of_a_row_share_is_an_error_of_the_contract() -> None:
    with pytest.raises(ConfigError, match=r'write "id \+ #" \(# is the position in the row\)'):
        contract_of({"record_id": "id"}, explode="votes[]")


def test_a_name_that_is_neither_a_column_nor_a_path_is_a_note(tmp_path: Path) -> None:
    batch = read(tmp_path, [{"id": "1"}], {"record_id": "id", "source_id": "votes[].by ?"})

    assert batch.notes[0].args["said"] == (
        "votes[].by ?, which [columns] maps to source_id, is no column of it, and no path: "
        "a name is missing at character 13"
    )


def test_a_file_whose_rows_make_no_record_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"holds no records: 1 of its rows hold nothing in votes\[\] and make no record"
    ):
        read(tmp_path, [{"id": 1}], ROLES, explode="votes[]")


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"explode": "id"}, ("explode", "'id' names no list; write \"id[]\" for its elements")),
        ({"explode": "votes[], labels["}, ("explode", "'labels[' is no path: '[' cannot be read")),
        (
            {"join": {"path": "x", "key": "a..b", "to": "id"}},
            ("join.key", "'a..b' is no path: a name is missing at character 3"),
        ),
        ({"explode": "a.b[]", "join": {"path": "x", "key": "a | b", "to": "id"}}, None),
    ],
)
def test_keys_of_data_that_are_no_paths_are_named(data: dict[str, Any], fault: tuple[str, str] | None) -> None:
    assert path_fault(contract_of({"source_id": "x[].y"}, **data).data) == fault


def test_columns_with_dots_are_no_paths_where_the_file_has_them(tmp_path: Path) -> None:
    batch = read(tmp_path, [{"user.id": "u1", "is it?": "yes"}], {"source_id": "user.id", "answer": "is it?"})

    assert batch.records[["source_id", "answer"]].to_numpy().tolist() == [["u1", "yes"]]


def test_a_contract_that_names_columns_only_has_no_shape() -> None:
    assert Shape.of(contract_of({"source_id": "user_id", "answer": "is it?"})) is None


def test_a_frame_is_reshaped_as_a_file_is(tmp_path: Path) -> None:
    rows = [{"id": 1, "votes": [vote("u1"), vote("u2")]}, {"id": 2, "votes": []}]

    of_file = read(tmp_path, rows, ROLES, explode="votes[]").records
    of_frame = batch_from_frame(
        contract_of(ROLES, explode="votes[]"), pd.DataFrame(rows), object_uri=None, received_at=NOW
    ).records

    same = ["record_id", "content_hash", "source_id", "answer"]
    pd.testing.assert_frame_equal(of_file[same], of_frame[same])


_ROWS = st.lists(
    st.fixed_dictionaries({"votes": st.lists(st.fixed_dictionaries({"by": st.sampled_from("uvw")}), max_size=4)}),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25)
@given(rows=_ROWS)
def test_every_element_of_every_row_is_a_record(rows: list[dict[str, Any]]) -> None:
    contract = contract_of({"source_id": "votes[].by"}, explode="votes[]")
    if not any(row["votes"] for row in rows):
        return

    batch = batch_from_frame(
        contract, pd.DataFrame({"votes": [r["votes"] for r in rows]}), object_uri=None, received_at=NOW
    )

    assert batch.records["source_id"].tolist() == [v["by"] for row in rows for v in row["votes"]]
    assert batch.objects[0].rows == len(batch.records)


_PLAIN = st.none() | st.text(max_size=3)
_PARQUET = st.fixed_dictionaries(
    {
        "user": st.none() | st.fixed_dictionaries({"id": _PLAIN, "n": st.none() | st.integers(-9, 9)}),
        "talk": st.none()
        | st.lists(st.none() | st.fixed_dictionaries({"role": _PLAIN, "content": _PLAIN}), max_size=3),
    }
)


@settings(max_examples=30)
@given(rows=st.lists(_PARQUET, min_size=1, max_size=8))
def test_paths_into_typed_columns_find_what_they_find_in_json(rows: list[dict[str, Any]]) -> None:
    kind = pa.schema(
        [
            ("user", pa.struct([("id", pa.string()), ("n", pa.int64())])),
            ("talk", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ]
    )
    paths = ["user.id", "user.n", "talk[0].content", "talk[-1].content", "talk[-2].role", "talk[5].role"]
    shape = Shape(tuple((path, path.endswith("content")) for path in paths))
    table = pa.Table.from_pylist(rows, kind)
    reshaper = Reshaper(shape, Limits())

    (batch,) = table.slice(len(rows) // 3).to_batches() or [None]
    reached = reshaper.reached(batch)
    simple = pa.table({name: simplify(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)})
    ((slow, _),) = reshaper.reshape(simple).pieces

    assert sorted(reached) == sorted(paths)
    assert {path: reached[path].to_pylist() for path in paths} == {path: slow[path].to_pylist() for path in paths}


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["by", "says", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.dictionaries(st.sampled_from(["id", "votes", "note"]), _ANY), min_size=1, max_size=6))
def test_whatever_rows_hold_each_is_a_record_for_each_element_or_held_or_counted(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    elements = [[e for e in listed(row.get("votes")) if e is not None] for row in rows]
    if not any(elements):
        return

    roles = {"source_id": "votes[].by", "answer": "votes[].says"}
    batch = read(tmp_path, [*rows, {"votes": [vote("u", "yes")]}], roles, explode="votes[]")

    assert len(batch.records) + batch.duplicates == sum(map(len, elements)) + 1
    assert batch.objects[0].rows == len(batch.records) + batch.duplicates + len(batch.unreadable)
    held = batch.objects[0].rows - sum(map(len, elements)) - 1
    noted = [
        int(note.args["said"].split()[0]) for note in batch.notes if "of its rows hold nothing" in note.args["said"]
    ]
    assert held + sum(noted) == sum(not found for found in elements)
