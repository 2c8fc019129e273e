from __future__ import annotations

import re
from pathlib import Path

import pytest

from poison_guard.airflow.feeds import guard_home, read_feeds

pytestmark = [pytest.mark.airflow, pytest.mark.filterwarnings("ignore")]

CONTRACT = """
name = "{name}"
kind = "telemetry"
schedule = "{schedule}"
[data]
path = "inbox/*.csv"
[columns]
source_id = "user"
features = ["speed"]
"""


def write(folder: Path, file: str, *, name: str, schedule: str = "@hourly", more: str = "") -> None:
    folder.mkdir(exist_ok=True)
    (folder / file).write_text(more + CONTRACT.format(name=name, schedule=schedule))


def test_contracts_are_found_beside_the_dags_in_the_order_of_their_files(tmp_path: Path):
    write(tmp_path / "feeds", "b.toml", name="second")
    write(tmp_path / "feeds", "a.toml", name="first")
    feeds = read_feeds(tmp_path / "dags")
    assert [c.name for c in feeds.contracts] == ["first", "second"]
    assert feeds.broken == ()


def test_the_environment_names_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "elsewhere", "a.toml", name="first")
    monkeypatch.setenv("POISON_GUARD_FEEDS", str(tmp_path / "elsewhere"))
    assert [c.name for c in read_feeds(tmp_path / "dags").contracts] == ["first"]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (
            {"name": "bad", "more": "knd = 1\n"},
            r"unknown key `knd` in the top level of .*bad\.toml; did you mean `kind`",
        ),
        ({"name": "bad", "schedule": "every day"}, r"schedule must be a cron line .*'every day' in .*bad\.toml"),
        ({"name": "good"}, r"bad\.toml has the name 'good' that .*a\.toml has already"),
        ({"name": "bad", "more": "= ="}, r"bad\.toml is not valid TOML"),
    ],
    ids=["unknown key", "no schedule", "taken name", "no TOML"],
)
def test_a_broken_contract_is_named_and_the_others_stand(tmp_path: Path, file: dict[str, str], said: str):
    write(tmp_path / "feeds", "a.toml", name="good")
    write(tmp_path / "feeds", "bad.toml", **file)
    feeds = read_feeds(tmp_path / "dags")
    assert [c.name for c in feeds.contracts] == ["good"]
    (sentence,) = feeds.broken
    assert re.search(said, sentence), sentence


def test_a_missing_folder_is_one_sentence(tmp_path: Path):
    (sentence,) = read_feeds(tmp_path / "dags").broken
    assert "does not exist; set POISON_GUARD_FEEDS" in sentence


def test_the_home_is_guard_home_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("POISON_GUARD_HOME", raising=False)
    assert guard_home() == "guard-home"
    monkeypatch.setenv("POISON_GUARD_HOME", "/data/guard")
    assert guard_home() == "/data/guard"
