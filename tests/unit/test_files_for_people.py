"""Files that commands write: formats by ending, no formulas, whole or not at all."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.errors import StoreError, UsageError
from poison_guard.files import defused, write_frame, write_text

_FRAME = pd.DataFrame(
    {
        "record_id": ["=cmd|' /C calc'!A0", "b", "+1"],
        "risk": [-0.5, 0.2, float("nan")],
        "reasons": [["lockstep"], [], ["a", "b"]],
        "text": ["@x", None, " =1+1"],
    }
)


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_every_format_holds_every_row(tmp_path, ending):
    path = tmp_path / "new" / f"decisions.{ending}"
    write_frame(_FRAME, path)
    read = {"parquet": pd.read_parquet, "csv": pd.read_csv, "jsonl": lambda p: pd.read_json(p, lines=True)}[ending](
        path
    )
    assert list(read.columns) == list(_FRAME.columns)
    assert len(read) == 3
    assert list(path.parent.iterdir()) == [path]


def test_a_cell_that_could_be_a_formula_is_defused_in_csv(tmp_path):
    write_frame(_FRAME.rename(columns={"text": "=text"}), tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][3] == "'=text"
    assert [r[0] for r in rows[1:]] == ["'=cmd|' /C calc'!A0", "b", "'+1"]
    assert rows[1][1] == "-0.5"
    assert rows[3][3] == "' =1+1"
    assert json.loads(rows[3][2]) == ["a", "b"]


@given(st.text(max_size=12))
def test_no_defused_text_starts_like_a_formula(text):
    assert not defused(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert defused(text).removeprefix("'") == text.removeprefix("'")


def test_other_formats_keep_hostile_cells_as_they_are(tmp_path):
    write_frame(_FRAME, tmp_path / "x.jsonl")
    first = json.loads((tmp_path / "x.jsonl").read_text().splitlines()[0])
    assert first["record_id"] == "=cmd|' /C calc'!A0"
    assert json.loads((tmp_path / "x.jsonl").read_text().splitlines()[2])["risk"] is None


def test_an_unknown_ending_is_refused():
    with pytest.raises(UsageError, match=r"decisions\.xlsx must end in \.parquet, \.csv or \.jsonl"):
        write_frame(_FRAME, Path("decisions.xlsx"))


def test_a_place_that_cannot_be_written_is_one_sentence_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be written"):
        write_text("page", tmp_path / "file" / "report.html")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
