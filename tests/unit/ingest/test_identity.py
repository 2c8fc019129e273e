"""Identities: what the same record is, what two records are, and what happens to an id given twice."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.ingest.collect import batch_from_frame
from poison_guard.ingest.read import read_raw
from poison_guard.pipeline.newcomers import name_newcomers
from tests.thorough import examples
from tests.unit.ingest.conftest import NOW, contract_of

THUMBS = contract_of({"source_id": "user", "rating": "thumb", "text": "note"}, kind="messages")


def batch(frame: pd.DataFrame, contract=THUMBS, uri: str | None = "query:x", **kwargs):
    return batch_from_frame(contract, frame, object_uri=uri, received_at=NOW, **kwargs)


rows = st.lists(
    st.tuples(st.sampled_from(["u", "v"]), st.sampled_from([0.0, 1.0]), st.sampled_from(["a", "b", None])),
    min_size=1,
    max_size=12,
)


@settings(max_examples=examples(12), deadline=None)
@given(rows, st.randoms())
def test_the_set_of_ids_does_not_depend_on_row_order(data, random):
    frame = pd.DataFrame(data, columns=["user", "thumb", "note"])
    order = list(range(len(frame)))
    random.shuffle(order)
    one, other = batch(frame, uri=None), batch(frame.iloc[order], uri=None)
    assert set(one.records["record_id"]) == set(other.records["record_id"])
    assert one.batch_id == other.batch_id
    assert one.objects[0].uri == other.objects[0].uri


@settings(max_examples=examples(12), deadline=None)
@given(rows)
def test_identical_rows_of_one_object_are_two_records(data):
    records = batch(pd.DataFrame(data, columns=["user", "thumb", "note"])).records
    assert len(records) == len(data)
    assert records["record_id"].is_unique
    assert records["record_id"].str.fullmatch("[0-9a-f]{32}").all()


given_ids = st.lists(
    st.tuples(st.sampled_from(["r1", "r2", "r1~00000000", None]), st.sampled_from(["u", "v"]), st.sampled_from("ab")),
    min_size=1,
    max_size=10,
)


@settings(max_examples=40, deadline=None)
@given(given_ids, st.randoms())
def test_given_ids_are_settled_the_same_in_any_order_and_no_row_is_lost(data, random):
    contract = contract_of({"record_id": "id", "source_id": "user", "text": "note"}, kind="messages")
    frame = pd.DataFrame(data, columns=["id", "user", "note"])
    shuffled = list(range(len(frame)))
    random.shuffle(shuffled)
    one, other = batch(frame, contract), batch(frame.iloc[shuffled], contract)
    for b in (one, other):
        assert b.records["record_id"].is_unique
        assert len(b.records) + b.duplicates == len(frame)
    pairs = [
        b.records[["record_id", "content_hash"]].sort_values("record_id").to_numpy().tolist() for b in (one, other)
    ]
    assert pairs[0] == pairs[1]
    issues = [sorted(zip(b.issues["record_id"], b.issues["code"], strict=True)) for b in (one, other)]
    assert issues[0] == issues[1]


def test_the_same_id_with_other_content_is_a_conflict_of_both():
    frame = pd.DataFrame({"id": ["r", "r", "s"], "user": "u", "item": "i", "answer": ["a", "b", "c"]})
    found = batch(frame, contract_of())
    first, second = sorted(found.records["content_hash"][:2])
    by_hash = found.records.set_index("content_hash")["record_id"]
    assert by_hash[first] == "r"
    assert by_hash[second] == f"r~{second[:8]}"
    conflicts = found.issues[found.issues["code"] == "id_conflict"]
    assert set(conflicts["record_id"]) == {"r", f"r~{second[:8]}"}
    assert all(args == {"record_id": "r"} for args in conflicts["args"])


def test_a_name_made_for_a_conflict_is_never_one_that_was_given():
    frame = pd.DataFrame({"id": ["r", "r"], "user": "u", "item": "i", "answer": ["a", "b"]})
    made = next(i for i in batch(frame, contract_of()).records["record_id"] if i != "r")
    squatted = pd.concat([frame, pd.DataFrame({"id": [made], "user": "v", "item": "i", "answer": "a"})])
    ids = batch(squatted, contract_of()).records["record_id"]
    assert ids.is_unique
    assert len(ids) == 3


def test_the_same_id_with_the_same_content_is_kept_once():
    frame = pd.DataFrame({"id": ["r", "r"], "user": "u", "item": "i", "answer": "a"})
    found = batch(frame, contract_of())
    assert (len(found.records), found.duplicates, len(found.issues)) == (1, 1, 0)


def test_where_revisions_are_allowed_the_latest_wins():
    columns = {"record_id": "id", "source_id": "user", "text": "note", "observed_at": "at"}
    contract = contract_of(columns, kind="messages", revisions=True)
    frame = pd.DataFrame(
        {"id": "r", "user": "u", "note": ["new", "old"], "at": ["2026-03-01T11:00Z", "2026-03-01T09:00Z"]}
    )
    found = batch(frame, contract)
    assert found.records["text"].tolist() == ["new"]
    assert (found.duplicates, len(found.issues)) == (1, 0)


def test_where_revisions_are_allowed_two_sources_with_one_id_are_both_held():
    columns = {"record_id": "id", "source_id": "user", "text": "note", "observed_at": "at"}
    contract = contract_of(columns, kind="messages", revisions=True)
    times = ["2026-03-01T11:00Z", "2026-03-01T09:00Z", "2026-03-01T10:00Z"]
    frame = pd.DataFrame({"id": "r", "user": ["u", "u", "v"], "note": ["new", "old", "other"], "at": times})
    found = batch(frame, contract)
    assert sorted(found.records["text"]) == ["new", "other"]
    assert found.issues["code"].tolist() == ["id_conflict", "id_conflict"]


def test_content_does_not_depend_on_the_given_id_or_on_the_time_of_receipt():
    frame = pd.DataFrame({"id": ["r", "s"], "user": "u", "item": "i", "answer": "a"})
    hashes = batch(frame, contract_of()).records["content_hash"]
    assert len(set(hashes)) == 1
    columns = {"record_id": "id", "source_id": "user", "text": "note", "observed_at": "at"}
    late = pd.DataFrame({"id": ["r", "s", "t"], "user": "u", "note": "n", "at": ["2020-01-01", str(NOW), str(NOW)]})
    contract = contract_of(columns, kind="messages")
    days = [pd.Timestamp(NOW), pd.Timestamp(NOW) + pd.Timedelta(days=3)]
    found = [batch_from_frame(contract, late, object_uri="q", received_at=d).records for d in days]
    assert found[0]["content_hash"].tolist() == found[1]["content_hash"].tolist()
    assert found[0]["observed_at"][0] != found[1]["observed_at"][0]


def test_a_new_column_without_values_changes_no_identity():
    frame = pd.DataFrame({"user": ["u"], "thumb": [1.0], "note": ["a"]})
    assert batch(frame).records["record_id"].tolist() == batch(frame.assign(new=None)).records["record_id"].tolist()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_content_is_the_same_in_every_format(tmp_path, suffix, collect):
    columns = {"record_id": "id", "source_id": "user", "item_id": "item", "rating": "stars", "observed_at": "at"}
    contract = contract_of({**columns, "features": ["speed", "whole"]}, kind="telemetry")
    frame = pd.DataFrame(
        {
            "id": ["1", "2"],
            "user": [7, 8],
            "item": ["x,y", 'quote "'],
            "stars": [4.0, 3.5],
            "at": ["2026-03-01T10:00:00+00:00", "2026-03-01T10:00:01.500000+00:00"],
            "speed": [0.1, None],
            "whole": [1, 2],
            "extra": ["12", "x"],
        }
    )
    expected = batch(frame, contract).records["content_hash"].tolist()
    path = tmp_path / f"a.{suffix}"
    match suffix:
        case "csv":
            frame.to_csv(path, index=False)
        case "jsonl":
            frame.to_json(path, orient="records", lines=True)
        case _:
            frame.assign(at=pd.to_datetime(frame["at"], format="ISO8601")).to_parquet(path)
    assert len(read_raw([str(path)])) == 2
    assert collect(contract, {}, source=[str(path)]).records["content_hash"].tolist() == expected


def test_wrong_cells_that_differ_are_different_content():
    frame = pd.DataFrame({"user": "u", "thumb": ["up", "down"], "note": "n"})
    found = batch(frame)
    assert found.records["content_hash"].is_unique
    assert found.issues["code"].tolist() == ["wrong_type", "wrong_type"]


def test_cells_cannot_trade_bytes_with_their_neighbours():
    frame = pd.DataFrame({"user": ["a", "ab"], "thumb": None, "note": ["bc", "c"]})
    assert batch(frame).records["content_hash"].is_unique


def test_windows_of_a_query_keep_identical_rows_apart():
    frame = pd.DataFrame({"user": ["u"], "thumb": [1.0], "note": ["a"]})
    ids = [batch(frame, watermark=w).records["record_id"][0] for w in ("1", "2", "1")]
    assert ids[0] == ids[2] != ids[1]


def store_of(*rows):
    known = pd.DataFrame(
        [(*row, "ann")[:4] for row in rows], columns=["record_id", "content_hash", "by_person", "owner"]
    )
    return lambda ids: known[known["record_id"].isin(set(ids))]


def named(given, known, *, owner=None, contested=()):
    frame = pd.DataFrame(given, columns=["record_id", "content_hash"])
    frame = frame if owner is None else frame.assign(owner=owner)
    return name_newcomers(frame, store_of(*known), contested=dict(contested))


def test_other_content_under_a_known_id_gets_a_name_of_its_own_and_the_same_name_again():
    known = [("a", "1" * 32, False)]
    assert named([("a", "2" * 32), ("b", "2" * 32)], known) == {"a": "a~22222222"}
    assert named([("a", "2" * 32)], [*known, ("a~22222222", "2" * 32, False)]) == {"a": "a~22222222"}
    assert named([("a", "1" * 32)], known) == {}


def test_a_name_that_another_record_has_is_not_given_to_a_newcomer():
    known = [("a", "1" * 32, False), ("a~22222222", "3" * 32, False)]
    assert named([("a", "2" * 32)], known) == {"a": f"a~{'2' * 32}"}
    assert named([("a", "2" * 32), ("a~22222222", "2" * 32)], known[:1]) == {"a": f"a~{'2' * 32}"}


def test_of_two_contents_in_one_batch_the_one_that_is_stored_gets_its_id_back():
    given = [("a", "1" * 32), ("a~22222222", "2" * 32)]  # what the batch itself made of them
    contested = {"a": "a", "a~22222222": "a"}
    known = [("a", "2" * 32, False)]
    assert named(given, known, contested=contested) == {"a": "a~11111111", "a~22222222": "a"}


def test_a_revision_by_the_owner_is_a_newcomer_only_where_a_person_decided_the_first():
    given = [("a", "2" * 32), ("b", "2" * 32)]
    known = [("a", "1" * 32, True), ("b", "1" * 32, False)]
    assert named(given, known, owner="ann") == {"a": "a~22222222"}


@pytest.mark.parametrize(
    ("first", "second", "is_revision"),
    [("ann", "ann", True), ("ann", "bob", False), ("ann", None, False), (None, "ann", False), (None, None, True)],
)
def test_other_content_is_a_revision_only_if_it_is_of_the_same_source(first, second, is_revision):
    known = [("a", "1" * 32, False, first)]
    assert named([("a", "2" * 32)], known, owner=pd.Series([second], dtype="str")) == (
        {} if is_revision else {"a": "a~22222222"}
    )


def test_what_came_with_the_content_of_others_in_one_batch_revises_nothing():
    given, known = [("a", "2" * 32), ("a~33333333", "3" * 32)], [("a", "1" * 32, False)]
    owner = ["ann", "bob"]
    contested = {"a": "a", "a~33333333": "a"}
    assert named(given, known, owner=owner, contested=contested) == {"a": "a~22222222"}


NAMES = st.sampled_from(["a", "b", "a~11111111", "a~22222222", "b~22222222"])
CONTENTS = st.sampled_from(["1" * 32, "2" * 32, "3" * 32])


@given(st.dictionaries(NAMES, CONTENTS, min_size=1), st.dictionaries(NAMES, CONTENTS), st.randoms())
def test_names_are_unique_lose_no_content_and_do_not_depend_on_row_order(given_rows, known, random):
    rows = list(given_rows.items())
    store = [(name, content, False) for name, content in known.items()]
    names = named(rows, store)
    random.shuffle(rows)
    assert named(rows, store) == names
    final = [(names.get(name, name), content) for name, content in rows]
    assert len({name for name, _ in final}) == len(final)
    assert all(known.get(name, content) == content for name, content in final)
