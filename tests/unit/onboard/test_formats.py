import csv
import datetime as dt
import json
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from poison_guard.config import Contract, parse_contract
from poison_guard.errors import DataError, UsageError
from poison_guard.ingest.collect import collect_frames
from poison_guard.ingest.original import original_rows
from poison_guard.ingest.read import read_raw, read_tables
from poison_guard.onboard import FORMATS, find_format, fit_format, named_format, propose_contract
from poison_guard.onboard.columns import describe_columns
from poison_guard.onboard.roles import guess_roles
from tests.unit.onboard.format_rows import EXAMPLES, Example

NOW = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
NAMES = sorted(FORMATS)
SHARED = Path(__file__).parents[4] / "shared" / "data" / "formats"


def write(rows: Any, path: Path) -> str:
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def files_of(example: Example, folder: Path) -> tuple[str, str | None]:
    joined = write(example.joined, folder / "joined.jsonl") if example.joined else None
    return write(example.rows, folder / f"rows.{'csv' if example.csv else 'jsonl'}"), joined


def contract_of(path: str, joined: str | None = None) -> Contract:
    frame = read_raw([path])
    entry = find_format(frame)
    assert entry is not None
    fitted = fit_format(entry, frame, shown=path, joined=read_tables(joined) if joined else ())
    text = propose_contract(frame, name="x", data_path=path, fitted=fitted, join_path=joined)
    return parse_contract(tomllib.loads(text))


def test_every_format_has_an_example() -> None:
    assert sorted(EXAMPLES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_each_format_is_known_on_sight_and_its_roles_are_reached(name: str, tmp_path: Path) -> None:
    example = EXAMPLES[name]
    path, joined = files_of(example, tmp_path)

    contract = contract_of(path, joined)
    batch = collect_frames(contract, [path], home=tmp_path, received_at=NOW)

    assert contract.data.format == name
    assert not len(batch.unreadable)
    assert len(batch.records) == (example.records or len(example.rows))
    first = batch.records.iloc[0].to_dict()
    assert {role: first.get(role) for role in example.first} == dict(example.first)
    assert batch.issues.empty


@pytest.mark.parametrize("name", NAMES)
def test_each_role_of_an_entry_is_reached_by_its_example_or_said_to_be_absent(name: str, tmp_path: Path) -> None:
    path, joined = files_of(EXAMPLES[name], tmp_path)
    roles = set(contract_of(path, joined).columns)
    entry = FORMATS[name]

    lost = set(entry.roles) - roles - EXAMPLES[name].absent - {"group", "record_id", "item_id"}

    assert not lost
    assert roles & {"source_id", "author_id"} or entry.missing


@pytest.mark.parametrize("name", [name for name in NAMES if not FORMATS[name].explode])
def test_records_of_each_format_give_back_the_rows_that_they_were_made_of(name: str, tmp_path: Path) -> None:
    path, joined = files_of(EXAMPLES[name], tmp_path)
    records = collect_frames(contract_of(path, joined), [path], home=tmp_path, received_at=NOW).records

    (group,) = original_rows(records)

    texts = (lambda row: {key: str(value) for key, value in row.items()}) if EXAMPLES[name].csv else dict
    assert [texts(row) for row in group.rows()] == [texts(row) for row in EXAMPLES[name].rows]


def test_a_record_of_an_exploded_row_is_that_row_with_one_element(tmp_path: Path) -> None:
    example = EXAMPLES["label-studio"]
    path, _ = files_of(example, tmp_path)
    records = collect_frames(contract_of(path), [path], home=tmp_path, received_at=NOW).records

    (group,) = original_rows(records)

    task = example.rows[0]
    assert list(group.rows())[:2] == [{**task, "annotations": [element]} for element in task["annotations"]]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public files are not in this checkout")
@pytest.mark.parametrize("file", sorted(SHARED.glob("*.json*")) + sorted(SHARED.glob("*.csv")), ids=lambda p: p.name)
def test_public_files_are_of_a_known_format_and_every_row_is_accounted_for(file: Path, tmp_path: Path) -> None:
    if file.name == "poisonedrag_nq.json":
        pytest.skip("an object of objects is no list of records")
    batch = collect_frames(contract_of(str(file)), [str(file)], home=tmp_path, received_at=NOW)

    assert sum(ref.rows for ref in batch.objects) == len(batch.records) + batch.duplicates + len(batch.unreadable)
    assert len(batch.records)


def test_a_format_named_that_the_file_is_not_says_what_is_missing_and_what_it_looks_like(tmp_path: Path) -> None:
    path = write(EXAMPLES["hh-rlhf"].rows, tmp_path / "rows.jsonl")

    with pytest.raises(DataError, match=r"is not label-studio .*nothing is at annotations.*looks like hh-rlhf"):
        fit_format(named_format("label-studio"), read_raw([path]), shown="rows.jsonl")


def test_a_column_an_annotator_has_the_item_whatever_its_id_is_called() -> None:
    rows = [{"task": f"t{i}", "annotator_1": "yes", "annotator_2": "no"} for i in range(6)]
    fitted = fit_format(named_format("annotator-columns"), pd.DataFrame(rows), shown="rows.csv")

    assert (fitted.roles["item_id"], fitted.roles["record_id"]) == ("task", "task + annotator_*#")


def test_a_value_inside_an_object_is_a_role_by_its_last_key_where_no_column_is() -> None:
    def source(**columns: list[str]) -> str:
        frame = pd.DataFrame({name.replace("_in_", "."): values for name, values in columns.items()})
        return {guess.role: guess.column.name for guess in guess_roles(describe_columns(frame))}["source_id"]

    names = [f"u{k % 5}" for k in range(40)]

    assert source(meta_in_user=names, text=[f"case {k}" for k in range(40)]) == "meta.user"
    assert source(meta_in_user=names, user_id=[f"v{k % 5}" for k in range(40)]) == "user_id"


def test_an_unknown_format_names_the_nearest_one() -> None:
    with pytest.raises(UsageError, match=r"no known format 'labelstudio'; did you mean label-studio"):
        named_format("labelstudio")


def test_a_second_file_without_the_key_and_a_join_that_nothing_asks_for_are_refused(tmp_path: Path) -> None:
    scores = write(EXAMPLES["langfuse-scores"].rows, tmp_path / "scores.jsonl")
    pairs = write(EXAMPLES["hh-rlhf"].rows, tmp_path / "pairs.jsonl")

    with pytest.raises(DataError, match=r"the file of --join cannot be used: it has no id, which to in"):
        fit_format(named_format("langfuse-scores"), read_raw([scores]), shown=scores, joined=read_tables(pairs))
    with pytest.raises(UsageError, match="the format hh-rlhf has no second file; leave --join out"):
        fit_format(named_format("hh-rlhf"), read_raw([pairs]), shown=pairs, joined=read_tables(scores))


def test_columns_of_sources_and_times_beside_a_format_are_mapped_too(tmp_path: Path) -> None:
    rows = [{**row, "user_id": f"u{i % 2}"} for i, row in enumerate(EXAMPLES["trl-preference"].rows)]

    assert contract_of(write(rows, tmp_path / "rows.jsonl")).columns["source_id"] == "user_id"


def test_the_id_of_a_reply_that_several_people_rate_is_the_item_and_one_that_never_repeats_the_record(
    tmp_path: Path,
) -> None:
    rows = EXAMPLES["thumbs"].rows
    shared = [{**row, "message_id": "m0" if i < 2 else "m1"} for i, row in enumerate(rows)]

    alone = contract_of(write(rows, tmp_path / "a.jsonl"))
    rated = contract_of(write(shared, tmp_path / "b.jsonl"))

    assert (alone.columns["record_id"], alone.vote) == ("message_id", None)
    assert (rated.columns["item_id"], rated.vote) == ("message_id", "label")


def test_parquet_with_nested_columns_is_read_as_json_is(tmp_path: Path) -> None:
    example = EXAMPLES["label-studio"]
    path = str(tmp_path / "rows.parquet")
    pd.DataFrame(example.rows).to_parquet(path)

    batch = collect_frames(contract_of(path), [path], home=tmp_path, received_at=NOW)

    assert len(batch.records) == example.records
    assert batch.records["source_id"].iloc[0] == "1@x.org"
