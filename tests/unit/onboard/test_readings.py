"""What `init` proves of numbers and times, and where two readings are left to the owner of the data."""

from __future__ import annotations

import tomllib

import pandas as pd
import pyarrow as pa
import pytest

from poison_guard.config import parse_contract
from poison_guard.ingest.encoding import likely_encoding
from poison_guard.ingest.read import natural_frame
from poison_guard.onboard import draft_contract, find_readings, join_day_and_clock
from poison_guard.onboard.columns import describe_columns
from poison_guard.onboard.guesses import case_of
from poison_guard.onboard.roles import guess_roles


def table(**columns: list[object]) -> pa.Table:
    return pa.table({n: pa.array(v, pa.large_string() if isinstance(v[0], str) else None) for n, v in columns.items()})


@pytest.mark.parametrize(
    ("columns", "keys"),
    [
        ({"x": ["3.312", "845"], "y": ["0,5", "12,25"]}, {"decimal": ",", "thousands": "."}),
        ({"x": ["30,582", "7"], "y": ["0.25", "1"]}, {"decimal": ".", "thousands": ","}),
        ({"x": ["1.234.567", "5"]}, {"decimal": ",", "thousands": "."}),
        ({"x": ["3.312", "1845"]}, {}),  # 1845 has no sign between its thousands
        ({"x": ["0.512", "3.312"]}, {"decimal": "."}),
        ({"x": ["1 234,5", "12"]}, {"thousands": " ", "decimal": ","}),
        ({"x": ["1.5", "2.25"]}, {}),
        ({"ip": ["1.2.3.4"], "id": ["611025150.1799428640"], "day": ["2026-11-03"], "word": ["a, b"]}, {}),
        ({"t": ["13/02/2026", "01/02/2026"]}, {"time_format": ["%d/%m/%Y"]}),
        ({"t": ["02/13/2026 4:05 PM", "02/01/2026 4:05 PM"]}, {"time_format": ["%m/%d/%Y %I:%M %p"]}),
        ({"t": ["01/02/2026"], "u": ["13/02/2026"]}, {"time_format": ["%d/%m/%Y"]}),  # one column proves the other
        ({"t": ["3 Nov 2026 10:00"]}, {"time_format": ["%d %b %Y %H:%M"]}),
        (
            {"t": ["Tue Nov 03 04:55:58 PST 2026", "Tue Aug 04 04:55:58 PDT 2026"]},  # Manila has no PDT
            {"time_zone": "America/Los_Angeles", "time_format": ["%a %b %d %H:%M:%S %Z %Y"]},
        ),
        ({"t": ["Tue, 03 Nov 2026 04:55:58 +0100"], "e": ["1793678158"]}, {}),
    ],
)
def test_what_the_file_proves_becomes_a_key_with_its_proof(columns, keys):
    found = find_readings(table(**columns))
    assert dict(found.keys) == keys
    assert found.evidence.keys() == found.keys.keys()
    assert not found.doubts


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({"Date": ["2026-11-03"], "n": ["1"], "Time": ["04:05:06"]}, ["Date + ' ' + Time", "n"]),
        ({"a day": ["11/03/2026"], "at": ["4:05 PM"]}, ["\"a day\" + ' ' + at"]),
        ({"Date": ["2026-11-03"], "born": ["1990-01-01"], "Time": ["04:05"]}, ["Date", "born", "Time"]),  # which day?
        ({"Date": ["2026-11-03 10:00"], "Time": ["04:05"]}, ["Date", "Time"]),
        ({"Date": ["2026-11-03"], "Time": ["25 minutes"]}, ["Date", "Time"]),
    ],
)
def test_a_day_and_a_clock_time_in_two_columns_are_one_time(columns, names):
    assert join_day_and_clock(table(**columns)).column_names == names


@pytest.mark.parametrize(
    ("columns", "readings"),
    [
        ({"dwell": ["3.312", "845"]}, ["3.312 is 3.312", "3.312 is 3312"]),
        ({"fill": ["30,582", "7"]}, ["30,582 is 30.582", "30,582 is 30582"]),
        ({"t": ["03/11/2026"]}, ["03/11/2026 is 3 November 2026", "03/11/2026 is 11 March 2026"]),
        ({"t": ["13/11/2026", "11/13/2026"]}, ["13/11/2026 is 13 November 2026", "13/11/2026 is no day"]),
        ({"t": ["Tue Nov 03 04:55:58 PST 2026"]}, ["2026-11-03 12:55 UTC", "2026-11-02 20:55 UTC"]),
        ({"t": ["2026-11-03 04:55:58 IST"]}, ["2026-11-02 23:25 UTC", "2026-11-03 03:55 UTC", "2026-11-03 02:55 UTC"]),
        ({"created_at": [46329.5]}, ["2026-11-03 12:00 in a spreadsheet", "46329.5 is a number"]),
        ({"created_at": ["46329.5"]}, ["2026-11-03 12:00 in a spreadsheet", "46329.5 is a number"]),
    ],
)
def test_what_it_does_not_prove_has_both_readings_with_the_rows_of_each(columns, readings):
    found = find_readings(table(**{name: values * 4 for name, values in columns.items()}))
    (doubt,) = found.doubts
    assert not found.keys
    for reading, says in zip(doubt.readings, readings, strict=True):
        assert says in reading.evidence
        assert "rows" in reading.evidence


def test_a_column_with_two_readings_stays_without_a_role_and_both_are_comments():
    rows = table(
        answer_id=[f"a{k}" for k in range(40)], user_id=[f"u{k % 7}" for k in range(40)],
        item_id=[f"i{k % 9}" for k in range(40)], answer=["Yes", "no"] * 20, answered_at=["03/11/2026"] * 40,
    )  # fmt: skip
    readings = find_readings(rows)
    frame = natural_frame(rows, readings.parse, readings.times)
    draft = draft_contract(frame, name="votes", data_path="votes.csv", readings=readings)
    contract = parse_contract(tomllib.loads(draft.text))
    assert "observed_at" not in contract.columns
    assert '# observed_at = "answered_at"  # left out until [parse] says how it is read' in draft.text
    assert '#   time_format = "%d/%m/%Y"\n' in draft.text
    assert '#   time_format = "%m/%d/%Y"\n' in draft.text
    assert str(draft.doubts[0]).startswith("answered_at ('03/11/2026') can be read in 2 ways")
    chosen = draft.text.replace('#   time_format = "%m/', 'time_format = "%m/').replace("# observed_at", "observed_at")
    parsed = parse_contract(tomllib.loads(chosen))
    assert parsed.parse.time_format == ("%m/%d/%Y",)
    assert parsed.columns["observed_at"] == "answered_at"


def test_a_doubt_about_a_column_that_gets_no_role_is_none():
    rows = table(user_id=["u"] * 3 + ["v"] * 3, text=["a long text of one person"] * 6, build=["3.312"] * 6)
    readings = find_readings(rows)
    draft = draft_contract(natural_frame(rows, readings.parse), name="m", data_path="m.csv", readings=readings)
    assert readings.doubts
    assert not draft.doubts


@pytest.mark.parametrize(
    ("answers", "case", "says"),
    [
        (["Cat"] * 10 + ["cat"] * 20, "fold", "'cat' (20 rows), 'Cat' (10 rows): 2 labels become 1"),
        (["cat"] * 10 + ["dog"] * 20, "keep", "no two of the 2 labels"),
        ([f"Word {k}" for k in range(30)], "keep", "free text"),
    ],
)
def test_case_is_proposed_with_its_evidence(answers, case, says):
    frame = pd.DataFrame({"user_id": ["u", "v", "w"] * 10, "item_id": ["i", "j", "i"] * 10, "answer": answers})
    found = case_of(frame, guess_roles(describe_columns(frame)))
    assert found is not None
    assert found[0] == case
    assert says in found[1]


def test_lists_of_numbers_keep_their_order():
    frame = pd.DataFrame(
        {"user_id": list("uvw"), "item_id": list("iji"), "answer": ["[10, 20, 5, 5]", "[1, 2]", "[3,1]"]}
    )
    draft = draft_contract(frame, name="boxes", data_path="boxes.csv")
    assert "ordered = true  # answer has lists of numbers, such as [10, 20, 5, 5]" in draft.text


def test_placeholders_do_not_hide_what_a_column_holds():
    cells = ["2026-11-01", "NULL", "NULL", "2026-11-02"]
    frame = natural_frame(table(at=cells, n=["1", "N/A", "2", "3"], word=["none", "a", "b", "c"]))
    assert frame["at"].isna().sum() == 2
    assert frame["n"].dtype == "float64"
    assert frame["word"].tolist()[0] == "none"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "Café crème à l’hôtel – 12 €"),
        ("cp1251", "Привет, как дела? Ответ хороший"),
        ("cp1251", "задание;пользователь;ответ;не знаю"),
        ("koi8_r", "задание;пользователь;ответ;не знаю"),
        ("cp932", "これはとても良い回答です"),
        ("gb18030", "这个回答很好，非常感谢"),
        ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy"),
        ("euc_kr", "정말 좋은 답변입니다 매우 도움이 되었고 감사합니다"),
        ("euc_kr", "네 아니요"),
        ("euc_jp", "写真がぼやけていて、よくわかりません"),
        ("euc_jp", "はい いいえ"),
        ("cp1255", "התמונה לא ברורה, אני לא יודע, תודה רבה"),
        ("cp1254", "Çok iyi bir cevap, görüntü net değil, hayır"),
        ("cp1254", "hayır"),
    ],
)
def test_an_encoding_is_found_from_the_words_that_are_not_ascii(encoding, text):
    assert likely_encoding([f"{text},1,2026-11-03".encode(encoding)] * 3)[0] == encoding
