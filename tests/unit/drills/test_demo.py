from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from poison_guard.config import find_contract, load_contract
from poison_guard.drills.demo import demo_contracts, demo_world, shipped, trusted_path, write_demo
from poison_guard.drills.worlds import WORLDS
from poison_guard.errors import NotFoundError, StoreError, UsageError
from poison_guard.ingest.objects import find_path


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    write_demo(folder, seed=3)
    return folder


def read(file):
    readers = {
        ".parquet": pd.read_parquet,
        ".csv": lambda f: pd.read_csv(f, dtype=str),
        ".jsonl": lambda f: pd.read_json(f, lines=True, dtype=str),
    }
    return readers[file.suffix](file)


@pytest.mark.parametrize("name", WORLDS)
def test_the_contract_finds_its_batches_in_the_home_and_nothing_is_lost(home, name):
    contract = load_contract(shipped("feeds", f"{name}.toml"))
    pattern = find_path(contract.data.path, contract_file=contract.path, home=home)
    files = sorted(home.glob(str(pattern).removeprefix(f"{home}/")))
    frames = [read(file) for file in files]
    drawn = demo_world(home, name)
    assert len(files) >= 7
    ids = pd.concat([frame[drawn.columns["record_id"]] for frame in frames])
    assert sorted(ids) == sorted(drawn.role("record_id"))
    assert list(frames[0].columns) == list(drawn.records.columns)


def test_what_the_captcha_contract_names_is_there(home):
    contract = load_contract(shipped("feeds", "captcha.toml"))
    controls = pd.read_csv(find_path(contract.controls, contract_file=contract.path, home=home), dtype=str)
    items = pd.read_parquet(find_path(contract.items, contract_file=contract.path, home=home))
    assert list(controls.columns) == ["item_id", "answer"]
    assert set(controls["item_id"]) < set(items["item_id"])
    assert len(items["pixels"].iloc[0]) == 64


@pytest.mark.parametrize("name", WORLDS)
def test_truth_lies_where_no_feed_looks(home, name):
    assert (home / name / "truth.parquet").exists()
    assert trusted_path(home, name).exists()
    assert not list((home / "inbox").rglob("*truth*"))


def test_times_survive_every_format(home):
    for name, suffix in (("chat", "jsonl"), ("telemetry", "csv")):
        drawn = demo_world(home, name)
        column = drawn.columns["observed_at"]
        first = min((home / "inbox" / name).glob(f"*.{suffix}"))
        assert pd.to_datetime(read(first)[column].iloc[0], utc=True) == drawn.records[column].iloc[0]


def test_writing_the_same_demo_again_changes_no_byte(home):
    before = {file: file.read_bytes() for file in home.rglob("*") if file.is_file()}
    write_demo(home, seed=3)
    assert {file: file.read_bytes() for file in home.rglob("*") if file.is_file()} == before


def test_a_home_with_another_seed_is_refused(home):
    with pytest.raises(UsageError, match="demo of seed 3"):
        write_demo(home, seed=4)


def test_a_home_that_takes_no_files_is_named_in_one_sentence(tmp_path):
    (tmp_path / "home").write_text("a file, not a folder")
    with pytest.raises(StoreError, match="the demo cannot be written to"):
        write_demo(tmp_path / "home")


def test_a_home_without_a_demo_says_how_to_get_one(tmp_path):
    with pytest.raises(NotFoundError, match="poison-guard demo"):
        demo_world(tmp_path, "chat")


def test_a_broken_note_is_refused(tmp_path):
    (tmp_path / "demo.json").write_text("[]")
    with pytest.raises(UsageError, match="not the note of a demo"):
        demo_world(tmp_path, "chat")


@pytest.mark.parametrize("name", WORLDS)
def test_every_shipped_suite_is_plain_json_about_columns_of_its_world(home, name):
    suite = json.loads(shipped("expectations", f"{name}.json").read_text())
    columns = set(demo_world(home, name).records.columns)
    assert suite["name"] == name
    assert {e["kwargs"]["column"] for e in suite["expectations"] if "column" in e["kwargs"]} <= columns


def test_the_contracts_of_an_installed_package_are_copied_to_the_home(tmp_path, monkeypatch):
    source = shipped("feeds")
    assert demo_contracts(tmp_path)["chat"] == source / "chat.toml", "a checkout's stay where they are"
    package = tmp_path / "package"
    shutil.copytree(source, package / "shipped" / "feeds")
    shutil.copytree(shipped("expectations"), package / "shipped" / "expectations")
    monkeypatch.setattr("poison_guard.drills.demo.poison_guard.__file__", str(package / "__init__.py"))
    home = tmp_path / "home"
    (home / "feeds").mkdir(parents=True)
    (home / "feeds" / "captcha.toml").write_text("mine")
    assert demo_contracts(home)["chat"] == find_contract("chat", home) == home / "feeds" / "chat.toml"
    assert (home / "feeds" / "captcha.toml").read_text() == "mine"
    assert (home / "expectations" / "chat.json").is_file()


def test_without_great_expectations_the_demo_comes_without_suites(tmp_path, monkeypatch):
    monkeypatch.setattr("poison_guard.drills.demo.is_installed", lambda: False)
    assert demo_contracts(tmp_path)["chat"] == tmp_path / "feeds" / "chat.toml"
    assert not (tmp_path / "expectations").exists()
