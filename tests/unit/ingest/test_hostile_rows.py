"""The law of a hostile row: whatever it holds, every honest row is read as it is alone."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.thorough import examples
from tests.unit.ingest.conftest import read_bytes

law = settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
one_line = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp"), blacklist_characters="\x85"), max_size=8
)
honest_rows = st.lists(st.tuples(one_line, one_line), min_size=2, max_size=12)
HEADER = ["id", "note", "other"]
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def wide(n: int, value: object) -> str:
    return json.dumps({f"k{i}": value for i in range(n)})


def deep(n: int) -> str:
    return '{"id": ' + "[" * n + "]" * n + "}"


hostile_json = st.one_of(
    values.map(lambda value: json.dumps({"id": value, "note": value})),
    st.dictionaries(st.text(max_size=5), values, max_size=6).map(json.dumps),
    st.builds(wide, st.sampled_from([3, 250, 256, 300, 5_000]), values),
    st.builds(deep, st.sampled_from([5, 50, 5_000, 200_000])),
    st.sampled_from(["x" * 3_000, '{"id": "' + "y" * 3_000 + '"}', "{", "[", "[{", '{"id": 1' + "0" * 5_000 + "}"]),
    st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=("Cs",)), max_size=20),
)
hostile_csv = st.one_of(
    st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=("Cs",)), max_size=20),
    st.lists(st.sampled_from(['"', ",", "x", '""', " ", ";", "\t", "'", "\\", "\0", "é"]), max_size=9).map("".join),
    st.sampled_from(["x" * 3_000, "," * 5_000, '"' + "x" * 3_000, '"' * 999, "a,b," + "c" * 3_000]),
)


@law
@given(honest_rows, hostile_json, st.integers(0, 12))
@example([("a", "b"), ("c", "d")], wide(300, "x"), 0)
@example([("a", "b"), ("c", "d")], wide(300, 10**9), 1)
@example([("a", "b"), ("c", "d")], "[", 0)
def test_an_honest_row_of_json_is_never_lost_to_another_row(tmp_path, rows, hostile, place):
    lines = [json.dumps({"id": f"h{i}", "note": note, "other": other}) for i, (note, other) in enumerate(rows)]
    place = min(place, len(lines))
    text = "\n".join([*lines[:place], hostile, *lines[place:]]) + "\n"
    raw = read_bytes(tmp_path / "a.jsonl", text, keep=("id",), max_line_chars=2_000)
    found = {
        row["id"]: (row["note"], row["other"])
        for row, number in zip(raw.table.to_pylist(), raw.row_numbers, strict=True)
        if number != place + 1
    }
    assert found == {f"h{i}": row for i, row in enumerate(rows)}
    assert len(raw.row_numbers) + len(raw.bad) <= len(rows) + 1


@law
@given(honest_rows, hostile_csv, st.integers(0, 12))
@example([("a", 'q"q'), ("", "")], 'x,"', 0)
@example([("a", "b"), ("c,d", "e")], '"', 1)
@example([("a", "b"), ("c", "d")], "," * 5_000, 1)
@example([("", ""), (",0", "")], '"', 0)
@example([(",0,", ""), (",0", "")], '"', 0)
def test_an_honest_row_of_csv_is_never_lost_to_another_line(tmp_path, rows, hostile, place):
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([f"h{i}", note, other] for i, (note, other) in enumerate(rows))
    lines = buffer.getvalue().splitlines()
    place = min(place, len(lines))
    text = "\n".join([",".join(HEADER), *lines[:place], hostile, *lines[place:]]) + "\n"
    raw = read_bytes(tmp_path / "a.csv", text, max_line_chars=2_000)
    found = {
        row["id"]: (row["note"], row["other"])
        for row, number in zip(raw.table.to_pylist(), raw.row_numbers, strict=True)
        if number != place + 2
    }
    assert found == {f"h{i}": row for i, row in enumerate(rows)}
    assert len(raw.row_numbers) + len(raw.bad) <= len(rows) + 1
