"""Numbers, times and text of single cells: the same whatever format they came in."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poison_guard.ingest.cells import LIST_METADATA, array_from_values, as_text
from poison_guard.ingest.parsing import parse_numbers, parse_times, payload_schema
from poison_guard.ingest.raw_table import nesting_depth
from poison_guard.ingest.values import plain_numbers
from poison_guard.text import number_text


def text(*values: str | None) -> pa.Array:
    return pa.array(values, pa.large_string())


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("4", 4.0),
        ("-0.5", -0.5),
        (" 7 ", 7.0),
        ("+3", 3.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1e999", np.inf),
        ("-inf", -np.inf),
        ("true", 1.0),
        ("9007199254740991", 2.0**53 - 1),
    ],
)
def test_texts_that_are_numbers(cell, value):
    parsed = parse_numbers(text(cell, "other"))
    assert parsed.ok.tolist() == [True, False]
    assert parsed.values[0] == value
    assert np.isnan(parsed.values[1])


@pytest.mark.parametrize(
    "cell", ["x", "1_000", "0x10", "1,5", "12 apples", "9007199254740992", "9007199254740993", "1" * 41, "--1", "1e"]
)
def test_texts_that_are_no_numbers(cell):
    assert parse_numbers(text(cell, "1")).ok.tolist() == [False, True]
    assert parse_numbers(text(cell)).present.tolist() == [True]


@pytest.mark.parametrize("array", [text("nan", "1"), text("", "1"), text(None, "x"), pa.array([np.nan, 1.0])])
def test_nan_and_nothing_are_missing_not_wrong(array):
    parsed = parse_numbers(array)
    assert not parsed.present[0]
    assert not parsed.ok[0]


@given(st.lists(st.text(alphabet="0123456789.eE+- naif", max_size=12), max_size=8), st.integers(0, 7))
@example(["0E00000", "E"], 0)
def test_a_cell_is_read_the_same_whatever_else_is_in_its_column(cells, k):
    if not cells:
        return
    k %= len(cells)
    together, alone = parse_numbers(text(*cells)), parse_numbers(text(cells[k]))
    assert together.ok[k] == alone.ok[0]
    np.testing.assert_equal(together.values[k], alone.values[0])


@pytest.mark.parametrize(
    "cell",
    [
        "2026-01-02T03:04:05Z",
        "2026-01-02 03:04:05",
        "2026-01-02T05:04:05+02:00",
        "2026-01-02 03:04:05.000000 UTC",
        "20260102T030405Z",
        "1767323045",
        "1767323045000",
        "1767323045000000",
        "1767323045000000000",
        "1767323045.0",
        "1.767323045e+18",
    ],
)
def test_times_in_many_forms_are_one_moment(cell):
    parsed = parse_times(text(cell))
    assert parsed.ok.tolist() == [True]
    assert parsed.values[0] == int(dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize("scale", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize("kind", [pa.int64(), pa.float64()])
def test_epoch_numbers_in_any_unit_are_one_moment(scale, kind):
    parsed = parse_times(pa.array([1_767_323_045 * scale, None]).cast(kind, safe=False))
    assert parsed.values[0] == 1_767_323_045_000_000
    assert parsed.present.tolist() == [True, False]


@pytest.mark.parametrize(
    "cell", ["now", "today", "tomorrow", "1969-12-31", "2300-01-01", "2026-13-01", "12:00", "17", "x", "1.7e99"]
)
def test_what_is_no_time_is_not_understood(cell):
    assert parse_times(text(cell)).ok.tolist() == [False]
    assert parse_times(text(cell)).present.tolist() == [True]


@given(st.lists(st.one_of(st.floats(), st.integers(-(2**62), 2**62).map(float)), max_size=5))
def test_any_number_read_as_a_time_is_in_range_or_not_ok(values):
    parsed = parse_times(pa.array(values, pa.float64()))
    assert np.all((parsed.values >= 0) & (parsed.values < 7_258_118_400_000_000))


@pytest.mark.parametrize(
    ("value", "shown"), [(4.0, "4"), (4.5, "4.5"), (-0.0, "0"), (1e16, "1e+16"), (1e300, "1e+300"), (7, "7")]
)
def test_numbers_have_one_text(value, shown):
    assert number_text(value) == shown
    assert as_text(pa.array([float(value)]))[0].as_py() == shown


def test_whole_numbers_lose_their_fraction_and_other_texts_do_not():
    cells = ("4.0", "-12.00", "007", "1.10", "v1.0", "0.0", None, "4.0.0")
    assert plain_numbers(text(*cells)).to_pylist() == ["4", "-12", "007", "1.10", "v1.0", "0", None, "4.0.0"]


def test_depth_counts_containers_inside_one_another():
    assert [nesting_depth(v, 8) for v in (1, [], [1], {"a": [1]}, [[[[1]]]])] == [0, 1, 1, 2, 4]


def test_mixed_python_values_become_text_and_missing_stays_missing():
    array, nested = array_from_values([1, "x", None, True, 2.0, b"y"])
    assert array.to_pylist() == ["1", "x", None, "true", "2", "y"]
    assert not nested


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (text(*["1"] * 9, "x"), "number"),
        (text(*["1"] * 8, "x", "y"), "text"),
        (text("", None), "empty"),
        (text("true", "False"), "bool"),
        (text("2026-01-02", "2026-01-03T00:00:00Z"), "time"),
        (text("x" * 100, "1"), "text"),
        (pa.array([1, 2]), "number"),
        (pa.array([2**60]), "text"),
        (pa.array([True]), "bool"),
        (pa.array([b"x"], pa.large_binary()), "binary"),
        (pa.nulls(2), "empty"),
    ],
)
def test_the_kind_of_a_column_is_what_nine_in_ten_cells_are(array, kind):
    assert payload_schema(pa.table({"a": array})) == {"a": kind}


@pytest.mark.parametrize("value", [0, 17, 20260102, -1_767_323_045])
def test_numbers_too_small_for_an_epoch_are_no_times(value):
    assert parse_times(pa.array([value])).ok.tolist() == [False]
    assert parse_times(pa.array([float(value)])).ok.tolist() == [False]


@pytest.mark.parametrize(("lists", "kind"), [(1, "text"), (17, "text"), (18, "list")])
def test_a_few_nested_cells_make_a_column_of_text_no_column_of_lists(lists, kind):
    cells = pa.array(['["x"]'] * lists + ["word"] * (20 - lists), pa.large_string())
    table = pa.table([cells], schema=pa.schema([pa.field("a", cells.type, metadata=LIST_METADATA)]))
    assert payload_schema(table) == {"a": kind}
