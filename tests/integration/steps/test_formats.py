"""The format of a file decides nothing: the same rows in CSV, JSON lines and Parquet are the same records."""

from __future__ import annotations

import csv
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from poison_guard import Guard
from poison_guard.config import load_contract
from poison_guard.ingest.collect import collect_frames
from tests.integration.steps.conftest import CONTRACT, NOW, answers
from tests.thorough import examples

Row = dict[str, Any]
COLUMNS = ("id", "user", "word", "said", "at", "since", "dwell", "speed", "zip", "flag")


def plain(value: Any) -> Any:
    """A cell as JSON and CSV can hold it."""
    return value.isoformat() if isinstance(value, dt.datetime) else value


def as_cell(value: Any) -> str:
    value = plain(value)
    return "" if value is None else json.dumps(value) if isinstance(value, bool) else str(value)


def write_csv(rows: list[Row], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(COLUMNS)
        writer.writerows([as_cell(row.get(name)) for name in COLUMNS] for row in rows)


def write_jsonl(rows: list[Row], path: Path) -> None:
    """Write rows without their missing cells, except where no row has any."""
    lines = [{name: plain(value) for name, value in row.items() if value is not None} for row in rows]
    lines[0] |= {name: None for name in COLUMNS if name not in lines[0]}
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")


def write_parquet(rows: list[Row], path: Path) -> None:
    """Write each column in its own type, a column of several types as text."""
    columns = {}
    for name in COLUMNS:
        cells = [row.get(name) for row in rows]
        types = {type(cell) for cell in cells} - {type(None)}
        mixed = len(types) > 1 and not types <= {int, float}
        columns[name] = pa.array([as_cell(c) or None for c in cells]) if mixed else pa.array(cells)
    pq.write_table(pa.table(columns), path)


WRITERS = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}


@pytest.fixture(scope="module")
def guard(tmp_path_factory) -> Guard:
    folder = tmp_path_factory.mktemp("formats")
    (folder / "quiz.toml").write_text(CONTRACT)
    guard = Guard.open(folder / "quiz.toml", home=folder / "home")
    guard.trust(answers(400, 99, prefix="t"), by="ann", reason="vetted for the test")
    return guard


def in_every_format(guard: Guard, rows: list[Row], folder: Path) -> list[tuple[pd.DataFrame, ...]]:
    """Ids, content and issues as ingest has them, and decisions with their evidence, per format."""
    contract = load_contract(guard.contract.path)
    results = []
    for suffix, write in WRITERS.items():
        path = folder / f"rows.{suffix}"
        write(rows, path)
        batch = collect_frames(contract, [str(path)], home=folder, received_at=NOW.to_pydatetime())
        of_file = [name for name in batch.records if name in ("object", "row", "shape") or name.startswith("was.")]
        scanned = guard.scan(path)
        results.append(
            (
                batch.records.drop(columns=of_file).sort_values("record_id", ignore_index=True),
                batch.issues.sort_values(["record_id", "code"], ignore_index=True),
                scanned.decisions.drop(columns=["object", "row"]).sort_values("record_id", ignore_index=True),
                scanned.evidence.drop(columns=["object", "row"]).sort_values(
                    ["record_id", "signal", "code"], ignore_index=True
                ),
            )
        )
    return results


def assert_alike(results: list[tuple[pd.DataFrame, ...]]) -> None:
    for other in results[1:]:
        for frame, twin in zip(results[0], other, strict=True):
            pd.testing.assert_frame_equal(frame, twin)


def messy_rows() -> list[Row]:
    """Honest rows, and among them everything that a file may bring."""
    frame = answers(120, 7).assign(zip="01234", flag=True)
    rows: list[Row] = [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
    changes: list[Row] = [
        {"said": "4.0", "zip": "4.0"},
        {"said": 'a "quote", a comma'},
        {"said": "two\nlines\r\nand more"},
        {"said": "née \u202e hidden", "user": "user \U0001f600"},
        {"said": None, "dwell": None},
        {"said": "", "zip": None},
        {"user": None},
        {"word": "  "},
        {"at": "yesterday"},
        {"at": None, "since": None},
        {"at": "1999-01-01T00:00:00Z"},
        {"since": "2024-01-01T00:00:00+02:00"},
        {"speed": "fast"},
        {"speed": "inf"},
        {"speed": -0.0},
        {"dwell": 1e16},
        {"dwell": 1e300},
        {"user": "x" * 300},
        {"zip": "true", "flag": "true"},
        {"id": rows[0]["id"]},
        {**rows[1]},
        {"id": "9007199254740993"},
    ]
    for k, change in enumerate(changes):
        rows[10 + k] |= change
    return rows


def test_a_messy_file_is_decided_the_same_in_csv_jsonl_and_parquet(guard, tmp_path):
    results = in_every_format(guard, messy_rows(), tmp_path)
    records, issues, decisions, _ = results[0]
    assert {"missing_id", "bad_time", "wrong_type", "not_finite", "cell_too_long", "id_conflict"} == set(issues["code"])
    assert len(records) == len(decisions) == 119  # of two rows with one id and one content one is kept
    assert set(decisions["action"]) >= {"accept", "quarantine"}
    assert_alike(results)


texts = st.one_of(
    st.sampled_from(["a", "b", "4", "4.0", "007", "true", "nan", "2026-03-01", "[1]", ""]),
    st.text("ab\"',;\n\t é0.", max_size=6),
)
numbers = st.one_of(st.none(), st.integers(-(10**6), 10**6), st.floats(allow_nan=False, allow_infinity=False))
rows_of_a_file = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(0, 40).map(str),
            "user": st.one_of(st.sampled_from(["u1", "u2", "u3"]), st.integers(1, 3)),
            "word": st.sampled_from(["w1", "w2", "w3"]),
            "said": st.one_of(st.none(), texts, st.integers(0, 9)),
            "at": st.one_of(
                st.none(), st.integers(0, 86_400).map(lambda s: (NOW - pd.Timedelta(s, "s")).to_pydatetime())
            ),
            "dwell": numbers,
            "speed": numbers,
            "zip": texts,
            "flag": st.one_of(st.none(), st.booleans()),
        }
    ),
    min_size=3,
    max_size=25,
)


@settings(max_examples=examples(2), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows_of_a_file)
@example([{"id": "1", "user": 1, "word": "w1", "said": 4, "dwell": 1e16, "speed": 2, "zip": "1e16", "flag": False}])
def test_any_rows_are_decided_the_same_in_csv_jsonl_and_parquet(guard, tmp_path, rows):
    assert_alike(in_every_format(guard, rows, tmp_path))
