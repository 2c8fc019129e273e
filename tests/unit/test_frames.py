"""Frames are what `FRAMES` says, and who hands on another one hears of it."""

from __future__ import annotations

import pandas as pd
import pytest

from poison_guard.errors import StoreError
from poison_guard.files import write_frame
from poison_guard.frames import BORDERS, FRAMES, among, check_frame, columns_marked, empty_frame, look_up, typed_frame
from poison_guard.results import html_table


@pytest.mark.parametrize("name", list(FRAMES))
def test_an_empty_frame_is_a_frame(name):
    frame = empty_frame(name)
    check_frame(name, frame)
    assert [*frame] == [key for key, column in FRAMES[name].columns.items() if not column.optional]


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (pd.DataFrame({"item_id": ["a"]}), r"lacks \['answer'\]"),
        (pd.DataFrame({"item_id": ["a"], "answer": ["b"], "anser": ["c"]}), r"unknown columns \['anser'\]"),
        (pd.DataFrame({"item_id": ["a"], "answer": [1.5]}), "answer of the frame controls is float64, expected str"),
    ],
)
def test_a_column_missing_unknown_or_of_another_kind_is_named(frame, told):
    with pytest.raises(StoreError, match=told):
        check_frame("controls", frame)


def test_every_frame_at_a_border_is_described_and_every_description_is_used():
    named = {frame for fields in BORDERS.values() for frame in fields.values()}
    assert named | {"scored", "newcomers"} == set(FRAMES)


def test_what_a_sender_wrote_is_marked():
    texts = ("source_id", "item_id", "vote", "answer", "label", "raw")
    marked = [column.marks for frame in FRAMES.values() for name, column in frame.columns.items() if name in texts]
    assert all("from_feed" in marks for marks in marked)


def test_an_unknown_column_of_a_frame_of_records_or_sources_is_named():
    for name in ("records", "batch_sources", "sources"):
        with pytest.raises(StoreError, match=r"unknown columns \['sorce'\]"):
            check_frame(name, empty_frame(name).assign(sorce=1))


def test_a_typed_frame_has_the_dtypes_of_its_description():
    frame = typed_frame("controls", pd.DataFrame({"item_id": ["a"], "answer": ["b"]}, dtype=object))
    assert frame.dtypes.tolist() == empty_frame("controls").dtypes.tolist()
    assert [*typed_frame("sources", pd.DataFrame())] == [*empty_frame("sources")]


def test_among_says_what_isin_says_of_text_and_of_missing_cells():
    column = pd.Series(["a", None, "b", "a"], dtype="str")
    for values in ([], ["a"], pd.Series(["b", None], dtype="str"), {"a", "c"}):
        expected = column.isin([value for value in values if isinstance(value, str)]).to_numpy()
        assert among(column, values).tolist() == expected.tolist()
    assert among(column.iloc[:0], ["a"]).tolist() == []


HOSTILE = "=cmd|'<script>alert(1)</script>\u202e"


@pytest.mark.parametrize("name", BORDERS["ScanResult"].values())
def test_text_that_a_sender_wrote_is_escaped_in_files_and_tables(name, tmp_path):
    written = [key for key, column in FRAMES[name].columns.items() if "from_feed" in column.marks]
    cells = {key: [HOSTILE if key in written else None] for key in FRAMES[name].columns}
    frame = pd.DataFrame(cells)
    write_frame(frame, tmp_path / "out.csv")
    read = pd.read_csv(tmp_path / "out.csv", dtype="str")
    assert read[written].map(lambda cell: cell.startswith("'=")).all(axis=None)
    html = html_table(tuple(frame), frame.itertuples(index=False))
    assert html.count("&lt;script&gt;") == html.count("&lt;U+202E&gt;") == len(written) > 0
    assert "<script>" not in html


def test_a_source_has_no_name_that_an_erasure_would_not_look_for():
    assert columns_marked("id", "private") == ("author_id", "source_id", "speaker")
    for frame in FRAMES.values():
        for key, column in frame.columns.items():
            assert key not in ("source_id", "author_id", "speaker") or {"id", "private"} <= column.marks


def test_what_a_table_says_is_looked_up_by_name_and_missing_where_it_says_nothing():
    names = pd.Series(["b", None, "x", "a", "b"], index=[5, 4, 3, 2, 1], dtype="str")
    table = pd.Series(["first", "second"], index=pd.Index(["a", "b"], dtype="str"), dtype="str")
    found = look_up(names, table)
    assert found.index.tolist() == [5, 4, 3, 2, 1]
    assert found.fillna("-").tolist() == ["second", "-", "-", "first", "second"]
    assert look_up(names, table[:0]).isna().all()
    assert look_up(names.astype(object), table).fillna("-").tolist() == found.fillna("-").tolist()
