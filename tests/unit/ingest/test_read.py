"""Small tables that people keep beside a feed: natural types for a look, text for keys, one sentence for faults."""

from __future__ import annotations

import gzip

import pytest

from poison_guard.errors import DataError
from poison_guard.ingest.read import read_raw, read_table


def test_a_raw_table_has_natural_types_and_keeps_leading_zeros(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("n,f,zip,word\n1,0.5,0123,x\n2,1.5,0456,\n")
    frame = read_raw([str(path)])
    assert [str(t) for t in frame.dtypes] == ["int64", "float64", "str", "str"]
    assert frame["zip"].tolist() == ["0123", "0456"]
    assert frame["word"].isna().tolist() == [False, True]
    assert len(read_raw([str(path)], sample_rows=1)) == 1


def test_files_of_several_formats_are_joined(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,x\n")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"a": 2, "c": 3}\n'))
    frame = read_raw([str(tmp_path / "*")])
    assert frame["a"].tolist() == [1, 2]
    assert list(frame.columns) == ["a", "b", "c"]


def test_side_tables_are_text_with_whole_numbers_plain(tmp_path):
    path = tmp_path / "controls.csv"
    path.write_text("item_id,answer,why\n7,4.0,x\n8,cat,y\n")
    table = read_table(str(path), columns=("item_id", "answer"))
    assert table.to_dict("list") == {"item_id": ["7", "8"], "answer": ["4", "cat"]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("item_id\n7\n", "has no column answer; it has item_id"),
        ("item_id,answer\n7\n", "row 2 of .* cannot be read: it has 1 fields where the header has 2"),
        ("item_id,answer\n", "holds no rows"),
        ("a,a\n", "cannot be read: its header names the column"),
    ],
)
def test_faults_of_a_side_table_are_one_sentence(tmp_path, content, says):
    path = tmp_path / "controls.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=says):
        read_table(str(path), columns=("item_id", "answer"))


def test_a_format_is_known_by_its_first_bytes_where_the_name_is_silent(tmp_path):
    path = tmp_path / "export"
    path.write_text('{"a": 1}\n')
    assert read_raw([str(path)])["a"].tolist() == [1]


def test_a_file_without_a_readable_row_says_why(tmp_path):
    path = tmp_path / "latin.csv"
    path.write_bytes("user,text\na,hällo\n".encode("latin-1"))
    with pytest.raises(
        DataError, match=r"holds no rows that can be read; row 2 of .*: it holds bytes that are not UTF-8"
    ):
        read_raw([str(path)])
