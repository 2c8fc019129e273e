from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from poison_guard.cli import cli
from poison_guard.cli.measure import _given, _worlds
from poison_guard.drills.registry import DRILLS
from poison_guard.errors import UsageError


def invoke(*words: str):
    return CliRunner().invoke(cli, ["drill", *words])


def test_the_list_names_every_drill_and_runs_none():
    result = invoke("--list", "--json")
    assert result.exit_code == 0
    listed = json.loads(result.stdout)
    assert [row["name"] for row in listed["drills"]] == list(DRILLS)
    assert listed["schema_version"] == 1


def test_a_small_drill_prints_a_line_and_writes_its_table(tmp_path):
    file = tmp_path / "new" / "drills.md"
    small = ("--param", "items=80", "--param", "honest=20", "--param", "share=0.2", "--param", "style=random")
    result = invoke("spam", *small, "--jobs", "1", "--out", str(file), "--json")
    assert result.exit_code == 0, result.stderr
    (line,) = json.loads(result.stdout)["lines"]
    assert line["cell"]["params"]["items"] == 80
    assert line["shares"]["right"]["mean"] > 0
    assert "| spam | synthetic | share 0.2" in file.read_text()
    assert "1/1 spam on synthetic, seed 0" in result.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("tay",), "there is no drill 'tay'"),
        (("spam", "--param", "colour=red"), "has no parameter 'colour'"),
        (("repeat", "--param", "colour=red", "--jobs", "1"), "has no parameter 'colour'"),
        (("spam", "--param", "share=2"), "must be a share, from 0 to 1, got 2"),
        (("spam", "--param", "share=NaN"), "must be a share"),
        (("agreed", "--param", "sybils=-3"), "must be a whole number, 0 or more, got -3"),
        (("agreed", "--param", "constant=1"), "must be true or false"),
        (("agreed", "--param", "burst=7"), "must be a word"),
        (("replay", "--param", "skew_hours=-1"), "must be a number, 0 or more"),
        (("agreed", "--param", "classes=1", "--jobs", "1"), "cannot be drawn with share 0.3, classes 1"),
        (("spam", "--on", "mars"), "--on knows no 'mars'"),
        (("spam", "--on", "duck"), "none of spam runs on duck"),
        (("agreed", "--on", "duck", "--data", "/nowhere", "--jobs", "1"), "no folder /nowhere"),
        (("spam", "--param", "share"), "--param needs NAME=VALUE"),
    ],
)
def test_what_cannot_be_run_is_one_sentence_and_exit_code_2(words, sentence):
    result = invoke(*words)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert result.stdout == ""


def test_values_are_json_where_they_are_and_text_elsewhere():
    assert _given(["share=0.1,0.9", "burst=30d", "benign=true"]) == {
        "share": [0.1, 0.9],
        "burst": ["30d"],
        "benign": [True],
    }
    with pytest.raises(UsageError):
        _given(["=3"])


def test_all_stands_for_every_world():
    assert _worlds("all") == ["synthetic", "duck", "product", "rte", "speech", "tweets", "mnist"]
    assert _worlds("duck, rte,duck") == ["duck", "rte"]


def test_the_list_writes_values_as_they_can_be_given_back():
    assert "constant true" in invoke("string", "--list").stdout


def test_the_drill_of_language_models_writes_its_table_and_its_picture(tmp_path):
    file = tmp_path / "counts.md"
    small = ("--param", "attack=g", "--param", "records=200", "--param", "accounts=5", "--param", "age=new")
    result = invoke("llm", *small, "--out", str(file), "--json")
    assert result.exit_code == 0, result.stderr
    (line,) = json.loads(result.stdout)["lines"]
    assert line["attack"] == "g"
    assert "counts.svg" in file.read_text("utf-8")
    assert (tmp_path / "counts.svg").read_text("utf-8").startswith("<svg ")


def test_the_drill_of_language_models_runs_alone_and_on_feeds_of_its_own():
    assert invoke("llm", "spam").exit_code == 2
    assert "it knows synthetic, replies, notes" in invoke("llm", "--on", "duck").stderr
