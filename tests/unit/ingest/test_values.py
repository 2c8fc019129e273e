"""The canonical form of ids, answers and labels, and how [parse] has cells read: the same from every kind of file."""

from __future__ import annotations

import csv
import io
import unicodedata
import uuid
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from poison_guard.config import Contract, Parse, parse_contract
from poison_guard.errors import ConfigError
from poison_guard.ingest.assemble import map_rows
from poison_guard.ingest.collect import batch_from_frame
from poison_guard.ingest.encoding import find_text_keys
from poison_guard.ingest.numbers import ParsedCells, parse_numbers
from poison_guard.ingest.raw_table import Limits
from poison_guard.ingest.read import read_table
from poison_guard.ingest.times import parse_times
from poison_guard.ingest.values import canonical_ids, canonical_labels, comparable_text, uuid_text
from tests.unit.ingest.conftest import NOW, accounted, contract_of, read_bytes

WORDS = Parse().null_set
TEXT = st.text(st.sampled_from("aZ é\u0301\u200b\u200d\u00a0\ufe0f\u0645👍\t["), max_size=8)


def text(*values: str | None) -> pa.Array:
    return pa.array(values, pa.large_string())


def cells_of(parsed: ParsedCells) -> np.ndarray:
    return parsed.values  # noqa: PD011  a NumPy array


def parsed_contract(**parse: object) -> Contract:
    columns = {"record_id": "id", "source_id": "user", "observed_at": "at", "features": ["speed"]}
    return parse_contract({"name": "words", "kind": "telemetry", "columns": columns, "parse": parse})


# -- canonical forms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell", ["cat ", "\tcat", "c\u200bat", "\ufeffcat", "cat\u00a0", "\u202ecat", "ca\u00adt", "ca\u200dt"]
)
def test_blanks_and_invisible_characters_do_not_make_another_label(cell):
    assert canonical_labels(text(cell)).to_pylist() == ["cat"]


@pytest.mark.parametrize(
    "cell", ["👨\u200d👩\u200d👧", "می\u200cخواهم", "a b", "Cat", "🏴\U000e0067\U000e0062\U000e007f"]
)
def test_what_changes_what_is_drawn_stays(cell):
    assert comparable_text(text(cell)).to_pylist() == [cell]


@given(st.lists(st.none() | TEXT, max_size=6))
@example(["é\u200d\xa0\u200d", "\x1f\u200cé\u200d\x85"])
def test_a_canonical_form_is_its_own_and_does_not_depend_on_the_other_cells(cells):
    labels, ids = canonical_labels(text(*cells)), canonical_ids(text(*cells), WORDS)
    assert canonical_labels(labels).equals(labels)
    assert canonical_ids(ids, WORDS).equals(ids)
    assert labels.to_pylist() == [canonical_labels(text(cell))[0].as_py() for cell in cells]
    for label in labels.to_pylist():
        assert label is None or (
            label == label.strip() and unicodedata.is_normalized("NFC", label) and "\u200b" not in label
        )


def test_booleans_of_every_file_type_and_spelling_are_one_value():
    spelled = canonical_labels(text("True", "TRUE ", "true", "False", "fAlse"))
    assert spelled.to_pylist() == ["true", "true", "true", "false", "false"]
    assert canonical_labels(pa.array([True, False, None])).to_pylist() == ["true", "false", None]


def test_text_equals_a_number_only_where_it_is_its_shortest_spelling():
    assert canonical_labels(pa.array([4.0, 0.5, 100.0])).to_pylist() == ["4", "0.5", "100"]
    spelled = ["4", "04", "+4", "4.0", "4e0", "0.50", "-0"]
    assert canonical_labels(text(*spelled)).to_pylist() == spelled


def test_lists_are_sets_unless_ordered():
    cells = text('["indoor", "Cat "]', '["Cat","indoor","indoor"]', "[3, 1, 3]", '["a", {"b": 1, "a": 2}]', "[1,")
    assert canonical_labels(cells).to_pylist() == [
        *('["Cat","indoor"]', '["Cat","indoor"]', "[1,3]", '["a",{"a":2,"b":1}]', "[1,"),
    ]
    assert canonical_labels(cells, ordered=True).to_pylist()[:3] == [
        *('["indoor","Cat"]', '["Cat","indoor","indoor"]', "[3,1,3]"),
    ]


def test_ids_are_trimmed_and_normalised_and_never_folded():
    cells = text("u1 ", "U1", "caf\u0065\u0301", "007", "7.0", "u\u200b1", "611025150.1799428640")
    assert canonical_ids(cells).to_pylist() == ["u1", "U1", "café", "007", "7", "u\u200b1", "611025150.1799428640"]


@pytest.mark.parametrize("word", ["NULL", "N/A", "None", "undefined", "(not set)", "-", "NIL", " null ", "", "  "])
def test_placeholders_are_missing_ids_and_names_like_them_are_not(word):
    assert canonical_ids(text(word, "nullable"), WORDS).to_pylist() == [None, "nullable"]
    assert canonical_labels(text("None")).to_pylist() == ["None"], "a label may be called so"


def test_sixteen_bytes_are_a_uuid_where_they_are_no_text():
    name = uuid.UUID("12345678-1234-4234-9234-123456789abc")
    assert uuid_text(pa.array([name.bytes, b"user_00000000001", b"\xff", None], pa.large_binary())).to_pylist() == [
        *(str(name), "user_00000000001", None, None),
    ]


def test_rows_that_mean_the_same_are_the_same_record_from_every_file(collect):
    frame = pd.DataFrame({"id": ["a", "b"], "user": ["u", "v"], "item": ["i", "j"], "answer": [True, False]})
    contract = contract_of()
    parquet = collect(contract, {"a.parquet": frame}).records
    spelled = frame.assign(answer=["TRUE ", "False"], user=["u ", " v"])
    other = collect(contract, {"b.csv": spelled.to_csv(index=False)}).records
    assert parquet["content_hash"].tolist() == other["content_hash"].tolist()
    assert other["given.answer"].tolist() == ["TRUE ", "False"]
    assert other["given.source_id"].tolist() == ["u ", " v"]
    assert "given.answer" not in parquet, "what needs no change is kept once"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16", "latin-1", "cp1250"]),
    st.sampled_from([",", ";", "\t", "|", "~"]),
    st.lists(st.sampled_from(["Ö", "cat", " cat", "TRUE", "N/A", "a;b,c|d", 'say "x"', "é\n"]), min_size=1, max_size=5),
)
def test_every_encoding_delimiter_and_spelling_gives_the_same_records(tmp_path, encoding, delimiter, answers):
    rows = [{"id": f"r{k}", "user": " u", "item": "i", "answer": cell} for k, cell in enumerate(answers)]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    limits = {"encoding": encoding, "delimiter": delimiter}
    raw = read_bytes(tmp_path / "a.csv", out.getvalue().encode(encoding), **limits)
    mapped = map_rows([raw], contract_of(), Limits())
    same = batch_from_frame(contract_of(), pd.DataFrame(rows), object_uri=None, received_at=NOW)
    assert not raw.bad
    assert sorted(mapped.hashes) == sorted(same.records["content_hash"])
    assert accounted(same)


def test_controls_and_side_tables_have_the_form_of_records(tmp_path):
    path = tmp_path / "controls.csv"
    path.write_text('item_id,answer\ni1 ,True\n7.0,"[""b"",""a""]"\n', encoding="utf-8")
    table = read_table(str(path), columns=("item_id", "answer"), labels=("answer",))
    assert table.to_numpy().tolist() == [["i1", "true"], ["7", '["a","b"]']]


# -- numbers and times -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parse", "cell", "value"),
    [
        (Parse(decimal=",", thousands="."), "3.312", 3312.0),
        (Parse(decimal=",", thousands="."), "1.234.567,8", 1234567.8),
        (Parse(decimal=",", thousands="."), "-1,5", -1.5),
        (Parse(decimal=",", thousands="."), "845", 845.0),
        (Parse(thousands=","), "30,582", 30582.0),
        (Parse(thousands=" ", decimal=","), "1\u202f234,5", 1234.5),
        (Parse(thousands="'"), "1’234.5", 1234.5),
        (Parse(decimal=","), "true", 1.0),
    ],
)
def test_numbers_are_read_as_the_contract_says(parse, cell, value):
    assert cells_of(parse_numbers(text(cell), parse)).tolist() == [value]


@pytest.mark.parametrize("cell", ["3.14", "12.34", "1.2345", "1,2,3", "1.23.456"])
def test_a_number_that_is_written_otherwise_is_no_number(cell):
    assert parse_numbers(text(cell), Parse(decimal=",", thousands=".")).ok.tolist() == [False]


@given(
    st.floats(-1e9, 1e9).map(lambda x: round(x, 3)), st.sampled_from([(",", "."), (".", ","), (",", " "), (".", "")])
)
def test_a_number_is_itself_in_every_style(number, style):
    decimal, thousands = style
    shown = f"{number:,.3f}".replace(",", "T").replace(".", decimal).replace("T", thousands)
    assert cells_of(parse_numbers(text(shown), Parse(decimal=decimal, thousands=thousands)))[0] == number


@pytest.mark.parametrize(
    "cell",
    [
        "Tue, 03 Nov 2026 04:55:58 +0100",
        "Tue, 3 Nov 2026 03:55:58 GMT",
        "Tue Nov 03 2026 04:55:58 GMT+0100 (Central European Standard Time)",
        "Tue Nov 03 04:55:58 +0100 2026",
        "[03/Nov/2026:04:55:58 +0100]",
        "2026-11-03T04:55:58+01:00[Europe/Berlin]",
        "1793678158",
    ],
)
def test_times_that_common_tools_write_are_read_without_a_key(cell):
    assert pd.Timestamp(cells_of(parse_times(text(cell)))[0], unit="us") == pd.Timestamp("2026-11-03 03:55:58")


@pytest.mark.parametrize(
    "cell", ["11/03/2026 04:55", "Tue Nov 03 04:55:58 PST 2026", "03.11.2026", "3 Nov 2026 04:55", "46329.2"]
)
def test_times_with_several_readings_are_not_read_without_a_key(cell):
    assert parse_times(text(cell)).ok.tolist() == [False]


@pytest.mark.parametrize(
    ("parse", "cell", "time"),
    [
        ({"time_format": ("%m/%d/%Y %I:%M %p",)}, "11/03/2026 04:55 PM", "2026-11-03 16:55"),
        ({"time_format": ("%d.%m.%Y", "%d.%m.%Y %H:%M")}, "03.11.2026 04:55", "2026-11-03 04:55"),
        ({"time_format": ("excel",)}, "46329.5", "2026-11-03 12:00"),
        ({"time_format": ("excel",), "decimal": ","}, "46329,5", "2026-11-03 12:00"),
        ({"time_format": ("epoch_ms",)}, "86400000", "1970-01-02"),
        ({"time_zone": "Europe/Berlin"}, "2026-07-01 10:00", "2026-07-01 08:00"),
        ({"time_zone": "+05:30"}, "2026-07-01T10:00", "2026-07-01 04:30"),
        ({"time_zone": "Europe/Berlin"}, "2026-07-01T10:00Z", "2026-07-01 10:00"),
        ({"time_format": ("%d/%m/%Y",)}, "2026-11-03", "2026-11-03"),
    ],
)
def test_times_are_read_as_the_contract_says(parse, cell, time):
    assert pd.Timestamp(cells_of(parse_times(text(cell), Parse(**parse)))[0], unit="us") == pd.Timestamp(time)


def test_names_of_zones_are_those_of_the_contract_s_zone():
    cells = text("Tue Nov 03 04:55:58 PST 2026", "Fri Jul 03 04:55:58 PDT 2026", "Tue Nov 03 04:55:58 CET 2026")
    parsed = parse_times(cells, Parse(time_format=("%a %b %d %H:%M:%S %Z %Y",), time_zone="America/Los_Angeles"))
    assert parsed.ok.tolist() == [True, True, False]
    assert pd.to_datetime(cells_of(parsed)[:2], unit="us").hour.tolist() == [12, 11]


def test_timestamps_without_a_zone_are_in_the_contract_s_zone_from_files_and_databases(collect):
    frame = pd.DataFrame({"id": ["a"], "user": ["u"], "at": [pd.Timestamp("2026-02-01 10:00")], "speed": [1.0]})
    contract = parsed_contract(time_zone="+02:00")
    for records in (
        collect(contract, {"a.parquet": frame}).records,
        batch_from_frame(contract, frame, object_uri="query:words", received_at=NOW).records,
    ):
        assert records["observed_at"].tolist() == [pd.Timestamp("2026-02-01 08:00", tz="UTC")]


def test_a_query_goes_through_the_same_parsing():
    frame = pd.DataFrame({"id": ["a"], "user": ["NULL"], "at": ["03.02.2026"], "speed": ["1.234,5"]})
    contract = parsed_contract(decimal=",", thousands=".", time_format="%d.%m.%Y")
    batch = batch_from_frame(contract, frame, object_uri="query:words", received_at=NOW)
    row = batch.records.iloc[0]
    assert (row["feature.speed"], row["observed_at"]) == (1234.5, pd.Timestamp("2026-02-03", tz="UTC"))
    assert batch.issues["args"].tolist() == [{"column": "user", "value": "NULL"}]
    assert [note.code for note in batch.notes] == ["placeholders"]


def test_iso_times_one_day_and_epochs_the_next_are_one_schema(collect):
    rows = pd.DataFrame({"id": ["a"], "user": ["u"], "at": ["2026-02-01T10:00:00Z"], "speed": [1.5]})
    contract = parsed_contract()
    first = collect(contract, {"a.csv": rows.to_csv(index=False)})
    second = collect(contract, {"b.csv": rows.assign(at=1_769_940_000_000).to_csv(index=False)})
    assert first.schema == second.schema
    assert first.records["observed_at"].tolist() == second.records["observed_at"].tolist()


def test_a_time_outside_all_sense_keeps_its_original(collect):
    body = (
        "id,user,at,speed\n" + "".join(f"r{k},u,2026-02-01,1\n" for k in range(9)) + "x,u,2031-01-01,1\ny,u,someday,1\n"
    )
    batch = collect(parsed_contract(), {"a.csv": body})
    (note,) = batch.notes
    assert (note.code, note.args["n"], note.args["rows"], note.args["row"]) == ("times_moved", 1, 11, 11)
    records = batch.records.set_index("record_id")
    assert records.loc["x", "observed_at"] == pd.Timestamp(NOW) + pd.Timedelta(hours=1)
    assert records.loc["x", "given.observed_at"] == "2031-01-01T00:00:00+00:00"
    assert records.loc["y", "given.observed_at"] == "someday"


def test_a_format_that_fits_half_of_the_rows_is_told_with_row_and_key(collect):
    body = "id,user,at,speed\n" + "".join(f"r{k},u,{13 * (k % 2) + 1}/02/2026,1\n" for k in range(20))
    batch = collect(parsed_contract(time_format="%m/%d/%Y"), {"a.csv": body})
    (note,) = batch.notes
    assert (note.code, note.args["n"], note.args["rows"], note.args["row"]) == ("times_unfit", 10, 20, 3)
    assert len(batch.issues) == 10
    assert accounted(batch)


def test_an_encoding_that_the_contract_names_is_read_and_init_finds_it(tmp_path):
    words = ["Café", "déjeuner", "très", "garçon"]
    body = "id;user;item;answer\n" + "".join(f"{k};u;i;{word} 12 €\n" for k, word in enumerate(words))
    path = tmp_path / "a.csv"
    path.write_bytes(body.encode("cp1252"))
    found = find_text_keys([str(path)], Limits())
    assert {key: value for key, (value, _) in found.items()} == {"encoding": "cp1252", "delimiter": ";"}
    assert "4 lines are not UTF-8" in found["encoding"][1]
    assert len(read_bytes(path, body.encode("cp1252")).bad) == 4
    raw = read_bytes(path, body.encode("cp1252"), encoding="cp1252")
    assert raw.table["answer"].to_pylist()[0] == "Café 12 €"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"parse": {"decimal": ";"}}, "decimal must be one of"),
        ({"parse": {"decimal": ",", "thousands": ","}}, "they differ"),
        ({"parse": {"time_format": "day/month"}}, "strptime formats with year, month and day"),
        ({"parse": {"time_format": ["%H:%M"]}}, "strptime formats with year, month and day"),
        ({"parse": {"time_zone": "PST8"}}, "a zone such as"),
        ({"parse": {"cases": "fold"}}, "did you mean `case`"),
        ({"columns": {"answer": ["first", "second"]}}, r"answer in \[columns\] .* names 2 columns \(first, second\)"),
        ({"data": {"encoding": "zlib"}}, "a text encoding such as cp1252"),
        ({"data": {"delimiter": "ab"}}, "one character that parts fields"),
    ],
)
def test_keys_that_cannot_be_are_refused_with_their_rule(table, says):
    base = {"name": "words", "kind": "answers", "columns": {"source_id": "user", "answer": "answer"}}
    with pytest.raises(ConfigError, match=says):
        parse_contract({**base, **table})


def test_two_roles_for_one_column_keep_their_own_form():
    contract = contract_of({"item_id": "user", "text": "user", "answer": "answer"})
    frame = pd.DataFrame({"user": ["u1 "], "answer": ["x"]})
    row = batch_from_frame(replace(contract), frame, object_uri=None, received_at=NOW).records.iloc[0]
    assert (row["item_id"], row["text"]) == ("u1", "u1 ")
    assert np.isnan(cells_of(parse_numbers(text("u1")))[0])
