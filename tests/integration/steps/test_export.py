"""Export: a format in gives the same format out, row for row; decisions say where their rows are and why."""

import json
import uuid

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from poison_guard.errors import NotFoundError, UsageError
from poison_guard.guard import Guard
from tests.integration.cli.conftest import Hand

_ROWS = [
    {"id": f"r{i}", "ask": f"=question {i}", "reply": f"answer {i}", "ok": i % 2 == 0, "score": i / 4,
     "more": {"z": [i], "a": None}, "at": f"2026-10-0{i % 9 + 1}T10:00:00Z"}
    for i in range(30)
]  # fmt: skip


def _contract(path: str, **columns: str) -> str:
    listed = "\n".join(f'{role} = "{name}"' for role, name in columns.items())
    return (
        f'name = "pairs"\nkind = "examples"\nmode = "observe"\n[data]\npath = "{path}"\n[columns]\n{listed}\n'
        '[policy]\nrequired = ["validation"]\n'
    )


@pytest.fixture(scope="module")
def guard(tmp_path_factory) -> Guard:
    """A feed of JSON Lines of 30 rows, one of them without an id, and one line that cannot be read."""
    folder = tmp_path_factory.mktemp("pairs")
    lines = [json.dumps(row, ensure_ascii=False) for row in _ROWS]
    (folder / "in.jsonl").write_text("\n".join([*lines[:10], "{broken", *lines[10:]]) + "\n")
    columns = {"record_id": "id", "prompt": "ask", "response": "reply", "label": "ok", "observed_at": "at"}
    (folder / "pairs.toml").write_text(_contract("in.jsonl", **columns))
    opened = Guard.open(folder / "pairs.toml", home=folder / "home")
    opened.ingest()
    opened.seal()
    return opened


def test_json_lines_come_out_as_they_came_in(guard, tmp_path):
    guard.export(tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text().splitlines() == [json.dumps(row) for row in _ROWS]


def test_csv_and_parquet_come_out_as_they_came_in(tmp_path):
    frame = pd.DataFrame(_ROWS).drop(columns="more").astype({"score": "float32"})
    frame.to_csv(tmp_path / "a.csv", index=False, sep=";")
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), tmp_path / "a.parquet")
    for ending in ("csv", "parquet"):
        (tmp_path / f"{ending}.toml").write_text(
            _contract(f"a.{ending}", record_id="id", prompt="ask", rating="score", observed_at="at")
        )
        guard = Guard.open(tmp_path / f"{ending}.toml", home=tmp_path / ending)
        guard.ingest()
        guard.export(tmp_path / f"out.{ending}", as_=ending)
    assert (tmp_path / "out.csv").read_text() == (tmp_path / "a.csv").read_text()
    assert pq.read_table(tmp_path / "out.parquet").equals(pq.read_table(tmp_path / "a.parquet"), check_metadata=True)


def test_an_exported_file_scans_with_its_own_contract(guard, tmp_path):
    guard.export(tmp_path / "again.jsonl")
    again, first = (guard.scan(path).decisions for path in (tmp_path / "again.jsonl", guard.home.parent / "in.jsonl"))
    shown = ["record_id", "action", "reasons"]
    pd.testing.assert_frame_equal(
        again[shown].reset_index(drop=True), first.loc[first["row"] != 11, shown].reset_index(drop=True)
    )


def test_decisions_say_why_and_where_the_row_is_in_the_order_of_the_input(guard, tmp_path):
    result = guard.export(tmp_path / "d.csv", places=("accepted", "quarantined"), decisions=True)
    frame = pd.read_csv(tmp_path / "d.csv")
    assert len(frame) == len(result.frame) == 31
    assert frame["row"].tolist() == list(range(1, 32))
    assert frame["object"].str.endswith("in.jsonl").all()
    bad = frame[frame["row"] == 11].iloc[0]
    assert bad["reasons"] == "unreadable_row"
    assert "not valid JSON" in bad["why"]


def test_rows_with_reasons_keep_their_columns_and_say_what_was_left_out(guard, tmp_path):
    result = guard.export(tmp_path / "why.jsonl", places=("accepted", "quarantined"), reasons=True)
    first = json.loads((tmp_path / "why.jsonl").read_text().splitlines()[0])
    assert {name: value for name, value in first.items() if not name.startswith("guard.")} == _ROWS[0]
    told = [first[f"guard.{name}"] for name in ("record_id", "place", "action", "row")]
    assert told == ["r0", "accepted", "quarantine", 1], "an observed feed holds nothing back"
    assert result.notes == ("1 rows that cannot be read have no columns and are left out; `--decisions` lists them",)


def test_a_csv_for_people_is_safe_and_says_so(guard, tmp_path):
    safe = guard.export(tmp_path / "people.csv")
    assert safe.changed_cells == 30
    assert "30 cells that a spreadsheet would run got a leading '" in safe.notes[0]
    assert pd.read_csv(tmp_path / "people.csv")["ask"].str.startswith("'=").all()
    exact = guard.export(tmp_path / "train.csv", as_="csv")
    assert (exact.changed_cells, exact.notes) == (0, ())
    assert pd.read_csv(tmp_path / "train.csv")["ask"].tolist() == [row["ask"] for row in _ROWS]


def test_a_snapshot_is_exported_row_for_row_with_what_admits_it_beside_it(guard, tmp_path):
    result = guard.export(tmp_path / "s.jsonl", snapshot_id="last")
    assert (tmp_path / "s.jsonl").read_text().splitlines() == [json.dumps(row) for row in _ROWS]
    beside = json.loads((tmp_path / "s.jsonl.manifest.json").read_text())
    assert (beside["snapshot_id"], beside["rows"], beside["manifest_sha256"]) == (result.snapshot_id, 30, None)
    guard.export(tmp_path / "s.parquet", snapshot_id="last")
    told = json.loads(pq.read_schema(tmp_path / "s.parquet").metadata[b"poison_guard"])
    assert told["snapshot_id"] == result.snapshot_id
    with pytest.raises(NotFoundError, match="no snapshot of pairs is admitted"):
        guard.export(tmp_path / "x.jsonl", snapshot_id="admitted")


def test_parts_hold_every_column_under_its_own_name_and_type(guard):
    (part,) = (guard.home / "lake" / "snapshots").rglob("*.parquet")
    table = pq.read_table(part)
    assert [name for name in table.column_names if not name.startswith("guard.")] == list(_ROWS[0])
    assert pa.types.is_boolean(table.schema.field("ok").type)
    assert pa.types.is_struct(table.schema.field("more").type)
    assert "guard.prompt" not in table.column_names, "a text that is an own column is written once"
    assert sorted(table["score"].to_pylist()) == [row["score"] for row in _ROWS]


def test_trl_and_a_folder_for_hugging_face(guard, tmp_path):
    guard.export(tmp_path / "t.jsonl", as_="trl")
    first = json.loads((tmp_path / "t.jsonl").read_text().splitlines()[0])
    assert first == {"prompt": "=question 0", "completion": "answer 0", "label": True}
    guard.export(tmp_path / "hub", as_="hf")
    assert len(pq.read_table(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet")) == 30
    assert "path: data/train-00000-of-00001.parquet" in (tmp_path / "hub" / "README.md").read_text()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"as_": "xml"}, "there is no format 'xml' to export as; there are jsonl"),
        ({"as_": "csv"}, "ends as a file of jsonl, and --as says csv"),
        ({"as_": "hf"}, "`--as hf` writes a folder"),
        ({"decisions": True, "reasons": True}, "--decisions and --reasons write two different things"),
        ({"snapshot_id": "last", "places": ("staged",)}, "leave out --place"),
        ({"decisions": True, "as_": "trl"}, "decisions are no examples"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_sentence(guard, tmp_path, given, said):
    with pytest.raises(UsageError, match=said):
        guard.export(tmp_path / "x.jsonl", **given)
    assert not (tmp_path / "x.jsonl").exists()


def test_stdout_holds_the_rows_and_nothing_else(guard):
    hand = Hand(guard.contract_path.parent)
    result = hand("export", "--feed", guard.contract_path, "--out", "-")
    assert result.stdout.splitlines() == [json.dumps(row) for row in _ROWS]
    refused = hand("export", "--feed", guard.contract_path, "--out", "-", "--json")
    assert refused.exit_code == 2


def test_a_csv_without_a_header_comes_out_without_one_and_uuids_as_text(tmp_path):
    rows = "\n".join(f"a{i}|question {i}|answer {i}" for i in range(30)) + "\n"
    (tmp_path / "in.csv").write_text(rows)
    columns = {"record_id": "column_1", "prompt": "column_2", "response": "column_3"}
    text = _contract("in.csv", **columns).replace("[columns]", 'header = false\ndelimiter = "|"\n[columns]')
    (tmp_path / "bare.toml").write_text(text)
    bare = Guard.open(tmp_path / "bare.toml", home=tmp_path / "home")
    bare.ingest()
    bare.export(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == rows
    assert bare.scan(tmp_path / "out.csv").counts["received"] == 30

    ids = [uuid.UUID(int=2**120 + n) for n in range(30)]
    table = {
        "column_1": pa.array([i.bytes for i in ids], pa.binary(16)),
        "column_2": ["q"] * 30,
        "column_3": ["r"] * 30,
    }
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    (tmp_path / "ids.toml").write_text(_contract("in.parquet", **columns).replace('"pairs"', '"ids"'))
    whole = Guard.open(tmp_path / "ids.toml", home=tmp_path / "home")
    whole.ingest()
    whole.export(tmp_path / "ids.csv")
    assert pd.read_csv(tmp_path / "ids.csv")["column_1"].tolist() == [str(i) for i in ids]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_of_folders_come_out_with_the_rows(tmp_path, ending):
    rows = pd.DataFrame({"id": [f"r{i}" for i in range(20)], "ask": "question", "reply": "answer"})
    for day in (1, 2):
        (folder := tmp_path / f"lake/day=2026-10-0{day}").mkdir(parents=True)
        part = rows.iloc[10 * (day - 1) : 10 * day]
        part.to_csv(folder / "a.csv", index=False) if ending == "csv" else part.to_parquet(folder / "a.parquet")
    columns = {"record_id": "id", "prompt": "ask", "response": "reply", "observed_at": "day"}
    (tmp_path / "lake.toml").write_text(_contract(f"lake/**/*.{ending}", **columns))
    lake = Guard.open(tmp_path / "lake.toml", home=tmp_path / "home")
    lake.ingest()
    out = tmp_path / f"out.{ending}"
    lake.export(out)
    frame = pd.read_csv(out) if ending == "csv" else pd.read_parquet(out)
    assert frame["day"].astype(str).tolist() == ["2026-10-01"] * 10 + ["2026-10-02"] * 10
    assert lake.scan(out).counts["received"] == 20
