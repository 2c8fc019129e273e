"""CSV: good rows are read, every other line is kept with its number and reason."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poison_guard.ingest.formats import format_of
from poison_guard.ingest.raw_table import Limits, RawTable, Unreadable
from poison_guard.ingest.reader import read_in_child
from tests.unit.ingest.conftest import read_bytes


def read(tmp_path: Path, content: bytes | str, **limits: int) -> RawTable:
    return read_bytes(tmp_path / "a.csv", content, **limits)


def test_rows_keep_their_line_numbers(tmp_path):
    raw = read(tmp_path, 'a,b\n1,2\n\n"two\nlines",4\n5,6\n')
    assert raw.row_numbers.tolist() == [2, 4, 6]
    assert raw.table.to_pydict() == {"a": ["1", "two\nlines", "5"], "b": ["2", "4", "6"]}


def test_ragged_rows_are_unreadable_with_line_and_text(tmp_path):
    raw = read(tmp_path, "a,b,c\n1,2,3\n4,5\n6,7,8,9\n10,11,12\n")
    assert raw.table["a"].to_pylist() == ["1", "10"]
    assert [(b.row, b.text) for b in raw.bad] == [(3, "4,5"), (4, "6,7,8,9")]
    assert raw.bad[0].reason == "it has 2 fields where the header has 3"


def test_a_300_column_file_with_ragged_rows_is_read_when_its_contract_allows_so_many(tmp_path):
    header = ",".join(f"c{i}" for i in range(300))
    good, short = ",".join(["1"] * 300), ",".join(["1"] * 299)
    raw = read(tmp_path, f"{header}\n{good}\n{short}\n{good}\n", max_columns=300)
    assert raw.table.shape == (2, 300)
    assert [b.row for b in raw.bad] == [3]


def test_more_columns_than_the_bound_are_refused(tmp_path):
    with pytest.raises(Unreadable, match="it has 5,000 columns, more than max_columns = 4,096"):
        read(tmp_path, ",".join(f"c{i}" for i in range(5_000)) + "\n")


def test_an_unclosed_quote_costs_its_own_line_only(tmp_path):
    raw = read(tmp_path, 'a,b\n1,2\n3,"open\n5,6\n7,8\n')
    assert raw.table["a"].to_pylist() == ["1", "5", "7"]
    assert [(b.row, b.text) for b in raw.bad] == [(3, '3,"open')]


def test_an_unclosed_quote_far_from_the_end_costs_its_own_line_only(tmp_path):
    raw = read(tmp_path, 'a,b\n3,"open\n' + "1,2\n" * 5_000)
    assert len(raw.row_numbers) == 5_000
    assert [b.row for b in raw.bad] == [2]


def test_bytes_that_are_not_utf8_cost_their_row_only(tmp_path):
    raw = read(tmp_path, b"a,b\n1,2\n\xff\xfe,3\n4,5\n")
    assert raw.table["a"].to_pylist() == ["1", "4"]
    assert [(b.row, b.reason.partition(";")[0]) for b in raw.bad] == [(3, "it holds bytes that are not UTF-8")]
    assert raw.bad[0].text.isprintable()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_seen_in_the_header(tmp_path, delimiter):
    raw = read(tmp_path, f"a{delimiter}b\n1{delimiter}2\n")
    assert raw.table.to_pydict() == {"a": ["1"], "b": ["2"]}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_are_understood(tmp_path, encoding):
    assert read(tmp_path, "a,b\né,2\n".encode(encoding)).table.to_pydict() == {"a": ["é"], "b": ["2"]}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"\n\n", "names no columns"),
        (b"a,a\n1,2\n", "names the column 'a' twice"),
        (b'"a,b\n1,2\n', "its header cannot be read"),
        (b"a\x01,b\n1,2\n", "not to be shown"),
        (b"a" * 201 + b",b\n", "longer than 200"),
        (gzip.compress(b"a,b\n1,2\n" * 1000, mtime=0)[:-9], "damaged or cut short"),
    ],
)
def test_files_that_are_no_table_are_refused_with_the_reason(tmp_path, content, why):
    with pytest.raises(Unreadable, match=why):
        read(tmp_path, content)


def test_a_gzip_bomb_is_stopped_at_the_bound(tmp_path):
    with pytest.raises(Unreadable, match="unpacks to more than max_bytes = 100,000"):
        read(tmp_path, gzip.compress(b"a,b\n" + b"1,2\n" * 100_000), max_bytes=100_000)


def test_too_many_rows_are_refused(tmp_path):
    with pytest.raises(Unreadable, match="more than max_rows = 3 rows"):
        read(tmp_path, "a\n1\n2\n3\n4\n", max_rows=3)


def test_a_cell_of_10_mb_is_read_whole(tmp_path):
    raw = read(tmp_path, "a,b\n1," + "x" * 10_000_000 + "\n2,y\n")
    assert [len(v) for v in raw.table["b"].to_pylist()] == [10_000_000, 1]


def test_a_file_of_broken_rows_alone_is_given_up(tmp_path):
    with pytest.raises(Unreadable, match="more than 100,000 of its rows cannot be read, the first is row 2"):
        read(tmp_path, "a,b\n" + "1\n" * 100_001)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["1,2", '"q,q",2', "1", "1,2,3", '"open,2', 'x"y,2', "", "é,ü", '"a""b",c']), max_size=40)
)
def test_every_line_that_is_not_blank_is_a_row_or_unreadable(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    raw = read_bytes(path, "\n".join(["a,b", *lines]) + "\n")
    quoted = sum(v.count("\n") for column in raw.table.columns for v in column.to_pylist())
    blank_inside = quoted  # lines inside a quoted cell belong to the row they are in
    filled = sum(bool(line) for line in lines)
    assert filled - blank_inside <= len(raw.row_numbers) + len(raw.bad) <= filled
    places = [*raw.row_numbers.tolist(), *(b.row for b in raw.bad)]
    assert len(set(places)) == len(places)


def test_a_line_longer_than_the_bound_costs_its_row_only(tmp_path):
    long = "x" * 300
    raw = read(tmp_path, f'a,b\n1,2\n{long},3\n3,"open\n{long}\n5,6\n', max_line_chars=100)
    assert raw.table["a"].to_pylist() == ["1", "5"]
    assert [(b.row, b.reason) for b in raw.bad] == [
        (3, "it is longer than 100 characters"),
        (4, "a quote is not closed"),
        (5, "it is longer than 100 characters"),
    ]


def test_a_header_longer_than_the_bound_is_refused(tmp_path):
    with pytest.raises(Unreadable, match="its header cannot be read: it is longer than 100 characters"):
        read(tmp_path, "a" * 300 + ",b\n1,2\n", max_line_chars=100)


def test_few_bytes_that_unpack_to_many_cells_are_refused(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(
        gzip.compress((",".join(f"c{i}" for i in range(200)) + "\n" + ("," * 199 + "\n") * 60_000).encode())
    )
    with pytest.raises(Unreadable, match=r"bytes unpack to more than \d+,\d+ rows × 200 columns"):
        read_in_child(path, "csv", Limits())


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_quoted_cell_of_several_lines_is_one_cell_wherever_it_stands(tmp_path, place):
    cells = {"first": "1", "middle": "2", "last": "3"} | {place: '"two\nlines, ""said""\r\nand more"'}
    raw = read(tmp_path, 'a,b,c\n"0","0","0"\n' + ",".join(cells.values()) + "\n4,5,6\n")
    assert not raw.bad
    assert len(raw.table) == 3
    assert raw.table.column({"first": 0, "middle": 1, "last": 2}[place])[1].as_py() == 'two\nlines, "said"\r\nand more'


@pytest.mark.parametrize(
    ("above", "first"),
    [
        ("sep=;\n", 3),
        ('"sep=;"\r\n', 3),
        ("# Report\n# of; November; 2026\n\n", 5),
        ("\n\n", 4),
        ("sep=;\n# by me\n", 4),
    ],
)
def test_lines_above_the_header_are_passed(tmp_path, above, first):
    raw = read(tmp_path, f"{above}id;note\n1;a,b\n#2;c\n")
    assert raw.table.to_pydict() == {"id": ["1", "#2"], "note": ["a,b", "c"]}
    assert raw.row_numbers.tolist() == [first, first + 1]
    assert not raw.bad


def test_a_header_that_begins_with_a_number_sign_is_the_header(tmp_path):
    assert read(tmp_path, "# a tool\n#id,note\n1,a\n").table.column_names == ["#id", "note"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b\n1,2\n", ["a", "b"]),  # of another program
        ('"a;b",c\n1,2\n', ["a;b", "c"]),
        ("a;b,c\n1;2\n", ["a", "b,c"]),
        ("note\nfirst, second\n", ["note"]),  # one column has no delimiter
        ("sep=,\na,b\n1,2\n", ["a", "b"]),
    ],
)
def test_the_contracts_delimiter_is_used_where_the_header_has_it_or_no_other(tmp_path, text, names):
    raw = read(tmp_path, text, delimiter=";")
    assert (raw.table.column_names, len(raw.table)) == (names, 1)


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_line_break_in_a_name_is_a_blank(tmp_path, delimiter):
    raw = read(tmp_path, delimiter.join(['"User\nID"', '"a ""b"""', "c"]) + "\n" + delimiter.join("123") + "\n")
    assert raw.table.to_pydict() == {"User ID": ["1"], 'a "b"': ["2"], "c": ["3"]}
    assert raw.row_numbers.tolist() == [3]


def test_a_file_without_a_header_has_its_first_row_too(tmp_path):
    raw = read_bytes(tmp_path / "a.csv", "#1,0,0\n2,x,y\n", header=False)
    assert raw.table.to_pydict() == {"column_1": ["#1", "2"], "column_2": ["0", "x"], "column_3": ["0", "y"]}
    assert raw.row_numbers.tolist() == [1, 2]
    named = read_bytes(tmp_path / "a.csv", "1,0\n2,x\n", header=False, names=("id", "n"))
    assert named.table.column_names == ["id", "n"]
    odd = read_bytes(tmp_path / "a.csv", "1,0,0\n2,x\n", header=False, names=("id", "n"))
    assert [(bad.row, bad.reason) for bad in odd.bad] == [(1, "it has 3 fields where the header has 2")]


@pytest.mark.parametrize("first", ["\t", "#a\tb", '#a\t"two\nlines"', '#"', "# a remark\n#a\tb"])
def test_without_a_header_the_first_record_may_be_empty_or_begin_like_a_remark(tmp_path, first):
    raw = read_bytes(tmp_path / "a.csv", f'{first}\nc\t"x\ny"\n', header=False, delimiter="\t", names=("a", "b"))
    assert len(raw.row_numbers) + len(raw.bad) == 2
    assert raw.table["b"][-1].as_py() == "x\ny"


def test_a_title_above_the_table_is_asked_for_where_it_is_read_as_the_header(tmp_path):
    raw = read(tmp_path, "Export of a tool\na,b\n1,2\n")
    assert (
        raw.bad[0].reason
        == "it has 2 fields where the header has 1; is it the header? Lines above it must begin with #"
    )


def test_a_title_that_a_spreadsheet_filled_up_to_the_width_of_the_table_is_no_header(tmp_path):
    with pytest.raises(
        Unreadable, match=r"names 1 of its 4 columns, 'Answers 2026'; is that a title\? Remove the lines"
    ):
        read(tmp_path, "Answers 2026,,,\n\na,b,c,d\n1,2,3,4\n")
    assert read(tmp_path, "a,\n1,\n").table.column_names == ["a", "column_2"]


def test_a_last_row_of_totals_is_a_record_that_a_note_names(tmp_path):
    table = "user;item;score\nu1;i1;3\nu2;i2;4\n"
    raw = read(tmp_path, table + ";Toplam:;1.007,5\n")
    assert raw.notes == ("its last row, 4, looks like totals and is read as a record; remove it if it is",)
    assert raw.table.num_rows == 3
    for other in ("", "total;i3;5\n", "u3;total;good\n"):
        assert not read(tmp_path, table + other).notes


def test_bars_and_tabs_are_separators_in_files_of_their_endings(tmp_path):
    for name, sign in (("a.psv", "|"), ("a.tab", "\t")):
        (tmp_path / name).write_text(f"a{sign}b\n1{sign}2\n")
        assert format_of(tmp_path / name, name) == "csv"


@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_a_file_that_is_utf8_is_read_so_although_the_contract_names_another_encoding(tmp_path, mark):
    words = ["weiß nicht", "Käse", "schön", "Öl", "für", "Maß", "Tür", "Grün"]
    text = mark + "a,b\n" + "".join(f"{word},{n}\n" for n, word in enumerate(words))
    assert read(tmp_path, text, encoding="cp1252").table["a"].to_pylist() == words
    old = read_bytes(tmp_path / "old.csv", text.removeprefix("\ufeff").encode("cp1252"), encoding="cp1252")
    assert old.table["a"].to_pylist() == words
    few = read(tmp_path, "a\nÃ¼\n", encoding="cp1252")  # too little to say against the contract
    assert few.table["a"].to_pylist() == ["Ã¼".encode().decode("cp1252")]
