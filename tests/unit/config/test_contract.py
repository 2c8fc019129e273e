import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poison_guard.config import Kind, Mode, Policy, find_contract, load_contract, parse_contract
from poison_guard.errors import ConfigError

GOOD = {
    "name": "captcha",
    "kind": "answers",
    "columns": {"source_id": "user", "item_id": "word", "answer": "said", "observed_at": "at", "features": ["dwell"]},
}


def test_a_contract_says_which_signals_run():
    contract = parse_contract(GOOD)
    assert contract.kind is Kind.ANSWERS
    assert contract.mode is Mode.ENFORCE
    assert contract.signals == ("validation", "source", "campaign", "anomaly")
    assert contract.required == contract.signals


def test_without_features_nothing_asks_for_anomaly():
    contract = parse_contract(GOOD | {"columns": {"source_id": "u", "text": "t"}})
    assert contract.signals == ("validation", "campaign")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colums": {}}, "did you mean `columns`"),
        ({"columns": {"sorce_id": "x"}}, "did you mean `source_id`"),
        ({"columns": {"source_id": 3}}, "must be str"),
        ({"columns": {}}, "maps no role"),
        ({"columns": {"features": ["a", "a"]}}, "names a column twice: a"),
        ({"columns": {"answer": "x", "label": "x"}}, "answer and label in .columns. .* are both x, .* cannot be both"),
        ({"columns": {"source_id": "x", "author_id": "x"}}, "source_id and author_id .* remove the other"),
        ({"columns": {"item_id": "x", "text": "x", "prompt": "x"}}, "text and prompt"),
        ({"columns": {"label": "x", "features": ["y", "x"]}}, "label and features"),
        ({"kind": "answer"}, "must be one of answers, ratings, messages"),
        ({"mode": "enforcing"}, "must be one of enforce, observe"),
        ({"name": "../x"}, "name must be a word"),
        ({"policy": {"false_quarantine_rate": 1}}, r"must be in \(0, 0.5\], got 1"),
        ({"policy": {"false_quarantine_rate": float("nan")}}, "got nan"),
        ({"policy": {"review_budget": True}}, "got True"),
        ({"policy": {"required": ["anomly"]}}, "did you mean `anomaly`"),
        ({"policy": {"required": ["content"]}}, "feed only validation"),
        (
            {"policy": {"required": ["opinion"]}},
            "unknown key `opinion` in required .* known: anomaly, campaign, content, ",
        ),
        ({"policy": {"required": ["label"]}}, "required names `label`, but the roles"),
        (
            {"policy": {"required": "anomaly"}},
            "required must be a list of non-empty strings, got 'anomaly' in .policy.",
        ),
        ({"policy": []}, "policy must be a table"),
        ({"schedule": {}}, "schedule must be str, got {} in the top level of the contract"),
        ({"policy": 3}, "policy must be a table, got 3 in the top level of the contract"),
        ({"kind": None}, "the top level of the contract needs kind: one of answers, ratings, messages"),
        ({"items": {"path": "i", "image": "p", "text": "t"}}, "image and text; a model is trained on one of them"),
        ({"retrain": {"mutable": ["dwel"]}}, "unknown key `dwel` in mutable in .retrain. .* did you mean `dwell`"),
        ({"retrain": {"model": "cnn"}}, "model must be one of image-cnn, .* or an import path .* got 'cnn'"),
        ({"data": {"path": "a", "query": "b", "watermark": "c"}}, "both path and query"),
        ({"data": {"query": "select 1"}}, "needs watermark"),
        ({"data": {"max_rows": 0}}, "at least 1"),
        ({"controls": {}}, None),
        ({"controls": {"paht": "x"}}, "did you mean `path`"),
        ({"outcomes": {"path": "x", "corect": "ok"}}, "did you mean `correct`"),
        ({"outcomes": {"correct": "ok"}}, "needs path"),
        ({"outcomes": {"path": "x", "visible_at": ""}}, "visible_at must be str, and not empty, got ''"),
        ({"controls": {"path": "x", "correct": "ok"}}, "unknown key `correct`"),
        ({"policy": {"memory_rows": 1.5}}, "memory_rows must be in"),
        ({"policy": {"memory_days": 0}}, "memory_days must be in"),
        ({"policy": {"half_life": -1}}, "half_life must be in"),
    ],
)
def test_what_is_wrong_is_named(change, words):
    if words is None:
        parse_contract(GOOD | change)
        return
    with pytest.raises(ConfigError, match=words):
        parse_contract(GOOD | change)


@pytest.mark.parametrize(
    "columns",
    [
        {"item_id": "x", "text": "x"},
        {"item_id": "x", "image": "x"},
        {"group": "x", "features": ["x"]},
        {"group": "x", "client_version": "x"},
        {"rating": "x", "features": ["x"]},
    ],
)
def test_roles_that_one_column_can_have_together_are_taken(columns):
    assert parse_contract({"name": "a", "kind": "messages", "columns": columns}).has(*columns)


def test_outcomes_may_be_under_other_names():
    contract = parse_contract(GOOD | {"outcomes": {"path": "o/*.csv", "record_id": "id", "visible_at": "known"}})
    assert contract.outcomes == "o/*.csv"
    assert contract.outcome_columns == {"record_id": "id", "visible_at": "known"}
    assert parse_contract(GOOD).outcome_columns == {}


def test_a_missing_or_broken_file_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        load_contract(tmp_path / "none.toml")
    file = tmp_path / "broken.toml"
    file.write_text("name = 'x\n")
    with pytest.raises(ConfigError, match="not valid TOML: "):
        load_contract(file)
    with pytest.raises(ConfigError, match="is a folder"):
        load_contract(tmp_path)


@given(
    st.dictionaries(
        st.text(max_size=10),
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5),
    )
)
def test_any_table_parses_or_is_a_config_error(table):
    with contextlib.suppress(ConfigError):
        parse_contract(table)


def test_the_policy_hash_changes_with_any_threshold_and_never_otherwise():
    assert Policy().hash == "630bafabc8b22d64fa92f3eaa0af3be7d799d166c2f1bebd31a81cc3cbd2c1a9"
    assert Policy().hash != Policy(seed=1).hash


@pytest.fixture
def folders(tmp_path, monkeypatch):
    (tmp_path / "home" / "feeds").mkdir(parents=True)
    (tmp_path / "feeds").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("place", ["home/feeds/captcha.toml", "home/captcha.toml", "feeds/captcha.toml"])
def test_a_feed_is_found_by_its_name(folders, place):
    (folders / place).touch()
    assert find_contract("captcha", "home") == Path(place)


def test_the_home_comes_before_the_current_folder_and_a_path_is_taken_as_it_is(folders):
    for place in ("home/feeds/captcha.toml", "feeds/captcha.toml", "captcha"):
        (folders / place).touch()
    assert find_contract("captcha", "home") == Path("captcha")
    (folders / "captcha").unlink()
    (folders / "captcha").mkdir()
    assert find_contract("captcha", "home") == Path("home/feeds/captcha.toml")
    assert find_contract("feeds/captcha.toml", "home") == Path("feeds/captcha.toml")
    assert find_contract("nowhere/x.toml", "home") == Path("nowhere/x.toml")


def test_a_name_without_a_file_names_the_nearest_one_and_the_places(folders):
    (folders / "feeds" / "captcha.toml").touch()
    with pytest.raises(ConfigError, match=r"no captch\.toml in home/feeds, home, feeds; did you mean `captcha`\?"):
        find_contract("captch", "home")
    with pytest.raises(ConfigError, match="known: captcha"):
        find_contract("zzz", folders / "home")
