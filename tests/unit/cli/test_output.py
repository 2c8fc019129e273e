"""What commands print: JSON that is JSON, tables that show what hides."""

from __future__ import annotations

import datetime as dt
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.cli import output
from poison_guard.cli.output import SCHEMA_VERSION, ago, print_json, print_result, print_table
from poison_guard.files import write_frame
from poison_guard.text import to_jsonable

_NOW = dt.datetime(2026, 11, 14, tzinfo=dt.UTC)


def test_json_carries_a_schema_version_and_no_nan(capsys):
    print_json(
        {"a": np.float64("nan"), "b": np.int64(3), "c": pd.NaT, "d": _NOW, "e": (pd.NA, b"xx"), "f": np.bool_(True)}
    )
    document = json.loads(capsys.readouterr().out, parse_constant=lambda name: 1 / 0)
    assert document == {
        "schema_version": SCHEMA_VERSION,
        "a": None,
        "b": 3,
        "c": None,
        "d": "2026-11-14T00:00:00+00:00",
        "e": [None, "2 bytes"],
        "f": True,
    }


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(_JSON)
def test_whatever_comes_is_strict_json(value):
    json.dumps(to_jsonable(value), allow_nan=False)


def test_terminal_controls_of_a_feed_never_reach_the_terminal(capsys):
    print_table("t", ("a", ">n"), [("\x1b]0;owned\x07[bold]x[/bold]", 12_000)])
    print_result("\x1b[2J\u202e")
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "<U+001B>" in out
    assert "[bold]x[/bold]" in out
    assert "12,000" in out


def test_an_empty_table_says_so(capsys):
    print_table("t", ("a",), [], empty="nothing waits")
    assert capsys.readouterr().out == "nothing waits\n"


def test_times_are_told_as_how_long_ago():
    assert ago(None, _NOW) == "–"
    assert ago(_NOW - dt.timedelta(seconds=5), _NOW) == "just now"
    assert ago(_NOW - dt.timedelta(minutes=5), _NOW) == "5 min ago"
    assert ago(_NOW - dt.timedelta(hours=30), _NOW) == "1 d ago"


def test_ids_are_never_broken_and_sentences_are(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    name, sentence = "run-" + "0123456789" * 12, "words that a reader can follow on the next line " * 4
    print_table(
        "A title that is longer than a table with one narrow column could be", ("run", "why"), [(name, sentence)]
    )
    out = capsys.readouterr().out
    assert name in out
    assert out.startswith("A title that is longer than a table with one narrow column could be\n")
    assert sentence not in out


def test_a_command_that_says_nothing_for_long_says_that_it_works(capsys, monkeypatch):
    monkeypatch.setattr(output, "SLOW_SECONDS", 0.01)
    with output.announced("audit verify"):
        time.sleep(0.2)
    assert capsys.readouterr().err == "audit verify: working …\n"
    with output.announced("scan"), output.progress("scanning chat"):
        time.sleep(0.2)
    assert capsys.readouterr().err == "scanning chat …\n"


def test_a_frame_goes_to_stdout_as_json_lines(capsys):
    write_frame(pd.DataFrame({"record_id": ["a", "ü"], "n": [1, None]}), Path("-"))
    assert capsys.readouterr().out == '{"record_id": "a", "n": 1.0}\n{"record_id": "\\u00fc", "n": null}\n'
